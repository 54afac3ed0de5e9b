//! Arguments, as typed and as needed. Parsed once; no I/O.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::error::CtlError;
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
    /// Cancel a running deployment
    Cancel {
        /// The app
        name: String,
        /// The deployment; without it the running one
        id: Option<String>,
    },
    /// Say what a deployment would do, and why, without doing it
    Plan {
        /// The app
        name: String,
        /// deploy, stage, activate or rollback
        #[arg(long, default_value = "deploy")]
        kind: String,
        /// Branch, tag or commit instead of the configured one
        #[arg(long = "ref", value_name = "REF")]
        reference: Option<String>,
        /// The release to activate or to roll back to
        #[arg(long)]
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
        name: Option<String>,
    },
    /// Say what is live, what is running, and what one can go back to
    Status {
        /// The app; without it all of them
        name: Option<String>,
    },
    /// List an app's releases
    Releases {
        /// The app
        name: String,
    },
    /// List an app's ended deployments
    ListDeployments {
        /// The app
        name: String,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u32,
    },
    /// Show the log of an app's deployments
    Logs {
        /// The app
        name: String,
        /// Only of this deployment
        #[arg(long, value_name = "ID")]
        deployment: Option<String>,
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
        name: String,
        /// Make a new key in the place of the one that is there
        #[arg(long)]
        rotate: bool,
    },
    /// Show an app's settings, each with where it comes from
    Show {
        /// The app
        name: String,
    },
    /// List the apps
    List,
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
    name: String,
    /// Branch, tag or commit instead of the configured one
    #[arg(long = "ref", value_name = "REF")]
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
    name: String,
    /// The release; without it the default one
    release: Option<String>,
}

/// How it is waited for.
#[derive(Debug, Args)]
struct How {
    /// Return as soon as it was accepted
    #[arg(long)]
    no_block: bool,
}

/// What is to be done, every value parsed.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Start(Start),
    Cancel { app: AppName, id: Option<DeploymentId> },
    Plan(Start),
    Check(Option<AppName>),
    Status(Option<AppName>),
    Releases(AppName),
    Deployments { app: AppName, limit: u32 },
    Logs(Logs),
    Key { app: AppName, rotate: bool },
    Show(AppName),
    List,
    Completions(Shell),
}

/// A deployment to start.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    pub app: AppName,
    pub kind: Kind,
    pub options: StartOptions,
    pub wait: bool,
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

/// A log to show.
#[derive(Debug, PartialEq, Eq)]
pub struct Logs {
    pub app: AppName,
    pub deployment: Option<DeploymentId>,
    pub follow: bool,
    pub lines: Option<u32>,
}

impl TryFrom<Typed> for Command {
    type Error = CtlError;

    fn try_from(typed: Typed) -> Result<Self, CtlError> {
        let start = |kind, name: &str, options, how: How| {
            Ok(Command::Start(Start { app: app(name)?, kind, options, wait: !how.no_block }))
        };
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
                }))
            }
            TypedCommand::Check { name } => Ok(Command::Check(name.as_deref().map(app).transpose()?)),
            TypedCommand::Status { name } => Ok(Command::Status(name.as_deref().map(app).transpose()?)),
            TypedCommand::Releases { name } => Ok(Command::Releases(app(&name)?)),
            TypedCommand::ListDeployments { name, lines } => {
                Ok(Command::Deployments { app: app(&name)?, limit: lines })
            }
            TypedCommand::Logs { name, deployment: id, follow, lines } => {
                let deployment = id.as_deref().map(deployment).transpose()?;
                Ok(Command::Logs(Logs { app: app(&name)?, deployment, follow, lines }))
            }
            TypedCommand::Key { name, rotate } => Ok(Command::Key { app: app(&name)?, rotate }),
            TypedCommand::Show { name } => Ok(Command::Show(app(&name)?)),
            TypedCommand::List => Ok(Command::List),
            TypedCommand::Completions { shell } => Ok(Command::Completions(shell)),
        }
    }
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
            return Err(CtlError::Usage(format!(
                "nothing is migrated when a release is staged: give it to `deployctl activate {app} --allow-destructive`"
            )));
        }
        Ok(Allow { key_rotation: self.allow_key_rotation, ..Allow::default() })
    }
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
    }
}
