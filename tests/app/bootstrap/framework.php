<?php

// The framework comes from Debian, not from Composer: this file is the only thing that knows.
require_once '/usr/share/php/Illuminate/autoload.php';

// Debian registers an autoloader for each of its packages, some eighty, and a class is asked of one after the other.
// Most classes are where their names say; found at once, a page costs a third less.
spl_autoload_register(static function ($class) {
    if (preg_match('/^(Illuminate|Symfony|Carbon|Monolog|League|Psr)\\\\/', $class)) {
        $file = '/usr/share/php/'.strtr($class, '\\', '/').'.php';
        if (is_file($file)) {
            require $file;
        }
    }
}, true, true);
