<?php
// Proves that a Laravel app (8 and later, PHP 8.0 and later) reaches what it needs: database, cache, queue, and that
// no migration is pending. Run in a release, as the user that runs it: needs no route. Prints one line for each failed
// part to standard error and exits with 1; changes nothing but one cache entry of its own, which it removes.

declare(strict_types=1);

$failed = 0;

/** Runs one part; what it throws is its failure. A line never holds more than the first of the message's lines. */
function part(string $name, callable $probe): void
{
    global $failed;
    try {
        $probe();
    } catch (Throwable $error) {
        $failed++;
        $text = preg_replace('/[\x00-\x1f\x7f].*/s', '', $error->getMessage());
        fwrite(STDERR, $name . ': ' . ($text === '' ? get_class($error) : $text) . "\n");
    }
}

foreach (['vendor/autoload.php', 'bootstrap/app.php'] as $file) {
    if (!is_file($file)) {
        fwrite(STDERR, "app: there is no $file in " . getcwd() . "\n");
        exit(1);
    }
}

$app = null;
part('app', function () use (&$app): void {
    require getcwd() . '/vendor/autoload.php';
    $app = require getcwd() . '/bootstrap/app.php';
    $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();
});
if ($failed > 0) {
    exit(1);
}

$config = $app->make('config');
$connection = $config->get('database.default');
$database = is_string($connection) && is_array($config->get("database.connections.$connection"));

part('database', function () use ($app, $database): void {
    if ($database) {
        $app->make('db')->connection()->select('select 1');
    }
});

part('cache', function () use ($app, $config): void {
    $store = $config->get('cache.default');
    if (!is_string($store) || in_array($store, ['array', 'null'], true)) {
        return;
    }
    $cache = $app->make('cache')->store();
    $key = 'deployd-probe-' . bin2hex(random_bytes(8));
    $cache->put($key, $key, 60);
    $read = $cache->get($key);
    $cache->forget($key);
    if ($read !== $key) {
        throw new RuntimeException("the store $store does not give back what was put into it");
    }
});

part('queue', function () use ($app, $config): void {
    $queue = $config->get('queue.default');
    $driver = is_string($queue) ? $config->get("queue.connections.$queue.driver") : null;
    if (in_array($driver, ['redis', 'database'], true)) {
        $app->make('queue')->connection()->size();
    }
});

part('migrations', function () use ($app, $database): void {
    if (!$database || !$app->bound('migrator')) {
        return;
    }
    $migrator = $app->make('migrator');
    $files = $migrator->getMigrationFiles(array_merge($migrator->paths(), [$app->databasePath('migrations')]));
    if ($files === []) {
        return;
    }
    $ran = $migrator->repositoryExists() ? $migrator->getRepository()->getRan() : [];
    $pending = array_diff(array_keys($files), $ran);
    if ($pending !== []) {
        throw new RuntimeException(count($pending) . ' pending, the first is ' . reset($pending));
    }
});

exit($failed > 0 ? 1 : 0);
