//! deploy-engine: executes one deployment, as the `ExecStart=` of the deploy units; also the worker and the generator.
//! Composes; no logic.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use deployd::{
    engine::{self, Cancel},
    model::{Actor, AppName, CheckRequest, DeploymentId, KeyRequest, Kind, Paths, Request, SlotInstance, SlotUnit},
    observe::{self, Host},
    runtime::generator,
    system::{journal, tree::Dir, units::Units},
    worker,
};

/// What the deploy units of systemd run. People use deployctl(1).
#[derive(Parser)]
#[command(name = "deploy-engine", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One deployment with defaults (deploy@NAME.service and its like)
    Run { kind: Kind, app: AppName },
    /// One deployment by a request of the bus (deploy-run@NAME:ID.service)
    Request { instance: String },
    /// What a request would do, or what a check finds (deploy-plan@NAME:ID.service)
    Plan { instance: String },
    /// Which shared files differ from what the live release was made from (deploy-survey@NAME:ID.service)
    Survey { instance: String },
    /// Gives an app's deploy key, and makes it at first (deploy-key@NAME:ID.service)
    Key { instance: String },
    /// Bakes, drains, confirms; or recovers (deploy-settle@NAME.service)
    Settle { instance: String },
    /// Drains an old slot and stops it (deploy-drain@TEMPLATE@NAME:SLOT.service)
    Drain { slot: SlotUnit },
    /// Takes a slot's socket directory from the app's user once its socket is there (app-fpm@NAME:SLOT.service)
    Guard { slot: SlotInstance },
    /// Brings the live slots up at boot (deployd-recover.service)
    Recover,
    /// Works in an app's tree as its user
    Worker,
    /// Becomes a step's program, with the secrets that it was handed in its environment
    Step {
        /// The words are those that stand for the command's own in a unit's file
        #[arg(long)]
        kept: bool,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let own_name = arguments.next().map(PathBuf::from).unwrap_or_default();
    if own_name.file_name().is_some_and(|name| name == "deployd-generator") {
        return generate(arguments.next().map(PathBuf::from));
    }
    let command = Arguments::parse().command;
    if let Command::Step { kept, command } = &command {
        journal::init("deployd-worker");
        return ExitCode::from(worker::step(command, *kept));
    }
    journal::init(if matches!(command, Command::Worker) { "deployd-worker" } else { "deploy-engine" });
    // Directories are made with the modes that they shall have; a unit's mask must not leave them otherwise for a moment.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("no runtime").and_then(|runtime| runtime.block_on(carry_out(command)));
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(1)
        }
    }
}

fn generate(out: Option<PathBuf>) -> ExitCode {
    let Some(out) = out else { return ExitCode::from(2) };
    let paths = Paths::default();
    generator::generate(&paths, &out, &observe::host_facts(&paths), &observe::find_user);
    ExitCode::SUCCESS
}

async fn carry_out(command: Command) -> Result<u8> {
    match command {
        Command::Worker => {
            worker::serve().await?;
            Ok(0)
        }
        Command::Run { kind, app } => {
            let unit = if kind == Kind::Deploy { "deploy".to_owned() } else { format!("deploy-{kind}") };
            let host = host(&format!("{unit}@{app}")).await?;
            let request = Request {
                app,
                id: invocation(),
                kind,
                reference: None,
                release: None,
                force: false,
                allow: Default::default(),
                upload: false,
                actor: Actor::Systemd,
            };
            Ok(engine::run(&host, &request, &Cancel::on_signal()?).await.exit_status())
        }
        Command::Request { instance } => {
            let host = host(&format!("deploy-run@{instance}")).await?;
            let request = read_request(&host.paths, &instance)?;
            Ok(engine::run(&host, &request, &Cancel::on_signal()?).await.exit_status())
        }
        Command::Plan { instance } => {
            let host = host(&format!("deploy-plan@{instance}")).await?;
            answer(&host, &instance).await?;
            Ok(0)
        }
        Command::Survey { instance } => {
            let host = host(&format!("deploy-survey@{instance}")).await?;
            let (app, id) = app_and_id(&instance)?;
            engine::survey(&host, &app, &id).await?;
            Ok(0)
        }
        Command::Key { instance } => {
            key(&Paths::default(), &instance).await?;
            Ok(0)
        }
        Command::Settle { instance } => {
            let host = host(&format!("deploy-settle@{instance}")).await?;
            let app = instance.split(':').next().unwrap_or_default().parse()?;
            engine::settle(&host, &app, &Cancel::on_signal()?).await?;
            Ok(0)
        }
        Command::Drain { slot } => {
            let host = host(&format!("deploy-drain@{slot}")).await?;
            engine::drain(&host, &slot).await?;
            Ok(0)
        }
        Command::Guard { slot } => {
            engine::guard(&Paths::default(), &slot)?;
            Ok(0)
        }
        // Done before there was a runtime.
        Command::Step { kept, command } => Ok(worker::step(&command, kept)),
        Command::Recover => {
            engine::boot(&host("deployd-recover").await?).await?;
            Ok(0)
        }
    }
}

