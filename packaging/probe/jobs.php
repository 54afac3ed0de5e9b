<?php
// Tells whether the classes of a Laravel app's waiting jobs (8 and later) load in the release it is run in: pending,
// delayed and reserved ones, of all queues that are found on its redis and database connections. Run in a release, as
// the user that runs it. Changes nothing, runs no job, unserializes no object. Prints one line of JSON:
//   {"jobs": 12, "complete": true, "unknown": null,
//    "missing": [{"class": "App\\Jobs\\Gone", "pending": 3, "delayed": 0, "reserved": 0}]}
// "unknown" says why the default connection could not be looked at; another connection that does not answer is one
// that a framework's stock configuration names and nobody uses.

declare(strict_types=1);

/** Payloads looked at in all, and those read at once. */
const MOST = 20000;
const CHUNK = 200;
/** Redis keys passed over in the search for queues, and seconds for everything. */
const KEYS = 2000000;
const SECONDS = 20;
/** Classes named in the answer. */
const NAMED = 50;

/** The classes that one payload needs. */
final class Payload
{
    private const WRAPPERS = [
        'Illuminate\Broadcasting\BroadcastEvent',
        'Illuminate\Events\CallQueuedListener',
        'Illuminate\Mail\SendQueuedMailable',
        'Illuminate\Notifications\SendQueuedNotifications',
    ];
    /** Values looked at in one serialized command. */
    private int $left = 2000;
    /** @var array<string, true> */
    private array $found = [];

    /** @return list<string> */
    public static function classes(string $text): array
    {
        $payload = json_decode($text, true);
        if (!is_array($payload) || !is_string($payload['job'] ?? null)) {
            return [];
        }
        $self = new self();
        $self->add(explode('@', $payload['job'])[0]);
        $data = is_array($payload['data'] ?? null) ? $payload['data'] : [];
        $command = $data['commandName'] ?? null;
        if (is_string($command)) {
            $self->add($command);
            // An encrypted listener or notification shows its class only by the name it is displayed with.
            if (in_array(ltrim($command, '\\'), self::WRAPPERS, true) && is_string($payload['displayName'] ?? null)) {
                $self->add($payload['displayName']);
            }
            if (is_string($data['command'] ?? null)) {
                $self->serialized($data['command']);
            }
        }

        return array_keys($self->found);
    }

    private function add(string $class): void
    {
        if (preg_match('/^\\\\?[A-Za-z_\x80-\xff][\w\x80-\xff]*(\\\\[A-Za-z_\x80-\xff][\w\x80-\xff]*)*$/', $class)) {
            $this->found[ltrim($class, '\\')] = true;
        }
    }

    /** A serialized command and those chained to it; an encrypted one shows nothing. No object of a class is made. */
    private function serialized(string $text): void
    {
        if (strncmp($text, 'O:', 2) !== 0) {
            return;
        }
        $value = @unserialize($text, ['allowed_classes' => false, 'max_depth' => 64]);
        if (is_object($value)) {
            $this->walk($value, true);
        }
    }

    private function walk(mixed $value, bool $command = false): void
    {
        if (!is_array($value) && !is_object($value) || $this->left-- <= 0) {
            return;
        }
        $parts = (array) $value;
        $class = is_object($value) ? ($parts['__PHP_Incomplete_Class_Name'] ?? null) : null;
        if (is_string($class)) {
            $this->add($class);
            // The model that a job names, and the listener that a wrapper calls.
            if (str_ends_with($class, '\ModelIdentifier') || in_array($class, self::WRAPPERS, true)) {
                is_string($parts['class'] ?? null) && $this->add($parts['class']);
            }
        }
        if ($command && is_array($parts['chained'] ?? null)) {
            foreach ($parts['chained'] as $next) {
                is_string($next) && $this->serialized($next);
            }
        }
        foreach ($parts as $part) {
            $this->walk($part);
        }
    }
}

/** Counts what is found, and asks once for each class whether it loads. */
final class Tally
{
    public int $jobs = 0;
    public bool $complete = true;
    /** @var array<string, array<string, int>> */
    private array $missing = [];
    /** @var array<string, bool> */
    private array $loads = [];
    private float $until;

    public function __construct()
    {
        $this->until = microtime(true) + SECONDS;
    }

    public function more(): bool
    {
        $more = $this->jobs < MOST && microtime(true) < $this->until;
        $this->complete = $this->complete && $more;

        return $more;
    }

    public function payload(string $text, string $state): void
    {
        $this->jobs++;
        foreach (Payload::classes($text) as $class) {
            if (!($this->loads[$class] ??= $this->loads($class))) {
                $this->missing[$class] ??= ['pending' => 0, 'delayed' => 0, 'reserved' => 0];
                $this->missing[$class][$state]++;
            }
        }
    }

    private function loads(string $class): bool
    {
        try {
            return class_exists($class) || interface_exists($class) || Illuminate\Container\Container::getInstance()->bound($class);
        } catch (Throwable) {
            // Its file is there and cannot be loaded.
            return false;
        }
    }

