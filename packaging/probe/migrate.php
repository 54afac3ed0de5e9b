<?php
// `php artisan migrate` of a Laravel app (8 and later), with its arguments, in sessions that do not wait longer for a
// lock than DEPLOYD_LOCK_TIMEOUT seconds: what waits for a lock holds up everybody who comes after it.

declare(strict_types=1);

use Symfony\Component\Console\Input\ArgvInput;
use Symfony\Component\Console\Output\ConsoleOutput;

require getcwd() . '/vendor/autoload.php';
$app = require getcwd() . '/bootstrap/app.php';
$kernel = $app->make(Illuminate\Contracts\Console\Kernel::class);
$kernel->bootstrap();

$seconds = max(1, (int) (getenv('DEPLOYD_LOCK_TIMEOUT') ?: 10));
$limits = [
    'mysql' => "set session lock_wait_timeout = $seconds, session innodb_lock_wait_timeout = $seconds",
    'pgsql' => "set lock_timeout = '{$seconds}s'",
    'sqlite' => 'pragma busy_timeout = ' . $seconds * 1000,
    'sqlsrv' => 'set lock_timeout ' . $seconds * 1000,
];
$limits['mariadb'] = $limits['mysql'];
$sessions = [];
foreach ($app->bound('db') ? array_keys((array) $app['config']->get('database.connections')) : [] as $name) {
    try {
        $connection = $app->make('db')->connection($name);
        $limit = $limits[$connection->getDriverName()] ?? null;
        $connect = $connection->getRawPdo();
    } catch (Throwable) {
        // Not one that this host could use.
        continue;
    }
    if ($limit === null) {
        continue;
    }
    $begin = function () use ($connect, $limit, $connection, &$sessions): PDO {
        $pdo = $connect instanceof Closure ? $connect() : $connect;
        $pdo->exec($limit);
        // A session that a pooler gives to others shall be as it was.
        $connection->getDriverName() === 'pgsql' && $sessions[] = $pdo;

        return $pdo;
    };
    $connection->setPdo($begin);
}

$input = new ArgvInput(['artisan', 'migrate', ...array_slice($argv, 1)]);
$status = $kernel->handle($input, new ConsoleOutput());
foreach ($sessions as $session) {
    try {
        $session->exec('reset lock_timeout');
    } catch (Throwable) {
        // It is gone.
    }
}
$kernel->terminate($input, $status);
exit($status);
