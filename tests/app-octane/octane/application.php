<?php

/*
 * Boots the application once, at the base path it was started with, and gives what answers one request after the other.
 * Octane makes a copy of the application for each; these pages keep nothing, so one application does.
 */

require __DIR__.'/../vendor/autoload.php';

$app = require __DIR__.'/../bootstrap/app.php';
$kernel = $app->make(Illuminate\Contracts\Http\Kernel::class);
$kernel->bootstrap();

return function (Illuminate\Http\Request $request, callable $send) use ($kernel) {
    $response = $kernel->handle($request);
    $send($response);
    $kernel->terminate($request, $response);
};
