//! The bus service `org.deployd1`, started by D-Bus. Composes; no logic.

use anyhow::Context;
use deployd::{
    config::{self, HostFacts},
    model::{AppName, Paths},
    observe, system,
};

fn main() -> anyhow::Result<()> {
    system::journal::init("deployd");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(deployd::daemon::serve(Paths::default(), facts)).context("deployd ended")
}

/// What an app's configuration needs to know of the host.
fn facts(paths: &Paths, app: &AppName) -> HostFacts {
    let named = config::mentioned_users(paths, app).into_iter();
    let users = named.filter_map(|name| observe::find_user(&name).map(|ids| (name, ids))).collect();
    HostFacts { users, ..observe::host_facts(paths) }
}
