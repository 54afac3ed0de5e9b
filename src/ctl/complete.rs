//! Completions that know the host's apps, releases and refs: the shell asks the program, and it asks deployd, for a moment
//! only. Nobody is asked for a password, nothing is fetched, and without an answer nothing is proposed.

use std::{collections::BTreeMap, ffi::OsStr, future::Future, time::Duration};

use clap::CommandFactory;
use clap_complete::{CompleteEnv, Shell, engine::CompletionCandidate, env::Shells};

use super::{
    Typed,
    bus::{Bus, text},
    error::CtlError,
    lists::short,
};
use crate::model::{AppName, DeploymentId, ReleaseId};

/// The variable by which a shell asks; its scripts set it.
const ASKED: &str = "_DEPLOYCTL_COMPLETE";
/// The program's name.
const NAME: &str = "deployctl";
/// The longest that somebody who has pressed Tab waits.
const MOMENT: Duration = Duration::from_millis(800);
/// What zsh's script ends with.
const ZSH_FIRST: &str = "[ \"$funcstack[1]\" != _deployctl ] || _clap_dynamic_completer_deployctl \"$@\"\n";
/// Deployments that are proposed.
const DEPLOYMENTS: u32 = 20;

/// Answers a shell that asks, and ends the process then.
pub fn answer() {
    CompleteEnv::with_factory(Typed::command).var(ASKED).bin(NAME).completer(NAME).complete();
}

/// The script by which a shell asks.
pub fn script(shell: Shell) -> Result<Vec<u8>, CtlError> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let known = shells.completer(&shell.to_string());
    let known = known.ok_or_else(|| CtlError::Usage(format!("{shell} is not known: bash, zsh and fish are")))?;
    let written = known.write_registration(ASKED, NAME, NAME, NAME, &mut script);
    written.map_err(|error| CtlError::Local(format!("cannot write the script: {error}")))?;
    if shell == Shell::Zsh {
        // A file of its function path is run for the first completion itself.
        script.extend_from_slice(ZSH_FIRST.as_bytes());
    }
    Ok(script)
}

/// The configured apps.
pub fn apps(typed: &OsStr) -> Vec<CompletionCandidate> {
    let found = ask(async |bus: Bus| {
        let apps = bus.manager.list_apps().await?;
        Ok(apps.into_iter().filter(|(name, _)| name.parse::<AppName>().is_ok()).map(|(name, _)| (name, None)).collect())
    });
    matching(typed, found)
}

/// The releases of the app that was typed before.
pub fn releases(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(app) = app() else { return Vec::new() };
    let found = ask(async |bus: Bus| {
        let releases = bus.manager.list_releases(app.as_str()).await?;
        let known = releases.iter().filter(|one| text(one, "id").parse::<ReleaseId>().is_ok());
        let help = |one: &super::bus::Properties| {
            format!("{}, {} ({})", text(one, "state"), short(&text(one, "revision")), text(one, "reference"))
        };
        Ok(known.map(|one| (text(one, "id"), Some(help(one)))).collect())
    });
    matching(typed, found)
}

/// The refs that its releases were made of, their revisions, and the configured one.
pub fn references(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(app) = app() else { return Vec::new() };
    let found = ask(async |bus: Bus| {
        let mut found = BTreeMap::new();
        for one in bus.manager.list_releases(app.as_str()).await? {
            found.insert(text(&one, "revision"), Some(text(&one, "reference")));
            found.insert(text(&one, "reference"), None);
        }
        // An app whose description has errors still has its releases.
        if let Ok(settings) = bus.manager.show_json(app.as_str()).await
            && let Ok(settings) = serde_json::from_str::<serde_json::Value>(&settings)
            && let Some(reference) = configured(&settings)
        {
            found.insert(reference.to_owned(), Some("configured".into()));
        }
        Ok(found.into_iter().filter(|(name, _)| is_word(name)).collect())
    });
    matching(typed, found)
}

/// The deployments of the app that was typed before.
pub fn deployments(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(app) = app() else { return Vec::new() };
    let found = ask(async |bus: Bus| {
        let records = bus.manager.list_deployments(app.as_str(), DEPLOYMENTS).await?;
        let known = records.iter().filter(|one| text(one, "id").parse::<DeploymentId>().is_ok());
        Ok(known
            .map(|one| (text(one, "id"), Some(format!("{} {}", text(one, "kind"), text(one, "outcome")))))
            .collect())
    });
    matching(typed, found)
}

/// A value to propose, and what it is.
type Proposal = (String, Option<String>);

/// What a question gives, within the moment; nothing otherwise.
fn ask<F>(question: impl FnOnce(Bus) -> F) -> Vec<Proposal>
where
    F: Future<Output = Result<Vec<Proposal>, CtlError>>,
{
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let answer = async { question(Bus::connect().await?).await };
    runtime.block_on(async { tokio::time::timeout(MOMENT, answer).await }).ok().and_then(Result::ok).unwrap_or_default()
}

fn matching(typed: &OsStr, found: Vec<Proposal>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let begins = found.into_iter().filter(|(value, _)| value.starts_with(typed));
    begins.map(|(value, help)| CompletionCandidate::new(value).help(help.map(Into::into))).collect()
}

/// The app on the command line that is being typed: the shell hands its words over behind `--`.
fn app() -> Option<AppName> {
    let words: Vec<String> = std::env::args().skip_while(|word| word != "--").skip(1).collect();
    app_in(&words)
}

/// The second word that is no option: the first is the verb.
fn app_in(words: &[String]) -> Option<AppName> {
    words.iter().skip(1).filter(|word| !word.starts_with('-')).nth(1)?.parse().ok()
}

/// Something that a shell takes for one word as it stands.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-+@=".contains(&byte))
}

/// The ref that an app's settings name, whatever kind its source is of.
fn configured(settings: &serde_json::Value) -> Option<&str> {
    settings.get("source")?.as_object()?.values().find_map(|source| source.get("reference")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_what_follows_the_verb() {
        let app = |line: &str| app_in(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(app("deployctl rollback my-shop 2026").unwrap().as_str(), "my-shop");
        assert_eq!(app("deployctl --json deploy --force shop --ref ").unwrap().as_str(), "shop");
        assert_eq!((app("deployctl rollback"), app("deployctl rollback ../x")), (None, None));
    }

    #[test]
    fn what_a_repository_calls_its_refs_is_no_command() {
        assert!(is_word("release/v1.2") && is_word("0123abc"));
        for bad in ["", "a b", "$(reboot)", "a;b", "a\u{1b}b", "`x`", "\u{202e}x", "a\nb", "'"] {
            assert!(!is_word(bad), "{bad:?}");
        }
    }

    #[test]
    fn each_shell_has_a_script_that_asks_the_program() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();
            assert!(script.contains(ASKED) && script.contains(NAME), "{script}");
        }
        let zsh = String::from_utf8(script(Shell::Zsh).unwrap()).unwrap();
        assert!(zsh.trim_start().starts_with("#compdef deployctl"), "{zsh}");
    }
}
