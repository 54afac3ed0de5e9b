//! Jobs across deployments: deployd's handover of queue workers, beside the script with the ways that people tell
//! workers of a new release.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::support::{
    deb,
    host::Host,
    jobs::Log,
    root::Root,
    script::Scripted,
    shop::{Shop, Spec},
    table::{self, Figure},
};

const WORK: &str = "queue";
const DEPLOYMENTS: u32 = 5;
/// Workers, everywhere.
const WORKERS: u32 = 4;
/// Between two deployments: the workers are at their usual mix of jobs again.
const PAUSE: Duration = Duration::from_secs(6);
/// Between two jobs that the site dispatches: a fifth more than its workers can do, so that some wait at every moment
/// and a worker that has nothing to do is none that sleeps.
const BETWEEN: Duration = Duration::from_millis(95);
/// Jobs that wait from the first moment.
const AT_ONCE: u32 = 20;
/// For the jobs that are left at the end.
const PATIENCE: Duration = Duration::from_secs(180);
const SERVICES: &str = "[[service]]\nkind = \"php-fpm\"\n\
                        [[service]]\nkind = \"queue\"\nconnection = \"redis\"\nprocesses = 4\n\
                        [health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
/// Laravel's manual has its supervisor wait an hour for a job (`stopwaitsecs=3600`), and so does this.
const WORKER: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nUser=shop\nWorkingDirectory=/srv/shop/current\n\
                      ExecStart=/usr/bin/php artisan queue:work redis\nRestart=always\nTimeoutStopSec=3600\n";

/// How the script tells the workers.
#[derive(Clone, Copy)]
enum Tell {
    /// `artisan queue:restart`: each ends after its job, and is started again.
    QueueRestart,
    /// `systemctl restart` of all units: each for itself.
    Restart,
    /// All are stopped, then all are started, as `supervisorctl restart shop-worker:*` does.
    StopStart,
}

struct Row {
    who: &'static str,
    log: Log,
    /// The longest that a deployment took.
    longest: Duration,
}

/// Measures all and prints the table.
pub fn compare(root: &Root, with_deployd: bool) -> Vec<Figure> {
    let mut rows = Vec::new();
    if with_deployd {
        rows.push(by_deployd(root));
    }
    rows.push(by_script(root, "queue-restart", Tell::QueueRestart));
    rows.push(by_script(root, "restart", Tell::Restart));
    rows.push(by_script(root, "stop-start", Tell::StopStart));
    println!(
        "\nJobs of 0.2 to 0.5 s, one in forty of 5 to 8 s, across {DEPLOYMENTS} deployments, {WORKERS} workers. The \
         longest wait is the longest time in which jobs waited and none began.\n"
    );
    let head = ["who", "jobs", "lost or killed", "run by an older release", "longest wait", "longest deployment"];
    println!("{}", table::table(&head, &rows.iter().map(Row::cells).collect::<Vec<_>>()));
    rows.iter().flat_map(Row::figures).collect()
}

impl Row {
    fn counts(&self) -> [(&'static str, usize); 3] {
        [
            ("jobs", self.log.count("dispatch")),
            ("jobs_lost_or_killed", self.log.not_once().len()),
            ("jobs_by_an_older_release", self.log.dispatched_by_a_newer().len()),
        ]
    }

    fn times(&self) -> [(&'static str, f64); 2] {
        let longest = self.longest.as_secs_f64();
        [("gap_ms", self.log.longest_without_start() * 1000.0), ("longest_deployment_ms", longest * 1000.0)]
    }

    fn cells(&self) -> Vec<String> {
        let counts = self.counts().map(|(_, count)| count.to_string());
        let times = self.times().map(|(_, ms)| format!("{ms:.0} ms"));
        [self.who.to_owned()].into_iter().chain(counts).chain(times).collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let counts = self.counts().map(|(metric, count)| table::figure(WORK, self.who, metric, count as f64, "count"));
        let times = self.times().map(|(metric, ms)| table::figure(WORK, self.who, metric, ms, "ms"));
        counts.into_iter().chain(times).collect()
    }
}

fn by_deployd(root: &Root) -> Row {
    let host = Host::boot_alone(root);
    host.install_deb(&deb::ensure());
    let shop = Shop::make(&host, Spec::new("shop").more(SERVICES));
    under_jobs("deployd", &host, &shop, || shop.deploy(&host))
}

fn by_script(root: &Root, who: &'static str, tell: Tell) -> Row {
    let host = Host::boot_alone(root);
    let peer = Scripted::make(&host, Spec::new("shop"), None);
    host.write("/etc/systemd/system/shop-worker@.service", WORKER);
    host.ok(&["systemctl", "daemon-reload"]);
    let units: Vec<String> = (1..=WORKERS).map(|number| format!("shop-worker@{number}.service")).collect();
    let systemctl = |verb: &str| {
        let units = units.iter().map(String::as_str);
        host.ok(&["systemctl", verb].into_iter().chain(units).collect::<Vec<_>>());
    };
    under_jobs(who, &host, &peer.shop, || {
        peer.deploy(&host).ok();
        match tell {
            Tell::QueueRestart => {
                let artisan = ["php", "/srv/shop/current/artisan", "queue:restart", "-q"];
                host.run_as("shop", &artisan).ok();
                // For the first time; afterwards they run.
                systemctl("start");
            }
            Tell::Restart => systemctl("restart"),
            Tell::StopStart => {
                systemctl("stop");
                systemctl("start");
            }
        }
    })
}

/// Jobs all the time, so that some wait at every moment.
fn under_jobs(who: &'static str, host: &Host, shop: &Shop, deploy: impl Fn()) -> Row {
    shop.set_env(host, "QUEUE_CONNECTION", "redis");
    deploy();
    shop.wait_release(host, "r1");
    let (over, mut longest) = (AtomicBool::new(false), Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (1_u32..).take_while(|_| !over.load(Ordering::Relaxed)) {
                let begun = Instant::now();
                let ms = if number % 40 == 20 { 5000 + number * 37 % 3000 } else { 200 + number * 13 % 300 };
                shop.get(host, &format!("/dispatch/{number}/{ms}"));
                if number > AT_ONCE {
                    std::thread::sleep(BETWEEN.saturating_sub(begun.elapsed()));
                }
            }
        });
        for number in 0..DEPLOYMENTS {
            std::thread::sleep(PAUSE);
            shop.commit(host, &format!("r{}", number + 2), &[]);
            let begun = Instant::now();
            deploy();
            longest = longest.max(begun.elapsed());
        }
        std::thread::sleep(PAUSE);
        over.store(true, Ordering::Relaxed);
    });
    Row { who, log: wait_ended(host, shop), longest }
}

fn wait_ended(host: &Host, shop: &Shop) -> Log {
    // A job that was killed never ends: nothing tells that but time.
    let since = Instant::now();
    loop {
        let log = Log::of(host, shop);
        if log.count("end") >= log.count("dispatch") || since.elapsed() > PATIENCE {
            return log;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
