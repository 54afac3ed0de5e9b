//! Everything that happens in an app's tree, as the app's user: `deploy-engine worker`, in a sandboxed transient unit.
//!
//! The engine writes one [`order::Order`] a line on the worker's standard input and reads one [`order::Answer`] a line
//! from its standard output; the worker ends when its input does. What it says to people goes to the journal.
//! Architecture invariant: nothing here runs as root, and other modules use only [`order`], [`client`], [`fleet_order`] and [`sandbox`];
//! [`archive`] is seen from outside for those who try it with any bytes.

mod acl;
mod answer;
pub mod archive;
mod assets;
mod carry;
pub mod client;
mod commits;
mod compare;
mod content_id;
mod copy_tree;
mod diff;
mod directories;
mod directory;
mod empty;
mod export;
mod exporter;
mod fastcgi;
pub mod fleet;
pub mod fleet_order;
mod git;
mod git_access;
mod git_attributes;
mod git_fetch;
mod git_names;
mod git_remedy;
mod git_running;
mod git_scope;
mod git_tags;
mod git_tree;
mod http;
mod inspect;
mod jobs;
mod keys;
mod leftovers;
mod lfs;
mod lfs_fetch;
mod link;
mod loosen;
mod manifest;
mod migrations;
mod mirror;
mod move_shared;
pub mod order;
mod post;
mod previous;
mod probe_run;
mod recognise;
mod recognise_git;
mod recognised;
mod refusal;
mod rooted;
pub mod sandbox;
mod seal;
mod seen;
mod serve;
mod shared;
mod source;
mod step;
mod submodules;
mod survey;
mod tell;
mod threads;
mod tidy;
mod traverse;
mod walk;
mod write_tree;

#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod timing;

pub use serve::serve;
pub use step::step;
