//! What making a release costs: time and disk, beside the scripts with `git clone --reference` and `rsync --link-dest`,
//! and with `cp -al` as the floor. Each on a fresh file system of its own, caches warm, a sync at the end of each run; a
//! ratio is of the same kind of file system.

use std::time::Instant;

use super::tree::{self, Tree};
use crate::support::{
    command, deb,
    disk::Disk,
    host::Host,
    root::Root,
    table::{self, Figure},
};

const DISK_GIB: u64 = 16;
/// deployd's own ways: who, the file system, and the configuration.
const WAYS: [(&str, &str, &str); 3] =
    [("deployd", "ext4", "share = \"hardlink\"\n"), ("deployd-copy", "ext4", ""), BY_REFERENCE[0]];
const BY_REFERENCE: [(&str, &str, &str); 2] =
    [("deployd-reflink-xfs", "xfs", ""), ("deployd-reflink-btrfs", "btrfs", "")];
const REFERENCE: &str = r#"git --git-dir="$1/mirror" fetch -q --prune "$1/repo" "+refs/heads/*:refs/heads/*"
git clone -q --reference "$1/mirror" --branch main "$1/repo" "$1/releases/$2""#;
const RSYNC: &str = r#"git -C "$1/build" pull -q --ff-only
rsync -a --exclude=/.git ${3:+--link-dest="$1/releases/$3"} "$1/build/" "$1/releases/$2/""#;
/// What scripts do in `$1`, to make release `$2` of what `main` is, beside `$3` when there is one; and the file system.
const SCRIPTS: [(&str, &str, &str); 3] =
    [("git-reference", "ext4", REFERENCE), ("link-dest", "ext4", RSYNC), ("cp-al", "ext4", CP_AL)];
/// The same where files are shared by reference, of the large tree.
const ON_XFS: [(&str, &str, &str); 3] =
    [("git-reference-xfs", "xfs", REFERENCE), ("link-dest-xfs", "xfs", RSYNC), ("cp-reflink-xfs", "xfs", CP_REFLINK)];
const ON_BTRFS: [(&str, &str, &str); 3] = [
    ("git-reference-btrfs", "btrfs", REFERENCE),
    ("link-dest-btrfs", "btrfs", RSYNC),
    ("cp-reflink-btrfs", "btrfs", CP_REFLINK),
];
/// The floors: they make nothing of what is new.
const CP_AL: &str = r#"cp -al "$1/releases/$3" "$1/releases/$2""#;
const CP_REFLINK: &str = r#"cp -a --reflink=always "$1/releases/$3" "$1/releases/$2""#;
/// What they have before the first.
const PREPARE: &str = r#"mkdir "$1/releases"
git clone -q --mirror "$1/repo" "$1/mirror"; git clone -q --branch main "$1/repo" "$1/build""#;

/// Measures and prints the table.
pub fn compare(root: &Root, runs: usize, with_deployd: bool) -> Vec<Figure> {
    let mut all = Vec::new();
    for tree in [Tree::small(), Tree::large()] {
        let xfs = ON_XFS.iter().filter(|_| tree.changed().is_some());
        for (who, kind, script) in SCRIPTS.iter().chain(xfs) {
            all.extend(by_script(&tree, runs, (who, kind), script));
        }
        for (who, kind, more) in WAYS.iter().filter(|_| with_deployd) {
            all.extend(by_deployd(root, &tree, runs, who, kind, more));
        }
    }
    let fat = Tree::fat();
    for (who, _, script) in SCRIPTS.iter().filter(|(who, ..)| !is_floor(who)) {
        all.push(disk_by_script(&fat, who, script));
    }
    for (who, kind, more) in WAYS.iter().filter(|_| with_deployd) {
        all.push(disk_by_deployd(root, &fat, who, kind, more));
    }
    report(&all);
    all
}

/// `stage-reflink`: of the large tree, and where files are shared by reference.
pub fn by_reference(root: &Root, runs: usize) -> Vec<Figure> {
    let tree = Tree::large();
    let mut all = Vec::new();
    for (who, kind, script) in ON_XFS.into_iter().chain(ON_BTRFS) {
        all.extend(by_script(&tree, runs, (who, kind), script));
    }
    for (who, kind, more) in BY_REFERENCE {
        all.extend(by_deployd(root, &tree, runs, who, kind, more));
    }
    report(&all);
    all
}

fn is_floor(who: &str) -> bool {
    who.starts_with("cp-")
}

/// One app in a place that a script works in.
struct Scripted<'a> {
    dir: String,
    script: &'a str,
}

impl<'a> Scripted<'a> {
    fn make(disk: &Disk, tree: &Tree, script: &'a str) -> Self {
        let dir = disk.dir().to_string_lossy().into_owned();
        tree.put(&disk.dir().join("repo"));
        command::local(&["sh", "-euc", PREPARE, "sh", &dir]).ok();
        Self { dir, script }
    }

    fn release(&self, name: &str, previous: &str) {
        command::local(&["sh", "-euc", self.script, "sh", &self.dir, name, previous]).ok();
    }
}

fn by_script(tree: &Tree, runs: usize, (who, kind): (&str, &str), script: &str) -> Vec<Figure> {
    let disk = Disk::make(kind, DISK_GIB);
    let app = Scripted::make(&disk, tree, script);
    let repo = disk.dir().join("repo");
    let mut figures = Vec::new();
    if is_floor(who) {
        Scripted { dir: app.dir.clone(), script: RSYNC }.release("first-1", "");
    } else {
        let times = (1..=runs).map(|run| timed(&disk, || app.release(&format!("first-{run}"), "")));
        figures.extend(rows(&tree.work(), who, times.collect()));
    }
    if let Some(changed) = tree.changed() {
        let mut previous = "first-1".to_owned();
        let times = (1..=runs).map(|run| {
            tree::point(&repo, run);
            let name = format!("next-{run}");
            let time = timed(&disk, || app.release(&name, &previous));
            previous = name;
            time
        });
        figures.extend(rows(&changed, who, times.collect()));
    }
    eprintln!("stage: {who}, {} files", tree.files);
    figures
}

