<?php

// Stops Octane's server of one slot gracefully: TERM to the server process itself, once, and waits until it has ended.
// `octane:stop`, and TERM to artisan, kill it instead. What is left after this is systemd's to end.

declare(strict_types=1);

$state = (string) getenv('OCTANE_STATE_FILE');
$main = (int) getenv('MAINPID');
$written = is_file($state) ? json_decode((string) file_get_contents($state), true) : null;
$server = (int) ($written['masterProcessId'] ?? 0);

if ($server <= 1 || ! function_exists('posix_kill') || ! posix_kill($server, SIGTERM)) {
    fwrite(STDERR, "no server is named in $state: systemd ends what there is\n");
    exit(0);
}

// systemd ends this wait at TimeoutStopSec=. Artisan looks after its server and follows it.
while (posix_kill($server, 0) || ($main > 1 && $main !== $server && posix_kill($main, 0))) {
    usleep(50_000);
}
