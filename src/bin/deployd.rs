//! The bus service `org.deployd1`, started by D-Bus. Composes; no logic.

use anyhow::Context;
use deployd::{model::Paths, observe, system};

fn main() -> anyhow::Result<()> {
    system::journal::init("deployd");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(deployd::daemon::serve(Paths::default(), observe::facts_for)).context("deployd ended")
}
