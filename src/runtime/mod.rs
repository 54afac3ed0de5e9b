//! stub
pub mod dropins;
pub mod generator;
pub mod php_fpm;
