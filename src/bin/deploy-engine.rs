//! deploy-engine: executes one deployment, as the `ExecStart=` of the deploy units; also the worker and the generator.
//! Composes; no logic.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use deployd::{
    engine::{self, Cancel},
    model::{
        Actor, AppName, CheckRequest, DeploymentId, DiffRequest, HoldRequest, KeyRequest, Kind, Paths, PruneRequest,
        Request, SlotInstance, SlotUnit, printable, printable_json,
    },
    observe::{self, Host},
    runtime::generator,
    system::{journal, notify, tree::Dir, units::Units},
    worker,
};
use serde::de::DeserializeOwned;
use tracing::{Instrument, Span};

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
    /// What a request would do, what a check finds, or what differs between releases (deploy-plan@NAME:ID.service)
    Plan { instance: String },
    /// Which shared files differ from what the live release was made from (deploy-survey@NAME:ID.service)
    Survey { instance: String },
    /// Gives an app's deploy key, and makes it at first (deploy-key@NAME:ID.service)
    Key { instance: String },
    /// Notes that an app or a release is held, or not any more (deploy-hold@NAME:ID.service)
    Hold { instance: String },
    /// Removes releases that nothing uses (deploy-prune@NAME:ID.service)
    Prune { instance: String },
    /// Bakes, drains, confirms; or recovers (deploy-settle@NAME.service)
    Settle { instance: String },
    /// Drains an old slot and stops it (deploy-drain@TEMPLATE@NAME:SLOT.service)
    Drain { slot: SlotUnit },
    /// Takes a slot's socket directory from the app's user once its socket is there (app-fpm@NAME:SLOT.service)
    Guard { slot: SlotInstance },
    /// Brings the live slots up at boot (deployd-recover.service)
    Recover,
    /// Describes an app by what is on this host (`deployctl init`)
    Init {
        name: Option<AppName>,
        #[arg(long)]
        write: bool,
        #[arg(long)]
        apply: bool,
        #[arg(long)]
        root: Option<PathBuf>,
        #[arg(long)]
        git: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Takes over a tree that another tool made (`deployctl adopt`)
    Adopt {
        app: AppName,
        #[arg(long)]
        yes: bool,
        #[arg(long)]
        json: bool,
    },
    /// Gives a tree back (`deployctl disown`)
    Disown {
        app: AppName,
        #[arg(long)]
        yes: bool,
        #[arg(long)]
        json: bool,
    },
    /// Works in an app's tree as its user
    Worker,
    /// Takes a slot of a fleet's semaphore and keeps it
    Fleet,
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
    journal::init(match command {
        Command::Worker => "deployd-worker",
        Command::Fleet => "deployd-fleet",
        _ => "deploy-engine",
    });
    // Directories are made with the modes that they shall have; a unit's mask must not leave them otherwise for a moment.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let by_hand = matches!(command, Command::Init { .. } | Command::Adopt { .. } | Command::Disown { .. });
    let span = about(&command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let carried_out = carry_out(command).instrument(span.clone());
    let ended = runtime.context("no runtime").and_then(|runtime| runtime.block_on(carried_out));
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(error) if by_hand => {
            complain(&error);
            ExitCode::from(1)
        }
        Err(error) => {
            let told = matches!(error.downcast_ref(), Some(engine::EngineError::Told(_)));
            span.in_scope(|| if told { tracing::debug!("{error:#}") } else { tracing::error!("{error:#}") });
            ExitCode::from(1)
        }
    }
}

/// What is told of this command carries its app, and its deployment. What boots has spans of its own.
fn about(command: &Command) -> Span {
    let of_instance = |instance: &str| app_and_id(instance).map(|(app, id)| engine::span::of_request(&app, &id));
    match command {
        Command::Run { app, .. } => engine::span::of_request(app, &invocation()),
        Command::Settle { instance } => {
            app_of(instance).map_or_else(|_| Span::none(), |app| engine::span::of_app(&app))
        }
        Command::Drain { slot } => engine::span::of_app(slot.app()),
        Command::Guard { slot } => engine::span::of_app(&slot.app),
        Command::Request { instance }
        | Command::Plan { instance }
        | Command::Survey { instance }
        | Command::Key { instance }
        | Command::Hold { instance }
        | Command::Prune { instance } => of_instance(instance).unwrap_or_else(|_| Span::none()),
        // By hand it is told to somebody who knows; the others' units carry it.
        Command::Recover
        | Command::Init { .. }
        | Command::Adopt { .. }
        | Command::Disown { .. }
        | Command::Worker
        | Command::Fleet
        | Command::Step { .. } => Span::none(),
    }
}

