<?php
// Runs `artisan schedule:run` in the release that it is started in, as cron does each minute: it returns at once, and a
// run that takes longer than a minute holds back no other. `{release}` in the environment becomes the release's
// directory, which is only known now: the unit's working directory is the link to it.

declare(strict_types=1);

$release = getcwd();
$environment = [];
foreach (getenv() as $name => $value) {
    $environment[$name] = str_replace('{release}', $release, $value);
}
$pid = pcntl_fork();
if ($pid === -1) {
    fwrite(STDERR, 'no process could be forked: ' . pcntl_strerror(pcntl_get_last_error()) . "\n");
    exit(1);
}
if ($pid === 0) {
    posix_setsid();
    pcntl_exec(PHP_BINARY, ['artisan', 'schedule:run'], $environment);
    fwrite(STDERR, PHP_BINARY . " could not be run in $release\n");
    exit(1);
}
