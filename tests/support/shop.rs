//! An app in a host: its user, its repository, its shared files, its site and its four lines of TOML.

use std::time::Duration;

use super::{
    command::Ended,
    host::Host,
    lock::crate_dir,
    requests::{self, Answer},
    site::{self, Php},
};

/// What to make; `Spec::new` fills in the ordinary.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The app's name.
    pub name: String,
    /// Who builds and owns releases.
    pub user: String,
    /// `<root>`.
    pub root: String,
    /// What stands in `/etc/deployd/apps/NAME.toml` after the four lines.
    pub more: String,
    /// How nginx reaches its PHP.
    pub php: Php,
    /// Whether the app is the Laravel one, or 2,000 plain files.
    pub laravel: bool,
    /// Whether it has 200 Blade views.
    pub views: bool,
    /// A directory of `tests/` that is laid over its files; in the place of the 2,000 plain ones.
    pub over: Option<&'static str>,
}

impl Spec {
    /// The Laravel app, called `name`, run by a user of that name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            user: name.into(),
            root: format!("/srv/{name}"),
            more: String::new(),
            php: Php::Snippet,
            laravel: true,
            views: false,
            over: None,
        }
    }

    /// The Node program, called `name`.
    pub fn node(name: &str) -> Self {
        Self { laravel: false, over: Some("app-node"), ..Self::new(name) }
    }

    /// Adds TOML after the four lines.
    pub fn more(mut self, toml: &str) -> Self {
        self.more = toml.into();
        self
    }
}

/// The app.
#[derive(Debug, Clone)]
pub struct Shop {
    /// As it was asked for.
    pub spec: Spec,
}

impl Shop {
    /// Makes everything of an app but its first deployment. Its repository has release `r1`.
    pub fn make(host: &Host, spec: Spec) -> Self {
        let shop = Self { spec };
        shop.make_user(host);
        shop.make_repository(host);
        shop.make_shared(host);
        site::install(host, shop.name(), shop.root(), &shop.spec.php);
        shop.configure(host, &shop.spec.more);
        shop
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }
    /// Its `<root>`.
    pub fn root(&self) -> &str {
        &self.spec.root
    }
    /// Its user.
    pub fn user(&self) -> &str {
        &self.spec.user
    }
    /// Its repository: bare, the user's.
    pub fn repository(&self) -> String {
        format!("/srv/git/{}.git", self.name())
    }
    /// The name that its site answers to.
    pub fn domain(&self) -> String {
        format!("{}.example.org", self.name())
    }
    /// Its configuration file.
    pub fn toml_path(&self) -> String {
        format!("/etc/deployd/apps/{}.toml", self.name())
    }

    /// Writes the configuration: the four lines and `more`.
    pub fn configure(&self, host: &Host, more: &str) {
        let preset = if self.spec.laravel { "preset = \"laravel\"\n" } else { "" };
        let four = format!(
            "{preset}root = \"{}\"\nuser = \"{}\"\nsource.git = \"{}\"\n",
            self.root(),
            self.user(),
            self.repository()
        );
        host.write(&self.toml_path(), format!("{four}{more}"));
    }

    /// Commits a release whose pages call it `label`, with these files changed; `main` and the tag `label` name it.
    pub fn commit(&self, host: &Host, label: &str, files: &[(&str, &str)]) {
        let tree = self.work_tree();
        host.write(&format!("{tree}/RELEASE"), format!("{label}\n"));
        host.write(&format!("{tree}/release.php"), format!("<?php\n\nreturn '{label}';\n"));
        if self.spec.laravel {
            let marker = format!("<?php\n\nnamespace App;\n\nclass Marker\n{{\n    const RELEASE = '{label}';\n}}\n");
            host.write(&format!("{tree}/app/Marker.php"), marker);
        }
        for (path, content) in files {
            host.write(&format!("{tree}/{path}"), content);
        }
        self.record(host, label);
    }

    /// Commits release `r2`: the second one, with a migration.
    pub fn commit_second(&self, host: &Host) {
        host.copy_in(&crate_dir().join("tests/app-second"), &self.work_tree());
        self.commit(host, "r2", &[]);
    }

    /// Points `main` at the release that was committed as `label`.
    pub fn point(&self, host: &Host, label: &str) {
        let git_dir = format!("--git-dir={}", self.repository());
        host.run_as(self.user(), &["git", &git_dir, "update-ref", "refs/heads/main", &format!("refs/tags/{label}")])
            .ok();
    }

    /// Packs the repository, as a server's is.
    pub fn pack(&self, host: &Host) {
        let git_dir = format!("--git-dir={}", self.repository());
        host.run_as(self.user(), &["git", &git_dir, "repack", "-adq"]).ok();
    }

    /// `systemctl start deploy@NAME`.
    pub fn start(&self, host: &Host) -> Ended {
        host.run(&["systemctl", "start", &format!("deploy@{}", self.name())])
    }

    /// `deployctl VERB NAME ARGUMENTS` as root.
    pub fn ctl(&self, host: &Host, verb: &str, arguments: &[&str]) -> Ended {
        host.run(&[&["deployctl", verb, self.name()], arguments].concat())
    }

