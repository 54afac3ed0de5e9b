<?php

return 'r1';
