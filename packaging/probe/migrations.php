<?php
// Tells which migrations of a Laravel app (8 and later) are pending and what each would run, as `migrate --pretend` does.
// Run in a release, as the user that runs it. Every connection pretends, and the one of a migration is in a read-only
// transaction besides, so that nothing of it reaches the database. Prints one line of JSON:
//   {"complete": true, "unknown": null, "pending": [{"name": "2026_01_01_000000_x", "unknown": null,
//    "statements": [{"driver": "mysql", "sql": "alter table ..."}]}]}
// With the argument `names`, only the names are told.

declare(strict_types=1);

/** Characters of one statement and of all, and migrations in the answer. */
const LONGEST = 20000;
const ALL = 300000;
const MOST = 500;

/** The first line of a message, bounded. */
function said(Throwable $error): string
{
    $text = preg_replace('/[\x00-\x1f\x7f].*/s', '', $error->getMessage());

    return mb_strcut($text === '' ? get_class($error) : $text, 0, 200);
}

function driver($connection): string
{
    $driver = $connection->getDriverName();

    return ['mysql' => 'mysql', 'mariadb' => 'mysql', 'pgsql' => 'pgsql', 'sqlite' => 'sqlite'][$driver] ?? 'other';
}

/** Runs something while no connection executes anything; returns what they would have run, in each one's order. */
function pretending(array $connections, Closure $run): array
{
    $connection = array_shift($connections);
    if ($connection === null) {
        $run();

        return [];
    }
    $said = [];
    $log = $connection->pretend(function () use ($connections, $run, &$said): void {
        $said = pretending($connections, $run);
    });
    foreach ($log as $query) {
        $said[] = ['driver' => driver($connection), 'sql' => (string) $query['query']];
    }

    return $said;
}

/** Runs something in a transaction in which nothing can be written, where the database has such. */
function read_only($connection, Closure $run): array
{
    $driver = driver($connection);
    if ($driver === 'sqlite') {
        $connection->getPdo()->exec('pragma query_only = 1');
    } elseif ($driver === 'mysql') {
        $connection->getPdo()->exec('set transaction read only');
    }
    $connection->beginTransaction();
    try {
        if ($driver === 'pgsql') {
            $connection->getPdo()->exec('set transaction read only');
        }

        return $run();
    } finally {
        $connection->rollBack();
    }
}

/** What a migration would run. */
function statements($app, $migrator, string $file, array $connections): array
{
    $resolve = new ReflectionMethod($migrator, method_exists($migrator, 'resolvePath') ? 'resolvePath' : 'resolve');
    $resolve->setAccessible(true);
    $migration = $resolve->invoke($migrator, $resolve->getName() === 'resolve' ? $migrator->getMigrationName($file) : $file);
    $skipped = method_exists($migration, 'shouldRun') && !$migration->shouldRun();
    if ($skipped || !method_exists($migration, 'up')) {
        return [];
    }
    $connection = $migrator->resolveConnection($migration->getConnection());
    $database = $app->make('db');
    $default = $database->getDefaultConnection();
    $database->setDefaultConnection($connection->getName());
    try {
        return read_only($connection, fn () => pretending($connections, fn () => $migration->up()));
    } finally {
        $database->setDefaultConnection($default);
    }
}

function pending($app, bool $names): array
{
    $migrator = $app->make('migrator');
    $files = $migrator->getMigrationFiles(array_merge($migrator->paths(), [$app->databasePath('migrations')]));
    $ran = $migrator->repositoryExists() ? $migrator->getRepository()->getRan() : [];
    $files = array_diff_key($files, array_flip($ran));
    $connections = [];
    foreach ($names ? [] : array_keys((array) $app['config']->get('database.connections')) as $name) {
        try {
            $connections[] = $app->make('db')->connection($name);
        } catch (Throwable) {
            // Not one that this host could use.
        }
    }
    if (!$names) {
        $migrator->requireFiles($files);
    }
    $out = [];
    foreach ($files as $name => $file) {
        $told = ['name' => (string) $name, 'statements' => [], 'unknown' => null];
        try {
            $told['statements'] = $names ? [] : statements($app, $migrator, $file, $connections);
        } catch (Throwable $error) {
            $told['unknown'] = said($error);
        }
        $out[] = $told;
    }

    return $out;
}

/** Leaves out what would make the answer too long, and says so. */
function bounded(array $pending): array
{
    $left = ALL;
    foreach ($pending as &$migration) {
        $length = array_sum(array_map(fn ($one) => strlen($one['sql']) + 50, $migration['statements']));
        $longest = max([0, ...array_map(fn ($one) => strlen($one['sql']), $migration['statements'])]);
        if ($longest > LONGEST || $length > $left) {
            $migration = ['statements' => [], 'unknown' => 'its statements are too long to be looked at'] + $migration;
            continue;
        }
        $left -= $length;
    }

    return array_slice($pending, 0, MOST);
}

// Nothing but the answer is printed to standard output.
ob_start();
$answer = ['complete' => true, 'unknown' => null, 'pending' => []];
try {
    require getcwd() . '/vendor/autoload.php';
    $app = require getcwd() . '/bootstrap/app.php';
    $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();
    $pending = pending($app, ($argv[1] ?? '') === 'names');
    $answer['complete'] = count($pending) <= MOST;
    $answer['pending'] = bounded($pending);
} catch (Throwable $error) {
    $answer['unknown'] = said($error);
}
ob_end_clean();
echo json_encode($answer, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
