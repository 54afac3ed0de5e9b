<?php
// `composer audit` as a gate, of what composer.lock installs without the packages for development. A known advisory that is
// critical refuses; a lesser one, one whose severity nobody tells, and an abandoned package are told. What cannot be
// asked has not passed. Before 2.7 composer tells no severity.

declare(strict_types=1);

const CRITICAL = 'critical';

$command = ['composer', 'audit', '--locked', '--no-dev', '--no-interaction', '--format=json'];
$process = proc_open($command, [0 => ['file', '/dev/null', 'r'], 1 => ['pipe', 'w']], $pipes);
$output = $process === false ? '' : (string) stream_get_contents($pipes[1]);
$status = $process === false ? 1 : proc_close($process);
$found = json_decode($output, true);
if ($found === null && $status === 0) {
    // It has nothing to look at, and says so in words.
    exit(0);
}
if (!is_array($found) || !is_array($found['advisories'] ?? null)) {
    fwrite(STDERR, "composer audit gave no list of advisories (exit status $status): the gate was not passed\n");
    exit(1);
}

/** A word of a repository, in one line. */
function word(mixed $value): string
{
    $text = is_string($value) ? (preg_replace('/[^\P{C}]+/u', ' ', $value) ?? '') : '';

    return preg_match('/^.{0,200}/us', trim($text), $start) === 1 ? $start[0] : '';
}

$critical = $unknown = 0;
foreach ($found['advisories'] as $package => $advisories) {
    foreach (is_array($advisories) ? $advisories : [] as $advisory) {
        $advisory = (array) $advisory;
        $severity = strtolower(word($advisory['severity'] ?? null));
        $critical += (int) ($severity === CRITICAL);
        $unknown += (int) ($severity === '');
        $name = word($advisory['cve'] ?? null) ?: word($advisory['advisoryId'] ?? null);
        $about = word((string) $package) . ": $name, " . ($severity ?: 'of unknown severity') . ': ' . word($advisory['title'] ?? null);
        // The priority is journald's: an error for what refuses, else a warning.
        fwrite(STDERR, ($severity === CRITICAL ? '<3>' : '<4>') . "$about " . word($advisory['link'] ?? null) . "\n");
    }
}
foreach ((array) ($found['abandoned'] ?? []) as $package => $instead) {
    fwrite(STDERR, '<5>' . word((string) $package) . ' is abandoned' . (word($instead) === '' ? '' : ', instead: ' . word($instead)) . "\n");
}
if ($unknown > 0) {
    fwrite(STDERR, "<4>$unknown advisories have no severity: composer 2.7 and later tell it; nothing is refused for them\n");
}
if ($critical > 0) {
    fwrite(STDERR, "<3>$critical critical advisories: update the packages by `composer update`, or have them ignored in "
        . "config.audit.ignore of composer.json\n");
    exit(1);
}
