//! The virtual machine of the power cuts: what it is made of, how it is saved, ended and looked at.

pub mod app;
pub mod chance;
pub mod control;
pub mod cut;
pub mod disk;
pub mod image;
pub mod kernel;
pub mod limits;
pub mod look;
pub mod machine;
pub mod monitor;
pub mod saved;
pub mod states;
pub mod write_log;
