<?php

return [
    'server' => env('OCTANE_SERVER', 'swoole'),
    'state_file' => env('OCTANE_STATE_FILE', storage_path('logs/octane-server-state.json')),
    'max_wait_time' => 3,
];
