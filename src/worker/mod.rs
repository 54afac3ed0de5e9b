//! Everything that happens in an app's tree, as the app's user: `deploy-engine worker`, in a sandboxed transient unit.
//!
//! The engine writes one [`order::Order`] a line on the worker's standard input and reads one [`order::Answer`] a line
//! from its standard output; the worker ends when its input does. What it says to people goes to the journal.
//! Architecture invariant: nothing here runs as root, and other modules use only [`order`], [`client`] and [`sandbox`].

pub mod client;
pub mod order;
pub mod sandbox;
mod serve;

pub use serve::serve;
