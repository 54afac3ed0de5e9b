//! Arguments, as typed and as needed. Parsed once; no I/O.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::{
    Shell,
    engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate},
};

use super::{complete, error::CtlError};
use crate::model::{Allow, AppName, DeploymentId, Kind, ReleaseId};

/// Releases PHP applications without losing a request.
#[derive(Debug, Parser)]
#[command(name = "deployctl", version, about, disable_help_subcommand = true)]
pub struct Typed {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: TypedCommand,
}

#[derive(Debug, Subcommand)]
enum TypedCommand {
    /// Stage a release, make it live, prove it; go back by itself when it is not healthy
    Deploy {
        #[command(flatten)]
        what: Staging,
        #[command(flatten)]
        allow: Allowing,
        #[command(flatten)]
        how: How,
    },
    /// Make a release and leave what is live alone
    Stage {
        #[command(flatten)]
        what: Staging,
        #[command(flatten)]
        allow: AllowingStaged,
        #[command(flatten)]
        how: How,
    },
    /// Make a staged release live; its migrations are run first
    Activate {
        #[command(flatten)]
        what: Choosing,
        #[command(flatten)]
        allow: Allowing,
        /// Run the steps once more that run once for a release, such as its migrations
        #[arg(long)]
        run_again: bool,
        #[command(flatten)]
        how: How,
    },
    /// Go back to a confirmed release
    Rollback {
        #[command(flatten)]
        what: Choosing,
        #[command(flatten)]
        how: How,
    },
    /// Deploy an archive: the same as `deploy --upload`
    Upload {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// The archive: tar, packed or not, or zip
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// Make the release only, and leave what is live alone
        #[arg(long)]
        stage: bool,
        /// Make a new release although nothing is new
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        allow: Allowing,
        #[command(flatten)]
        how: How,
    },
    /// Hold an app: no new deployment is taken until it is let go; or a release, which is then not pruned
    Hold {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// A release of it, instead of the app
        #[arg(add = ArgValueCompleter::new(complete::releases))]
        release: Option<String>,
        /// Why, for those who wonder
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a held app or release go
    Unhold {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// A release of it, instead of the app
        #[arg(add = ArgValueCompleter::new(complete::releases))]
        release: Option<String>,
    },
    /// Remove releases that nothing uses and nobody holds
    Prune {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// How many are kept, instead of the configured number
        #[arg(long, value_name = "N")]
        keep: Option<u32>,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Say what differs between two releases
    Diff {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// The older release; without it the live one and what is staged, else the one before and the live one
        #[arg(add = ArgValueCompleter::new(complete::releases))]
        from: Option<String>,
        /// The newer release; without it the live one
        #[arg(add = ArgValueCompleter::new(complete::releases))]
        to: Option<String>,
        /// Name each file
        #[arg(long)]
        names: bool,
    },
    /// Cancel a running deployment
    Cancel {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// The deployment; without it the running one
        id: Option<String>,
    },
    /// Say what a deployment would do, and why, without doing it
    Plan {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// deploy, stage, activate or rollback
        #[arg(long, default_value = "deploy", add = ArgValueCandidates::new(kinds))]
        kind: String,
        /// Branch, tag or commit instead of the configured one
        #[arg(long = "ref", value_name = "REF", add = ArgValueCompleter::new(complete::references))]
        reference: Option<String>,
        /// The release to activate or to roll back to
        #[arg(long, add = ArgValueCompleter::new(complete::releases))]
        release: Option<String>,
        /// As if nothing being new were no reason to leave it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        allow: Allowing,
        /// As if no step had run for the release yet
        #[arg(long)]
        run_again: bool,
    },
    /// Say what of this host would break the promise, and what to do about it
    Check {
        /// The app; without it all of them
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: Option<String>,
    },
    /// Say what is live, what is running, and what one can go back to
    Status {
        /// The app; without it all of them
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: Option<String>,
    },
    /// List an app's releases
    Releases {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
    },
    /// List an app's ended deployments
    ListDeployments {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u32,
    },
    /// Show the log of an app's deployments
    Logs {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// Only of this deployment
        #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::deployments))]
        deployment: Option<String>,
        /// Without the lines of the app's services
        #[arg(long)]
        no_services: bool,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        /// How many lines of the past; without it 100, and of a named deployment all
        #[arg(short = 'n', long)]
        lines: Option<u32>,
    },
    /// Print the public half of an app's deploy key, which is made at first
    Key {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
        /// Make a new key in the place of the one that is there
        #[arg(long)]
        rotate: bool,
    },
    /// Show an app's settings, each with where it comes from
    Show {
        /// The app
        #[arg(add = ArgValueCompleter::new(complete::apps))]
        name: String,
    },
    /// List the apps
    List,
    /// Do what the holder of an ssh key asks for, of one app: deploy, rollback, status, upload
    Ssh {
        /// The app
        name: String,
    },
    /// Describe an app by what is on this host: nginx's site, PHP's pool, the tree, what runs its artisan
    Init {
        /// The app; without it the only one there is
        name: Option<String>,
        /// Write the configuration to /etc/deployd/apps, never over one that is there
        #[arg(long)]
        write: bool,
        /// Let nginx's site ask deployd's slots; taken back if the site then answers otherwise
        #[arg(long, conflicts_with = "write")]
        apply: bool,
        /// Where the app is, when nginx does not tell
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        root: Option<PathBuf>,
        /// Its repository, when no tree tells
        #[arg(long, value_name = "URL")]
        git: Option<String>,
    },
    /// Take over a tree of Capistrano, Deployer or Envoyer, or a checkout, while its site runs
    Adopt {
        /// The app
        name: String,
        /// Show what would be done and change nothing, as without --yes
        #[arg(long, conflicts_with = "yes")]
        plan: bool,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Give an app's tree back, as any other tool can use it
    Disown {
        /// The app
        name: String,
        /// Do it; without it only what would be done is shown
        #[arg(long)]
        yes: bool,
    },
    /// Print a completion script
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// What a deployment that stages takes.
#[derive(Debug, Args)]
struct Staging {
    /// The app
    #[arg(add = ArgValueCompleter::new(complete::apps))]
    name: String,
    /// Branch, tag or commit instead of the configured one
    #[arg(long = "ref", value_name = "REF", add = ArgValueCompleter::new(complete::references))]
    reference: Option<String>,
    /// Make the release of this archive instead of the configured source
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "reference")]
    upload: Option<PathBuf>,
    /// Make a new release although nothing is new
    #[arg(long)]
    force: bool,
}

/// What is refused otherwise.
#[derive(Debug, Args)]
struct Allowing {
    /// Run migrations that the live release may not survive
    #[arg(long)]
    allow_destructive: bool,
    /// Go live with another APP_KEY: what the old one encrypted is lost
    #[arg(long)]
    allow_key_rotation: bool,
}

/// The same of a release that is only staged: it migrates when it is activated.
#[derive(Debug, Args)]
struct AllowingStaged {
    /// Make a release with another APP_KEY; to go live with it is allowed anew
    #[arg(long)]
    allow_key_rotation: bool,
    #[arg(long, hide = true)]
    allow_destructive: bool,
}

/// What a deployment that goes to a release takes.
#[derive(Debug, Args)]
struct Choosing {
    /// The app
    #[arg(add = ArgValueCompleter::new(complete::apps))]
    name: String,
    /// The release; without it the default one
    #[arg(add = ArgValueCompleter::new(complete::releases))]
    release: Option<String>,
}

/// How it is waited for.
#[derive(Debug, Args)]
struct How {
    /// Return when it has ended, which is the default
    #[arg(long, overrides_with = "no_block")]
    wait: bool,
    /// Return as soon as it was accepted
    #[arg(long, overrides_with = "wait")]
    no_block: bool,
    /// Exit with status 10 when nothing was new, instead of 0
    #[arg(long, conflicts_with = "no_block")]
    exit_code: bool,
}

/// What is to be done, every value parsed.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Start(Start),
    Hold(Hold),
    Prune {
        app: AppName,
        keep: Option<u32>,
        dry_run: bool,
    },
    Diff(Diff),
    Cancel {
        app: AppName,
        id: Option<DeploymentId>,
    },
    Plan(Start),
    Check(Option<AppName>),
    Status(Option<AppName>),
    Releases(AppName),
    Deployments {
        app: AppName,
        limit: u32,
    },
    Logs(Logs),
    Key {
        app: AppName,
        rotate: bool,
    },
    Show(AppName),
    List,
    /// What it stands for is in the environment.
    Ssh(AppName),
    /// What the engine is asked with the caller's own rights.
    ByRoot(Vec<String>),
    Completions(Shell),
}

/// A deployment to start.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    pub app: AppName,
    pub kind: Kind,
    pub options: StartOptions,
    pub wait: bool,
    /// "Nothing new" has an exit status of its own.
    pub tell_unchanged: bool,
}

