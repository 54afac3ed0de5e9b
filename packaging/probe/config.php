<?php
// Prints, as one JSON object of texts, what `deployctl check` asks of a Laravel app's configuration. Run in a release, as
// the user that runs it, with nothing writable: loads environment and configuration only, no provider. Its argument is
// the directory of what outlives releases. Another app's configuration is an empty object.

declare(strict_types=1);

$shared = realpath($argv[1] ?? '') ?: '/nonexistent';
$app = require __DIR__ . '/configured.php';
if ($app === null) {
    echo '{}';
    exit(0);
}

/** Whether a path, as far as it exists, lies in what outlives releases. */
function shared(string $path, string $shared): string
{
    while ($path !== '/' && $path !== '.' && realpath($path) === false) {
        $path = dirname($path);
    }
    return str_starts_with(realpath($path) . '/', $shared . '/') ? 'yes' : 'no';
}

$config = $app->make('config');

$told = ['config.cached' => $app->configurationIsCached() ? 'yes' : 'no'];
foreach (['session.driver', 'session.files', 'octane.server', 'octane.state_file', 'horizon.fast_termination'] as $key) {
    $value = $config->get($key);
    if (is_scalar($value)) {
        $told[$key] = is_bool($value) ? (string) (int) $value : (string) $value;
    }
}
// Octane's own, when its configuration is not in the app (laravel/octane config/octane.php).
$told['octane.state_file'] ??= $app->storagePath() . '/logs/octane-server-state.json';
foreach (['session.files', 'octane.state_file'] as $key) {
    if (isset($told[$key])) {
        $told[$key . '-shared'] = shared($told[$key], $shared);
    }
}
echo json_encode($told, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE | JSON_FORCE_OBJECT);