    /// Deploys `main`, which must succeed.
    #[track_caller]
    pub fn deploy(&self, host: &Host) {
        self.start(host).ok();
    }

    /// Asks the site for a page.
    pub fn get(&self, host: &Host, path: &str) -> Answer {
        requests::get(host.network(), &self.domain(), path)
    }

    /// The release the home page says it is, in `label`, after checking that it is whole.
    #[track_caller]
    pub fn release(&self, host: &Host) -> String {
        let answer = self.get(host, "/");
        assert!(answer.is_whole() && !answer.is_mixed(), "{answer:?}");
        answer.value("end").expect("a whole page has it").to_owned()
    }

    /// Waits until the home page is `label`'s, for what a reload leaves unanswered at first.
    #[track_caller]
    pub fn wait_release(&self, host: &Host, label: &str) {
        let (wanted, limit) = (label.to_owned(), Duration::from_secs(10));
        let is_it = move |answer: &Answer| answer.is_whole() && answer.value("end") == Some(&wanted);
        let seen =
            requests::watch(host.network(), &self.domain(), "/", limit, is_it).join().expect("it does not panic");
        assert!(seen.is_some(), "{label} is not what {} serves: {:?}", self.domain(), self.get(host, "/"));
    }

    /// What `current` names, as `releases/ID`; empty when it is not there.
    pub fn current(&self, host: &Host) -> String {
        host.run(&["readlink", &format!("{}/current", self.root())]).stdout.trim().to_owned()
    }

    /// Sets a key of the shared `.env`.
    pub fn set_env(&self, host: &Host, key: &str, value: &str) {
        let file = format!("{}/shared/.env", self.root());
        let set = r#"sed -i "/^$1=/d" "$3"; echo "$1=$2" >> "$3""#;
        host.ok(&["sh", "-euc", set, "sh", key, value, &file]);
    }

    fn work_tree(&self) -> String {
        format!("/srv/build/{}", self.name())
    }

    fn make_user(&self, host: &Host) {
        let add = r#"id -u "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1""#;
        host.ok(&["sh", "-euc", add, "sh", self.user()]);
    }

    fn make_repository(&self, host: &Host) {
        let tree = self.work_tree();
        let script = r#"mkdir -p "$2" /srv/git; git init -q --bare -b main "$1"; chown -R "$3:" "$1""#;
        host.ok(&["sh", "-euc", script, "sh", &self.repository(), &tree, self.user()]);
        if self.spec.laravel {
            host.copy_in(&crate_dir().join("tests/app"), &tree);
        } else if self.spec.over.is_none() {
            self.make_plain_tree(host);
        }
        if let Some(over) = self.spec.over {
            host.copy_in(&crate_dir().join("tests").join(over), &tree);
        }
        if self.spec.views {
            self.make_views(host);
        }
        self.commit(host, "r1", &[]);
    }

    /// 2,000 files in 40 directories, and a page that names its release.
    fn make_plain_tree(&self, host: &Host) {
        let script = r#"cd "$1"
for d in $(seq 10 49); do mkdir -p "src/d$d"; for f in $(seq 10 59); do
printf '<?php\n\nreturn [%s, %s, "%2000s"];\n' "$d" "$f" x > "src/d$d/f$f.php"; done; done"#;
        host.ok(&["sh", "-euc", script, "sh", &self.work_tree()]);
        let page = "<?php\n\nheader('Content-Type: text/plain');\n$r = include __DIR__.'/../release.php';\n\
                    echo \"start=$r\\nend=\", trim(file_get_contents(__DIR__.'/../RELEASE')), \"\\n\";\n";
        host.write(&format!("{}/public/index.php", self.work_tree()), page);
    }

    fn make_views(&self, host: &Host) {
        let script = r#"mkdir -p "$1/resources/views/many"; cd "$1/resources/views/many"
for n in $(seq 1 200); do printf '<p>view {{ $number }}</p>\n@if ($number > 0) yes @endif\n' > "$(printf 'v%03d' "$n").blade.php"; done"#;
        host.ok(&["sh", "-euc", script, "sh", &self.work_tree()]);
    }

    fn record(&self, host: &Host, label: &str) {
        let script = r#"chown -R "$4:" "$2"; cd "$2"; export GIT_DIR="$1" GIT_WORK_TREE="$2"
git="runuser -u $4 -- git -c user.name=Test -c user.email=test@example.org"
$git add -A; $git commit -q --allow-empty -m "Release $3"; $git tag -f "$3" >/dev/null"#;
        host.ok(&["sh", "-euc", script, "sh", &self.repository(), &self.work_tree(), label, self.user()]);
    }

    fn make_shared(&self, host: &Host) {
        if !self.spec.laravel {
            return;
        }
        let script = r#"mkdir -p "$1/shared"; cd "$1/shared"; touch database.sqlite
printf 'APP_NAME=%s\nAPP_KEY=base64:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\nDB_DATABASE=%s\nAPP_GREETING=hello\n' \
    "$2" "$1/shared/database.sqlite" > .env
chown -R "$3:" "$1/shared""#;
        host.ok(&["sh", "-euc", script, "sh", self.root(), self.name(), self.user()]);
    }
}
