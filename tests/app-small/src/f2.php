<?php

return 2;
