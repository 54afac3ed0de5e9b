//! `[source]`: where releases come from, as settings. Pure.

use std::path::{Path, PathBuf};

use super::{
    GitCredential, GitSource, Source, check,
    context::{Context, quoted},
    errors::{Problem, SourceFile},
    resolve::missing,
    root_file::outside,
    source::{self, Reach},
    source_archive,
    tree::Value,
    written::{At, Reader},
};

/// The keys that say what a source is.
const KINDS: [&str; 4] = ["git", "archive", "directory", "upload"];

/// The other keys, and the kinds that they go with.
const KEYS: [(&str, &[&str]); 14] = [
    ("ref", &["git", "archive"]),
    ("ssh_key", &["git"]),
    ("known_hosts", &["git"]),
    ("ssh_key_credential", &["git"]),
    ("token_credential", &["git"]),
    ("depth", &["git"]),
    ("submodules", &["git"]),
    ("lfs", &["git"]),
    ("sha256", &["archive"]),
    ("signed_by", &["archive"]),
    ("signature", &["archive"]),
    ("strip", &["archive", "upload"]),
    ("exclude", &["archive", "directory", "upload"]),
    ("include_all", &["archive", "directory", "upload"]),
];

/// The source; nothing when a problem was noted.
pub(super) fn source(
    cx: &mut Context<'_>,
    top: &mut Reader<'_>,
    files: &[SourceFile],
    root: Option<&Path>,
) -> Option<Source> {
    let example = "write [source] with git = \"git@git.example.org:acme/shop.git\", \
                   archive = \"/srv/builds/shop.tar.zst\" or directory = \"/srv/build/shop\"";
    if top.node("source").is_none() {
        missing(cx, files, "there is no source of releases", example);
        return None;
    }
    let table = top.table("source", &mut cx.problems)?;
    let mut reader = Reader::new(table, "[source]");
    let named: Vec<&'static str> = KINDS.into_iter().filter(|kind| reader.node(kind).is_some()).collect();
    let source = match named[..] {
        [kind] => {
            refuse_others(cx, &mut reader, kind);
            match kind {
                "git" => reader
                    .text("git", "git@git.example.org:acme/shop.git", &mut cx.problems)
                    .and_then(|git| git_source(cx, &mut reader, git, root)),
                "archive" => source_archive::archive(cx, &mut reader),
                "upload" => upload_source(cx, &mut reader),
                _ => reader
                    .text("directory", "/srv/build/shop", &mut cx.problems)
                    .and_then(|at| directory_source(cx, &mut reader, at, root)),
            }
        }
        [] => {
            if cx.problems.is_empty() {
                missing(cx, files, "[source] names no source", example);
            }
            known(&mut reader);
            None
        }
        [_, second, ..] => {
            let title = "a source is one of git, archive, directory and upload, not both";
            if let Some(place) = reader.key_place(second) {
                cx.problems.push(Problem::new(title).at(place).help("remove one"));
            }
            known(&mut reader);
            None
        }
    };
    reader.finish(&mut cx.problems);
    source
}

/// Asked for all the same, so that they are not told as unknown.
fn known(reader: &mut Reader<'_>) {
    for (key, _) in KEYS {
        let _ = reader.node(key);
    }
}

/// Keys that go with another kind of source.
fn refuse_others(cx: &mut Context<'_>, reader: &mut Reader<'_>, kind: &str) {
    for (key, kinds) in KEYS {
        if reader.node(key).is_some()
            && !kinds.contains(&kind)
            && let Some(place) = reader.key_place(key)
        {
            let title = format!("{key} goes with {}, not with {kind}", kinds.join(" or "));
            cx.problems.push(Problem::new(title).at(place).help("remove it"));
        }
    }
}

