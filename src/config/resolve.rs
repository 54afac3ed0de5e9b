//! From the merged tree to [`Settings`]: every value checked, every default filled in, and noted with its reason. Pure;
//! what is asked of the host comes as [`HostFacts`]. One part a function, the larger ones in files of their own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    HostFacts, Inferred, Settings, Shared, Source, check, duration,
    errors::{Place, Problem, Problems, SourceFile},
    health::{self, Watch},
    origins,
    preset::{self, Preset},
    service,
    source::{self, Reach},
    steps, suggest,
    tree::{Node, Table, Value},
    written::{At, Reader, text, wrong_type},
};
use crate::model::AppName;

/// Of a step, when it writes none.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(600);
/// Releases kept.
const KEEP: i64 = 5;

/// What resolving needs at hand, and what it gathers.
pub(super) struct Context<'a> {
    pub host: &'a HostFacts,
    pub problems: Problems,
    pub inferred: Vec<Inferred>,
}

impl Context<'_> {
    /// Notes something that was not written.
    pub(super) fn infer(&mut self, key: impl Into<String>, value: impl Into<String>, why: impl Into<String>) {
        self.inferred.push(Inferred { key: key.into(), value: value.into(), why: why.into() });
    }

    /// The value, or its problem noted at its place.
    pub(super) fn take<T>(&mut self, result: Result<T, Problem>, place: &Place) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem.at(place))).ok()
    }

    /// A time span within bounds. A bare number is seconds.
    pub(super) fn span(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let node = reader.node(key)?;
        let parsed = match &node.value {
            Value::Text(text) => duration::parse(text),
            Value::Integer(seconds) => u64::try_from(*seconds)
                .map(Duration::from_secs)
                .map_err(|_| "a time span cannot be negative".to_owned()),
            _ => return wrong_type(node, &format!("write a time span: {key} = \"30s\""), &mut self.problems),
        };
        let bounds = format!(
            "write {key} = \"30s\" or the like, from {} to {}",
            duration::format(least),
            duration::format(most)
        );
        let checked = match parsed {
            Ok(span) if span >= least && span <= most => Ok(span),
            Ok(span) => Err(Problem::new(format!("{key} = {} is out of range", duration::format(span))).help(bounds)),
            Err(why) => Err(Problem::new(why).help(bounds)),
        };
        self.take(checked, &node.place)
    }

    /// One of several words.
    pub(super) fn word(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let first = words.first().copied().unwrap_or_default();
        let found = reader.text(key, first, &mut self.problems)?;
        let known = words.iter().find(|w| **w == found.value).copied();
        if known.is_none() {
            let near = suggest::clause(&found.value, words.iter().copied());
            let problem = Problem::new(format!("{key} = {:?} is not known{near}", found.value));
            self.problems.push(problem.at(&found.place).help(format!("write {key} = {}", suggest::one_of(words))));
        }
        known
    }

    /// A list of paths inside a release.
    pub(super) fn relatives(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<String>> {
        let written = reader.texts(key, "[\"public\"]", &mut self.problems)?;
        let checked = written.iter().filter_map(|at| self.take(check::relative(&at.value), &at.place));
        Some(checked.collect())
    }

    /// A table of environment variables. Problems never show a value.
    pub(super) fn environment(&mut self, reader: &mut Reader<'_>) -> BTreeMap<String, At<String>> {
        let Some(table) = reader.table("environment", &mut self.problems) else { return BTreeMap::new() };
        let mut out = BTreeMap::new();
        for (name, (key_place, node)) in table {
            let value = match &node.value {
                Value::Text(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                other => {
                    let problem = Problem::new(format!("the value of {name} is {}", other.word()));
                    self.problems.push(problem.at(&node.place).help(format!("write {name} = \"...\"")).secret());
                    continue;
                }
            };
            match check::variable(name, &value) {
                Ok(()) => drop(out.insert(name.clone(), At { value, place: node.place.clone() })),
                Err(problem) => self.problems.push(problem.at(key_place).secret()),
            }
        }
        out
    }
}

/// Resolves the merged tree. On `None` the problems say why.
pub(super) fn resolve(app: &AppName, table: &Table, files: &[SourceFile], cx: &mut Context<'_>) -> Option<Settings> {
    let mut top = Reader::new(table, "");
    let preset = find_preset(cx, &mut top);
    let root =
        required(cx, &mut top, files, "root", "/srv/shop").and_then(|at| cx.take(check::root(&at.value), &at.place));
    let user = required(cx, &mut top, files, "user", "shop").map(|at| checked_user(cx, at, "user"));
    let run_as = match top.text("run_as", "www-data", &mut cx.problems) {
        Some(at) => Some(checked_user(cx, at, "run_as")),
        None => {
            user.iter().for_each(|user| cx.infer("run_as", quoted(user), "the same as user"));
            user.clone()
        }
    };
    let web_user = web_user(cx, &mut top);
    let source = source(cx, &mut top, files, root.as_deref());
    let shared = shared(cx, &mut top, &preset);
    let writable = listed(cx, &mut top, "writable", &preset.writable, preset.name);
    let build_writable = listed(cx, &mut top, "build_writable", &preset.build_writable, preset.name);
    let drop = listed(cx, &mut top, "drop", &preset.drop, preset.name);
    let services = service::services(cx, &mut top, &preset);
    let steps = steps::steps(cx, &mut top, &preset);
    let environment = environment(cx, &mut top, &preset, services.iter().any(service::is_php_fpm));
    let (health, Watch { successes, interval, bake }) = health::health(cx, &mut top, &preset);
    let keep = keep(cx, &mut top);
    top.finish(&mut cx.problems);
    if !cx.problems.is_empty() {
        return None;
    }
    Some(Settings {
        app: app.clone(),
        root: root?,
        user: user?,
        run_as: run_as?,
        web_user,
        source: source?,
        shared,
        writable,
        build_writable,
        services,
        steps,
        drop,
        environment,
        health,
        successes,
        interval,
        bake,
        keep,
        inferred: std::mem::take(&mut cx.inferred),
        files: files.iter().map(|file| file.path.clone()).collect(),
        origins: origins::origins(table, files),
    })
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as TOML writes it.
pub(super) fn quoted_list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(", "))
}

