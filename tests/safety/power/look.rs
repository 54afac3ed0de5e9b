//! What is on a disk after a power cut: which release `current` names, and whether all its bytes are there.

use std::{fs, path::Path};

use super::{app, disk::Mounted};

/// What was seen.
#[derive(Debug, Default, Clone)]
pub struct Look {
    /// The release's label; `None`: there is no `current`.
    pub label: Option<String>,
    /// Files of that release that are there and empty.
    pub empty: usize,
    /// What was not as promised.
    pub wrong: Vec<String>,
}

/// Looks at the image of an app's disk; the releases' trees are below `sources`.
pub fn at(image: &Path, sources: &Path) -> Look {
    match Mounted::copy_of(image) {
        Ok(mounted) => at_root(&mounted.dir.join("srv"), sources),
        Err(said) => Look { wrong: vec![format!("the file system cannot be mounted: {said}")], ..Look::default() },
    }
}

fn at_root(root: &Path, sources: &Path) -> Look {
    let Ok(target) = fs::read_link(root.join("current")) else { return Look::default() };
    let mut look = Look::default();
    let release = root.join(&target);
    if target.parent() != Some(Path::new("releases")) || !release.is_dir() {
        look.wrong.push(format!("current names {}, which is no release", target.display()));
        return look;
    }
    let files = app::files(&release);
    look.empty = files.iter().filter(|file| fs::metadata(release.join(file)).is_ok_and(|meta| meta.len() == 0)).count();
    let label = fs::read_to_string(release.join("RELEASE")).unwrap_or_default();
    if !app::LABELS.contains(&&*label) {
        look.wrong.push(format!("{} says it is {label:?}, {} files are empty", target.display(), look.empty));
        return look;
    }
    let source = sources.join(&label);
    if app::files(&source) != files {
        look.wrong.push(format!("{} has {} files, not those of {label}", target.display(), files.len()));
    }
    let same = |file: &Path| fs::read(source.join(file)).ok() == fs::read(release.join(file)).ok();
    let other = files.iter().filter(|file| !same(file)).count();
    if other > 0 {
        look.wrong.push(format!("{label}: {other} files have other bytes, {} are empty", look.empty));
    }
    look.label = Some(label);
    look
}
