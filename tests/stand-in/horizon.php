<?php

// A stand-in for laravel/horizon, which no registry of ours gives: the contract of its processes, not its code.
// A master that keeps `master:*` in Redis and starts a supervisor; a supervisor (this file, run) that keeps
// `supervisor:*` and starts workers, `artisan queue:work`; USR2, CONT and TERM handed down from one to the next, each
// taken up between two turns of a second; a master that waits for its supervisor no longer than the longest timeout.

namespace Laravel\Horizon\Events {
    class MasterSupervisorLooped
    {
        public function __construct(public $master)
        {
        }
    }
}

namespace Laravel\Horizon\Contracts {
    class Repository
    {
        const PREFIX = '';

        public function update(string $name, array $values): void
        {
            $key = static::PREFIX.$name;
            app('redis')->connection()->hmset($key, $values);
            app('redis')->connection()->expire($key, 15);
        }

        public function find(string $name): ?object
        {
            $values = app('redis')->connection()->hgetall(static::PREFIX.$name);

            return $values ? (object) $values : null;
        }

        public function get(array $names): array
        {
            return array_values(array_filter(array_map(fn ($name) => $this->find($name), $names)));
        }

        public function forget(string $name): void
        {
            app('redis')->connection()->del(static::PREFIX.$name);
        }
    }

    class MasterSupervisorRepository extends Repository
    {
        const PREFIX = 'master:';
    }

    class SupervisorRepository extends Repository
    {
        const PREFIX = 'supervisor:';
    }
}

namespace Laravel\Horizon {
    /** What master and supervisor have in common. */
    abstract class Turning
    {
        const REPOSITORY = '';
        public $name;
        public $working = true;
        private $pending = [];

        /** Children that are handed the signals. */
        abstract protected function children(): array;

        abstract protected function turn(): void;

        public function monitor()
        {
            pcntl_async_signals(true);
            foreach ([SIGTERM => 'terminate', SIGUSR2 => 'pause', SIGCONT => 'continue'] as $signal => $what) {
                pcntl_signal($signal, function () use ($what) {
                    $this->pending[$what] = $what;
                });
            }
            $this->persist();
            while (true) {
                sleep(1);
                while ($this->pending) {
                    $this->{array_shift($this->pending)}();
                }
                $this->turn();
                $this->persist();
                $this->looped();
            }
        }

        protected function looped(): void
        {
        }

        /** As Symfony's Process does with what it has started. */
        public function __destruct()
        {
            $this->signal(SIGKILL);
        }

        public function pause()
        {
            $this->working = false;
            $this->signal(SIGUSR2);
        }

        public function continue()
        {
            $this->working = true;
            $this->signal(SIGCONT);
        }

        public function terminate()
        {
            $this->working = false;
            $this->signal(SIGTERM);
            app(static::REPOSITORY)->forget($this->name);
            for ($waited = 0; $waited < static::PATIENCE && array_filter($this->children(), 'Laravel\Horizon\runs'); $waited++) {
                sleep(1);
            }
            exit(0);
        }

        private function persist(): void
        {
            $status = $this->working ? 'running' : 'paused';
            app(static::REPOSITORY)->update($this->name, ['name' => $this->name, 'pid' => getmypid(), 'status' => $status]);
        }

        private function signal(int $signal): void
        {
            foreach (array_filter($this->children(), 'Laravel\Horizon\runs') as $child) {
                proc_terminate($child, $signal);
            }
        }
    }

    function runs($process): bool
    {
        return proc_get_status($process)['running'];
    }

    class MasterSupervisor extends Turning
    {
        const REPOSITORY = Contracts\MasterSupervisorRepository::class;
        /** As if the longest timeout of a supervisor were this, in seconds. */
        const PATIENCE = 2;
        public $supervisors;

        public function __construct(public $environment = null)
        {
            $this->name = self::name();
            $this->supervisors = collect([(object) ['name' => $this->name.':supervisor-1', 'process' => null]]);
        }

        public static function name()
        {
            static $name;

            return $name ??= gethostname().'-'.bin2hex(random_bytes(2));
        }

        public function handleOutputUsing($callback)
        {
            return $this;
        }

        protected function children(): array
        {
            return $this->supervisors->map(fn ($one) => $one->process)->filter()->all();
        }

        protected function turn(): void
        {
            foreach ($this->working ? $this->supervisors : [] as $one) {
                if (!$one->process || !runs($one->process)) {
                    $one->process = proc_open([PHP_BINARY, __FILE__, $one->name], [], $pipes, base_path());
                }
            }
        }

        protected function looped(): void
        {
            event(new Events\MasterSupervisorLooped($this));
        }
    }

    class ProvisioningPlan
    {
        public static function get($master)
        {
            return new self();
        }

        public function deploy($environment)
        {
        }
    }

    class Supervisor extends Turning
    {
        const REPOSITORY = Contracts\SupervisorRepository::class;
        const PATIENCE = 3600;
        private $workers = [];

        public function __construct($name)
        {
            $this->name = $name;
        }

        protected function children(): array
        {
            return $this->workers;
        }

        protected function turn(): void
        {
            for ($at = 0; $this->working && $at < 2; $at++) {
                if (!isset($this->workers[$at]) || !runs($this->workers[$at])) {
                    $command = [PHP_BINARY, 'artisan', 'queue:work', '--sleep=1', '--timeout=600'];
                    $this->workers[$at] = proc_open($command, [], $pipes, base_path());
                }
            }
        }
    }
}

namespace {
    if (realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
        require getcwd().'/vendor/autoload.php';
        $app = require getcwd().'/bootstrap/app.php';
        $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();
        (new Laravel\Horizon\Supervisor($argv[1]))->monitor();
    }
}
