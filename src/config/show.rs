//! Settings as a person could have written them, for `deployctl show`: TOML, with the reason beside each line that was
//! found or defaulted. Values of the written environment are withheld: they may be secrets. Pure.

use super::{
    Address, Build, Check, Durability, GitCredential, Health, Limits, Migrations, MissingJobs, Notify, On, Settings,
    Source, Step, Unpack, Way,
    context::{quoted, quoted_list},
    duration, size,
};
use crate::model::{Share, printable};

/// The effective settings as commented TOML. It loads again to the same settings, but for what is withheld.
pub fn show(settings: &Settings) -> String {
    let mut out = Page { settings, text: String::new() };
    out.head();
    out.source();
    out.shared();
    out.environment();
    settings.services.iter().for_each(|service| out.service(service));
    if settings.services.is_empty() {
        out.why_comment("service");
    }
    settings.steps.iter().for_each(|step| out.step(step));
    settings.health.iter().for_each(|health| out.health(health));
    out.watch();
    out.text
}

pub(super) struct Page<'a> {
    settings: &'a Settings,
    text: String,
}

impl Page<'_> {
    fn why(&self, key: &str) -> Option<&str> {
        self.settings.inferred.iter().find(|i| i.key == key).map(|i| i.why.as_str())
    }
    /// A line as it stands, with the reason for `key` when there is one.
    pub(super) fn push(&mut self, line: &str, key: &str) {
        self.text.push_str(line);
        if let Some(why) = self.why(key) {
            let why = format!("  # {}", printable(why));
            self.text.push_str(&why);
        }
        self.text.push('\n');
    }
    pub(super) fn line(&mut self, name: &str, value: &str, key: &str) {
        self.push(&format!("{name} = {value}"), key);
    }
    pub(super) fn header(&mut self, header: &str, key: &str) {
        self.text.push('\n');
        self.push(header, key);
    }
    fn why_comment(&mut self, key: &str) {
        if let Some(why) = self.why(key) {
            let line = format!("\n# no {key}: {}\n", printable(why));
            self.text.push_str(&line);
        }
    }

    fn head(&mut self) {
        let s = self.settings;
        let files: Vec<_> = s.files.iter().map(|f| printable(&f.to_string_lossy())).collect();
        self.text.push_str(&format!("# The settings of {}, from {}\n", s.app, files.join(", ")));
        self.text.push_str("# What has a reason beside it was not written but found or defaulted.\n\n");
        self.line("root", &quoted(&s.root.to_string_lossy()), "root");
        self.line("user", &quoted(&s.user), "user");
        self.line("run_as", &quoted(&s.run_as), "run_as");
        for (name, list) in
            [("writable", &s.writable), ("build_writable", &s.build_writable), ("drop", &s.drop), ("carry", &s.carry)]
        {
            if !list.is_empty() {
                self.line(name, &quoted_list(list), name);
            }
        }
        let share = if s.share == Share::Hardlink { "hardlink" } else { "reflink" };
        self.line("share", &quoted(share), "share");
    }

    fn shared(&mut self) {
        // Before the first table, or TOML would take it for a key of that.
        for shared in &self.settings.shared {
            let kind = if shared.directory { "directory" } else { "file" };
            let path = quoted(&shared.path);
            let required = if shared.required { ", required = true" } else { "" };
            let key = format!("shared.{}", shared.path);
            let kind_key = format!("{key}.kind");
            let key = if self.why(&key).is_some() { key } else { kind_key };
            self.header("[[shared]]", &key);
            let from =
                if shared.from == shared.path { String::new() } else { format!("from = {}\n", quoted(&shared.from)) };
            let line = format!("path = {path}\n{from}kind = \"{kind}\"{}\n", required.replace(", ", "\n"));
            self.text.push_str(&line);
        }
    }

    fn source(&mut self) {
        self.header("[source]", "source");
        match &self.settings.source {
            Source::Git(git) => {
                self.line("git", &quoted(&git.url), "source.git");
                self.line("ref", &quoted(&git.reference), "source.ref");
                if let Some(depth) = git.depth {
                    self.line("depth", &depth.to_string(), "source.depth");
                }
                if git.submodules {
                    let how = if git.whole_server { "\"server\"" } else { "true" };
                    self.line("submodules", how, "source.submodules");
                }
                if git.lfs_pointers {
                    self.line("lfs", "false", "source.lfs");
                }
                let secret = git.credential.as_ref().map(|credential| match credential {
                    GitCredential::SshKey(file) => ("ssh_key_credential", file),
                    GitCredential::Token(file) => ("token_credential", file),
                });
                let files = [("ssh_key", &git.ssh_key), ("known_hosts", &git.known_hosts)];
                let files = files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?)));
                for (name, file) in files.chain(secret) {
                    self.line(name, &quoted(&file.to_string_lossy()), name);
                }
            }
            Source::Directory { path, exclude } => {
                self.line("directory", &quoted(&path.to_string_lossy()), "source.directory");
                self.exclude(exclude);
            }
            Source::Archive { at, reference, sha256, signed_by, signature, unpack } => {
                self.line("archive", &quoted(at), "source.archive");
                for (name, value) in [("ref", reference), ("sha256", sha256), ("signature", signature)] {
                    if let Some(value) = value {
                        self.line(name, &quoted(value), name);
                    }
                }
                if !signed_by.is_empty() {
                    self.line("signed_by", &quoted_list(signed_by), "source.signed_by");
                }
                self.unpack(unpack);
            }
            Source::Upload { unpack } => {
                self.line("upload", "true", "source.upload");
                self.unpack(unpack);
            }
        }
        self.header("[web]", "web");
        if let Some(user) = &self.settings.web_user {
            self.line("user", &quoted(user), "web.user");
        }
        self.line("unit", &quoted(self.settings.web_unit.as_str()), "web.unit");
        if let Some(seen) = self.settings.seen_through_nginx() {
            self.text.push_str(&format!("# {}\n", printable(&seen)));
        }
    }

    fn unpack(&mut self, unpack: &Unpack) {
        self.line("strip", &unpack.strip.to_string(), "source.strip");
        self.exclude(&unpack.exclude);
    }

    /// As it is in the end: what is shown, loaded again, is the same.
    fn exclude(&mut self, exclude: &[String]) {
        self.line("include_all", "true", "source.include_all");
        self.line("exclude", &quoted_list(exclude), "source.exclude");
    }

    fn environment(&mut self) {
        if self.settings.environment.is_empty() {
            return;
        }
        self.header("[environment]", "environment");
        for (name, value) in &self.settings.environment {
            let key = format!("environment.{name}");
            let shown = if self.why(&key).is_some() { quoted(value) } else { quoted("(set, not shown)") };
            self.line(name, &shown, &key);
        }
    }

    fn step(&mut self, step: &Step) {
        self.header("[[step]]", &format!("step.{}", step.name));
        self.line("name", &quoted(&step.name), "");
        self.run(step);
        self.line("as", if step.as_run_as { "\"run_as\"" } else { "\"user\"" }, "");
        if !step.needs.is_empty() {
            self.line("needs", &quoted_list(&step.needs), "");
        }
        for (name, list) in [("skip_if_unchanged", &step.skip_if_unchanged), ("makes", &step.makes)] {
            if !list.is_empty() {
                self.line(name, &quoted_list(list), "");
            }
        }
        if step.shared_rw {
            self.line("shared", "\"rw\"", "");
        }
        match step.on {
            Some(On::Success) => self.line("on", "\"success\"", ""),
            Some(On::Failure) => self.line("on", "\"failure\"", ""),
            None => self.line(if step.after_activate { "after" } else { "before" }, "\"activate\"", ""),
        }
        if step.once {
            self.line("once", "true", "");
        }
        self.line("network", if step.network { "true" } else { "false" }, "");
        self.line("timeout", &quoted(&duration::format(step.timeout)), "");
        if !step.environment.is_empty() {
            let names: Vec<_> = step.environment.keys().map(|n| format!("{n} = \"(set, not shown)\"")).collect();
            self.line("environment", &format!("{{ {} }}", names.join(", ")), "");
        }
        self.limits(step);
    }

    fn notify(&mut self, one: &Notify) {
        self.header("[[notify]]", "");
        let hook = |address: &Address| match address {
            Address::Url(_) => ("url", quoted("https://not.shown/")),
            Address::File(path) => ("url_file", quoted(&path.to_string_lossy())),
        };
        let (kind, lines) = match &one.way {
            Way::Slack(address) => ("slack", vec![hook(address)]),
            Way::Webhook(address) => ("webhook", vec![hook(address)]),
            Way::Mail { to, from } => {
                let from = from.as_ref().map(|from| ("from", quoted(from)));
                ("mail", [("to", quoted(to))].into_iter().chain(from).collect())
            }
        };
        self.line("kind", &quoted(kind), "");
        lines.into_iter().for_each(|(name, value)| self.line(name, &value, ""));
        match one.on {
            Some(On::Success) => self.line("on", "\"success\"", ""),
            Some(On::Failure) => self.line("on", "\"failure\"", ""),
            None => {}
        }
    }

    fn run(&mut self, step: &Step) {
        match step.run.last() {
            Some(line) if step.shell => {
                self.line("run", &quoted(line), "");
                self.line("shell", "true", "");
            }
            _ => self.line("run", &quoted_list(&step.run), ""),
        }
    }

    /// What differs from the defaults.
    fn limits(&mut self, step: &Step) {
        let (limits, usual) = (step.limits, Limits::default());
        if let Some(bytes) = limits.memory {
            self.line("memory", &quoted(&size::format(bytes)), "");
        }
        for (name, value, usual) in [
            ("tasks", limits.tasks, usual.tasks),
            ("cpu_weight", limits.cpu_weight, usual.cpu_weight),
            ("io_weight", limits.io_weight, usual.io_weight),
        ] {
            if value != usual {
                self.line(name, &value.to_string(), "");
            }
        }
        if let Some(file) = &step.environment_file {
            self.line("environment_file", &quoted(&file.to_string_lossy()), "");
        }
        if !step.credentials.is_empty() {
            let one = |(name, path): (&String, &std::path::PathBuf)| {
                format!("{} = {}", quoted(name), quoted(&path.to_string_lossy()))
            };
            let all: Vec<_> = step.credentials.iter().map(one).collect();
            self.line("credentials", &format!("{{ {} }}", all.join(", ")), "");
        }
    }

    fn health(&mut self, health: &Health) {
        self.header("[[health]]", &format!("health.{}", health.name));
        self.line("name", &quoted(&health.name), "");
        match &health.check {
            Check::Run { run } => self.line("run", &quoted_list(run), ""),
            Check::Http { url, host, status, body, json } => {
                self.line("http", &quoted(url), "");
                if let Some(host) = host {
                    self.line("host", &quoted(host), "");
                }
                if let Some(status) = status {
                    self.line("status", &status.to_string(), "");
                }
                if let Some(body) = body {
                    self.line("body", &quoted(body), "");
                }
                if let Some((pointer, value)) = json {
                    let text = format!("{{ pointer = {}, value = {} }}", quoted(pointer), quoted(value));
                    self.line("json", &text, "");
                }
            }
        }
        self.line("timeout", &quoted(&duration::format(health.timeout)), "");
    }

    fn watch(&mut self) {
        let s = self.settings;
        self.header("[[health]]", "");
        self.line("successes", &s.successes.to_string(), "health.successes");
        self.line("interval", &quoted(&duration::format(s.interval)), "health.interval");
        self.line("bake", &quoted(&duration::format(s.bake)), "health.bake");
        self.header("[releases]", "");
        self.line("keep", &s.keep.to_string(), "releases.keep");
        if !s.assets.dirs.is_empty() {
            self.header("[assets]", "");
            self.line("dirs", &quoted_list(&s.assets.dirs), "");
            self.line("keep", &quoted(&duration::format(s.assets.keep)), "");
        }
        if s.build != Build::default() {
            self.header("[build]", "");
            let dirs: Vec<String> = s.build.path.iter().map(|dir| dir.display().to_string()).collect();
            if !dirs.is_empty() {
                self.line("path", &quoted_list(&dirs), "");
            }
            for (name, file) in [("composer_auth", &s.build.composer_auth), ("npmrc", &s.build.npmrc)] {
                if let Some(file) = file {
                    self.line(name, &quoted(&file.to_string_lossy()), "");
                }
            }
        }
        if let Some(tests) = &s.gates.tests {
            self.header("[gates]", "");
            self.line("tests", &quoted_list(&tests.run), "");
            self.line("timeout", &quoted(&duration::format(tests.timeout)), "");
        }
        s.notify.iter().for_each(|one| self.notify(one));
        if let Some(webhook) = &s.webhook {
            self.header("[webhook]", "");
            self.line("refs", &quoted_list(&webhook.refs), "webhook.refs");
        }
        if let Some(fleet) = &s.fleet {
            self.fleet(fleet);
        }
        if !s.access.is_empty() {
            self.header("[access]", "");
            for (key, list) in s.access.lists() {
                let names: Vec<String> = list.iter().map(ToString::to_string).collect();
                self.line(key, &quoted_list(&names), "");
            }
        }
        self.header("[safety]", "");
        let missing = match s.safety.missing_jobs {
            MissingJobs::Refuse => "refuse",
            MissingJobs::Warn => "warn",
            MissingJobs::Ignore => "ignore",
        };
        self.line("missing_jobs", &quoted(missing), "safety.missing_jobs");
        let migrations = if s.safety.migrations == Migrations::Any { "any" } else { "safe" };
        self.line("migrations", &quoted(migrations), "safety.migrations");
        self.line("lock_timeout", &quoted(&duration::format(s.safety.lock_timeout)), "safety.lock_timeout");
        let durability = if s.safety.durability == Durability::Relaxed { "relaxed" } else { "full" };
        self.line("durability", &quoted(durability), "safety.durability");
        if s.safety.zero_downtime {
            self.line("require", "\"zero-downtime\"", "");
        }
    }
}
