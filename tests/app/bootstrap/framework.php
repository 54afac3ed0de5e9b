<?php

// The framework comes from Debian, not from Composer: this file is the only thing that knows.
require_once '/usr/share/php/Illuminate/autoload.php';
