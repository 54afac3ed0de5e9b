<?php

return 4;
