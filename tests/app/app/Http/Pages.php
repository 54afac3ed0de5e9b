<?php

namespace App\Http;

use App\Jobs\Work;
use App\Marker;
use Illuminate\Routing\Controller;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Log;
use Illuminate\Support\Facades\Schema;

/**
 * Every page says which release it began with (an included file), which it ended with (a class loaded at the end)
 * and where it ran; a response whose two differ mixed two releases. `end=` is last: without it a page was cut off.
 */
class Pages extends Controller
{
    public function home()
    {
        return $this->page(['greeting' => config('app.greeting')]);
    }

    public function up()
    {
        return response("up\n")->header('Content-Type', 'text/plain');
    }

    /** Takes this long by the clock, whatever signals arrive: a lone usleep() would end at the first one. */
    public function work($ms)
    {
        $start = $this->start();
        $until = hrtime(true) + min((int) $ms, 60000) * 1000000;
        while (hrtime(true) < $until) {
            usleep(2000);
        }

        return $this->page(['worked' => (int) $ms], $start);
    }

    /** As work(), without ever giving up the processor. */
    public function spin($ms)
    {
        $start = $this->start();
        $until = hrtime(true) + min((int) $ms, 60000) * 1000000;
        while (hrtime(true) < $until);

        return $this->page(['spun' => (int) $ms], $start);
    }

    public function session()
    {
        $count = session()->get('count', 0) + 1;
        session()->put('count', $count);

        return $this->page(['count' => $count]);
    }

    /** Two hundred views, when the release has them. */
    public function views()
    {
        $start = $this->start();
        $text = '';
        foreach (range(1, 200) as $number) {
            $text .= view(sprintf('many.v%03d', $number), ['number' => $number])->render();
        }

        return $this->page(['views' => substr_count($text, 'view ')], $start);
    }

    /** Writes an upload and a line of log, as sites do. */
    public function write($name)
    {
        $file = storage_path('app/public/'.basename($name));
        file_put_contents($file, "written by a request\n", FILE_APPEND | LOCK_EX);
        Log::info('upload '.basename($name));

        return $this->page(['owner' => posix_getpwuid(posix_geteuid())['name'], 'bytes' => filesize($file)]);
    }

    public function notes()
    {
        $id = DB::table('notes')->insertGetId(['text' => 'note']);

        return $this->page(['note' => $id, 'columns' => implode(',', Schema::getColumnListing('notes'))]);
    }

    /** Dispatches a job that takes this long, after so many seconds; says so in the jobs' own log. */
    public function dispatch($number, $ms, $delay = 0, $class = 'Work')
    {
        $class = 'App\\Jobs\\'.$class;
        Work::note('dispatch', $number, Marker::RELEASE);
        dispatch((new $class($number, $ms))->delay((int) $delay ?: null));

        return $this->page(['dispatched' => (int) $number]);
    }

    private function start(): string
    {
        return include base_path('release.php');
    }

    private function page(array $values, ?string $start = null)
    {
        $lines = ['start='.($start ?? $this->start()), 'base='.basename(base_path())];
        foreach ($values as $key => $value) {
            $lines[] = $key.'='.$value;
        }
        $lines[] = 'file='.trim(file_get_contents(base_path('RELEASE')));
        $lines[] = 'end='.Marker::RELEASE;

        return response(implode("\n", $lines)."\n")->header('Content-Type', 'text/plain');
    }
}
