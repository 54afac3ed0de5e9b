//! `deployctl`: the command line. Speaks only to the bus, and reads no file of deployd's. Output is data on standard
//! output; what is said about it goes to standard error.

mod args;
mod bus;
mod by_root;
mod check;
mod complete;
mod deploy;
mod diff;
mod entry;
mod error;
mod fit;
mod hold;
mod key;
mod lists;
mod logs;
mod out;
mod prune;
mod screen;
mod ssh;
mod status;
mod watch;

use clap::Parser;

pub use args::Typed;
use args::{Command, Start};
use bus::Bus;
use error::CtlError;
use out::Out;

/// Every exit status, with a word of what the manual says of it.
pub const EXIT_STATUSES: [(u8, &str); 12] = [
    (0, "succeeded"),
    (1, "failed"),
    (2, "command line"),
    (3, "rejected"),
    (4, "rolled back"),
    (5, "stuck"),
    (6, "cancelled"),
    (7, "denied"),
    (8, "no such"),
    (9, "breaks the promise"),
    (deploy::UNCHANGED, "nothing was new"),
    (deploy::INTERRUPTED, "ctrl-c"),
];

/// Runs the command line; returns the exit status, one of [`EXIT_STATUSES`].
pub fn main() -> u8 {
    complete::answer();
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
        out.raw(&complete::script(shell)?)?;
        return Ok(0);
    }
    let (command, _spooled) = match command {
        Command::Ssh(app) => ssh::command(app, std::env::var(ssh::ORIGINAL).ok().as_deref())?,
        command => (command, None),
    };
    if let Command::ByRoot(arguments) = &command {
        return by_root::run(arguments);
    }
    let bus = Bus::connect().await?;
    match command {
        Command::Start(start) => deploy::run(bus, start, out).await,
        Command::Hold(wanted) => hold::run(&bus, &wanted, out).await,
        Command::Prune { app, keep, dry_run } => prune::run(&bus, &app, keep, dry_run, out).await,
        Command::Diff(wanted) => diff::run(&bus, &wanted, out).await,
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
        Command::Completions(_) | Command::Ssh(_) | Command::ByRoot(_) => Ok(0),
    }
}
