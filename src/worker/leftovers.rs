//! What a fetch that failed leaves in the mirror: half a pack, or half an object, which would keep a full disk full.
//! Git itself forgets such files after days, and only when it collects garbage.

use std::{
    collections::BTreeSet,
    fs::DirEntry,
    path::{Path, PathBuf},
};

/// Removes unfinished files of the mirror, but not what a process of the same user has open: it may be another fetch.
pub fn remove(mirror: &Path) {
    let Ok(objects) = mirror.join("objects").canonicalize() else { return };
    let unfinished = |entry: &DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"tmp_");
    let dirs = entries(&objects);
    let found: Vec<PathBuf> =
        dirs.flat_map(|dir| entries(&dir.path())).filter(unfinished).map(|file| file.path()).collect();
    let open = if found.is_empty() { BTreeSet::new() } else { open_files() };
    for file in found.into_iter().filter(|file| !open.contains(file)) {
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!("{} stays: {error}, ignoring", file.display());
        }
    }
}

/// What may be seen is of the same user; a step, into which it may not look, fetches nothing.
fn open_files() -> BTreeSet<PathBuf> {
    let descriptors = entries(Path::new("/proc")).flat_map(|process| entries(&process.path().join("fd")));
    descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok()).collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir_all};

    use super::*;

    #[test]
    fn what_is_unfinished_goes_unless_somebody_is_at_it() {
        let mirror = tempfile::tempdir().unwrap();
        let objects = mirror.path().canonicalize().unwrap().join("objects");
        for dir in ["pack", "ab", "cd"] {
            create_dir_all(objects.join(dir)).unwrap();
        }
        for file in ["pack/tmp_pack_x", "pack/pack-1.pack", "ab/tmp_obj_y", "ab/cdef"] {
            File::create(objects.join(file)).unwrap();
        }
        let written = File::create(objects.join("cd/tmp_obj_z")).unwrap();
        let there = |file: &str| objects.join(file).exists();
        remove(objects.parent().unwrap());
        assert!(!there("pack/tmp_pack_x") && !there("ab/tmp_obj_y") && there("cd/tmp_obj_z"));
        drop(written);
        remove(objects.parent().unwrap());
        assert!(!there("cd/tmp_obj_z") && there("pack/pack-1.pack") && there("ab/cdef"));
    }
}
