//! The words of the trade as types that cannot hold a wrong value. No I/O, and no use of any other module.

mod artisan;
mod ask;
mod deployment;
pub mod events;
mod finding;
mod hold;
mod key;
mod migration;
mod name;
mod paths;
pub mod pattern;
mod record;
mod release;
mod request;
mod slot_unit;
mod state_file;
mod text;

pub use artisan::{after_artisan, artisan_name};
pub use ask::{DiffRequest, Difference, PruneRequest, Pruned, Refused, Refusing, Reply};
pub use deployment::{DeploymentId, Kind, Outcome, Phase};
pub use finding::{Finding, Severity};
pub use hold::{Hold, HoldChange, HoldRequest, Holds, MAX_REASON};
pub use key::{DeployKey, KeyChange, KeyRequest};
pub use migration::{Driver, Migrating, Migration, MigrationRun, Statement};
pub use name::{AppName, BadName, Slot, SlotInstance, UnitName};
pub use paths::Paths;
pub use record::{
    AppState, DeploymentRecord, FailedRelease, Keys, LiveSlot, MadeFrom, ReleaseRecord, Running, StepRun, Survey,
};
pub use release::{BadReleaseId, ReleaseId, ReleaseState, Share};
pub use request::{Actor, Allow, CheckRequest, Request};
pub use slot_unit::SlotUnit;
pub use text::{names_path, printable, printable_json};
