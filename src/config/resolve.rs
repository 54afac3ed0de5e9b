//! From the merged tree to [`Settings`]: every value checked, every default filled in, and noted with its reason. Pure;
//! what is asked of the host comes as [`HostFacts`]. One part a function, the larger ones in files of their own.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Assets, Durability, Migrations, MissingJobs, Safety, Settings, Step, access, build, check,
    context::{Context, quoted, quoted_list},
    errors::{Problem, SourceFile},
    fleet, gates,
    health::{self, Watch},
    notify, origins,
    preset::{self, Preset},
    service, shared, source_table, steps, strategy,
    tree::Table,
    webhook,
    written::{At, Reader},
};
use crate::model::{AppName, Share, UnitName};

/// nginx's unit, in every distribution.
const NGINX: &str = "nginx.service";
/// Assets of earlier releases.
const ASSETS_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// Releases kept.
const KEEP: i64 = 5;

/// Resolves the merged tree. On `None` the problems say why.
pub(super) fn resolve(app: &AppName, table: &Table, files: &[SourceFile], cx: &mut Context<'_>) -> Option<Settings> {
    let mut top = Reader::new(table, "");
    let mut preset = find_preset(cx, &mut top);
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
    let (web_user, web_unit) = web(cx, &mut top);
    let source = source_table::source(cx, &mut top, files, root.as_deref());
    let shared = shared::shared(cx, &mut top, &preset);
    let writable = listed(cx, &mut top, "writable", &preset.writable, preset.name);
    let build_writable = listed(cx, &mut top, "build_writable", &preset.build_writable, preset.name);
    let drop = listed(cx, &mut top, "drop", &preset.drop, preset.name);
    let share = share(cx, &mut top);
    let carry = cx.relatives(&mut top, "carry").unwrap_or_default();
    let assets = assets(cx, &mut top);
    let services = service::services(cx, &mut top, &preset);
    let environment = environment(cx, &mut top, &preset, services.iter().any(service::is_php_fpm));
    let (health, Watch { successes, interval, bake }) = health::health(cx, &mut top, &preset);
    let keep = keep(cx, &mut top);
    let notify = notify::notify(cx, &mut top, root.as_deref());
    let webhook = webhook::webhook(cx, &mut top, source.as_ref());
    let fleet = fleet::fleet(cx, &mut top, app, root.as_deref());
    let access = access::access(cx, &mut top);
    let gates = gates::gates(cx, &mut top, &mut preset);
    let safety = safety(cx, &mut top, &preset);
    let build = build::build(cx, &mut top, root.as_deref());
    let steps = steps::steps(cx, &mut top, &preset, root.as_deref(), safety.migrations);
    top.finish(&mut cx.problems);
    made_without_carry(cx, table, &steps, &carry);
    if !cx.problems.is_empty() {
        return None;
    }
    Some(Settings {
        app: app.clone(),
        root: root?,
        user: user?,
        run_as: run_as?,
        web_user,
        web_unit: web_unit?,
        source: source?,
        shared,
        writable,
        build_writable,
        share,
        carry,
        assets,
        services,
        steps,
        build,
        drop,
        environment,
        health,
        successes,
        interval,
        bake,
        keep,
        gates,
        notify,
        webhook,
        fleet,
        access,
        safety,
        inferred: std::mem::take(&mut cx.inferred),
        files: files.iter().map(|file| file.path.clone()).collect(),
        origins: origins::origins(table, files),
    })
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

pub(super) fn missing(cx: &mut Context<'_>, files: &[SourceFile], title: &str, help: &str) {
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

/// nginx: whom its workers run as, and its unit.
fn web(cx: &mut Context<'_>, top: &mut Reader<'_>) -> (Option<String>, Option<UnitName>) {
    let (mut user, mut unit) = (None, None);
    if let Some(table) = top.table("web", &mut cx.problems) {
        let mut web = Reader::new(table, "[web]");
        user = web.text("user", "www-data", &mut cx.problems).map(|at| checked_user(cx, at, "web.user"));
        unit = web.text("unit", NGINX, &mut cx.problems).map(|at| {
            let checked = strategy::unit_name(&at.value, false);
            cx.take(checked, &at.place)
        });
        web.finish(&mut cx.problems);
    }
    if user.is_none()
        && let Some(found) = cx.host.web_user.clone()
    {
        cx.infer("web.user", quoted(&found), "nginx's workers run as it");
        user = Some(found);
    }
    (user, unit.unwrap_or_else(|| NGINX.parse().ok()))
}

/// `[safety]`. With a preset that knows how jobs are found, missing classes are refused.
fn safety(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &Preset) -> Safety {
    let mut safety = Safety::default();
    if preset.name == "laravel" {
        safety.missing_jobs = MissingJobs::Refuse;
    }
    let Some(table) = top.table("safety", &mut cx.problems) else { return safety };
    let mut reader = Reader::new(table, "[safety]");
    match cx.word(&mut reader, "missing_jobs", &["refuse", "warn", "ignore"]) {
        Some("warn") => safety.missing_jobs = MissingJobs::Warn,
        Some("ignore") => safety.missing_jobs = MissingJobs::Ignore,
        Some(_) => safety.missing_jobs = MissingJobs::Refuse,
        None => {}
    }
    safety.zero_downtime = cx.word(&mut reader, "require", &["zero-downtime"]).is_some();
    if cx.word(&mut reader, "migrations", &["safe", "any"]) == Some("any") {
        safety.migrations = Migrations::Any;
    }
    if cx.word(&mut reader, "durability", &["full", "relaxed"]) == Some("relaxed") {
        safety.durability = Durability::Relaxed;
    }
    if let Some(span) = cx.span(&mut reader, "lock_timeout", Duration::from_secs(1), Duration::from_secs(3600)) {
        safety.lock_timeout = span;
    }
    reader.finish(&mut cx.problems);
    safety
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
        // php-fpm's fpm_env.c takes the first for another variable's name, its fpm_conf.c expands the second and
        // refuses the third.
        let why = match at.value.as_str() {
            value if value.starts_with('$') => Some("begins with `$`, which php-fpm takes for a variable's name"),
            value if value.contains("$pool") => Some("has `$pool` in it, which php-fpm replaces by the pool's name"),
            "" => Some("is empty, which php-fpm does not take"),
            _ => None,
        };
        if let (true, Some(why)) = (fpm, why) {
            let problem = Problem::new(format!("the value of {name} {why}"));
            cx.problems.push(problem.at(&at.place).help("put it into the app's own .env").secret());
        }
        out.insert(name, at.value);
    }
    out
}

/// `[assets]`.
fn assets(cx: &mut Context<'_>, top: &mut Reader<'_>) -> Assets {
    let Some(table) = top.table("assets", &mut cx.problems) else { return Assets::default() };
    let mut reader = Reader::new(table, "[assets]");
    let dirs = cx.relatives(&mut reader, "dirs").unwrap_or_default();
    let (least, most) = (Duration::from_secs(60), Duration::from_secs(365 * 24 * 3600));
    let keep = cx.span(&mut reader, "keep", least, most).unwrap_or(ASSETS_KEEP);
    reader.finish(&mut cx.problems);
    Assets { dirs, keep }
}

/// A step is only left out when what it makes was carried.
fn made_without_carry(cx: &mut Context<'_>, table: &Table, steps: &[Step], carry: &[String]) {
    for step in steps.iter().filter(|step| !step.skip_if_unchanged.is_empty()) {
        if let Some(made) = step.makes.iter().find(|made| !steps::is_in(made, carry)) {
            let title =
                format!("the step {} makes {made}, which is not carried: it could never be left out", step.name);
            let problem = Problem::new(title).help(format!("write carry = [{made:?}] at the top"));
            cx.problems.push(match table.get("step") {
                Some((place, _)) => problem.at(place),
                None => problem,
            });
        }
    }
}

fn share(cx: &mut Context<'_>, top: &mut Reader<'_>) -> Share {
    match cx.word(top, "share", &["reflink", "hardlink"]) {
        Some("hardlink") => Share::Hardlink,
        Some(_) => Share::Reflink,
        None => {
            cx.infer("share", quoted("reflink"), "default; files are copied where the file system cannot");
            Share::Reflink
        }
    }
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
