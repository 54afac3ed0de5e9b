//! Looks at a tree that another tool made, or nobody: whose it is, where its code comes from, what it shares. Changes
//! nothing. Nothing of what it reads is believed further than a name or a url that a person will see.

use std::{
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use super::{
    order::Answer,
    recognise_git as git,
    recognised::{ForeignRelease, Maker, Recognised, SharedLink},
    refusal::Refusal,
};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// The most releases, links and paths that are told.
const MOST: usize = 200;
/// How deep links into `shared/` are looked for, and in how many directories.
const DEEPEST: usize = 3;
const DIRECTORIES: usize = 2000;
/// Packages that decide how an app is served.
const PACKAGES: [&str; 6] = [
    "laravel/framework",
    "laravel/octane",
    "laravel/horizon",
    "spiral/roadrunner-http",
    "statamic/cms",
    "symfony/framework-bundle",
];

/// Carries out [`super::order::Order::Recognise`].
pub fn run(root: &Path, paths: &[String]) -> Result<Answer, Refusal> {
    let mut found = Recognised { made_by: maker(root), ..Recognised::default() };
    if found.made_by.has_releases() {
        found.live = live(root);
        found.releases = newest(releases(root), found.live.as_deref());
        found.git = git::of_releases(root, found.made_by);
    } else {
        found.git = git::of_checkout(root);
        found.untracked = git::untracked(root);
        found.databases = databases(root);
    }
    let code = match found.made_by.has_releases() {
        true => root.join("current"),
        false => root.to_owned(),
    };
    found.artisan = code.join("artisan").is_file();
    found.packages = packages(&code);
    let environment = text(&code.join(".env")).or_else(|| text(&root.join("shared/.env"))).unwrap_or_default();
    found.octane = value(&environment, "OCTANE_SERVER");
    found.queue = value(&environment, "QUEUE_CONNECTION");
    found.links = links(root, &code);
    found.own = paths.iter().filter(|path| is_own(&code.join(path))).cloned().collect();
    Ok(Answer::Recognised(Box::new(found)))
}

fn maker(root: &Path) -> Maker {
    let is = |path: &str| root.join(path).symlink_metadata().is_ok();
    let releases = root.join("releases").is_dir() && is("current");
    match () {
        () if releases && (is("repo") || is("revisions.log")) => Maker::Capistrano,
        () if releases && is(".dep") => Maker::Deployer,
        () if releases => Maker::Releases,
        () if is(".git") => Maker::Checkout,
        () if is("artisan") || is("composer.json") || is("index.php") || is("public") => Maker::Copied,
        () => Maker::Nobody,
    }
}

/// A file's text, if it is one and not too large.
pub(super) fn text(file: &Path) -> Option<String> {
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn releases(root: &Path) -> Vec<ForeignRelease> {
    let dir = root.join("releases");
    let release = |name: String| {
        let path = dir.join(&name);
        let meta = path.symlink_metadata().ok().filter(|meta| meta.is_dir() && !name.starts_with('.'))?;
        let revision = text(&path.join("REVISION")).map(|text| text.trim().to_owned()).filter(|it| is_commit(it));
        let bad = path.join("BAD_RELEASE").is_file();
        Some(ForeignRelease { name, revision, modified: meta.mtime(), bad })
    };
    names(&dir).into_iter().filter_map(release).collect()
}

/// No more than may be told, by name: the live one and the newest.
fn newest(mut releases: Vec<ForeignRelease>, live: Option<&str>) -> Vec<ForeignRelease> {
    releases.sort_by_key(|release| (live == Some(release.name.as_str()), release.modified));
    let mut kept = releases.split_off(releases.len().saturating_sub(MOST));
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    kept
}

/// 40 or 64 hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What `current` leads to, when it is a directory of `releases/`, by whatever links.
fn live(root: &Path) -> Option<String> {
    let releases = root.join("releases").canonicalize().ok()?;
    let live = root.join("current").canonicalize().ok()?;
    (live.parent() == Some(&releases)).then(|| live.file_name()?.to_str().map(str::to_owned)).flatten()
}

fn packages(code: &Path) -> Vec<String> {
    let json = text(&code.join("composer.json")).unwrap_or_default();
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&json) else { return Vec::new() };
    PACKAGES.iter().filter(|name| json["require"].get(**name).is_some()).map(|name| (*name).to_owned()).collect()
}

/// A word of an environment file.
fn value(environment: &str, name: &str) -> Option<String> {
    let line =
        environment.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
    let word = line?.trim().trim_matches(['"', '\'']);
    let plain =
        !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    plain.then(|| word.to_owned())
}

/// There, and a file or directory of its own.
fn is_own(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir() || meta.is_file())
}

/// Links into `shared/`, by their text: nothing is followed.
fn links(root: &Path, code: &Path) -> Vec<SharedLink> {
    let Ok(code) = code.canonicalize() else { return Vec::new() };
    let shared = root.join("shared");
    let (mut found, mut left) = (Vec::new(), DIRECTORIES);
    walk(&code, Path::new(""), &mut left, &mut |dir, path| {
        let Ok(target) = std::fs::read_link(code.join(path)) else { return };
        let Some(from) = normal(&code.join(dir).join(target)).strip_prefix(&shared).ok().map(Path::to_path_buf) else {
            return;
        };
        if let (Some(path), Some(from), true) = (path.to_str(), from.to_str(), found.len() < MOST) {
            let directory = shared.join(from).is_dir();
            found.push(SharedLink { path: path.to_owned(), from: from.to_owned(), directory });
        }
    });
    found.retain(|link| !link.from.is_empty());
    found
}