/// systemd tells which timer triggered a unit, and nothing of people.
async fn started_by(host: &Host) -> Actor {
    let Some(unit) = &host.own_unit else { return Actor::Systemd };
    match host.units.started_by_timer(unit).await {
        Ok(true) => Actor::Timer,
        Ok(false) => Actor::Systemd,
        Err(error) => {
            tracing::warn!("it is not known whether a timer started this: {error}, ignoring");
            Actor::Systemd
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
        Command::Fleet => Ok(worker::fleet::serve().await?),
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
                actor: started_by(&host).await,
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
        Command::Init { name, write, apply, root, git, json } => {
            let asked = engine::Init { name, root, source: git, write, apply };
            say(engine::init(&host("").await?, &asked, &by_hand()).await, json)
        }
        Command::Adopt { app, yes, json } => say(engine::adopt(&host("").await?, &app, yes, &by_hand()).await, json),
        Command::Disown { app, yes, json } => say(engine::disown(&host("").await?, &app, yes, &by_hand()).await, json),
        Command::Hold { instance } => {
            let paths = Paths::default();
            let (app, id, request) = asked(&paths, &instance, |one: &HoldRequest| (&one.hold, &one.id))?;
            leave(&paths, &app, &id, &serde_json::to_value(engine::hold(&paths, &request).await)?)?;
            Ok(0)
        }
        Command::Prune { instance } => {
            let host = host(&format!("deploy-prune@{instance}")).await?;
            let (app, id, request) = asked(&host.paths, &instance, |one: &PruneRequest| (&one.prune, &one.id))?;
            let reply = engine::prune_now(&host, &request).await;
            leave(&host.paths, &app, &id, &serde_json::to_value(&reply)?)?;
            notify::ready();
            engine::swept(&host, &request, &reply).await?;
            Ok(0)
        }
        Command::Settle { instance } => {
            let host = host(&format!("deploy-settle@{instance}")).await?;
            let app = app_of(&instance)?;
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

/// The id of what a person runs.
fn by_hand() -> DeploymentId {
    DeploymentId::from_bits(u64::from(std::process::id()) << 32 | u64::from(seconds()))
}

/// Tells a person: data on standard output, what is said about it on standard error. Or a program: one JSON object.
fn say(said: Result<engine::Said, engine::EngineError>, json: bool) -> Result<u8> {
    let mut said = said.map_err(|error| match error.remedy() {
        Some(remedy) => anyhow::anyhow!("{error}; {remedy}"),
        None => error.into(),
    })?;
    if json {
        said.fact("notes", said.notes.clone());
        said.data = format!("{}\n", printable_json(&said.facts.into()));
    }
    std::io::stdout().write_all(said.data.as_bytes()).context("cannot write the output")?;
    for note in &said.notes {
        let _ = writeln!(std::io::stderr(), "{}", printable_lines(note));
    }
    Ok(0)
}

/// Names in a tree are its user's: none moves the cursor of a terminal.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "deployctl: {}", printable_lines(&format!("{error:#}")));
}

/// Seconds, for the id of a run by hand.
fn seconds() -> u32 {
    u32::try_from(jiff::Timestamp::now().as_second() & i64::from(u32::MAX)).unwrap_or_default()
}

/// The app of `NAME` or `NAME:ID`.
fn app_of(instance: &str) -> Result<AppName> {
    Ok(instance.split(':').next().unwrap_or_default().parse()?)
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

/// Writes what a request would do, what a check finds or what differs, where `deployd` reads it.
async fn answer(host: &Host, instance: &str) -> Result<()> {
    let (app, id, bytes) = request_bytes(&host.paths, instance)?;
    let check = serde_json::from_slice::<CheckRequest>(&bytes).ok().filter(|one| one.check == app && one.id == id);
    let diff = serde_json::from_slice::<DiffRequest>(&bytes).ok().filter(|one| one.diff == app && one.id == id);
    let value = match (check, diff) {
        (Some(request), _) => serde_json::to_value(engine::check_host(host, &request).await)?,
        (None, Some(request)) => serde_json::to_value(engine::diff(host, &request).await)?,
        (None, None) => plan(host, &read_request(&host.paths, instance)?).await?,
    };
    leave(&host.paths, &app, &id, &value)
}

/// Gives a deploy key's public half to `deployd`.
async fn key(paths: &Paths, instance: &str) -> Result<()> {
    let (app, id, request) = asked(paths, instance, |one: &KeyRequest| (&one.key, &one.id))?;
    leave(paths, &app, &id, &serde_json::to_value(engine::make_key(paths, &request).await)?)
}

/// What is asked for that is no deployment, read as strictly: about what its name says.
fn asked<T: DeserializeOwned>(
    paths: &Paths,
    instance: &str,
    about: impl Fn(&T) -> (&AppName, &DeploymentId),
) -> Result<(AppName, DeploymentId, T)> {
    let (app, id, bytes) = request_bytes(paths, instance)?;
    let request: T = serde_json::from_slice(&bytes).with_context(|| format!("the request {app}:{id} is none"))?;
    if about(&request) != (&app, &id) {
        bail!("the request {app}:{id} is about something else");
    }
    Ok((app, id, request))
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
