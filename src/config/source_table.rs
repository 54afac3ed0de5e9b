//! `[source]`: where releases come from, as settings. Pure.

use std::path::{Path, PathBuf};

use super::{
    Source, check,
    context::{Context, quoted},
    errors::{Problem, SourceFile},
    resolve::missing,
    source::{self, Reach},
    written::{At, Reader},
};

/// The source; nothing when a problem was noted.
pub(super) fn source(
    cx: &mut Context<'_>,
    top: &mut Reader<'_>,
    files: &[SourceFile],
    root: Option<&Path>,
) -> Option<Source> {
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
