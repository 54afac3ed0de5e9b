<?php

// The worker that FrankenPHP starts once and hands requests to; as Octane puts it here.
ignore_user_abort(true);

$answer = require __DIR__.'/../octane/application.php';
$handle = static function () use ($answer) {
    $answer(Illuminate\Http\Request::capture(), fn ($response) => $response->send());
};
while (frankenphp_handle_request($handle)) {
}
