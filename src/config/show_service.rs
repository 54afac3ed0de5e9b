//! A service as a person could have written it, for `deployctl show`. Pure.

use super::{
    Http, Octane, OnFailure, PhpFpm, Pool, Program, Queue, Rolling, Service, ServiceKind, SlotKind, Strategy, Web,
    context::{quoted, quoted_list},
    duration,
    show::Page,
};

impl Page<'_> {
    pub(super) fn service(&mut self, service: &Service) {
        self.header("[[service]]", &format!("service.{}", service.name));
        match &service.kind {
            ServiceKind::Unit { unit, strategy } => {
                self.line("unit", &quoted(unit.as_str()), "");
                self.strategy(strategy);
            }
            ServiceKind::Scheduler(scheduler) => {
                self.line("kind", "\"scheduler\"", "");
                self.php(&scheduler.php, scheduler.strict);
            }
            ServiceKind::Slots(kind) => self.slots(&service.name, kind),
        }
        if !matches!(service.kind, ServiceKind::Scheduler(_)) {
            self.line("drain", &quoted(&duration::format(service.drain)), "");
        }
        // The only table within a service comes last.
        if let Some(SlotKind::PhpFpm(fpm)) = service.slots() {
            self.pool(&fpm.pool);
        }
    }

    fn slots(&mut self, name: &str, kind: &SlotKind) {
        match kind {
            SlotKind::PhpFpm(fpm) => self.php_fpm(fpm),
            SlotKind::Octane(octane) => self.octane(octane),
            SlotKind::Http(http) => self.http(name, http),
            SlotKind::Horizon(horizon) => {
                self.line("kind", "\"horizon\"", "");
                self.php(&horizon.php, horizon.strict);
            }
            SlotKind::Queue(queue) => self.queue(queue),
        }
    }

    fn php_fpm(&mut self, fpm: &PhpFpm) {
        self.line("kind", "\"php-fpm\"", "");
        if !fpm.version.is_empty() {
            self.line("php", &quoted(&fpm.version), "service.php-fpm.php");
        }
        self.line("probe", &quoted(&fpm.probe), "service.php-fpm.probe");
        self.line("public", &quoted(&fpm.public), "service.php-fpm.public");
        self.sandbox(fpm.strict);
    }

    fn octane(&mut self, octane: &Octane) {
        self.line("kind", "\"octane\"", "");
        self.line("server", &quoted(octane.server.as_str()), "");
        self.web("octane", &octane.web);
        if !octane.admin_ports.is_empty() {
            self.line("admin_ports", &format!("{:?}", octane.admin_ports), "service.octane.admin_ports");
        }
        self.line("workers", &octane.workers.map_or_else(|| quoted("auto"), |n| n.to_string()), "");
        self.numbers(&[("task_workers", octane.task_workers), ("max_requests", Some(octane.max_requests))]);
        self.php(&octane.php, octane.strict);
    }

    fn http(&mut self, name: &str, http: &Http) {
        self.line("kind", "\"http\"", "");
        match &http.program {
            Program::Unit(unit) => self.line("unit", &quoted(unit.as_str()), ""),
            Program::Run { run, strict } => {
                self.line("run", &quoted_list(run), "");
                self.sandbox(*strict);
            }
        }
        self.web(name, &http.web);
    }

    fn queue(&mut self, queue: &Queue) {
        self.line("kind", "\"queue\"", "");
        if let Some(connection) = &queue.connection {
            self.line("connection", &quoted(connection), "");
        }
        if !queue.queues.is_empty() {
            self.line("queues", &quoted_list(&queue.queues), "");
        }
        self.numbers(&[
            ("processes", Some(queue.processes)),
            ("tries", queue.tries),
            ("timeout", queue.timeout),
            ("memory", queue.memory),
            ("sleep", queue.sleep),
            ("max_jobs", queue.max_jobs),
            ("max_time", queue.max_time),
            ("backoff", queue.backoff),
        ]);
        self.php(&queue.php, queue.strict);
    }

    fn web(&mut self, name: &str, web: &Web) {
        self.line("ports", &format!("{:?}", web.ports), "");
        self.line("probe", &quoted(&web.probe), &format!("service.{name}.probe"));
        self.line("start", &quoted(&duration::format(web.start)), "");
    }

    fn numbers(&mut self, numbers: &[(&str, Option<u32>)]) {
        for (name, number) in numbers {
            if let Some(number) = number {
                self.line(name, &number.to_string(), "");
            }
        }
    }

    fn php(&mut self, php: &str, strict: bool) {
        // Left out it is PHP's plain name; with a version it is written as that.
        if php != "php" {
            let written = php.strip_prefix("php").filter(|version| !version.is_empty()).unwrap_or(php);
            self.line("php", &quoted(written), "");
        }
        self.sandbox(strict);
    }

    fn sandbox(&mut self, strict: bool) {
        self.line("sandbox", if strict { "\"strict\"" } else { "\"default\"" }, "");
    }

    fn strategy(&mut self, strategy: &Strategy) {
        self.line("strategy", &quoted(strategy.as_str()), "");
        match strategy {
            Strategy::Signal { signal } => self.line("signal", &quoted(signal), ""),
            Strategy::Rolling(rolling) => self.rolling(rolling),
            Strategy::Reload | Strategy::Restart | Strategy::Warm => {}
        }
    }

    fn rolling(&mut self, rolling: &Rolling) {
        if !rolling.instances.is_empty() {
            self.line("instances", &quoted_list(&rolling.instances), "");
        }
        self.line("parallel", &rolling.parallel.to_string(), "");
        self.line("delay", &quoted(&duration::format(rolling.delay)), "");
        self.line("order", if rolling.start_first { "\"start-first\"" } else { "\"stop-first\"" }, "");
        if let Some(probe) = &rolling.probe {
            self.line("probe", &quoted(probe), "");
            self.line("start", &quoted(&duration::format(rolling.start)), "");
        }
        let word = if rolling.on_failure == OnFailure::Pause { "pause" } else { "rollback" };
        self.line("on_failure", &quoted(word), "");
    }

    fn pool(&mut self, pool: &Pool) {
        match pool {
            Pool::File(path) => self.line("pool", &quoted(&path.to_string_lossy()), ""),
            Pool::Directives(directives) => {
                self.push("[service.pool]", "service.php-fpm.pool");
                for (name, value) in directives {
                    self.line(&quoted(name), &quoted(value), "");
                }
            }
        }
    }
}
