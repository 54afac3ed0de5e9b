//! Tests on booted hosts: real systemd, D-Bus, polkit, journald, nginx and php-fpm, the built .deb installed.
//! Every test boots a host of its own and touches nothing else of the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]
#![allow(clippy::print_stdout, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod meter;
mod peer;