fn find_preset(cx: &mut Context<'_>, top: &mut Reader<'_>) -> Preset {
    let Some(at) = top.text("preset", "laravel", &mut cx.problems) else { return Preset::default() };
    cx.take(preset::find(&at.value), &at.place).unwrap_or_default()
}

fn required(
    cx: &mut Context<'_>,
    top: &mut Reader<'_>,
    files: &[SourceFile],
    key: &'static str,
    like: &str,
) -> Option<At<String>> {
    if top.node(key).is_none() {
        missing(cx, files, &format!("{key} is missing"), &format!("write {key} = {like:?}"));
        return None;
    }
    top.text(key, like, &mut cx.problems)
}

fn missing(cx: &mut Context<'_>, files: &[SourceFile], title: &str, help: &str) {
    let problem = Problem::new(title).help(help);
    cx.problems.push(match files.first() {
        Some(file) => problem.in_file(&file.path),
        None => problem,
    });
}

/// The name; whether it will do is noted.
fn checked_user(cx: &mut Context<'_>, at: At<String>, key: &str) -> String {
    let checked = check::user(&at.value, key, cx.host);
    cx.take(checked, &at.place);
    at.value
}

fn web_user(cx: &mut Context<'_>, top: &mut Reader<'_>) -> Option<String> {
    if let Some(table) = top.table("web", &mut cx.problems) {
        let mut web = Reader::new(table, "[web]");
        let written = web.text("user", "www-data", &mut cx.problems);
        web.finish(&mut cx.problems);
        if let Some(at) = written {
            return Some(checked_user(cx, at, "web.user"));
        }
    }
    let found = cx.host.web_user.clone()?;
    cx.infer("web.user", quoted(&found), "nginx's workers run as it");
    Some(found)
}

