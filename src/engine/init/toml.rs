//! The configuration of an app that was found, as commented TOML: each line with where it comes from, and what was not
//! found as a comment that says what to fill in. Pure.

use crate::{
    model::{AppName, printable},
    observe::{Found, Run, Runs},
    worker::order::{Maker, Recognised},
};

/// Where the reason of a line begins, where the line leaves room for it.
const REASON: usize = 34;

/// The block that stands while nginx asks a pool that is not deployd's. [`slots`] takes its place.
pub fn reload(unit: &str) -> String {
    format!(
        "[[service]]\n\
         unit     = \"{unit}\"\n\
         strategy = \"reload\"\n\
         # Not promised by a reload: requests in flight may be cut off, and for a moment old and new code are mixed.\n\
         # `deployctl init NAME --apply` lets nginx ask deployd's own slots, which promise both.\n"
    )
}

/// The block for deployd's own slots, with the site's pool if it has one.
pub fn slots(version: &str, pool: Option<&str>) -> String {
    let mut text = "[[service]]\nkind = \"php-fpm\"\n".to_owned();
    if !version.is_empty() {
        text.push_str(&format!("php  = {}\n", quoted(version)));
    }
    if let Some(pool) = pool {
        text.push_str(&format!("pool = {}\n", quoted(pool)));
    }
    text
}

/// The whole file. `source`: where from, if that was said.
pub fn text(app: &AppName, found: &Found, source: Option<&str>) -> String {
    let mut page = Page { text: String::new() };
    page.say(&format!("/etc/deployd/apps/{app}.toml: what `deployctl init` has found on this host."));
    page.say("Each line may be changed. `deployctl show` prints all that holds; deployd.toml(5) explains it.");
    page.blank();
    page.head(found);
    page.source(found, source);
    page.services(app, found);
    page.health(found);
    page.left_out(found);
    page.text
}

struct Page {
    text: String,
}

impl Page {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn say(&mut self, what: &str) {
        self.text.push_str(&format!("# {}\n", printable(what)));
    }

    fn line(&mut self, line: &str, why: &str) {
        let line = match why {
            "" => line.to_owned(),
            why => format!("{line:<REASON$}  # {}", printable(why)),
        };
        self.text.push_str(&line);
        self.blank();
    }

    fn head(&mut self, found: &Found) {
        let none = Recognised::default();
        let tree = found.tree.as_ref().unwrap_or(&none);
        let laravel = tree.artisan || tree.packages.iter().any(|name| name == "laravel/framework");
        match (laravel, &found.tree) {
            (true, _) => self.line("preset = \"laravel\"", "it has an artisan"),
            (false, Some(tree)) if tree.made_by != Maker::Nobody => {
                self.say("preset = \"laravel\"         # if it is one: no artisan was found");
            }
            // The code is not there yet.
            (false, _) => self.line("preset = \"laravel\"", "assumed: there is no code yet; remove it if it is none"),
        }
        let why = match &found.site {
            Some(site) => format!("nginx: {}:{}", site.at.file.display(), site.at.line),
            None => "nginx has no site of it yet; see /usr/share/doc/deployd/examples".to_owned(),
        };
        self.line(&format!("root = {}", quoted(&found.root.display().to_string())), &why);
        let runs_as = found.pool.as_ref().and_then(|pool| pool.user.clone());
        match (&found.owner, &runs_as) {
            (Some(owner), _) => {
                self.line(&format!("user = {}", quoted(owner)), &format!("whose {} is", found.root.display()));
            }
            (None, Some(user)) => {
                self.line(&format!("user = {}", quoted(user)), "runs the pool; the root has no other owner")
            }
            (None, None) => self.say("user = \"\"                   # fill in: who builds, and owns releases"),
        }
        if let (Some(owner), Some(user), Some(pool)) = (&found.owner, &runs_as, &found.pool)
            && owner != user
        {
            let why = format!("pool {} in {}", pool.name, pool.file.display());
            self.line(&format!("run_as = {}", quoted(user)), &why);
        }
        self.shared(tree, laravel);
    }

