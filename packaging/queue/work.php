<?php
// Runs `queue:work` (Laravel 8 and later) or `horizon` in a release, as artisan does, and tells systemd two things that
// they cannot tell by themselves: that the boot is over (READY=1), and whether jobs are taken (STATUS=working, paused).
//
//   php work.php [--processes=4] queue:work [CONNECTION] [--queue=...]
//   php work.php horizon [--environment=...]
//
// - It starts paused while the file that DEPLOYD_PAUSED names is there, so that a new release's worker can be proved
//   before its turn, and one that is started again while it is paused takes no job either.
// - "paused" is told from between two jobs, or once a job that had been taken has begun: after it no job begins.
//   queue:work's own answer to USR2 may still take one, when the signal comes between its look and its pop.
// - A worker in a job that waits for something outside PHP hears no signal. So the file that DEPLOYD_LOOKING names is
//   locked, shared, while a job is looked for: with the pause file there, who gets it alone knows that none will begin.
// - USR2 pauses, CONT goes on, TERM ends after the running job: as ever. But systemd sends CONT with every TERM: while
//   the file is there, or after TERM, CONT takes no job.
// - Several processes are children of one that loads nothing of the app. It passes signals on, starts a child again
//   that has ended, and speaks for all: ready and paused when all are.

declare(strict_types=1);

/** Who is told of this process: systemd, or the process that has forked it. */
final class Listener
{
    /** @var resource|false */
    private static $socket = false;
    private static int $parent = 0;

    /** Nobody listens outside a unit. */
    public static function systemd(): void
    {
        $path = getenv('NOTIFY_SOCKET');
        // What a job starts shall not speak for this process.
        putenv('NOTIFY_SOCKET');
        unset($_ENV['NOTIFY_SOCKET'], $_SERVER['NOTIFY_SOCKET']);
        if (is_string($path) && $path !== '') {
            self::$socket = stream_socket_client('udg://' . preg_replace('/^@/', "\0", $path));
        }
    }

    /** @param resource $socket */
    public static function parent($socket, int $pid): void
    {
        [self::$socket, self::$parent] = [$socket, $pid];
    }

    public static function ready(string $state): void
    {
        self::send(self::$parent === 0 ? "READY=1\nSTATUS=$state" : $state);
    }

    public static function state(string $state): void
    {
        self::send(self::$parent === 0 ? "STATUS=$state" : $state);
    }

    private static function send(string $message): void
    {
        if (self::$socket !== false) {
            fwrite(self::$socket, self::$parent === 0 ? $message : "$message\n");
        }
        if (self::$parent !== 0) {
            posix_kill(self::$parent, SIGUSR1);
        }
    }
}

/** Whether it shall take no job now, by the file of the engine. */
function told_to_pause(): bool
{
    $file = getenv('DEPLOYD_PAUSED');
    clearstatcache();

    return is_string($file) && $file !== '' && file_exists($file);
}

/** Ends with a sentence; 78 is a configuration that does not get better by itself. */
function give_up(string $why): void
{
    fwrite(STDERR, $why . "\n");
    exit(78);
}

if (!extension_loaded('pcntl')) {
    give_up('this PHP has no pcntl: workers could not be paused; install it (php-process on Fedora)');
}
foreach (['vendor/autoload.php', 'bootstrap/app.php'] as $file) {
    if (!is_file($file)) {
        give_up("there is no $file in " . getcwd());
    }
}
/** The processes of one slot. */
final class Processes
{
    private const SIGNALS = [SIGCHLD, SIGUSR1, SIGUSR2, SIGCONT, SIGTERM, SIGINT];
    /** Before a child that ended at once is started again, in seconds. */
    private const PAUSE = 1;
    /** @var array<int, array{socket: resource, state: string, since: float}> by pid */
    private array $children = [];
    private bool $ready = false;
    private bool $ending = false;
    private string $told = '';
    private float $due = 0.0;

    public function __construct(private int $wanted)
    {
    }

