//! The attributes that matter for an export (gitattributes(5), "Creating an archive"), as `git archive` heeds them, and what
//! is in Git LFS.

use std::{collections::HashSet, io::Read, process::Stdio};

use super::{
    git::{Failed, Git, Running},
    git_tree::{Contents, Item, ItemKind, feed},
    refusal::Refusal,
};

/// The largest file of attributes that is looked at, in bytes; git itself reads none above 100 MiB.
const MAX_TEXT: u64 = 1024 * 1024;
/// Words of attributes by which an archive's content is another than the object's.
/// `filter` is none of them: there is no configuration that gives one a program.
const CONVERTING: [&[u8]; 4] = [b"export-subst", b"crlf", b"ident", b"working-tree-encoding"];
/// The attribute of what is left out.
const IGNORE: &str = "export-ignore";
/// The attribute, and its value, of what is in Git LFS.
const LFS: [&str; 2] = ["filter", "lfs"];

/// What the attributes of a tree mean for its export.
#[derive(Debug, Default)]
pub struct Meaning {
    /// These paths, and what is below them, are left out.
    pub ignored: HashSet<Vec<u8>>,
    /// Content may be converted: git itself has to write it, and leaves out what is ignored.
    pub converted: bool,
    /// These are in Git LFS, unless their pointers are wanted.
    pub lfs: HashSet<Vec<u8>>,
}

/// Reads the tree's own files of attributes. Where there are none, nothing is asked.
pub fn read(git: &Git<'_>, items: &[Item]) -> Result<Meaning, Refusal> {
    let of_attributes = |item: &&Item| {
        let name = item.path.rsplit(|byte| *byte == b'/').next();
        matches!(item.kind, ItemKind::File { .. }) && name == Some(b".gitattributes")
    };
    let files: Vec<&Item> = items.iter().filter(of_attributes).collect();
    if files.is_empty() {
        return Ok(Meaning::default());
    }
    let failed =
        |error: Failed| Refusal::new(format!("cannot read attributes from {}: {error}", git.mirror().display()));
    let mut contents = Contents::start(git).map_err(failed)?;
    contents.ask(files.iter().map(|file| file.id.clone()).collect());
    let (mut ignoring, mut converted, mut lfs) = (false, false, false);
    for file in &files {
        let text = contents.text(&file.path, MAX_TEXT)?;
        let speaks_of = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        converted |= text.len() as u64 >= MAX_TEXT || CONVERTING.iter().any(|word| speaks_of(word));
        ignoring |= speaks_of(IGNORE.as_bytes());
        lfs |= text.len() as u64 >= MAX_TEXT || speaks_of(LFS[1].as_bytes());
    }
    contents.end().map_err(failed)?;
    let mut meaning = Meaning { converted, ..Meaning::default() };
    let (ignoring, lfs) = (ignoring && !converted, lfs && !git.lfs_pointers);
    if ignoring || lfs {
        let (ignored, in_lfs) = asked(git, &files, items).map_err(failed)?;
        meaning.ignored = if ignoring { ignored } else { HashSet::new() };
        meaning.lfs = if lfs { in_lfs } else { HashSet::new() };
    }
    Ok(meaning)
}

/// Paths of files and directories.
type Paths = HashSet<Vec<u8>>;

/// What git says is ignored, and what is in Git LFS. It reads attributes from an index, so it gets one that has nothing
/// else.
fn asked(git: &Git<'_>, attributes: &[&Item], items: &[Item]) -> Result<(Paths, Paths), Failed> {
    // Another worker of the app may be asking, too.
    let index = git.mirror().with_file_name(format!("attributes-{}.index", std::process::id()));
    let _ = std::fs::remove_file(&index);
    let lines =
        attributes.iter().flat_map(|item| [format!("100644 {}\t", item.id).as_bytes(), &item.path[..], b"\0"].concat());
    let mut fill = git.command(&["update-index", "-z", "--index-info"]);
    fill.env("GIT_INDEX_FILE", &index).stdin(Stdio::piped());
    let mut running = Running::start(fill)?;
    let feeding = running.child.stdin.take().map(|stdin| feed(stdin, lines.collect()));
    running.end()?;
    drop(feeding);

    let mut check = git.command(&["check-attr", "--cached", "-z", "--stdin", IGNORE, LFS[0]]);
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
    let (mut ignored, mut lfs) = (Paths::new(), Paths::new());
    let mut fields = answer.split(|byte| *byte == 0);
    while let (Some(path), Some(attribute), Some(value)) = (fields.next(), fields.next(), fields.next()) {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if attribute == IGNORE.as_bytes() && value == b"set" {
            ignored.insert(path.to_vec());
        } else if attribute == LFS[0].as_bytes() && value == LFS[1].as_bytes() {
            lfs.insert(path.to_vec());
        }
    }
    Ok((ignored, lfs))
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