fn walk(top: &Path, dir: &Path, left: &mut usize, link: &mut impl FnMut(&Path, &Path)) {
    if *left == 0 || dir.components().count() > DEEPEST {
        return;
    }
    *left -= 1;
    for name in names(&top.join(dir)) {
        let path = dir.join(&name);
        match top.join(&path).symlink_metadata() {
            Ok(meta) if meta.is_symlink() => link(dir, &path),
            Ok(meta) if meta.is_dir() && !["vendor", "node_modules", ".git"].contains(&name.as_str()) => {
                walk(top, &path, left, link);
            }
            _ => {}
        }
    }
}

/// Without `.` and `..`, by the text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = out.pop(),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// SQLite databases where Laravel has them, that hold something.
fn databases(root: &Path) -> Vec<String> {
    let is_database = |name: &String| [".sqlite", ".sqlite3", ".db"].iter().any(|ending| name.ends_with(ending));
    let path = |name: String| format!("database/{name}");
    let holds = |path: &String| root.join(path).symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0);
    names(&root.join("database")).into_iter().filter(is_database).map(path).filter(holds).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn recognised(root: &Path) -> Recognised {
        match run(root, &["storage".into(), ".env".into()]).unwrap() {
            Answer::Recognised(found) => *found,
            other => panic!("{other:?}"),
        }
    }

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_tree_of_capistrano_s() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().canonicalize().unwrap();
        for name in ["20260101120000", "20260102120000"] {
            write(root.join("releases").join(name).join("artisan"), "");
            write(root.join("releases").join(name).join("REVISION"), &format!("{}\n", "0a".repeat(20)));
        }
        let live = root.join("releases/20260102120000");
        write(live.join("composer.json"), r#"{"require":{"laravel/framework":"^10","laravel/horizon":"*","x/y":"1"}}"#);
        write(root.join("shared/.env"), "QUEUE_CONNECTION=redis\nOCTANE_SERVER=\"a;b\"\n");
        std::fs::create_dir_all(root.join("shared/storage")).unwrap();
        std::fs::create_dir_all(root.join("shared/public/uploads")).unwrap();
        std::fs::create_dir_all(live.join("public")).unwrap();
        symlink(root.join("shared/storage"), live.join("storage")).unwrap();
        symlink("../../shared/.env", live.join(".env")).unwrap();
        symlink("../../../shared/public/uploads", live.join("public/uploads")).unwrap();
        symlink("/etc", live.join("public/other")).unwrap();
        symlink(&live, root.join("current")).unwrap();
        write(root.join("repo/config"), "[remote \"origin\"]\n\turl = https://u:secret@git.example.org/shop.git\n");
        let log = "Branch main (at 1) deployed as release 20260101120000 by a\n\
                   Branch live (at 2) deployed as release 20260102120000 by a\n";
        write(root.join("revisions.log"), log);
        let found = recognised(&root);
        assert_eq!((found.made_by, found.live.as_deref()), (Maker::Capistrano, Some("20260102120000")));
        assert_eq!(found.releases.len(), 2);
        assert_eq!(found.releases[0].revision.as_deref(), Some(&*"0a".repeat(20)));
        assert_eq!(found.packages, ["laravel/framework", "laravel/horizon"]);
        let git = found.git.unwrap();
        assert_eq!((git.url.as_str(), git.branch.as_deref()), ("https://git.example.org/shop.git", Some("live")));
        let links: Vec<_> = found.links.iter().map(|l| (l.path.as_str(), l.from.as_str(), l.directory)).collect();
        assert_eq!(
            links,
            [(".env", ".env", false), ("public/uploads", "public/uploads", true), ("storage", "storage", true)]
        );
        assert_eq!((found.queue.as_deref(), found.octane, found.own.len()), (Some("redis"), None, 0));
    }

    #[test]
    fn of_too_many_releases_the_newest_and_the_live_one_are_told() {
        let release = |at: i64| ForeignRelease { name: format!("{at:04}"), revision: None, modified: at, bad: false };
        let kept = newest((0..300).map(release).collect(), Some("0007"));
        assert_eq!((kept.len(), kept[0].name.as_str(), kept[1].name.as_str()), (MOST, "0007", "0101"));
        assert_eq!(kept[MOST - 1].name, "0299");
    }

    #[test]
    fn a_checkout_and_what_git_does_not_know() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path();
        write(root.join("artisan"), "");
        write(root.join(".env"), "A=1");
        write(root.join("storage/app/x"), "");
        write(root.join("database/database.sqlite"), "x");
        write(root.join("database/empty.sqlite"), "");
        write(root.join(".git/HEAD"), "ref: refs/heads/feature/x\n");
        write(root.join(".git/refs/heads/feature/x"), &"1b".repeat(20));
        write(root.join(".git/config"), "[core]\n[remote \"origin\"]\n  url = git@example.org:shop.git\n");
        let found = recognised(root);
        assert_eq!((found.made_by, found.live), (Maker::Checkout, None));
        let git = found.git.unwrap();
        assert_eq!((git.url.as_str(), git.branch.as_deref()), ("git@example.org:shop.git", Some("feature/x")));
        assert_eq!(git.head, Some("1b".repeat(20)));
        assert_eq!(found.own, ["storage", ".env"]);
        assert_eq!(found.databases, ["database/database.sqlite"]);
        assert_eq!(recognised(&root.join("storage")).made_by, Maker::Nobody);
    }
}