    /** Returns in each child; the parent ends with its last child. */
    public function run(): void
    {
        $parent = getmypid();
        pcntl_sigprocmask(SIG_BLOCK, self::SIGNALS);
        while (true) {
            while (!$this->ending && count($this->children) < $this->wanted && microtime(true) >= $this->due) {
                if ($this->start($parent)) {
                    return;
                }
            }
            if ($this->ending && $this->children === []) {
                exit(0);
            }
            $short = !$this->ending && count($this->children) < $this->wanted;
            $signal = $short ? pcntl_sigtimedwait(self::SIGNALS, $info, self::PAUSE) : pcntl_sigwaitinfo(self::SIGNALS);
            $this->take(is_int($signal) ? $signal : 0);
            $this->hear();
            $this->reap();
            $this->say();
        }
    }

    /** True in the child. */
    private function start(int $parent): bool
    {
        [$ours, $theirs] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $pid = pcntl_fork();
        if ($pid === -1) {
            give_up('no process could be forked: ' . pcntl_strerror(pcntl_get_last_error()));
        }
        if ($pid === 0) {
            $this->children = [];
            fclose($ours);
            Listener::parent($theirs, $parent);
            pcntl_sigprocmask(SIG_UNBLOCK, [SIGCHLD, SIGUSR1, SIGTERM, SIGINT]);

            return true;
        }
        fclose($theirs);
        stream_set_blocking($ours, false);
        $this->children[$pid] = ['socket' => $ours, 'state' => '', 'since' => microtime(true)];

        return false;
    }

    private function take(int $signal): void
    {
        if ($signal === SIGTERM || $signal === SIGINT) {
            $this->ending = true;
            $this->all(SIGTERM);
        } elseif (!$this->ending && in_array($signal, [SIGUSR2, SIGCONT], true)) {
            $this->all($signal);
        }
    }

    private function all(int $signal): void
    {
        foreach (array_keys($this->children) as $pid) {
            posix_kill($pid, $signal);
        }
    }

    private function hear(): void
    {
        foreach ($this->children as &$child) {
            $lines = explode("\n", trim((string) fread($child['socket'], 4096)));
            $last = end($lines);
            $child['state'] = $last === '' ? $child['state'] : $last;
        }
    }

    private function reap(): void
    {
        while (($pid = pcntl_waitpid(-1, $status, WNOHANG)) > 0) {
            $child = $this->children[$pid] ?? null;
            unset($this->children[$pid]);
            if ($child === null || $this->ending) {
                continue;
            }
            if (!$this->ready) {
                // It cannot start: the unit's failure, which systemd and the deployment see.
                $this->all(SIGTERM);
                exit(pcntl_wifexited($status) ? (pcntl_wexitstatus($status) ?: 1) : 1);
            }
            $this->due = $child['since'] + self::PAUSE;
        }
    }

    /** One that still boots takes no job before it has looked whether it shall. */
    private function say(): void
    {
        $states = array_column($this->children, 'state');
        if (!$this->ready && (count($states) < $this->wanted || in_array('', $states, true))) {
            return;
        }
        $state = current(array_intersect(['working', 'paused', 'maintenance'], $states));
        // All of them boot, or fail to, again and again.
        $state = $state ?: (told_to_pause() ? 'paused' : 'starting');
        if ($state !== $this->told) {
            $this->ready ? Listener::state($state) : Listener::ready($state);
            [$this->ready, $this->told] = [true, $state];
        }
    }
}

Listener::systemd();
$arguments = array_slice($argv, 1);
if (preg_match('/^--processes=(\d+)$/', $arguments[0] ?? '', $number)) {
    array_shift($arguments);
    if ((int) $number[1] > 1) {
        (new Processes((int) $number[1]))->run();
    }
}
// Held back until there is somebody to take them: without a handler USR2 ends a process.
pcntl_sigprocmask(SIG_BLOCK, [SIGUSR2, SIGCONT]);

define('LARAVEL_START', microtime(true));
require getcwd() . '/vendor/autoload.php';
$app = require getcwd() . '/bootstrap/app.php';
$kernel = $app->make(Illuminate\Contracts\Console\Kernel::class);
$kernel->bootstrap();