/// Its options. Which of them a kind takes is the bus's to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    pub reference: Option<String>,
    pub release: Option<ReleaseId>,
    pub force: bool,
    pub allow: Allow,
    /// An archive to hand over.
    pub upload: Option<PathBuf>,
}

/// A hold to make or to end.
#[derive(Debug, PartialEq, Eq)]
pub struct Hold {
    pub app: AppName,
    pub release: Option<ReleaseId>,
    /// Why it shall be held; none: it shall not be held any more.
    pub reason: Option<String>,
}

/// Two releases to compare.
#[derive(Debug, PartialEq, Eq)]
pub struct Diff {
    pub app: AppName,
    pub from: Option<ReleaseId>,
    pub to: Option<ReleaseId>,
    pub names: bool,
}

/// A log to show.
#[derive(Debug, PartialEq, Eq)]
pub struct Logs {
    pub app: AppName,
    pub deployment: Option<DeploymentId>,
    pub services: bool,
    pub follow: bool,
    pub lines: Option<u32>,
}

impl TryFrom<Typed> for Command {
    type Error = CtlError;

    fn try_from(typed: Typed) -> Result<Self, CtlError> {
        let start = |kind, name: &str, options, how: How| {
            let (wait, tell_unchanged) = (!how.no_block, how.exit_code);
            Ok(Command::Start(Start { app: app(name)?, kind, options, wait, tell_unchanged }))
        };
        let json = typed.json.then(|| "--json".to_owned());
        match typed.command {
            TypedCommand::Deploy { what, allow, how } => {
                start(Kind::Deploy, &what.name.clone(), what.options(allow.into()), how)
            }
            TypedCommand::Stage { what, allow, how } => {
                let allow = allow.checked(&what.name)?;
                start(Kind::Stage, &what.name.clone(), what.options(allow), how)
            }
            TypedCommand::Activate { what, allow, run_again, how } => {
                let options = StartOptions { allow: Allow { run_again, ..allow.into() }, ..what.options()? };
                start(Kind::Activate, &what.name, options, how)
            }
            TypedCommand::Rollback { what, how } => start(Kind::Rollback, &what.name, what.options()?, how),
            TypedCommand::Upload { name, file, stage, force, allow, how } => {
                let kind = if stage { Kind::Stage } else { Kind::Deploy };
                if stage && allow.allow_destructive {
                    return Err(migrates_nothing(&name));
                }
                let options =
                    StartOptions { force, allow: allow.into(), upload: Some(file), ..StartOptions::default() };
                start(kind, &name, options, how)
            }
            TypedCommand::Hold { name, release, reason } => {
                let (release, reason) = (release.as_deref().map(release_id).transpose()?, reason.unwrap_or_default());
                Ok(Command::Hold(Hold { app: app(&name)?, release, reason: Some(reason) }))
            }
            TypedCommand::Unhold { name, release } => {
                let release = release.as_deref().map(release_id).transpose()?;
                Ok(Command::Hold(Hold { app: app(&name)?, release, reason: None }))
            }
            TypedCommand::Prune { name, keep, dry_run } => Ok(Command::Prune { app: app(&name)?, keep, dry_run }),
            TypedCommand::Diff { name, from, to, names } => {
                let [from, to] = [from, to].map(|id| id.as_deref().map(release_id).transpose());
                Ok(Command::Diff(Diff { app: app(&name)?, from: from?, to: to?, names }))
            }
            TypedCommand::Cancel { name, id } => {
                Ok(Command::Cancel { app: app(&name)?, id: id.as_deref().map(deployment).transpose()? })
            }
            TypedCommand::Plan { name, kind, reference, release, force, allow, run_again } => {
                Ok(Command::Plan(Start {
                    app: app(&name)?,
                    kind: kind.parse().map_err(CtlError::Usage)?,
                    options: StartOptions {
                        reference,
                        release: release.as_deref().map(release_id).transpose()?,
                        force,
                        allow: Allow { run_again, ..allow.into() },
                        ..StartOptions::default()
                    },
                    wait: true,
                    tell_unchanged: false,
                }))
            }
            TypedCommand::Check { name } => Ok(Command::Check(name.as_deref().map(app).transpose()?)),
            TypedCommand::Status { name } => Ok(Command::Status(name.as_deref().map(app).transpose()?)),
            TypedCommand::Releases { name } => Ok(Command::Releases(app(&name)?)),
            TypedCommand::ListDeployments { name, lines } => {
                Ok(Command::Deployments { app: app(&name)?, limit: lines })
            }
            TypedCommand::Logs { name, deployment: id, no_services, follow, lines } => {
                let deployment = id.as_deref().map(deployment).transpose()?;
                Ok(Command::Logs(Logs { app: app(&name)?, deployment, services: !no_services, follow, lines }))
            }
            TypedCommand::Key { name, rotate } => Ok(Command::Key { app: app(&name)?, rotate }),
            TypedCommand::Show { name } => Ok(Command::Show(app(&name)?)),
            TypedCommand::List => Ok(Command::List),
            TypedCommand::Ssh { name } => Ok(Command::Ssh(app(&name)?)),
            TypedCommand::Init { name, write, apply, root, git } => {
                let name = name.as_deref().map(app).transpose()?.map(|name| name.to_string());
                let root = root.map(|root| format!("--root={}", root.display()));
                let git = git.map(|git| format!("--git={git}"));
                let words = [write.then(|| "--write".into()), apply.then(|| "--apply".into()), json, root, git, name];
                Ok(Command::ByRoot(std::iter::once("init".to_owned()).chain(words.into_iter().flatten()).collect()))
            }
            TypedCommand::Adopt { name, yes, .. } => Ok(by_root("adopt", &app(&name)?, yes, json)),
            TypedCommand::Disown { name, yes } => Ok(by_root("disown", &app(&name)?, yes, json)),
            TypedCommand::Completions { shell } => Ok(Command::Completions(shell)),
        }
    }
}