/// An app of deployd's in a host, without services: it is only staged.
struct Staged {
    host: Host,
    disk: Disk,
}

impl Staged {
    fn make(root: &Root, tree: &Tree, kind: &str, more: &str) -> Self {
        let disk = Disk::make(kind, DISK_GIB);
        let host = Host::boot_on(root, &[(&disk, "srv"), (&disk, "var/cache/deployd")]);
        host.install_deb(&deb::ensure());
        tree.put(&disk.dir().join("srv/repo"));
        host.ok(&["sh", "-euc", "useradd --create-home shop; chown -R shop: /srv/repo"]);
        let four = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/srv/repo\"\nsource.ref = \"main\"\n";
        host.write("/etc/deployd/apps/shop.toml", format!("{more}{four}[releases]\nkeep = 100\n"));
        // Fetches the mirror.
        host.ok(&["deployctl", "plan", "shop"]);
        Self { host, disk }
    }

    fn point(&self, run: usize) {
        tree::point(&self.disk.dir().join("srv/repo"), run);
    }

    fn stage(&self) {
        self.host.ok(&["deployctl", "stage", "shop", "--force"]);
    }

    /// Without a manifest every release is like the first.
    fn forget(&self) {
        self.host.ok(&["rm", "-rf", "/var/cache/deployd/shop/manifests"]);
    }
}

fn by_deployd(root: &Root, tree: &Tree, runs: usize, who: &str, kind: &str, more: &str) -> Vec<Figure> {
    let app = Staged::make(root, tree, kind, more);
    let first = (1..=runs).map(|_| {
        app.forget();
        timed(&app.disk, || app.stage())
    });
    let mut figures = rows(&tree.work(), who, first.collect()).to_vec();
    if let Some(changed) = tree.changed() {
        let next = (1..=runs).map(|run| {
            app.point(run);
            timed(&app.disk, || app.stage())
        });
        figures.extend(rows(&changed, who, next.collect()));
    }
    eprintln!("stage: {who}, {} files", tree.files);
    figures
}

fn disk_by_script(tree: &Tree, who: &str, script: &str) -> Figure {
    let disk = Disk::make("ext4", DISK_GIB);
    let app = Scripted::make(&disk, tree, script);
    disk_row(tree, who, &disk, |run| {
        tree::point(&disk.dir().join("repo"), run);
        let previous = if run == 0 { String::new() } else { format!("r{}", run - 1) };
        app.release(&format!("r{run}"), &previous);
    })
}

fn disk_by_deployd(root: &Root, tree: &Tree, who: &str, kind: &str, more: &str) -> Figure {
    let app = Staged::make(root, tree, kind, more);
    disk_row(tree, who, &app.disk, |run| {
        app.point(run);
        app.stage();
    })
}

/// Ten releases, each with 1 % changed, beside a mirror that has them all from the beginning.
fn disk_row(tree: &Tree, who: &str, disk: &Disk, release: impl Fn(usize)) -> Figure {
    disk.sync();
    let before = disk.used();
    (0..10).for_each(release);
    disk.sync();
    eprintln!("disk: {who}");
    table::figure(&tree.work(), who, "mb", (disk.used() - before) as f64 / 1e6, "MB")
}

/// Milliseconds of some work and the sync after it, and the megabytes that they wrote.
fn timed(disk: &Disk, work: impl Fn()) -> (f64, f64) {
    disk.sync();
    let (begun, before) = (Instant::now(), disk.written());
    work();
    disk.sync();
    (begun.elapsed().as_secs_f64() * 1000.0, (disk.written() - before) as f64 / 1e6)
}

fn rows(work: &str, who: &str, runs: Vec<(f64, f64)>) -> [Figure; 2] {
    let (times, written): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
    eprintln!("{work}: {who}: {}", times.iter().map(|time| format!("{time:.0}")).collect::<Vec<_>>().join(" "));
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    [
        table::figure(work, who, "wall_ms", median(times), "ms"),
        table::figure(work, who, "written_mb", median(written), "MB"),
    ]
}

/// The file system of a row, where it is not ext4.
fn kind_of(who: &str) -> Option<&str> {
    ["xfs", "btrfs"].into_iter().find(|kind| who.ends_with(kind))
}

fn report(figures: &[Figure]) {
    let faster = |of: &Figure| {
        let fits = |one: &&Figure| {
            let script = one.who.starts_with("git-reference") || one.who.starts_with("link-dest");
            script && (&one.work, &one.metric) == (&of.work, &of.metric)
        };
        let scripts = |kind: Option<&str>| {
            let there = figures.iter().filter(fits).filter(|one| kind_of(&one.who) == kind);
            there.map(|one| one.value).reduce(f64::min)
        };
        scripts(kind_of(&of.who)).or_else(|| scripts(None)).unwrap_or(f64::NAN)
    };
    let rows: Vec<_> = figures
        .iter()
        .map(|one| {
            let what = match &*one.metric {
                "wall_ms" => "time",
                "written_mb" => "written",
                _ => "in use",
            };
            let ratio = format!("{:.2}", one.value / faster(one));
            vec![format!("{}: {}", one.work, one.who), what.into(), format!("{:.0} {}", one.value, one.unit), ratio]
        })
        .collect();
    println!("\nmaking a release, medians; the ratio is to the cheaper script on that kind of file system\n");
    println!("{}", table::table(&["work: who", "what", "cost", "ratio"], &rows));
}