    /** @return list<array<string, int|string>> */
    public function missing(): array
    {
        ksort($this->missing);
        $all = array_map(fn ($class) => ['class' => $class] + $this->missing[$class], array_keys($this->missing));

        return array_slice($all, 0, NAMED);
    }
}

/** The queues of a Redis connection: those that configuration names, and those that have keys. */
function redis_queues($app, $redis, string $default, Tally $tally): array
{
    $queues = [$default => true];
    foreach ((array) $app['config']->get('horizon.environments') as $supervisors) {
        foreach ((array) $supervisors as $supervisor) {
            foreach ((array) ($supervisor['queue'] ?? []) as $queue) {
                $queues[$queue] = true;
            }
        }
    }
    $client = $redis->client();
    // A cluster is scanned node by node, in ways of its own: what configuration names is all that is known of it.
    $scans = class_exists('Redis', false) && $client instanceof Redis;
    if (!$scans && !(class_exists('Predis\Client') && $client instanceof Predis\Client)) {
        $tally->complete = false;

        return array_keys($queues);
    }
    $prefix = $scans ? (string) $client->getOption(Redis::OPT_PREFIX) : (string) ($client->getOptions()->prefix?->getPrefix() ?? '');
    $pattern = addcslashes($prefix, '*?[]\\') . 'queues:*';
    $cursor = $scans ? null : 0;
    for ($seen = 0; $tally->more(); $seen += 1000) {
        if ($seen >= KEYS) {
            $tally->complete = false;
            break;
        }
        if ($scans) {
            $keys = $client->scan($cursor, $pattern, 1000);
        } else {
            [$cursor, $keys] = $client->scan($cursor, ['MATCH' => $pattern, 'COUNT' => 1000]);
        }
        foreach ($keys ?: [] as $key) {
            $name = substr($key, strlen($prefix) + strlen('queues:'));
            $queues[preg_replace('/:(delayed|reserved|notify)$/', '', $name)] = true;
        }
        if ((int) $cursor === 0) {
            break;
        }
    }

    return array_map('strval', array_keys($queues));
}

function redis_jobs($app, array $settings, Tally $tally): void
{
    $redis = $app['redis']->connection($settings['connection'] ?? 'default');
    foreach (redis_queues($app, $redis, $settings['queue'] ?? 'default', $tally) as $queue) {
        $lists = ['pending' => ['lrange', ''], 'delayed' => ['zrange', ':delayed'], 'reserved' => ['zrange', ':reserved']];
        foreach ($lists as $state => [$range, $suffix]) {
            for ($from = 0; $tally->more(); $from += CHUNK) {
                $payloads = $redis->$range("queues:$queue$suffix", $from, $from + CHUNK - 1);
                foreach (is_array($payloads) ? $payloads : [] as $payload) {
                    is_string($payload) && $tally->payload($payload, $state);
                }
                if (!is_array($payloads) || count($payloads) < CHUNK) {
                    break;
                }
            }
        }
    }
}

function database_jobs($app, array $settings, Tally $tally): void
{
    $table = $app['db']->connection($settings['connection'] ?? null)->table($settings['table'] ?? 'jobs');
    $now = time();
    for ($last = 0; $tally->more();) {
        $rows = (clone $table)->where('id', '>', $last)->orderBy('id')->limit(CHUNK)
            ->get(['id', 'payload', 'reserved_at', 'available_at']);
        foreach ($rows as $row) {
            $last = $row->id;
            $state = $row->reserved_at !== null ? 'reserved' : ($row->available_at > $now ? 'delayed' : 'pending');
            $tally->payload((string) $row->payload, $state);
        }
        if (count($rows) < CHUNK) {
            break;
        }
    }
}

/** The first line of a message, bounded. */
function said(Throwable $error): string
{
    $text = preg_replace('/[\x00-\x1f\x7f].*/s', '', $error->getMessage());

    return mb_strcut($text === '' ? get_class($error) : $text, 0, 200);
}

// Nothing but the answer is printed to standard output.
ob_start();
$tally = new Tally();
$unknown = null;
try {
    require getcwd() . '/vendor/autoload.php';
    $app = require getcwd() . '/bootstrap/app.php';
    $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();
    $default = $app['config']->get('queue.default');
    foreach ((array) $app['config']->get('queue.connections') as $name => $settings) {
        try {
            match ($settings['driver'] ?? null) {
                'redis' => redis_jobs($app, $settings, $tally),
                'database' => database_jobs($app, $settings, $tally),
                default => null,
            };
        } catch (Throwable $error) {
            if ($name === $default) {
                $unknown = "the queue connection $name: " . said($error);
            }
        }
    }
} catch (Throwable $error) {
    $unknown = said($error);
}
ob_end_clean();
$flags = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE;
$answer = ['jobs' => $tally->jobs, 'complete' => $tally->complete, 'unknown' => $unknown, 'missing' => $tally->missing()];
echo json_encode($answer, $flags), "\n";