fn git_source(cx: &mut Context<'_>, reader: &mut Reader<'_>, git: At<String>, root: Option<&Path>) -> Option<Source> {
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
    let ssh_key = access(cx, reader, reach, "ssh_key", Reach::Ssh);
    let known_hosts = access(cx, reader, reach, "known_hosts", Reach::Ssh);
    let key = secret(cx, reader, reach, root, "ssh_key_credential", Reach::Ssh);
    let token = secret(cx, reader, reach, root, "token_credential", Reach::Https);
    if let (Some(_), Some(_), Some(place)) = (&ssh_key, &key, reader.key_place("ssh_key")) {
        let problem = Problem::new("ssh_key and ssh_key_credential are two keys").at(place);
        cx.problems.push(problem.help("remove one: ssh_key is read by the app's user, the other is root's"));
    }
    let depth = reader.number("depth", 1..=1_000_000, &mut cx.problems).and_then(|at| u32::try_from(at.value).ok());
    let (submodules, whole_server) = submodules(cx, reader);
    let lfs_pointers = reader.flag("lfs", &mut cx.problems).is_some_and(|at| !at.value);
    let credential = key.map(GitCredential::SshKey).or(token.map(GitCredential::Token));
    let url = git.value;
    let fetched = GitSource { depth, submodules, whole_server, lfs_pointers, ..GitSource::default() };
    Some(Source::Git(GitSource { url, reference, ssh_key, known_hosts, credential, ..fetched }))
}

/// Whether they are a part of a release, and whether the key or token is for all of its server.
fn submodules(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> (bool, bool) {
    let Some(node) = reader.node("submodules") else { return (false, false) };
    match &node.value {
        Value::Bool(wanted) => (*wanted, false),
        Value::Text(how) if how == "server" => (true, true),
        _ => {
            let problem = Problem::new("submodules is true, false or \"server\"").at(&node.place);
            let help = "write submodules = true; submodules = \"server\" lets the key or token open all of its server";
            cx.problems.push(problem.help(help));
            (false, false)
        }
    }
}

/// A file by which a repository is reached in one way.
fn access(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    reach: Option<Reach>,
    key: &'static str,
    wanted: Reach,
) -> Option<PathBuf> {
    let at = reader.text(key, "/etc/deployd/keys/shop", &mut cx.problems)?;
    if reach.is_some_and(|reach| reach != wanted) {
        let (kind, example) = match wanted {
            Reach::Https => ("https", "https://host/path.git"),
            _ => ("ssh", "git@host:path.git"),
        };
        let problem = Problem::new(format!("{key} goes with an {kind} URL only")).at(&at.place);
        cx.problems.push(problem.help(format!("remove it, or write git = \"{example}\"")));
    }
    cx.take(check::absolute(&at.value), &at.place)
}

/// The same for a secret, which is a file of root's: not one in the app's own tree.
fn secret(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    reach: Option<Reach>,
    root: Option<&Path>,
    key: &'static str,
    wanted: Reach,
) -> Option<PathBuf> {
    let path = access(cx, reader, reach, key, wanted)?;
    if let Some(place) = reader.key_place(key) {
        cx.take(outside(&path, root), place);
    }
    Some(path)
}

/// An app that takes what it is handed.
fn upload_source(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<Source> {
    let unpack = source_archive::unpack(cx, reader);
    let at = reader.flag("upload", &mut cx.problems)?;
    if !at.value {
        let problem = Problem::new("every app takes uploads; upload = true says that it has no other source");
        cx.problems.push(problem.at(&at.place).help("remove it, and write git, archive or directory"));
    }
    Some(Source::Upload { unpack })
}

fn directory_source(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    at: At<String>,
    root: Option<&Path>,
) -> Option<Source> {
    let exclude = source_archive::exclude(cx, reader);
    let path: PathBuf = cx.take(check::absolute(&at.value), &at.place)?;
    if root.is_some_and(|root| path.starts_with(root) || root.starts_with(&path)) {
        let problem = Problem::new("the source directory and root lie one in the other");
        cx.problems.push(problem.at(&at.place).help("build in a directory beside the root, like \"/srv/build/shop\""));
    }
    Some(Source::Directory { path, exclude })
}
