//! Looks through an archive before anything of it is written: what is in it, and whether a release may be made of it.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use super::{
    super::{refusal::Refusal, walk::MAX_ENTRIES},
    names::{self, Names, below},
    visit::{Visit, What, wrong},
};

/// How many links one way may lead through, as in the kernel.
const HOPS: usize = 40;

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link(Vec<u8>),
    Same(Vec<u8>),
    Never(&'static str),
}

/// What is in an archive.
#[derive(Debug, Default)]
pub struct Listing {
    entries: HashMap<Vec<u8>, Kind>,
}

impl Visit for Listing {
    fn entry(&mut self, name: &[u8], what: What<'_>) -> Result<(), Refusal> {
        let kind = match what {
            What::Directory => Kind::Directory,
            What::File { size, content, .. } => {
                let read = io::copy(content, &mut io::sink());
                let read = read.map_err(|error| wrong(format!("{}: {error}", names::shown(name))))?;
                if read != size {
                    return Err(wrong(format!("{} is cut off", names::shown(name))));
                }
                Kind::File
            }
            What::Link(text) => Kind::Link(text),
            What::Same(first) => Kind::Same(first),
            What::Never(why) => Kind::Never(why),
        };
        if self.entries.len() >= MAX_ENTRIES {
            return Err(wrong(format!("more than {MAX_ENTRIES} entries, at {}", names::shown(name))));
        }
        let directory = kind == Kind::Directory;
        match self.entries.insert(name.to_vec(), kind) {
            Some(Kind::Directory) if directory => Ok(()),
            Some(_) => Err(wrong(format!("{} is there twice", names::shown(name)))),
            None => Ok(()),
        }
    }
}

impl Listing {
    /// The single directory that everything is in, if it is so.
    pub fn top(&self) -> Option<Vec<u8>> {
        let first = |name: &[u8]| name.split(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let top = first(self.entries.keys().next()?);
        let all =
            self.entries.iter().all(|(name, kind)| below(name, &top) && (*name != top || *kind == Kind::Directory));
        let inside = self.entries.keys().any(|name| *name != top);
        (all && inside).then_some(top)
    }

    /// Refuses what no release may have, with the entry's name; what is not taken is not judged.
    pub fn judge(&self, names: &Names<'_>) -> Result<(), Refusal> {
        let taken: BTreeMap<&[u8], &Kind> =
            self.entries.iter().filter_map(|(name, kind)| Some((names.of(name)?, kind))).collect();
        if !taken.values().any(|kind| **kind != Kind::Directory) {
            return Err(wrong("the archive has no files, or none that is not left out"));
        }
        for (name, kind) in &taken {
            let shown = names::shown(name);
            let out = |why: &str| {
                let text = String::from_utf8_lossy(name);
                Refusal::with(
                    format!("{shown} is {why}"),
                    format!("make the archive without it, or leave it out: exclude = [\"{text}\"] in [source]"),
                )
            };
            if let Some(parent) = parents(name).find(|parent| taken.get(parent).is_some_and(|k| **k != Kind::Directory))
            {
                return Err(wrong(format!("{shown} would be written through {}", names::shown(parent))));
            }
            match kind {
                Kind::Never(what) => return Err(out(what)),
                Kind::Same(first) if !matches!(names.of(first).and_then(|n| taken.get(n)), Some(Kind::File)) => {
                    return Err(out("a hard link to something that is no file of the archive"));
                }
                Kind::Link(text) if text.starts_with(b"/") => return Err(out("a link to an absolute path")),
                Kind::Link(_) if !stays(name, &taken) => return Err(out("a link that leads out of the archive")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Which of the asked files are there.
    pub fn markers(&self, names: &Names<'_>, asked: &[String]) -> Vec<String> {
        let there: std::collections::HashSet<&[u8]> = self.entries.keys().filter_map(|name| names.of(name)).collect();
        let is_there = |marker: &&String| {
            let marker = marker.as_bytes();
            there.contains(marker) || there.iter().any(|name| below(name, marker))
        };
        asked.iter().filter(is_there).cloned().collect()
    }
}

/// The directories above a name.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.iter().enumerate().filter(|(_, byte)| **byte == b'/').filter_map(|(at, _)| name.get(..at))
}

/// Follows a link as the kernel would, through all others: whether it stays below the top.
fn stays(link: &[u8], entries: &BTreeMap<&[u8], &Kind>) -> bool {
    // What is still to be walked, the next part last.
    let mut todo: Vec<Vec<u8>> = link.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut at: Vec<Vec<u8>> = Vec::new();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        match &part[..] {
            b"" | b"." => continue,
            b".." => {
                if at.pop().is_none() {
                    return false;
                }
                continue;
            }
            _ => at.push(part),
        }
        if let Some(Kind::Link(text)) = entries.get(&at.join(&b'/')[..]) {
            hops += 1;
            if text.starts_with(b"/") {
                return false;
            }
            if hops > HOPS {
                // The kernel says ELOOP: it leads nowhere.
                return true;
            }
            at.pop();
            todo.extend(text.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
    }
    true
}
