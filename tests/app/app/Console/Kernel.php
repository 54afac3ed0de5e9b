<?php

namespace App\Console;

use App\Marker;
use Illuminate\Console\Scheduling\Schedule;
use Illuminate\Foundation\Console\Kernel as ConsoleKernel;

class Kernel extends ConsoleKernel
{
    protected function commands()
    {
        $this->load(__DIR__.'/Commands');
    }

    /** Notes each run in `storage/schedule.log`; takes as many seconds as `storage/schedule-takes` says. */
    protected function schedule(Schedule $schedule)
    {
        $schedule->call(function () {
            $note = function ($event) {
                $line = implode(' ', [$event, Marker::RELEASE, basename(base_path()), getenv('VIEW_COMPILED_PATH')]);
                file_put_contents(storage_path('schedule.log'), $line."\n", FILE_APPEND);
            };
            $note('start');
            sleep((int) @file_get_contents(storage_path('schedule-takes')));
            $note('end');
        })->everyMinute();
    }
}