    fn shared(&mut self, tree: &Recognised, laravel: bool) {
        // The preset shares the whole of storage, so what is in it needs no line.
        let by_preset = |path: &str| laravel && (path == ".env" || path == "storage" || path.starts_with("storage/"));
        let made = |path: &str| path.starts_with("bootstrap/cache") || path == "public/storage";
        let links: Vec<_> = tree.links.iter().filter(|link| !by_preset(&link.path) && !made(&link.path)).collect();
        if !links.is_empty() {
            let items = links.iter().map(|link| match (link.path == link.from, link.directory) {
                (true, true) => quoted(&format!("{}/", link.path)),
                (true, false) => format!("{{ path = {}, kind = \"file\" }}", quoted(&link.path)),
                (false, directory) => format!(
                    "{{ path = {}, from = {}, kind = \"{}\" }}",
                    quoted(&link.path),
                    quoted(&link.from),
                    if directory { "directory" } else { "file" }
                ),
            });
            let items: Vec<_> = items.collect();
            self.line(&format!("shared = [{}]", items.join(", ")), "links of the live release into shared/");
        }
        let untracked: Vec<_> = tree.untracked.iter().map(|path| quoted(path)).collect();
        if !untracked.is_empty() {
            self.say("Not in the repository, and no build makes it. What the site needs of it, share it:");
            self.say(&format!("shared = [{}]", untracked.join(", ")));
        }
    }

    fn source(&mut self, found: &Found, said: Option<&str>) {
        self.text.push_str("\n[source]\n");
        let git = found.tree.as_ref().and_then(|tree| tree.git.as_ref());
        let branch = git.and_then(|git| git.branch.clone());
        match (said, git) {
            (Some(url), _) => self.line(&format!("git = {}", quoted(url)), "as it was said"),
            (None, Some(git)) => self.line(&format!("git = {}", quoted(&git.url)), "what the tree was fetched from"),
            (None, None) => self.say("git = \"git@…\"             # fill in: the repository; or archive, or directory"),
        }
        match branch {
            Some(branch) => self.line(&format!("ref = {}", quoted(&branch)), "what was deployed last"),
            None => self.say("ref = \"main\"              # without it the repository's own default"),
        }
        if git.is_some_and(|git| git.url.contains("://")) && said.is_none() {
            self.say("A password that stood in the url was left out: keep it in a file of root's, named by token.");
        }
    }

    fn services(&mut self, app: &AppName, found: &Found) {
        let octane = found.runs.iter().find(|run| matches!(run.runs, Some(Runs::Octane(_))));
        self.blank();
        match (octane, &found.pool, &found.site) {
            (Some(run), ..) => self.octane(run, found),
            (None, Some(pool), Some(site)) if site.deployd_app.is_none() => {
                self.say(&format!("Serves now: pool {} in {}.", pool.name, pool.file.display()));
                self.text.push_str(&reload(&pool.unit()).replace("NAME", app.as_str()));
            }
            (None, ..) => match found.site.as_ref().and_then(|site| site.php.as_ref()) {
                Some(php) if !php.fastcgi => self.program(&php.to),
                Some(php) => {
                    let to = &php.to;
                    self.say(&format!("nginx asks {to}, which is no pool of this host: lead it to deployd's socket."));
                    self.text.push_str(&slots("", None));
                }
                None => self.text.push_str(&slots("", None)),
            },
        }
        let has = |wanted: fn(&Runs) -> bool| found.runs.iter().find(|run| run.runs.as_ref().is_some_and(wanted));
        let packages = found.tree.iter().flat_map(|tree| &tree.packages);
        let horizon = packages.into_iter().any(|name| name == "laravel/horizon");
        if let Some(run) = has(|runs| matches!(runs, Runs::Horizon)) {
            self.text.push_str("\n[[service]]\n");
            self.line("kind = \"horizon\"", &format!("{} ({})", run.what, run.place));
        } else if horizon {
            self.blank();
            self.say("composer.json requires Horizon, and nothing runs it here:");
            self.say("[[service]]");
            self.say("kind = \"horizon\"");
        }
        if let Some(run) = has(|runs| matches!(runs, Runs::Queue(_))) {
            self.queue(run);
        }
        if let Some(run) = has(|runs| matches!(runs, Runs::Schedule)) {
            self.blank();
            self.say(&format!(
                "{} ({}) runs the schedule. Two would run everything twice: {},",
                run.what, run.place, run.end
            ));
            self.say("then let deployd do it:");
            self.say("[[service]]");
            self.say("kind = \"scheduler\"");
        }
    }

