//! Receives what forges tell of pushes, started by its socket. Composes; no logic.

use anyhow::Context;
use deployd::{system, webhook};

fn main() -> anyhow::Result<()> {
    system::journal::init("deployd-webhook");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(webhook::serve()).context("deployd-webhook ended")
}
