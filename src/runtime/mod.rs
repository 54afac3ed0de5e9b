//! stub
pub mod dropins;
