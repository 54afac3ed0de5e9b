//! `deployctl init`: describes an app by what is on the host, and lets nginx ask deployd's own slots. Run by a person as
//! root, once for an app; a deployment has no part in it.

mod apply;
mod bridge;
mod change;
mod edit;
mod proof;
mod target;
mod toml;
#[cfg(test)]
mod toml_tests;
mod undo;

pub use bridge::tmpfiles_name;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    by_root::{actor, apart},
    error::EngineError,
};
use crate::{
    config,
    model::{
        AppName, DeploymentId,
        events::{self, EventId},
    },
    observe::{Found, Host, Looked, find},
    system::{
        journal::{self, Priority},
        tree::Dir,
    },
};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Init {
    /// The app; without it the only one there is.
    pub name: Option<AppName>,
    /// Where it is.
    pub root: Option<PathBuf>,
    /// Its repository.
    pub source: Option<String>,
    /// Write the configuration.
    pub write: bool,
    /// Change nginx's site.
    pub apply: bool,
}

/// What there is to say: data for standard output, and what is said about it.
#[derive(Debug, Default)]
pub struct Said {
    /// For standard output.
    pub data: String,
    /// For standard error, a line each.
    pub notes: Vec<String>,
    /// The same for programs: members of one JSON object.
    pub facts: Map<String, Value>,
}

impl Said {
    /// Of an app of which nothing was changed yet.
    pub fn about(app: &AppName, root: &Path) -> Self {
        let mut said = Self::default();
        said.fact("app", app.as_str());
        said.fact("root", root.display().to_string());
        said.fact("changed", false);
        said
    }

    /// For a program.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }
}

/// Carries it out.
pub async fn init(host: &Host, asked: &Init, id: &DeploymentId) -> Result<Said, EngineError> {
    if let Some(url) = &asked.source {
        // It would be written where everybody may read it.
        config::check_git_url(url).map_err(EngineError::Other)?;
    }
    let Looked { app, found } = look(host, asked, id).await?;
    apart(host, &app, &found.root)?;
    if asked.apply {
        return apply::apply(host, &app, asked, id).await;
    }
    let mut said = Said::about(&app, &found.root);
    let described = host.paths.config_dirs().iter().any(|dir| dir.join(format!("{app}.toml")).exists());
    said.notes.extend(not_looked_at(&found));
    let text = toml::text(&app, &found, asked.source.as_deref());
    said.fact("configuration", text.as_str());
    match (asked.write, described) {
        (true, true) => {
            let place = format!("/etc/deployd/apps/{app}.toml");
            return Err(EngineError::Other(format!(
                "{app} is described already: move {place} away, or see what would be written by `deployctl init {app}`"
            )));
        }
        (true, false) => {
            write(host, &app, &text)?;
            let wrote = format!("wrote /etc/deployd/apps/{app}.toml");
            tell(events::DESCRIBED, &app, &wrote);
            said.fact("changed", true);
            said.notes.push(wrote);
        }
        (false, _) => said.data = text,
    }
    let preview = apply::preview(host, &app, &found);
    said.notes.extend(next(&app, &found, asked.write, matches!(preview, Ok(None))));
    match preview {
        Ok(diff) => {
            said.fact("nginx", diff.clone());
            let would = |diff| format!("nginx: what `deployctl init {app} --apply` would change:\n{diff}");
            said.notes.extend(diff.map(would));
        }
        Err(why) => {
            said.fact("nginx", Value::Null);
            said.notes.push(format!("nginx: `deployctl init {app} --apply` would not change it: {why}"));
        }
    }
    Ok(said)
}

async fn look(host: &Host, asked: &Init, id: &DeploymentId) -> Result<Looked, EngineError> {
    let looked = find(host, id, asked.name.as_ref(), asked.root.as_deref()).await;
    looked.map_err(|error| EngineError::Other(error.to_string()))
}

/// Tells the journal what was changed, and who did it.
fn tell(event: EventId, app: &AppName, message: &str) {
    let actor = actor();
    let fields = [("DEPLOYD_APP", app.as_str()), ("DEPLOYD_ACTOR", actor.as_str())];
    journal::event(event, Priority::Notice, message, &fields);
}

fn write(host: &Host, app: &AppName, text: &str) -> Result<(), EngineError> {
    let [dir, ..] = host.paths.config_dirs();
    Ok(Dir::open_or_make(&dir, 0o755)?.write(&format!("{app}.toml"), text.as_bytes(), 0o644)?)
}

fn not_looked_at(found: &Found) -> impl Iterator<Item = String> {
    found.unread.iter().map(|unread| format!("not looked at: {}: {}", unread.what, unread.why))
}

/// What a person does next. `led`: nginx asks deployd's slots already.
fn next(app: &AppName, found: &Found, written: bool, led: bool) -> Vec<String> {
    let mut next = Vec::new();
    if !written {
        next.push(format!("nothing was written: `deployctl init {app} --write` writes it"));
    }
    let served = found.site.as_ref().filter(|_| !led).and_then(|site| site.php.as_ref());
    if let Some(program) = served.filter(|served| !served.fastcgi) {
        next.push(format!(
            "nginx asks {}, and not what a deployment starts: `deployctl init {app} --apply`, once a release is there, \
             changes that",
            program.to
        ));
    }
    if found.pool.is_some() && !led {
        next.push(format!(
            "PHP is moved by a reload, which does not promise that no request is cut off nor served by old and new code: \
             `deployctl init {app} --apply`, once a release is there, changes that"
        ));
    }
    let foreign =
        found.tree.as_ref().filter(|tree| found.has_code() && !tree.releases.iter().any(|one| is_ours(&one.name)));
    match foreign {
        Some(tree) => next.push(format!(
            "{} was made by {}: `deployctl adopt {app}` shows how it is taken over",
            found.root.display(),
            tree.made_by.name()
        )),
        None if written => next.push(format!("next: `deployctl check {app}`, then `deployctl deploy {app}`")),
        None => {}
    }
    next
}

fn is_ours(name: &str) -> bool {
    name.parse::<crate::model::ReleaseId>().is_ok()
}
