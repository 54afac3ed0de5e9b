<?php

// Starts Octane's server of one slot: `php start.php octane:start ...`, in the release, as the user of its services.
//
// `octane:start` refuses to start when its state file names a server that runs. That file lies in storage/logs, which
// slots share, unless `octane.state_file` says otherwise. A cached configuration reads no environment any more, so it is
// given again, with a file of this slot's own. Without a cache, config/octane.php has to read OCTANE_STATE_FILE.

declare(strict_types=1);

$cached = getcwd().'/bootstrap/cache/config.php';
$state = (string) getenv('OCTANE_STATE_FILE');

if ($state !== '' && is_file($cached)) {
    $own = dirname($state).'/config.php';
    $text = sprintf(
        "<?php\n\n\$config = require %s;\n\$config['octane']['state_file'] = %s;\n\nreturn \$config;\n",
        var_export($cached, true),
        var_export($state, true)
    );
    if (file_put_contents($own.'.new', $text) === false || ! rename($own.'.new', $own)) {
        fwrite(STDERR, "cannot write $own: is it this user's? see RuntimeDirectory= of the unit\n");
        exit(1);
    }
    putenv("APP_CONFIG_CACHE=$own");
}

// A server that was killed leaves its state behind, and its process id may be somebody else's by now.
if ($state !== '' && is_file($state)) {
    unlink($state);
}

if (! function_exists('pcntl_exec')) {
    fwrite(STDERR, "PHP has no pcntl, which Octane needs: install it, or name another php for the service\n");
    exit(1);
}
pcntl_exec(PHP_BINARY, array_merge(['artisan'], array_slice($argv, 1)), getenv());
fwrite(STDERR, 'cannot execute '.PHP_BINARY."\n");
exit(1);
