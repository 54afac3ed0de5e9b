//! The bus service `org.deployd1`, started by D-Bus. Composes; no logic.

use anyhow::Context;
use deployd::{model::Paths, observe, system};

fn main() -> anyhow::Result<()> {
    system::journal::init("deployd");
    // Within TasksMax= of its unit, with journalctl beside them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(24).build();
    let runtime = runtime.context("no runtime")?;
    runtime.block_on(deployd::daemon::serve(Paths::default(), observe::facts_for)).context("deployd ended")
}
