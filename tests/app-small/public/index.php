<?php

// Names its release twice, at its start and at its end, as every page of the suite does.
http_response_code(file_exists(__DIR__.'/../bad-health') ? 500 : 200);
header('Content-Type: text/plain');
$release = include __DIR__.'/../release.php';
echo "start=$release\n";
echo 'built=', trim(file_get_contents(__DIR__.'/../built')), "\n";
echo 'end=', trim(file_get_contents(__DIR__.'/../RELEASE')), "\n";