fn source(cx: &mut Context<'_>, top: &mut Reader<'_>, files: &[SourceFile], root: Option<&Path>) -> Option<Source> {
    let example = "write [source] with git = \"git@git.example.org:acme/shop.git\", or directory = \"/srv/build/shop\"";
    if top.node("source").is_none() {
        missing(cx, files, "there is no source of releases", example);
        return None;
    }
    let table = top.table("source", &mut cx.problems)?;
    let mut reader = Reader::new(table, "[source]");
    let git = reader.text("git", "git@git.example.org:acme/shop.git", &mut cx.problems);
    let directory = reader.text("directory", "/srv/build/shop", &mut cx.problems);
    let source = match (git, directory) {
        (Some(git), None) => git_source(cx, &mut reader, git),
        (None, Some(at)) => {
            for key in ["ref", "ssh_key", "known_hosts"] {
                if reader.node(key).is_some()
                    && let Some(place) = reader.key_place(key)
                {
                    cx.problems.push(
                        Problem::new(format!("{key} goes with git, not with directory")).at(place).help("remove it"),
                    );
                }
            }
            directory_source(cx, at, root)
        }
        (Some(_), Some(at)) => {
            cx.problems.push(Problem::new("a source is git or directory, not both").at(&at.place).help("remove one"));
            None
        }
        (None, None) => {
            if cx.problems.is_empty() && reader.key_place("archive").is_none() {
                missing(cx, files, "[source] names no source", example);
            }
            // Known all the same, so that they are not told as unknown.
            ["ref", "ssh_key", "known_hosts"].into_iter().for_each(|key| {
                let _ = reader.node(key);
            });
            None
        }
    };
    reader.finish(&mut cx.problems);
    source
}

fn git_source(cx: &mut Context<'_>, reader: &mut Reader<'_>, git: At<String>) -> Option<Source> {
    let reach = cx.take(source::git_url(&git.value), &git.place);
    let reference = match reader.text("ref", "main", &mut cx.problems) {
        Some(at) => {
            let checked =
                source::check_reference(&at.value).map_err(|why| Problem::new(why).help("write ref = \"main\""));
            cx.take(checked, &at.place);
            at.value
        }
        None => {
            cx.infer("source.ref", quoted("HEAD"), "the repository's own default branch");
            "HEAD".into()
        }
    };
    let mut file = |key: &'static str| {
        let at = reader.text(key, "/etc/deployd/keys/shop", &mut cx.problems)?;
        if reach.is_some_and(|r| r != Reach::Ssh) {
            let title = format!("{key} goes with an ssh URL only");
            cx.problems.push(Problem::new(title).at(&at.place).help("remove it, or write git = \"git@host:path.git\""));
        }
        cx.take(check::absolute(&at.value), &at.place)
    };
    let (ssh_key, known_hosts) = (file("ssh_key"), file("known_hosts"));
    Some(Source::Git { url: git.value, reference, ssh_key, known_hosts })
}

fn directory_source(cx: &mut Context<'_>, at: At<String>, root: Option<&Path>) -> Option<Source> {
    let path: PathBuf = cx.take(check::absolute(&at.value), &at.place)?;
    if root.is_some_and(|root| path.starts_with(root) || root.starts_with(&path)) {
        let problem = Problem::new("the source directory and root lie one in the other");
        cx.problems.push(problem.at(&at.place).help("build in a directory beside the root, like \"/srv/build/shop\""));
    }
    Some(Source::Directory { path })
}

fn shared(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &Preset) -> Vec<Shared> {
    let mut out: Vec<(Shared, Option<Place>)> = preset.shared.iter().cloned().map(|s| (s, None)).collect();
    let items = match top.node("shared") {
        Some(Node { value: Value::List(items), .. }) => items.as_slice(),
        Some(node) => {
            let help = "write a list: shared = [\"uploads/\", \".env\"]";
            wrong_type::<()>(node, help, &mut cx.problems);
            &[]
        }
        None => &[],
    };
    for item in items {
        let Some(new) = shared_item(cx, item) else { continue };
        match out.iter_mut().find(|(old, _)| old.path == new.path) {
            Some((_, Some(_))) => {
                let problem = Problem::new(format!("{:?} is shared twice", new.path));
                cx.problems.push(problem.at(&item.place).help("remove one"));
            }
            Some(slot) => *slot = (new, Some(item.place.clone())),
            None => out.push((new, Some(item.place.clone()))),
        }
    }
    refuse_nested(cx, &out);
    for (shared, _) in out.iter().filter(|(_, place)| place.is_none()) {
        let kind = if shared.directory { "directory" } else { "file" };
        let value = format!("{{ path = {}, kind = \"{kind}\", required = {} }}", quoted(&shared.path), shared.required);
        cx.infer(format!("shared.{}", shared.path), value, format!("preset {}", preset.name));
    }
    out.into_iter().map(|(shared, _)| shared).collect()
}