/** queue:work: paused between jobs. The file decides; USR2 and CONT say to look, or pause it by hand. */
final class Pause
{
    private bool $paused = false;
    /** The file was there at the last look at it: what it has paused goes on when it is gone. */
    private bool $told_by_file = false;
    private bool $ready = false;
    private bool $ending = false;
    private bool $down = false;
    /** Between two looks for a job, or in one that had been taken: a pause holds from now on. */
    private bool $holds = false;
    private string $told = '';
    /** @var resource|false Locked while a job is looked for: who has it alone knows that none is. */
    private $looking = false;

    public function __construct()
    {
        $file = getenv('DEPLOYD_LOOKING');
        if (is_string($file) && is_file($file)) {
            $this->looking = fopen($file, 're');
        }
    }

    /** First in each turn of the worker. While the app is down nothing follows: no look for a job. */
    public function turn(bool $down): void
    {
        $this->look(false);
        $this->down = $down;
        if (!$this->ready) {
            $this->begin();
        }
        if ($down) {
            $this->obey_file();
            $this->say();
        }
    }

    /** Before each look for a job; false: look for none. */
    public function looping(): ?bool
    {
        $this->down = false;
        // Locked before the file is looked at: whoever writes it and then has the lock finds nobody who missed it.
        $this->look(true);
        $this->obey_file();
        if ($this->paused) {
            $this->look(false);
        }
        $this->say();

        return $this->paused ? false : null;
    }

    /** A job has been taken and begins. */
    public function processing(): void
    {
        $this->look(false);
        if ($this->paused) {
            $this->say();
        }
    }

    private function look(bool $begins): void
    {
        $this->holds = !$begins;
        $this->looking && flock($this->looking, $begins ? LOCK_SH : LOCK_UN);
    }

    private function obey_file(): void
    {
        $told = told_to_pause();
        if ($told || $this->told_by_file) {
            $this->paused = $told || $this->ending;
        }
        $this->told_by_file = $told;
    }

    /** In place of queue:work's own handlers, which it has set by now. */
    private function begin(): void
    {
        $this->ready = true;
        $this->obey_file();
        pcntl_signal(SIGUSR2, function (): void {
            $this->obey_file();
            $this->paused = true;
            if ($this->holds) {
                $this->say();
            }
        });
        pcntl_signal(SIGCONT, function (): void {
            if (!$this->ending && !told_to_pause()) {
                $this->paused = $this->told_by_file = false;
                $this->say();
            }
        });
        $end = pcntl_signal_get_handler(SIGTERM);
        pcntl_signal(SIGTERM, function (int $signal) use ($end): void {
            $this->ending = $this->paused = true;
            is_callable($end) && $end($signal);
        });
        pcntl_sigprocmask(SIG_UNBLOCK, [SIGUSR2, SIGCONT]);
        Listener::ready($this->told = $this->state());
    }

    private function state(): string
    {
        return $this->paused ? 'paused' : ($this->down ? 'maintenance' : 'working');
    }

    private function say(): void
    {
        if ($this->state() !== $this->told) {
            Listener::state($this->told = $this->state());
        }
    }
}

/** Waits until this is the only process of its control group; systemd limits how long. */
function outlast_the_others(): void
{
    $groups = (string) file_get_contents('/proc/self/cgroup');
    foreach (['0:' => ['', '/unified'], '\d+:name=systemd' => ['/systemd']] as $line => $hierarchies) {
        preg_match("/^$line:(\/.+)$/m", $groups, $found);
        foreach ($found === [] ? [] : $hierarchies as $hierarchy) {
            $file = "/sys/fs/cgroup$hierarchy$found[1]/cgroup.procs";
            if (is_readable($file)) {
                // The kernel tells this by inotify, for which PHP has no function.
                while (count(array_filter(explode("\n", (string) file_get_contents($file)))) > 1) {
                    usleep(200000);
                }

                return;
            }
        }
    }
}

