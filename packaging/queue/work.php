<?php
// Runs `queue:work` (Laravel 8 and later) or `horizon` in a release, as artisan does, and tells systemd two things that
// they cannot tell by themselves: that the boot is over (READY=1), and whether jobs are taken (STATUS=working, paused).
//
//   php work.php queue:work [CONNECTION] [--queue=...]      php work.php horizon [--environment=...]
//
// - It starts paused while the file that DEPLOYD_PAUSED names is there, so that a new release's worker can be proved
//   before its turn, and one that is started again while it is paused takes no job either.
// - "paused" is told from between two jobs, or once a job that had been taken has begun: after it no job begins.
//   queue:work's own answer to USR2 may still take one, when the signal comes between its look and its pop.
// - USR2 pauses, CONT goes on, TERM ends after the running job: as ever.

declare(strict_types=1);

/** One message to systemd; nobody listens outside a unit. */
function tell(string $message): void
{
    static $socket = null;
    if ($socket === null) {
        $path = getenv('NOTIFY_SOCKET');
        // What a job starts shall not speak for this process.
        putenv('NOTIFY_SOCKET');
        unset($_ENV['NOTIFY_SOCKET'], $_SERVER['NOTIFY_SOCKET']);
        $address = is_string($path) && $path !== '' ? 'udg://' . preg_replace('/^@/', "\0", $path) : '';
        $socket = $address === '' ? false : (stream_socket_client($address) ?: false);
    }
    if ($socket !== false) {
        fwrite($socket, $message);
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
// Held back until there is somebody to take them: without a handler USR2 ends a process.
pcntl_sigprocmask(SIG_BLOCK, [SIGUSR2, SIGCONT]);

$arguments = array_slice($argv, 1);
define('LARAVEL_START', microtime(true));
require getcwd() . '/vendor/autoload.php';
$app = require getcwd() . '/bootstrap/app.php';
$kernel = $app->make(Illuminate\Contracts\Console\Kernel::class);
$kernel->bootstrap();

/** queue:work: paused between jobs. */
final class Pause
{
    private bool $paused = false;
    private bool $ready = false;
    private bool $busy = false;
    private string $told = '';

    /** Before each look for a job; false: look for none. Only here it is known that none has been taken. */
    public function looping(): ?bool
    {
        $this->busy = false;
        if (!$this->ready) {
            $this->begin();
        }
        $this->say($this->paused ? 'paused' : 'working');

        return $this->paused ? false : null;
    }

    /** A job has been taken and begins. */
    public function processing(): void
    {
        $this->busy = true;
        if ($this->paused) {
            $this->say('paused');
        }
    }

    /** In place of queue:work's own handlers, which it has set by now. */
    private function begin(): void
    {
        $this->ready = true;
        $this->paused = told_to_pause();
        pcntl_signal(SIGUSR2, function (): void {
            $this->paused = true;
            if ($this->busy) {
                $this->say('paused');
            }
        });
        pcntl_signal(SIGCONT, function (): void {
            $this->paused = false;
            $this->say('working');
        });
        pcntl_sigprocmask(SIG_UNBLOCK, [SIGUSR2, SIGCONT]);
        tell("READY=1\nSTATUS=" . ($this->told = $this->paused ? 'paused' : 'working'));
    }

    private function say(string $state): void
    {
        if ($state !== $this->told) {
            tell('STATUS=' . ($this->told = $state));
        }
    }
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
    $told = '';
    $app['events']->listen(
        Laravel\Horizon\Events\MasterSupervisorLooped::class,
        function ($event) use (&$told): void {
            $state = $event->master->working ? 'working' : 'paused';
            if ($told === '') {
                tell("READY=1\nSTATUS=" . $state);
            } elseif ($state !== $told) {
                tell('STATUS=' . $state);
            }
            $told = $state;
            pcntl_sigprocmask(SIG_UNBLOCK, [SIGUSR2, SIGCONT]);
        }
    );
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
$app['events']->listen(Illuminate\Queue\Events\Looping::class, fn () => $pause->looping());
$app['events']->listen(Illuminate\Queue\Events\JobProcessing::class, function () use ($pause): void {
    $pause->processing();
});
if ($app->isDownForMaintenance()) {
    // No look for a job before maintenance ends: the boot is over all the same.
    tell("READY=1\nSTATUS=maintenance");
}
$input = new Symfony\Component\Console\Input\ArgvInput(array_merge(['artisan'], $arguments));
$status = $kernel->handle($input, new Symfony\Component\Console\Output\ConsoleOutput());
$kernel->terminate($input, $status);
exit($status);
