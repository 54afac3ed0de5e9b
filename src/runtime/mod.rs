//! What is true of the runtimes: php-fpm's configuration and the units' drop-ins. Pure, but for the generator's files.

pub mod dropins;
pub mod generator;
pub mod php_fpm;
mod pool;
mod pool_parse;
mod unit_text;
