//! What is true of the runtimes, a file each, and the units' drop-ins. Pure, but for the generator's files.

pub mod dropins;
pub mod generator;
pub mod horizon;
pub mod http;
pub mod nginx;
pub mod octane;
pub mod php_fpm;
mod pool;
mod pool_parse;
pub mod queue;
pub mod rolling;
pub mod scheduler;
pub mod slot;
mod slot_dropin;
mod unit_text;
