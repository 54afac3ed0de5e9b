//! The only reader of the world: [`Observed`], a plain value from which the plan is made.

mod check;
mod facts;
mod find;
mod find_place;
mod find_runs;
mod holds;
mod host;
mod instances;
mod lacking;
mod look;
mod observed;
mod orders;
mod pools;
mod programs;
mod read;
mod room;
mod unpacking;

pub use check::{Depth, facts as check_facts};
pub use facts::{read as host_facts, read_for as facts_for, user as find_user};
pub use find::{
    FindError, Found, Looked, PoolFound, find, foreign_runs, nginx_config, nginx_sites, recognise, site_page,
};
pub use find_runs::{Run, Runs};
pub use holds::holds;
pub use host::Host;
pub use instances::{instance_unit, instances};
pub use lacking::{Lack, overlaps};
pub use look::{in_maintenance, is_digest, look_at_shared};
pub use observed::*;
pub use orders::{shared_paths, source_order};
pub use pools::{PoolError, pool_text};
pub use programs::{find_program, search_path};
pub use read::{ObserveError, observe, read_current};

/// The programs' search path of workers and steps.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