/// A path below another shared one cannot be a link of its own.
fn refuse_nested(cx: &mut Context<'_>, all: &[(Shared, Option<Place>)]) {
    for (inner, place) in all {
        let Some((outer, outer_place)) = all
            .iter()
            .find(|(outer, _)| inner.path.strip_prefix(outer.path.as_str()).is_some_and(|rest| rest.starts_with('/')))
        else {
            continue;
        };
        if let Some(at) = place.as_ref().or(outer_place.as_ref()) {
            let title = format!("{:?} lies inside {:?}, which is shared as a whole", inner.path, outer.path);
            cx.problems.push(Problem::new(title).at(at).help("share one of them"));
        }
    }
}

fn shared_item(cx: &mut Context<'_>, item: &Node) -> Option<Shared> {
    let Value::Table(table) = &item.value else {
        let at = text(item, "\"uploads/\"", &mut cx.problems)?;
        let path = cx.take(check::relative(&at.value), &at.place)?;
        let directory = at.value.ends_with('/') || looks_like_directory(&path);
        if !at.value.ends_with('/') {
            let (kind, why) = match directory {
                true => ("directory", "its name has no point in it; write it with kind = \"file\" if it is one"),
                false => ("file", "its name has a point in it; a trailing / makes it a directory"),
            };
            cx.infer(format!("shared.{path}.kind"), quoted(kind), why);
        }
        return Some(Shared { path, directory, required: false });
    };
    let mut reader = Reader::new(table, "shared");
    let path = reader.text("path", "uploads", &mut cx.problems);
    let kind = cx.word(&mut reader, "kind", &["file", "directory"]);
    let required = reader.flag("required", &mut cx.problems).is_some_and(|at| at.value);
    reader.finish(&mut cx.problems);
    let Some(path) = path else {
        if reader_lacks(table, "path") {
            cx.problems
                .push(Problem::new("a shared path has no path").at(&item.place).help("write path = \"uploads\""));
        }
        return None;
    };
    let slash = path.value.ends_with('/');
    let path = cx.take(check::relative(&path.value), &path.place)?;
    let directory = kind.map_or(slash || looks_like_directory(&path), |kind| kind == "directory");
    Some(Shared { path, directory, required })
}

pub(super) fn reader_lacks(table: &Table, key: &str) -> bool {
    !table.contains_key(key)
}

/// `storage`, `public/uploads`; but `.env` and `database/database.sqlite` are files.
fn looks_like_directory(path: &str) -> bool {
    !path.rsplit('/').next().unwrap_or_default().contains('.')
}

/// A list of directories of a release: the preset's and the written.
fn listed(cx: &mut Context<'_>, top: &mut Reader<'_>, key: &'static str, preset: &[String], name: &str) -> Vec<String> {
    let written = cx.relatives(top, key).unwrap_or_default();
    let mut out = preset.to_vec();
    if !preset.is_empty() {
        cx.infer(key, quoted_list(preset), format!("preset {name}"));
    }
    written.into_iter().for_each(|path| {
        if !out.contains(&path) {
            out.push(path);
        }
    });
    out
}

fn environment(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &Preset, fpm: bool) -> BTreeMap<String, String> {
    let written = cx.environment(top);
    let mut out = preset.environment.clone();
    for (name, value) in out.iter().filter(|(name, _)| !written.contains_key(*name)) {
        let why = format!("preset {}; {{release}} is the release's directory", preset.name);
        cx.infer(format!("environment.{name}"), quoted(value), why);
    }
    for (name, at) in written {
        if fpm && at.value.starts_with('$') {
            // fpm_env.c: such a value is taken for another variable's name.
            let problem =
                Problem::new(format!("the value of {name} begins with `$`, which php-fpm takes for a variable's name"));
            cx.problems.push(problem.at(&at.place).help("put it into the app's own .env").secret());
        }
        out.insert(name, at.value);
    }
    out
}

fn keep(cx: &mut Context<'_>, top: &mut Reader<'_>) -> usize {
    let table = top.table("releases", &mut cx.problems);
    let written = table.and_then(|table| {
        let mut reader = Reader::new(table, "[releases]");
        let keep = reader.number("keep", 2..=1000, &mut cx.problems);
        reader.finish(&mut cx.problems);
        keep
    });
    if written.is_none() {
        cx.infer("releases.keep", KEEP.to_string(), "default");
    }
    usize::try_from(written.map_or(KEEP, |at| at.value)).unwrap_or(2)
}
