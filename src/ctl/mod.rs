//! `deployctl`: the command line. Speaks only to the bus, and reads no file of deployd's. Output is data on standard
//! output; what is said about it goes to standard error.

mod args;
mod bus;
mod check;
mod deploy;
mod entry;
mod error;
mod key;
mod lists;
mod logs;
mod out;
mod status;

use clap::{CommandFactory, Parser};

pub use args::Typed;
use args::{Command, Start};
use bus::Bus;
use error::CtlError;
use out::Out;

/// Runs the command line; returns the exit status: 0 succeeded or unchanged, 1 failed, 2 usage, 3 rejected,
/// 4 rolled back, 5 stuck, 6 cancelled, 7 denied, 8 no such app or release,
/// 9 a check found what breaks the promise.
pub fn main() -> u8 {
    let typed = Typed::parse();
    let out = Out::new(typed.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out.complain(&CtlError::Local(format!("no runtime: {error}"))),
    };
    match runtime.block_on(run(typed, &out)) {
        Ok(status) => status,
        Err(error) => out.complain(&error),
    }
}

async fn run(typed: Typed, out: &Out) -> Result<u8, CtlError> {
    let command = Command::try_from(typed)?;
    if let Command::Completions(shell) = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Typed::command(), "deployctl", &mut script);
        out.raw(&script)?;
        return Ok(0);
    }
    let bus = Bus::connect().await?;
    match command {
        Command::Start(start) => deploy::run(bus, start, out).await,
        Command::Cancel { app, id } => deploy::cancel(&bus, &app, id, out).await,
        Command::Plan(Start { app, kind, options, .. }) => lists::plan(&bus, &app, kind, &options, out).await,
        Command::Check(app) => check::run(&bus, app, out).await,
        Command::Status(app) => status::run(&bus, app, out).await,
        Command::Releases(app) => lists::releases(&bus, &app, out).await,
        Command::Deployments { app, limit } => lists::deployments(&bus, &app, limit, out).await,
        Command::Logs(filter) => logs::run(&bus, &filter, out).await,
        Command::Key { app, rotate } => key::run(&bus, &app, rotate, out).await,
        Command::Show(app) => lists::show(&bus, &app, out).await,
        Command::List => lists::apps(&bus, out).await,
        Command::Completions(_) => Ok(0),
    }
}