/** What Redis says of this master and its supervisors; null: they do not agree yet. */
function horizon_state($app, $master): ?string
{
    $own = $app->make(Laravel\Horizon\Contracts\MasterSupervisorRepository::class)->find($master->name);
    if ($own === null || (int) $own->pid !== getmypid()) {
        return null;
    }
    $names = $master->supervisors->map(fn ($supervisor) => $supervisor->name)->all();
    $records = array_filter($app->make(Laravel\Horizon\Contracts\SupervisorRepository::class)->get($names));
    $statuses = array_values(array_unique(array_map(fn ($record) => $record->status, $records)));
    if (!$master->working) {
        // Those without a record have not been started.
        return $own->status === 'paused' && in_array($statuses, [[], ['paused']], true) ? 'paused' : null;
    }
    $all = count($records) === count($names) && in_array($statuses, [[], ['running']], true);

    return $own->status === 'running' && $all ? 'working' : null;
}

/** horizon: its master, which pauses its supervisors, and they their workers. A paused one starts no supervisor. */
function horizon($app, ?string $environment): void
{
    if (!class_exists(Laravel\Horizon\MasterSupervisor::class)) {
        give_up('laravel/horizon is not in this release');
    }
    $environment ??= $app['config']->get('horizon.env') ?? $app['config']->get('app.env');
    $master = new Laravel\Horizon\MasterSupervisor($environment);
    $master->handleOutputUsing(function ($type, $line): void {
        fwrite(STDOUT, $line);
    });
    Laravel\Horizon\ProvisioningPlan::get(Laravel\Horizon\MasterSupervisor::name())->deploy($environment);
    if (told_to_pause()) {
        $master->pause();
    }
    $told = null;
    $app['events']->listen(
        Laravel\Horizon\Events\MasterSupervisorLooped::class,
        function ($event) use ($app, &$told): void {
            $state = horizon_state($app, $event->master);
            // Its supervisors follow within moments, and tell it by Redis: the next loop is a second away.
            for ($looks = 0; $state === null && $told !== null && $looks < 30; $looks++) {
                usleep(30000);
                $state = horizon_state($app, $event->master);
            }
            if ($state === null) {
                return;
            }
            if ($told === null) {
                Listener::ready($state);
                $go_on = pcntl_signal_get_handler(SIGCONT);
                pcntl_signal(SIGCONT, function (int $signal) use ($go_on): void {
                    told_to_pause() || !is_callable($go_on) || $go_on($signal);
                });
            } elseif ($state !== $told) {
                Listener::state($state);
            }
            $told = $state;
        }
    );
    // It waits no longer than the longest timeout of a supervisor, and its end would kill what a job still does.
    register_shutdown_function(fn () => outlast_the_others());
    // Until its own handlers are there; its supervisors would inherit that a signal is held back.
    pcntl_async_signals(true);
    pcntl_signal(SIGUSR2, fn () => $master->pause());
    pcntl_sigprocmask(SIG_UNBLOCK, [SIGUSR2, SIGCONT]);
    $master->monitor();
}

if (($arguments[0] ?? '') === 'horizon') {
    $environment = null;
    foreach ($arguments as $argument) {
        if (str_starts_with($argument, '--environment=')) {
            $environment = substr($argument, strlen('--environment='));
        }
    }
    horizon($app, $environment);
    exit(0);
}

$pause = new Pause();
$worker = $app->make('queue.worker');
// What a worker asks first in each turn; what follows, Looping too, it leaves out while the app is down.
(function () use ($pause): void {
    $is_down = $this->isDownForMaintenance;
    $this->isDownForMaintenance = function () use ($is_down, $pause): bool {
        $down = (bool) $is_down();
        $pause->turn($down);

        return $down;
    };
})->call($worker);
$app['events']->listen(Illuminate\Queue\Events\Looping::class, fn () => $pause->looping());
$app['events']->listen(Illuminate\Queue\Events\JobProcessing::class, function () use ($pause): void {
    $pause->processing();
});
$input = new Symfony\Component\Console\Input\ArgvInput(array_merge(['artisan'], $arguments));
$status = $kernel->handle($input, new Symfony\Component\Console\Output\ConsoleOutput());
$kernel->terminate($input, $status);
exit($status);
