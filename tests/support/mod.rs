//! What the host tests, the bench and the demo share: a booted Debian host, an app in it, load on it.
//! It may start and end only what is its own; nothing here touches the machine beyond `target/` and missing packages.
#![allow(dead_code, reason = "each of the three users takes a part of it")]

pub mod built;
pub mod capistrano;
pub mod command;
pub mod cpu;
pub mod deb;
pub mod disk;
pub mod fleet;
pub mod fuzz;
pub mod host;
pub mod inside;
pub mod jobs;
pub mod load;
pub mod lock;
pub mod manual;
pub mod octane;
pub mod requests;
pub mod root;
pub mod rpm;
pub mod runtimes;
pub mod script;
pub mod shop;
pub mod site;
pub mod table;
