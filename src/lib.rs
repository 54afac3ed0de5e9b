//! deployd: releases PHP applications without losing a request. This file is the code map and the layering rule.
//!
//! Data goes one way: fragments -> [`config::Settings`]; the world -> [`observe::Observed`]; both and a
//! [`model::Request`] -> [`plan::Plan`]; the [`engine`] executes it through [`system`], [`runtime`] and the [`worker`].
//!
//! | module | is | may use |
//! |---|---|---|
//! | [`model`] | the words of the trade as types, no I/O | nothing |
//! | [`config`] | `/etc/deployd/apps/*.toml` as written, merged, as needed | model |
//! | [`system`] | systemd, the journal, rooted directories, sockets, processes | model |
//! | [`worker`] | what is done in an app's tree, as the app's user | model, system |
//! | [`check`] | pure: what of a host would break the promise | model, config |
//! | [`runtime`] | what is true of php-fpm, nginx and other units | model, config, system |
//! | [`observe`] | the only reader of the world | all above, never the engine |
//! | [`plan`] | pure: what will be done, or why it will not | model, config, check, observe's value, worker's orders |
//! | [`engine`] | executes a plan | all above |
//! | [`dbus`] | the served interface | model |
//! | [`daemon`] | the bus service: authorises, starts units, relays | model, config, system, dbus |
//! | [`ctl`] | the command line: speaks only to the bus | model, dbus |
//! | [`webhook`] | verifies what forges sign, asks the bus | model, system, dbus |
//!
//! Architecture invariant: the table is held by `tests/layering.rs`.

pub mod check;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod dbus;
pub mod engine;
pub mod model;
pub mod observe;
pub mod plan;
pub mod runtime;
pub mod system;
pub mod webhook;
pub mod worker;
