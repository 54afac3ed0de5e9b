//! Settings as people read them: TOML as it could have been written, each value with where it comes from. Values of
//! environment variables are hidden: they may be secrets, and everyone may ask.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use crate::{
    config::{Check, Health, Pool, Service, ServiceKind, Settings, Source, Step, Strategy},
    model::printable,
};

/// What stands for a hidden value.
const HIDDEN: &str = "(hidden)";

/// Settings as JSON, without secrets.
pub fn json(mut settings: Settings) -> serde_json::Result<String> {
    hide(&mut settings.environment);
    settings.steps.iter_mut().for_each(|step| hide(&mut step.environment));
    for service in &mut settings.services {
        if let ServiceKind::PhpFpm(fpm) = &mut service.kind
            && let Pool::Directives(directives) = &mut fpm.pool
        {
            directives.iter_mut().filter(|(key, _)| key.starts_with("env[")).for_each(|(_, v)| *v = HIDDEN.into());
        }
    }
    settings.inferred.retain(|i| !is_secret(&i.key));
    serde_json::to_string_pretty(&settings)
}

fn hide(environment: &mut BTreeMap<String, String>) {
    environment.values_mut().for_each(|value| *value = HIDDEN.into());
}

fn is_secret(key: &str) -> bool {
    key.contains("environment") || key.contains("env[")
}

/// Settings as commented TOML.
pub fn text(settings: &Settings) -> String {
    let mut page = Page { settings, out: String::new() };
    let files: Vec<String> = settings.files.iter().map(|f| f.display().to_string()).collect();
    page.line(&format!("# {}, from {}", settings.app, files.join(", ")));
    page.value("root", "root", &settings.root.display().to_string());
    page.value("user", "user", &settings.user);
    page.value("run_as", "run_as", &settings.run_as);
    page.list("writable", "writable", &settings.writable);
    page.list("drop", "drop", &settings.drop);
    page.source(&settings.source);
    page.web(settings.web_user.as_deref());
    page.shared();
    settings.services.iter().enumerate().for_each(|(at, service)| page.service(at, service));
    settings.steps.iter().enumerate().for_each(|(at, step)| page.step(at, step));
    settings.health.iter().enumerate().for_each(|(at, health)| page.health(at, health));
    page.releases();
    page.environment("environment", &settings.environment);
    page.rest();
    page.out
}

