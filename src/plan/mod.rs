//! Pure: what a deployment will do, decided before its first effect, or why there is nothing to do or it is refused.
//!
//! Architecture invariant: no I/O, no clock, no environment; the same three values give the same plan.

mod decide;
mod existing;
mod judge;
mod moves;
mod once;
mod staging;
mod value;

pub use decide::plan;
pub use staging::{changed_shared, short};
pub use value::*;

#[cfg(test)]
mod tests;
