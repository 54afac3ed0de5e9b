<?php
// The Laravel app (8 and later) of the working directory with its environment and configuration loaded and no provider;
// null where there is none. What the probes that read configuration include.

declare(strict_types=1);

$files = ['vendor/autoload.php', 'bootstrap/app.php'];
if (count(array_filter($files, 'is_file')) < count($files)) {
    return null;
}
require getcwd() . '/vendor/autoload.php';
$app = require getcwd() . '/bootstrap/app.php';
$app->bootstrapWith([
    Illuminate\Foundation\Bootstrap\LoadEnvironmentVariables::class,
    Illuminate\Foundation\Bootstrap\LoadConfiguration::class,
]);
return $app;
