//! Executes a plan: stage, seal, activate, cut over, verify, record; settles, drains, prunes and recovers.
//!
//! Runs as root and asks PID 1; touches nothing in an app's tree but the root, `releases/` and `current`, which are
//! root's. Everything below a release or `shared/` is a worker's.

mod activate;
mod aftermath;
mod bake;
mod cancel;
mod check;
mod compare;
mod cutover;
mod deployment;
mod drain;
mod drain_port;
mod error;
mod existing;
mod export;
mod gates;
mod generated;
mod guard;
mod health;
mod job_classes;
mod jobs;
mod key;
mod keys;
mod layout;
mod listener;
mod migrate;
mod nginx_test;
mod notice;
mod notify;
mod once;
mod outcome;
mod progress;
mod prove_live;
mod prune;
mod recover;
mod rolling;
mod run;
mod settle;
mod site;
mod slot_files;
mod slots;
mod stage;
mod staged;
mod steps;
mod store;
mod survey;
mod takeover;
mod through_nginx;
mod tidy;
mod turn;
mod twice;
mod uploads;
mod upstream;

pub use cancel::Cancel;
pub use check::check_host;
pub use drain::drain;
pub use guard::guard;
pub use key::make_key;
pub use recover::boot;
pub use run::{preview, run};
pub use settle::settle;
pub use survey::survey;