/// This host. Workers die with the unit that this process is the main process of, if systemd started it.
async fn host(unit: &str) -> Result<Host> {
    let own_unit = match std::env::var_os("INVOCATION_ID") {
        Some(_) => Some(format!("{unit}.service").parse()?),
        None => None,
    };
    let program = std::env::current_exe().context("where this program is")?;
    Ok(Host::new(Paths::default(), Units::connect().await?, program, own_unit))
}

/// The id of a deployment that systemd started: the beginning of its unit's invocation id.
fn invocation() -> DeploymentId {
    let invocation = std::env::var("INVOCATION_ID").unwrap_or_default();
    let bits = invocation.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    DeploymentId::from_bits(bits.unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(seconds())))
}

/// Seconds, for the id of a run by hand.
fn seconds() -> u32 {
    u32::try_from(jiff::Timestamp::now().as_second() & i64::from(u32::MAX)).unwrap_or_default()
}

/// The parts of `NAME:ID`.
fn app_and_id(instance: &str) -> Result<(AppName, DeploymentId)> {
    let (app, id) = instance.split_once(':').context("write NAME:ID")?;
    Ok((app.parse()?, id.parse().map_err(anyhow::Error::msg)?))
}

/// Reads a request as strictly as anything from another program: bounded, typed, and about what its name says.
fn read_request(paths: &Paths, instance: &str) -> Result<Request> {
    let (app, id, bytes) = request_bytes(paths, instance)?;
    let request: Request = serde_json::from_slice(&bytes).with_context(|| format!("the request {app}:{id} is none"))?;
    if request.app != app || request.id != id {
        bail!("the request {app}:{id} is about something else");
    }
    if let Some(reference) = &request.reference {
        deployd::config::check_reference(reference).map_err(anyhow::Error::msg)?;
    }
    Ok(request)
}

fn request_bytes(paths: &Paths, instance: &str) -> Result<(AppName, DeploymentId, Vec<u8>)> {
    let (app, id) = instance.split_once(':').context("write NAME:ID")?;
    let app: AppName = app.parse()?;
    let id: DeploymentId = id.parse().map_err(anyhow::Error::msg)?;
    let file = paths.request_file(&app, &id);
    let dir = Dir::open(file.parent().context("no directory")?)?;
    let bytes =
        dir.read(id.as_str(), Request::MAX_BYTES)?.with_context(|| format!("{} is not there", file.display()))?;
    Ok((app, id, bytes))
}

/// Writes what a request would do, or what a check finds, where `deployd` reads it.
async fn answer(host: &Host, instance: &str) -> Result<()> {
    let (app, id, bytes) = request_bytes(&host.paths, instance)?;
    let value = match serde_json::from_slice::<CheckRequest>(&bytes) {
        Ok(request) if request.check == app && request.id == id => {
            serde_json::to_value(engine::check_host(host, &request).await)?
        }
        _ => plan(host, &read_request(&host.paths, instance)?).await?,
    };
    leave(&host.paths, &app, &id, &value)
}

/// Gives a deploy key's public half to `deployd`.
async fn key(paths: &Paths, instance: &str) -> Result<()> {
    let (app, id, bytes) = request_bytes(paths, instance)?;
    let request: KeyRequest =
        serde_json::from_slice(&bytes).with_context(|| format!("the request {app}:{id} is none"))?;
    if request.key != app || request.id != id {
        bail!("the request {app}:{id} is about something else");
    }
    leave(paths, &app, &id, &serde_json::to_value(engine::make_key(paths, &request).await)?)
}

/// Writes an answer where `deployd` reads it.
fn leave(paths: &Paths, app: &AppName, id: &DeploymentId, value: &serde_json::Value) -> Result<()> {
    let group = observe::find_user("deployd").map_or(0, |(_, gid)| gid);
    let dir = Dir::open_or_make(&paths.app_run_dir(app), 0o755)?;
    forget_answers(paths, app, &dir)?;
    dir.write_for(group, &format!("plan-{id}.json"), &serde_json::to_vec_pretty(value)?, 0o640)?;
    Ok(())
}

async fn plan(host: &Host, request: &Request) -> Result<serde_json::Value> {
    Ok(match engine::preview(host, request).await {
        Ok(decision) => serde_json::to_value(&decision)?,
        Err(refusal) => {
            let mut told = serde_json::to_value(&refusal)?;
            told["decision"] = "rejected".into();
            told
        }
    })
}

/// Removes the answers to requests that are no more.
fn forget_answers(paths: &Paths, app: &AppName, dir: &Dir) -> Result<()> {
    for name in dir.names()? {
        let id = name.strip_prefix("plan-").and_then(|rest| rest.strip_suffix(".json"));
        let Some(Ok(id)) = id.map(str::parse::<DeploymentId>) else { continue };
        if !paths.request_file(app, &id).exists() {
            dir.unlink(&name)?;
        }
    }
    Ok(())
}