    /// Something behind a port of which no run was found.
    fn program(&mut self, to: &str) {
        self.say(&format!("nginx asks {to}: a program on a port, and what runs it was not found. Fill in:"));
        self.say("[[service]]");
        self.say("kind  = \"octane\"            # or http, with run = [\"…\"]");
        self.say("ports = [8001, 8002]         # one a slot, other than the one that runs now");
    }

    fn octane(&mut self, run: &Run, found: &Found) {
        let Some(Runs::Octane(words)) = &run.runs else { return };
        let server = option(words, "server").or_else(|| found.tree.as_ref().and_then(|tree| tree.octane.clone()));
        let port: u16 = option(words, "port").and_then(|port| port.parse().ok()).unwrap_or(8000);
        self.text.push_str("[[service]]\n");
        self.line("kind   = \"octane\"", &format!("{} ({})", run.what, run.place));
        match server {
            Some(server) => self.line(&format!("server = {}", quoted(&server)), "as it runs now"),
            None => self.say("server = \"swoole\"           # fill in: swoole, roadrunner or frankenphp"),
        }
        let first = port.saturating_add(1);
        self.line(&format!("ports  = [{first}, {}]", first.saturating_add(1)), &format!("{port} is what runs now"));
    }

    fn queue(&mut self, run: &Run) {
        let Some(Runs::Queue(words)) = &run.runs else { return };
        self.text.push_str("\n[[service]]\n");
        self.line("kind = \"queue\"", &format!("{} ({})", run.what, run.place));
        if let Some(connection) = words.first().filter(|word| !word.starts_with('-')) {
            self.line(&format!("connection = {}", quoted(connection)), "");
        }
        if let Some(queues) = option(words, "queue") {
            let queues: Vec<_> = queues.split(',').map(quoted).collect();
            self.line(&format!("queues = [{}]", queues.join(", ")), "");
        }
        for name in ["tries", "timeout", "memory", "sleep"] {
            if let Some(number) = option(words, name).and_then(|number| number.parse::<u32>().ok()) {
                self.line(&format!("{name} = {number}"), "");
            }
        }
    }

    fn health(&mut self, found: &Found) {
        let host = found.site.as_ref().and_then(|site| site.names.first());
        self.text.push_str("\n[health]\n");
        match &found.page {
            Some(url) => {
                self.line(&format!("http = {}", quoted(url)), "answers 200 now");
                if let Some(host) = host {
                    self.line(&format!("host = {}", quoted(host)), "");
                }
            }
            None => {
                self.say("http = \"http://127.0.0.1/up\"  # fill in: a page that answers 200 when all is well");
                let host = host.map_or("shop.example.org", String::as_str);
                self.say(&format!("host = {}", quoted(host)));
            }
        }
    }

    fn left_out(&mut self, found: &Found) {
        let other: Vec<_> = found.runs.iter().filter(|run| run.runs.is_none()).collect();
        if !other.is_empty() {
            self.blank();
            self.say("This runs the app's code too, and no deployment moves it:");
        }
        for run in other {
            let what = run.artisan.as_ref().map_or_else(String::new, |artisan| format!(": {artisan}"));
            self.say(&format!("  {} ({}){what}", run.what, run.place));
        }
    }
}

/// `--name=value` or `--name value`.
fn option(words: &[String], name: &str) -> Option<String> {
    let flag = format!("--{name}");
    let at = words.iter().position(|word| *word == flag || word.starts_with(&format!("{flag}=")))?;
    match words.get(at)?.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => words.get(at + 1).cloned(),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}
