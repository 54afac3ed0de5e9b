<?php

namespace App\Console\Commands;

use Illuminate\Console\Command;

/**
 * A stand-in for laravel/octane's command of this name, which Debian does not have. What of Octane matters to whoever
 * starts and ends it is as there: the base path is fixed now; a server that a state file or an admin port tells of
 * refuses a second one; artisan stays as the parent, and when it ends, it ends the server by TERM and, 1 ms later, KILL.
 */
class OctaneStart extends Command
{
    protected $signature = 'octane:start {--server=} {--host=127.0.0.1} {--port=8000} {--admin-host=localhost}
        {--admin-port=2019} {--rpc-host=127.0.0.1} {--rpc-port=} {--workers=1} {--task-workers=} {--max-requests=500}
        {--rr-config=} {--caddyfile=} {--log-level=}';

    protected $description = 'Start a server that keeps the application in memory';

    public function handle()
    {
        $server = $this->option('server') ?: config('octane.server');
        if ($this->running($server)) {
            $this->error('Server is already running.');

            return 1;
        }
        [$command, $environment] = $this->{$server}();
        $environment += ['APP_BASE_PATH' => base_path(), 'LARAVEL_OCTANE' => '1'] + getenv();
        $child = proc_open($command, [STDIN, STDOUT, STDERR], $pipes, base_path(), $environment);
        $pid = proc_get_status($child)['pid'];
        file_put_contents(config('octane.state_file'), json_encode(['masterProcessId' => $pid]));

        return $this->stay($child, $pid);
    }

    private function running(string $server): bool
    {
        if ($server === 'frankenphp') {
            $admin = $this->option('admin-host').':'.$this->option('admin-port');

            return @file_get_contents("http://$admin/config/apps/frankenphp") !== false;
        }
        $state = json_decode((string) @file_get_contents(config('octane.state_file')), true);

        return isset($state['masterProcessId']) && posix_kill($state['masterProcessId'], 0);
    }

    private function swoole(): array
    {
        return [[PHP_BINARY, base_path('octane/swoole-stand-in'), $this->option('host'), $this->option('port'),
            $this->option('workers'), config('octane.max_wait_time')], []];
    }

    private function roadrunner(): array
    {
        $options = [
            'version' => '3',
            'http.address' => $this->option('host').':'.$this->option('port'),
            'server.command' => PHP_BINARY.','.base_path('octane/roadrunner-worker'),
            'http.pool.num_workers' => $this->option('workers'),
            'http.pool.max_jobs' => $this->option('max-requests'),
            'rpc.listen' => 'tcp://'.$this->option('rpc-host').':'.($this->option('rpc-port') ?: $this->option('port') - 1999),
        ];
        $command = ['rr', '-c', base_path('.rr.yaml')];
        foreach ($options as $key => $value) {
            array_push($command, '-o', "$key=$value");
        }

        return [[...$command, 'serve'], []];
    }

    private function frankenphp(): array
    {
        return [['frankenphp', 'run', '-c', base_path('octane/Caddyfile'), '--adapter', 'caddyfile'], [
            'APP_PUBLIC_PATH' => public_path(),
            'CADDY_SERVER_ADMIN_HOST' => $this->option('admin-host'),
            'CADDY_SERVER_ADMIN_PORT' => $this->option('admin-port'),
            'CADDY_SERVER_SERVER_NAME' => 'http://:'.$this->option('port'),
            'MAX_REQUESTS' => $this->option('max-requests'),
            'XDG_CONFIG_HOME' => sys_get_temp_dir(),
            'XDG_DATA_HOME' => sys_get_temp_dir(),
        ]];
    }

    /** Waits as Symfony's Process does, and ends the child as its destructor does. */
    private function stay($child, int $pid): int
    {
        $asked = false;
        pcntl_async_signals(true);
        foreach ([SIGINT, SIGTERM, SIGHUP] as $signal) {
            pcntl_signal($signal, function () use (&$asked) {
                $asked = true;
            });
        }
        while (! $asked) {
            $status = proc_get_status($child);
            if (! $status['running']) {
                return $status['exitcode'];
            }
            usleep(10000);
        }
        posix_kill($pid, SIGTERM);
        usleep(1000);
        posix_kill($pid, SIGKILL);

        return 0;
    }
}
