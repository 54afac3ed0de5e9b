<?php

namespace App\Jobs;

use App\Marker;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\SerializesModels;

/** Takes this long by the clock, or until `storage/jobs-end` is there, and notes in `storage/jobs.log` who dispatched it, who runs it, its start and end. */
class Work implements ShouldQueue
{
    use InteractsWithQueue, Queueable, SerializesModels;

    public $number;
    public $ms;
    public $dispatched;

    public function __construct($number, $ms)
    {
        $this->number = (int) $number;
        $this->ms = min((int) $ms, 600000);
        $this->dispatched = Marker::RELEASE;
    }

    public function handle()
    {
        self::note('start', $this->number, $this->dispatched);
        $until = hrtime(true) + $this->ms * 1000000;
        while (hrtime(true) < $until && !is_file(storage_path('jobs-end'))) {
            usleep(2000);
        }
        self::note('end', $this->number, $this->dispatched);
    }

    /** One line, written at once: EVENT NUMBER DISPATCHED-BY RUN-BY PID SECONDS */
    public static function note($event, $number, $dispatched)
    {
        $line = sprintf("%s %d %s %s %d %.6f\n", $event, $number, $dispatched, Marker::RELEASE, getmypid(), microtime(true));
        file_put_contents(storage_path('jobs.log'), $line, FILE_APPEND);
    }
}
