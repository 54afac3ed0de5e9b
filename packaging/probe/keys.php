<?php
// Tells the worker that runs it the key of a Laravel app (8 and later) and the previous ones that its framework still
// decrypts with. Run in a release, as the user that runs it: loads environment and configuration only, no provider.
// The worker makes digests of them; they go nowhere else.

declare(strict_types=1);

$app = require __DIR__ . '/configured.php';
if ($app === null) {
    echo '{}';
    exit(0);
}
$config = $app->make('config');
$told = [];
if (is_string($config->get('app.key')) && $config->get('app.key') !== '') {
    $told['key'] = $config->get('app.key');
}
// Before Laravel 11 nothing reads them.
if (method_exists(Illuminate\Encryption\Encrypter::class, 'previousKeys')) {
    foreach (array_values(array_filter((array) $config->get('app.previous_keys'), 'is_string')) as $number => $key) {
        $told["previous.$number"] = $key;
    }
}
echo json_encode($told, JSON_THROW_ON_ERROR | JSON_FORCE_OBJECT);