fn by_root(verb: &str, app: &AppName, yes: bool, json: Option<String>) -> Command {
    let words = [Some(verb.to_owned()), Some(app.to_string()), yes.then(|| "--yes".to_owned()), json];
    Command::ByRoot(words.into_iter().flatten().collect())
}

impl Staging {
    fn options(self, allow: Allow) -> StartOptions {
        StartOptions { reference: self.reference, release: None, force: self.force, allow, upload: self.upload }
    }
}

impl From<Allowing> for Allow {
    fn from(typed: Allowing) -> Self {
        Self { destructive: typed.allow_destructive, key_rotation: typed.allow_key_rotation, run_again: false }
    }
}

impl AllowingStaged {
    fn checked(&self, app: &str) -> Result<Allow, CtlError> {
        if self.allow_destructive {
            return Err(migrates_nothing(app));
        }
        Ok(Allow { key_rotation: self.allow_key_rotation, ..Allow::default() })
    }
}

fn kinds() -> Vec<CompletionCandidate> {
    Kind::ALL.into_iter().map(|kind| CompletionCandidate::new(kind.as_str())).collect()
}

fn migrates_nothing(app: &str) -> CtlError {
    CtlError::Usage(format!(
        "nothing is migrated when a release is staged: give it to `deployctl activate {app} --allow-destructive`"
    ))
}

