//! What of a host would break the promise, with the remedy: facts in, findings out. Pure. `observe` reads the [`Facts`].
//!
//! One file a group. The files that an administrator writes are taken apart here too ([`ini`], [`nginx_conf`]): never a
//! panic, whatever stands in them, and what is not understood is left out rather than guessed at.

mod access;
mod asked;
mod disk;
mod exposed;
mod facts;
mod foreign;
mod found;
mod ini;
mod migrations;
mod nginx;
mod nginx_conf;
mod octane;
mod passes;
mod php;
mod php_fpm;
mod sites;
mod tree;
mod units;
mod variables;

pub use asked::{Addresses, asked};
pub use exposed::{Exposed, exposed};
pub use facts::*;
pub use ini::{Entry, parse as parse_ini};
pub use migrations::{Danger, Harm, harms};
pub use nginx::mentions_app;
pub use nginx_conf::{Directive, parse as parse_nginx};
pub use passes::{Pass, passes};
pub use sites::{Served, Site, sites};

use crate::{
    config::{Origin, Settings},
    model::{Finding, Severity},
};

/// Every finding there is. They are stable, and explained in deployctl(1).
pub const IDS: [&str; 38] = [
    "access-name",
    "access-own-user",
    "code-written",
    "cron-line",
    "disk-kind",
    "disk-space",
    "durability-relaxed",
    "foreign-process",
    "fpm-process-control-timeout",
    "fpm-reload-waits",
    "fpm-restart",
    "horizon-fast-termination",
    "memory-slots",
    "nginx-document-root",
    "nginx-document-root-param",
    "nginx-fastcgi-pass",
    "nginx-open-file-cache",
    "nginx-proxy-pass",
    "nginx-upstream-keepalive",
    "not-read",
    "octane-port",
    "octane-reload",
    "octane-restart",
    "octane-state-file",
    "opcache-off",
    "opcache-preload",
    "opcache-size",
    "php-open-basedir",
    "root-overlap",
    "session-driver",
    "slot-port",
    "supervisor-program",
    "tree-owner",
    "unit-kill-mode",
    "unit-kill-signal",
    "unit-stop-timeout",
    "unit-writes",
    "warm-unproved",
];

/// All findings, the worst first.
pub fn check(settings: &Settings, facts: &Facts) -> Vec<Finding> {
    let mut found = found::Found::default();
    nginx::check(settings, facts, &mut found);
    php_fpm::check(settings, facts, &mut found);
    php::check(settings, facts, &mut found);
    units::check(settings, facts, &mut found);
    octane::check(settings, facts, &mut found);
    tree::check(settings, facts, &mut found);
    foreign::check(settings, facts, &mut found);
    disk::check(settings, facts, &mut found);
    access::check(settings, facts, &mut found);
    found.sorted()
}

/// Whether `[safety] require = "zero-downtime"` refuses because of it: it breaks the promise, or nobody could look.
pub fn refuses(finding: &Finding) -> bool {
    finding.severity == Severity::Breaks || finding.id == foreign::NOT_READ
}

/// `FILE:LINE`.
fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file.display(), origin.line)
}

#[cfg(test)]
mod tests;
