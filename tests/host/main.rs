//! Tests on booted hosts: real systemd, D-Bus, polkit, journald, nginx and php-fpm, the built .deb installed.
//! Every test boots a host of its own and touches nothing else of the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their support")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "they report to a terminal")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod adopt;
mod adopt_port;
mod archives;
mod beside;
mod blue_green;
mod bus;
mod bus_attack;
mod callers;
mod check;
mod common;
mod convergence;
mod ctl;
mod deploy;
mod endurance;
mod exposure;
mod failures;
mod fleet_ansible;
mod fleet_etcd;
mod fleet_puppet;
mod fleet_removal;
mod full_disk;
mod gates;
mod going_back;
mod grouped;
mod host_faults;
mod hostile_steps;
mod input;
mod large;
mod lfs;
mod lifecycle;
mod load;
mod meter;
mod migrations;
mod notify;
mod objects;
mod package;
mod peer;
mod places;
mod probes;
mod queue;
mod queue_pause;
mod races;
mod rolling;
mod rpm;
mod runtimes;
mod several;
mod sharing;
mod signal;
mod site;
mod sources;
mod ssh;
mod staging;
mod through_nginx;
mod timer;
mod transcripts;
mod units;
mod upstream;
mod users;
mod warm;
mod web_unit;
mod webhook;
mod who_may;