impl Choosing {
    fn options(&self) -> Result<StartOptions, CtlError> {
        let release = self.release.as_deref().map(release_id).transpose()?;
        Ok(StartOptions { release, ..StartOptions::default() })
    }
}

fn app(name: &str) -> Result<AppName, CtlError> {
    name.parse().map_err(|e: crate::model::BadName| CtlError::Usage(e.to_string()))
}
fn release_id(id: &str) -> Result<ReleaseId, CtlError> {
    id.parse().map_err(|e: crate::model::BadReleaseId| CtlError::Usage(e.to_string()))
}
fn deployment(id: &str) -> Result<DeploymentId, CtlError> {
    id.parse().map_err(|rule| CtlError::Usage(format!("the deployment id {id:?} is not valid: {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Command, CtlError> {
        let words = ["deployctl"].iter().chain(words);
        Command::try_from(Typed::try_parse_from(words).map_err(|e| CtlError::Usage(e.to_string()))?)
    }

    #[test]
    fn the_command_line_is_sound() {
        Typed::command().debug_assert();
    }

    /// Every command with its options, as deployctl(1) shows them: all of them and no others.
    #[test]
    fn the_manual_s_synopsis_is_that_of_the_command_line() {
        let page = include_str!("../../man/deployctl.1");
        let command = Typed::command();
        let shown = |name: &str| -> String {
            // One entry may show two forms, and two entries one command.
            let lines = page.lines().filter(|line| line.starts_with(".It Cm "));
            let own = lines.filter(|line| line.split("Cm ").any(|part| part.split(' ').next() == Some(name)));
            own.collect::<Vec<_>>().join(" ")
        };
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = sub.get_name();
            let line = shown(name);
            assert!(!line.is_empty(), "{name} is not in deployctl(1)");
            let options: Vec<_> = sub
                .get_arguments()
                .filter(|arg| !arg.is_positional() && !arg.is_hide_set() && arg.get_id() != "help")
                .collect();
            let mut known = Vec::new();
            for option in options {
                let long = option.get_long().map(|long| format!("Fl -{long} "));
                let short = option.get_short().map(|short| format!("Fl {short} "));
                let told = [&long, &short].into_iter().flatten().any(|name| format!("{line} ").contains(name.as_str()));
                assert!(told, "{name}: {:?} is not in deployctl(1)'s {line}", option.get_id());
                known.extend(long.into_iter().chain(short));
            }
            for part in format!("{line} ").split("Fl ").skip(1) {
                let told = format!("Fl {} ", part.split(' ').next().unwrap_or_default());
                assert!(known.contains(&told), "{name} has no {told}");
            }
            let values = sub.get_positionals().count();
            let shown = line.matches("Ar ").count();
            assert!(shown >= values, "{name} takes {values} arguments: {line}");
        }
    }

    #[test]
    fn what_is_typed_becomes_what_is_needed() {
        let Command::Start(start) = parse(&["deploy", "my-shop", "--ref", "v1", "--no-block", "--json"]).unwrap()
        else {
            panic!("not a start")
        };
        assert_eq!((start.app.as_str(), start.kind, start.wait), ("my-shop", Kind::Deploy, false));
        assert_eq!(start.options.reference.as_deref(), Some("v1"));
        let rollback = parse(&["rollback", "shop", "20260131T120000Z-1a2b3c4d"]).unwrap();
        assert!(matches!(rollback, Command::Start(Start { options: StartOptions { release: Some(_), .. }, .. })));
        for bad in [["deploy", "../x"], ["rollback", "-x"], ["show", "Shop"], ["cancel", ""]] {
            assert!(matches!(parse(&bad), Err(CtlError::Usage(_))), "{bad:?}");
        }
        assert!(parse(&["logs", "shop", "--deployment", "x"]).is_err());
        let Err(CtlError::Usage(said)) = parse(&["stage", "shop", "--allow-destructive"]) else {
            panic!("it is taken")
        };
        assert!(said.contains("`deployctl activate shop --allow-destructive`"), "{said}");
        let Ok(Command::Start(again)) = parse(&["activate", "shop", "--run-again"]) else { panic!("not a start") };
        assert!(again.options.allow.run_again && !again.options.allow.destructive);
        let Ok(Command::Hold(hold)) = parse(&["hold", "shop", "--reason", "sale"]) else { panic!("no hold") };
        assert_eq!((hold.release, hold.reason.as_deref()), (None, Some("sale")));
        assert!(matches!(parse(&["unhold", "shop"]), Ok(Command::Hold(Hold { reason: None, .. }))));
        let waits = |words: &[&str]| matches!(parse(words), Ok(Command::Start(Start { wait: true, .. })));
        assert!(waits(&["rollback", "shop", "--wait"]) && waits(&["upload", "shop", "x.tar", "--no-block", "--wait"]));
        assert!(!waits(&["deploy", "shop", "--wait", "--no-block"]), "the last one counts");
        assert!(parse(&["upload", "shop", "x.tar", "--stage", "--allow-destructive"]).is_err());
    }
}
