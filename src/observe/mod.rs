//! The only reader of the world: [`Observed`], a plain value from which the plan is made.

mod facts;
mod observed;

pub use facts::{read as host_facts, user as find_user};
pub use observed::*;
