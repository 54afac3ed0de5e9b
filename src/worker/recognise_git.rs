//! Where the code of a tree comes from: read from git's own files, and from what Capistrano and Deployer note beside.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    recognise::{is_commit, text},
    recognised::{GitFound, Maker},
};

/// The most untracked paths that are told.
const MOST: usize = 50;
/// What builds and Laravel itself make, and what is shared anyway.
const MADE: [&str; 14] = [
    "vendor/",
    "node_modules/",
    "storage/",
    "bootstrap/cache/",
    "public/build/",
    "public/hot",
    "public/storage",
    "public/vendor/",
    ".env",
    ".phpunit",
    ".idea/",
    ".vscode/",
    "releases/",
    "shared/",
];

/// Of a checkout.
pub fn of_checkout(root: &Path) -> Option<GitFound> {
    of_dir(&root.join(".git"))
}

/// Of what fetches for releases: Capistrano's mirror, or Deployer's.
pub fn of_releases(root: &Path, maker: Maker) -> Option<GitFound> {
    let dir = match maker {
        Maker::Capistrano => root.join("repo"),
        Maker::Deployer => root.join(".dep/repo"),
        _ => return of_dir(&root.join("current/.git")),
    };
    let noted = match maker {
        Maker::Capistrano => text(&root.join("revisions.log")).and_then(|log| noted_by_capistrano(&log)),
        _ => text(&root.join(".dep/releases_log")).and_then(|log| noted_by_deployer(&log)),
    };
    let found = of_dir(&dir)?;
    Some(GitFound { branch: noted.or(found.branch), ..found })
}

/// `Branch main (at abc) deployed as release 20260101120000 by deploy`, the last one.
fn noted_by_capistrano(log: &str) -> Option<String> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("Branch "))?;
    named(line.split(' ').next()?)
}

/// A line of JSON for each release, with its `target`.
fn noted_by_deployer(log: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(log.lines().rev().find(|line| !line.trim().is_empty())?).ok()?;
    named(line["target"].as_str()?).filter(|target| target != "HEAD")
}

fn of_dir(dir: &Path) -> Option<GitFound> {
    let config = text(&dir.join("config"))?;
    let url = without_password(&origin(&config)?)?;
    let head = text(&dir.join("HEAD")).unwrap_or_default();
    let head = head.trim();
    let reference = head.strip_prefix("ref: ").filter(|name| name.starts_with("refs/heads/") && !name.contains(".."));
    let branch = reference.and_then(|name| named(name.strip_prefix("refs/heads/")?));
    let commit = match reference {
        Some(name) => text(&dir.join(name)).map(|text| text.trim().to_owned()).or_else(|| packed(dir, name)),
        None => Some(head.to_owned()),
    };
    Some(GitFound { url, branch, head: commit.filter(|commit| is_commit(commit)) })
}

/// The url in `[remote "origin"]`.
fn origin(config: &str) -> Option<String> {
    let mut inside = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[remote \"origin\"]";
        } else if let (true, Some((key, value))) = (inside, line.split_once('='))
            && key.trim() == "url"
        {
            return Some(value.trim().trim_matches('"').to_owned());
        }
    }
    None
}

fn packed(dir: &Path, name: &str) -> Option<String> {
    let packed = text(&dir.join("packed-refs"))?;
    packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
}

/// A password belongs into a file of root's, not into what everybody may read.
fn without_password(url: &str) -> Option<String> {
    let plain = url.len() <= 500 && !url.is_empty() && url.chars().all(|c| !c.is_control() && c != '"' && c != '\\');
    if !plain {
        return None;
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        // `user:password@host:path` is no url of git's: nothing of it is told.
        return (!has_password(url)).then(|| url.to_owned());
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match authority.rsplit_once('@') {
        // A user of ssh is no secret.
        Some((user, host)) if scheme == "ssh" => {
            format!("{}@{host}", user.split(':').next().unwrap_or_default())
        }
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    // One with a slash in it: what is left of it would be told.
    (!has_password(&format!("{host}/{path}"))).then(|| format!("{scheme}://{host}/{path}"))
}

/// Something stands before an `@`, after a `:`.
fn has_password(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(before, _)| before.contains(':'))
}

/// A branch's name, when it is a plain one.
fn named(text: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let plain = !text.is_empty() && text.len() <= 200 && !text.starts_with(['-', '/', '.']) && text.bytes().all(good);
    plain.then(|| text.to_owned())
}

/// What git does not know of a checkout, without what is made again. Asked of git itself, as the tree's owner.
pub fn untracked(root: &Path) -> Vec<String> {
    let git = |path: PathBuf| {
        let mut git = Command::new("git");
        git.arg("-C").arg(path).args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
        git.args(["ls-files", "--others", "--directory", "--no-empty-directory", "-z"]);
        git.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).stderr(Stdio::null());
        git
    };
    let Ok(output) = git(root.to_owned()).output() else { return Vec::new() };
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_made = |path: &str| MADE.iter().any(|made| path.starts_with(made)) || path == "current";
    let plain = |path: &&str| !path.is_empty() && !path.chars().any(char::is_control) && !is_made(path);
    listed.split('\0').filter(plain).take(MOST).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_and_no_odd_name_comes_through() {
        let url = |url: &str| without_password(url).unwrap();
        assert_eq!(url("https://user:secret@git.example.org/a/b.git"), "https://git.example.org/a/b.git");
        assert_eq!(url("git@git.example.org:a/b.git"), "git@git.example.org:a/b.git");
        assert_eq!(url("/srv/git/shop.git"), "/srv/git/shop.git");
        assert_eq!(url("ssh://git:secret@git.example.org:2222/a"), "ssh://git@git.example.org:2222/a");
        assert_eq!(url("ftp://u:secret@h/a"), "ftp://h/a");
        for told in ["https://u:sec/ret@h/a", "u:secret@h:a", "u:secret@h/a", "ssh://u:sec/ret@h/a"] {
            assert_eq!(without_password(told), None, "{told}");
        }
        assert!(without_password("a\"b").is_none() && without_password("a\nb").is_none());
        assert_eq!(named("feature/x").as_deref(), Some("feature/x"));
        assert!(named("-x").is_none() && named("a b").is_none() && named("").is_none());
        let log = "{\"release_name\":\"1\",\"target\":\"main\"}\n{\"release_name\":\"2\",\"target\":\"live\"}\n";
        assert_eq!(noted_by_deployer(log).as_deref(), Some("live"));
    }
}
