//! The bus service `org.deployd1`, started by D-Bus. Composes; no logic.

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    deployd::system::journal::init("deployd");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let served = deployd::daemon::serve(deployd::model::Paths::default(), deployd::observe::host_facts);
    runtime.block_on(served).context("deployd ended")
}
