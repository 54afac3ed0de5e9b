<?php

return 3;
