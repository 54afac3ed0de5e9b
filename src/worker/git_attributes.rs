//! The attributes that matter for an export (gitattributes(5), "Creating an archive"), as `git archive` heeds them.

use std::{collections::HashSet, io::Read, process::Stdio};

use super::{
    git::{Failed, Git, Running},
    git_tree::{Contents, Item, ItemKind, feed},
    refusal::Refusal,
};

/// The largest file of attributes that is looked at, in bytes; git itself reads none above 100 MiB.
const MAX_TEXT: u64 = 1024 * 1024;
/// Words of attributes by which an archive's content is another than the object's.
const CONVERTING: [&[u8]; 5] = [b"export-subst", b"crlf", b"ident", b"working-tree-encoding", b"filter"];
/// The attribute of what is left out.
const IGNORE: &str = "export-ignore";

/// What the attributes of a tree mean for its export.
#[derive(Debug)]
pub enum Meaning {
    /// Everything, but these paths and what is below them.
    Without(HashSet<Vec<u8>>),
    /// Content may be converted: git itself has to write it.
    Converted,
}

/// Reads the tree's own files of attributes. Where there are none, nothing is asked.
pub fn read(git: &Git<'_>, items: &[Item]) -> Result<Meaning, Refusal> {
    let of_attributes = |item: &&Item| {
        let name = item.path.rsplit(|byte| *byte == b'/').next();
        matches!(item.kind, ItemKind::File { .. }) && name == Some(b".gitattributes")
    };
    let files: Vec<&Item> = items.iter().filter(of_attributes).collect();
    if files.is_empty() {
        return Ok(Meaning::Without(HashSet::new()));
    }
    let failed =
        |error: Failed| Refusal::new(format!("cannot read attributes from {}: {error}", git.mirror().display()));
    let mut contents = Contents::start(git).map_err(failed)?;
    contents.ask(files.iter().map(|file| file.id.clone()).collect());
    let (mut ignoring, mut converted) = (false, false);
    for file in &files {
        let text = contents.text(&file.path, MAX_TEXT)?;
        let speaks_of = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        converted |= text.len() as u64 >= MAX_TEXT || CONVERTING.iter().any(|word| speaks_of(word));
        ignoring |= speaks_of(IGNORE.as_bytes());
    }
    contents.end().map_err(failed)?;
    match (converted, ignoring) {
        (true, _) => Ok(Meaning::Converted),
        (false, true) => Ok(Meaning::Without(ignored(git, &files, items).map_err(failed)?)),
        (false, false) => Ok(Meaning::Without(HashSet::new())),
    }
}

/// The files and directories that git says are ignored. It reads attributes from an index, so it gets one that has
/// nothing else.
fn ignored(git: &Git<'_>, attributes: &[&Item], items: &[Item]) -> Result<HashSet<Vec<u8>>, Failed> {
    let index = git.mirror().with_file_name("attributes.index");
    let _ = std::fs::remove_file(&index);
    let lines =
        attributes.iter().flat_map(|item| [format!("100644 {}\t", item.id).as_bytes(), &item.path[..], b"\0"].concat());
    let mut fill = git.command(&["update-index", "-z", "--index-info"]);
    fill.env("GIT_INDEX_FILE", &index).stdin(Stdio::piped());
    let mut running = Running::start(fill)?;
    let feeding = running.child.stdin.take().map(|stdin| feed(stdin, lines.collect()));
    running.end()?;
    drop(feeding);

    let mut check = git.command(&["check-attr", "--cached", "-z", "--stdin", IGNORE]);
    check.env("GIT_INDEX_FILE", &index).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(check)?;
    let feeding = running.child.stdin.take().map(|stdin| feed(stdin, questions(items)));
    let mut answer = Vec::new();
    if let Some(mut stdout) = running.child.stdout.take() {
        stdout.read_to_end(&mut answer).map_err(|error| Failed::from(error.to_string()))?;
    }
    running.end()?;
    drop(feeding);
    let _ = std::fs::remove_file(&index);
    let fields: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
    let set = fields.chunks_exact(3).filter(|fields| fields.last() == Some(&&b"set"[..]));
    Ok(set.filter_map(|fields| fields.first()).map(|path| path.strip_suffix(b"/").unwrap_or(path).to_vec()).collect())
}

/// Every path, and every directory with a slash, as git asks itself.
fn questions(items: &[Item]) -> Vec<u8> {
    let (mut text, mut asked) = (Vec::new(), HashSet::new());
    for item in items {
        for dir in parents(&item.path) {
            if asked.insert(dir) {
                text.extend_from_slice(dir);
                text.extend_from_slice(b"/\0");
            }
        }
        text.extend_from_slice(&item.path);
        text.extend_from_slice(if item.kind == ItemKind::Submodule { b"/\0" } else { b"\0" });
    }
    text
}

/// Whether an entry, or a directory above it, is among `ignored`.
pub fn is_ignored(ignored: &HashSet<Vec<u8>>, path: &[u8]) -> bool {
    !ignored.is_empty() && (ignored.contains(path) || parents(path).any(|dir| ignored.contains(dir)))
}

/// The directories above a path, from the nearest.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    fn parent(path: &[u8]) -> Option<&[u8]> {
        path.get(..path.iter().rposition(|byte| *byte == b'/')?)
    }
    std::iter::successors(parent(path), |path| parent(path))
}