/// A page that is being written.
struct Page<'a> {
    settings: &'a Settings,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(&printable(text));
        self.out.push('\n');
    }
    fn head(&mut self, text: &str) {
        self.out.push('\n');
        self.line(text);
    }
    /// `name = value`, with where it comes from; `key` is its full name.
    fn raw(&mut self, key: &str, name: &str, value: &str) {
        let from = match (self.settings.origins.get(key), self.settings.inferred.iter().find(|i| i.key == key)) {
            (Some(origin), _) => format!("{}:{}", origin.file.display(), origin.line),
            (None, Some(inferred)) => inferred.why.clone(),
            (None, None) => String::new(),
        };
        let assignment = format!("{name} = {value}");
        if from.is_empty() { self.line(&assignment) } else { self.line(&format!("{assignment:<46} # {from}")) }
    }
    fn value(&mut self, key: &str, name: &str, value: &str) {
        self.raw(key, name, &quoted(value));
    }
    fn list(&mut self, key: &str, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.raw(key, name, &array(values));
        }
    }
    fn source(&mut self, source: &Source) {
        self.head("[source]");
        match source {
            Source::Git { url, reference, ssh_key, known_hosts } => {
                self.value("source.git", "git", url);
                self.value("source.ref", "ref", reference);
                for (name, file) in [("ssh_key", ssh_key), ("known_hosts", known_hosts)] {
                    if let Some(file) = file {
                        self.value(&format!("source.{name}"), name, &file.display().to_string());
                    }
                }
            }
            Source::Directory { path } => self.value("source.directory", "directory", &path.display().to_string()),
        }
    }
    fn web(&mut self, user: Option<&str>) {
        if let Some(user) = user {
            self.head("[web]");
            self.value("web.user", "user", user);
        }
    }
    fn shared(&mut self) {
        let settings = self.settings;
        if settings.shared.is_empty() {
            return;
        }
        self.head("# shared paths");
        for shared in &settings.shared {
            let kind = if shared.directory { "directory" } else { "file" };
            let need = if shared.required { ", must be there" } else { "" };
            self.line(&format!("#   {} ({kind}{need})", shared.path));
        }
    }
    fn service(&mut self, at: usize, service: &Service) {
        let key = |name: &str| format!("service[{at}].{name}");
        self.head("[[service]]");
        match &service.kind {
            ServiceKind::PhpFpm(fpm) => {
                self.value(&key("kind"), "kind", "php-fpm");
                self.value(&key("php"), "php", &fpm.version);
                self.line(&format!("# runs {}", fpm.binary.display()));
                self.value(&key("probe"), "probe", &fpm.probe);
                self.value(&key("public"), "public", &fpm.public);
                if fpm.strict {
                    self.value(&key("sandbox"), "sandbox", "strict");
                }
                if let Pool::File(file) = &fpm.pool {
                    self.value(&key("pool"), "pool", &file.display().to_string());
                }
            }
            ServiceKind::Unit { unit, strategy } => {
                self.value(&key("unit"), "unit", unit.as_str());
                let strategy = match strategy {
                    Strategy::Reload => "reload",
                    Strategy::Restart => "restart",
                };
                self.value(&key("strategy"), "strategy", strategy);
            }
        }
        self.value(&key("drain"), "drain", &span(service.drain));
        if let ServiceKind::PhpFpm(fpm) = &service.kind
            && let Pool::Directives(directives) = &fpm.pool
        {
            self.line("[service.pool]");
            for (name, value) in directives {
                let shown = if is_secret(name) { HIDDEN } else { value };
                self.value(&key(&format!("pool.{name}")), &bare(name), shown);
            }
        }
    }
    fn step(&mut self, at: usize, step: &Step) {
        let key = |name: &str| format!("step[{at}].{name}");
        self.head("[[step]]");
        self.value(&key("name"), "name", &step.name);
        self.raw(&key("run"), "run", &array(&step.run));
        self.list(&key("needs"), "needs", &step.needs);
        if step.as_run_as {
            self.value(&key("as"), "as", "run_as");
        }
        if step.shared_rw {
            self.value(&key("shared"), "shared", "rw");
        }
        if step.after_activate {
            self.value(&key("after"), "after", "activate");
        }
        self.raw(&key("network"), "network", if step.network { "true" } else { "false" });
        self.value(&key("timeout"), "timeout", &span(step.timeout));
        self.environment("step.environment", &step.environment);
    }
    fn health(&mut self, at: usize, health: &Health) {
        let key = |name: &str| format!("health[{at}].{name}");
        self.head("[[health]]");
        self.value(&key("name"), "name", &health.name);
        match &health.check {
            Check::Run { run } => self.raw(&key("run"), "run", &array(run)),
            Check::Http { url, host, status, body, json } => {
                self.value(&key("http"), "http", url);
                for (name, text) in [("host", host), ("body", body)] {
                    if let Some(text) = text {
                        self.value(&key(name), name, text);
                    }
                }
                if let Some(status) = status {
                    self.raw(&key("status"), "status", &status.to_string());
                }
                if let Some((pointer, value)) = json {
                    self.raw(&key("json"), "json", &format!("{{ {} = {} }}", quoted(pointer), quoted(value)));
                }
            }
        }
        self.value(&key("timeout"), "timeout", &span(health.timeout));
    }
    fn releases(&mut self) {
        let settings = self.settings;
        self.head("[releases]");
        self.raw("releases.keep", "keep", &settings.keep.to_string());
        self.head("# proving the site");
        self.line(&format!(
            "#   {} in a row, {} apart; then watched for {}",
            settings.successes,
            span(settings.interval),
            span(settings.bake)
        ));
    }
    fn environment(&mut self, table: &str, variables: &BTreeMap<String, String>) {
        if !variables.is_empty() {
            self.head(&format!("[{table}]"));
            variables.keys().for_each(|name| self.line(&format!("{} = \"{HIDDEN}\"", bare(name))));
        }
    }
    /// What was inferred and stands nowhere above.
    fn rest(&mut self) {
        let shown = |key: &str| {
            let name = key.rsplit('.').next().unwrap_or(key);
            self.out.lines().any(|line| line.starts_with(&format!("{name} = ")))
        };
        let rest: Vec<_> = self.settings.inferred.iter().filter(|i| !shown(&i.key) && !is_secret(&i.key)).collect();
        if rest.is_empty() {
            return;
        }
        self.head("# inferred");
        for i in rest {
            self.line(&format!("#   {:<42} # {}", format!("{} = {}", i.key, i.value), i.why));
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
fn array(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", "))
}
/// A key, quoted when TOML wants it.
fn bare(key: &str) -> String {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain && !key.is_empty() { key.to_owned() } else { quoted(key) }
}
/// A span of time as systemd writes it: `15min`, `20s`, `200ms`.
fn span(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        _ if ms % 60_000 == 0 => format!("{}min", ms / 60_000),
        _ if ms % 1000 == 0 => format!("{}s", ms / 1000),
        _ => {
            let mut text = format!("{ms}ms");
            if ms > 1000 {
                text.clear();
                let _ = write!(text, "{}s {}ms", ms / 1000, ms % 1000);
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inferred, Origin};

    fn settings() -> Settings {
        let file = std::path::PathBuf::from("/etc/deployd/apps/shop.toml");
        let inferred =
            |key: &str, value: &str, why: &str| Inferred { key: key.into(), value: value.into(), why: why.into() };
        Settings {
            app: "shop".parse().unwrap(),
            root: "/srv/shop".into(),
            user: "shop".into(),
            run_as: "shop".into(),
            web_user: Some("www-data".into()),
            source: Source::Directory { path: "/srv/build".into() },
            shared: vec![],
            writable: vec!["storage".into()],
            build_writable: Vec::new(),
            services: vec![],
            steps: vec![],
            drop: vec![],
            environment: BTreeMap::from([("API_KEY".into(), "canary-secret".into())]),
            health: vec![],
            successes: 3,
            interval: Duration::from_millis(200),
            bake: Duration::from_secs(20),
            keep: 5,
            inferred: vec![
                inferred("run_as", "\"shop\"", "not written: the same as user"),
                inferred("step[0].run", "[\"php\"]", "composer.json is there"),
                inferred("environment.API_KEY", "\"canary-secret\"", "made up"),
            ],
            files: vec![file.clone()],
            origins: BTreeMap::from([("root".into(), Origin { file, line: 2 })]),
        }
    }

    #[test]
    fn shows_origins_and_inferences_and_is_toml() {
        let page = text(&settings());
        assert!(page.contains("# /etc/deployd/apps/shop.toml:2"), "{page}");
        assert!(page.contains("# not written: the same as user"), "{page}");
        assert!(page.contains("step[0].run = "), "{page}");
        let read: toml::Table = page.parse().unwrap();
        assert_eq!(read["root"].as_str(), Some("/srv/shop"));
        assert_eq!(read["releases"]["keep"].as_integer(), Some(5));
    }

    #[test]
    fn keeps_secrets() {
        for shown in [text(&settings()), json(settings()).unwrap()] {
            assert!(shown.contains("API_KEY") && !shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn spans_are_systemds() {
        for (ms, text) in
            [(0, "0s"), (200, "200ms"), (20_000, "20s"), (900_000, "15min"), (3_600_000, "1h"), (1500, "1s 500ms")]
        {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
