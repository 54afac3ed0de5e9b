//! Git LFS: files whose object in git is only a pointer to their content. The contents are in a store in the mirror, which
//! git-lfs fills; from there they come into a release, each compared with what its pointer says.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use rustix::fs::OFlags;

use super::{
    exporter::Exporter,
    git::{Failed, Git},
    git_tree::{Contents, Item, ItemKind},
    refusal::Refusal,
    walk::ContentId,
};
use crate::model::printable;

/// The first line of a pointer, as it is and as it was before there was a standard.
const VERSIONS: [&str; 2] = ["version https://git-lfs.github.com/spec/v1", "version https://hawser.github.com/spec/v1"];
/// The largest pointer, in bytes: git-lfs takes nothing larger for one.
const MAX_POINTER: u64 = 1023;

/// What stands in git for a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub oid: String,
    /// In bytes.
    pub size: u64,
}

impl Pointer {
    /// Its parts, if they are a pointer's.
    pub fn of(oid: &str, size: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let fits = oid.len() == 64 && oid.bytes().all(digit) && size.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { oid: oid.to_owned(), size: size.parse().ok()? }).filter(|_| fits)
    }

    /// As it stands in git. What is none is a file like others, which was committed without git-lfs.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        lines.next().filter(|first| VERSIONS.contains(first))?;
        let values: HashMap<&str, &str> = lines.filter_map(|line| line.split_once(' ')).collect();
        Self::of(values.get("oid")?.strip_prefix("sha256:")?, values.get("size")?)
    }

    /// Where its content is kept.
    pub fn file(&self, git: &Git<'_>) -> PathBuf {
        let (first, second) = (self.oid.get(..2).unwrap_or_default(), self.oid.get(2..4).unwrap_or_default());
        git.mirror().join("lfs/objects").join(first).join(second).join(&self.oid)
    }

    /// Whether a content of its size is there.
    pub fn is_there(&self, git: &Git<'_>) -> bool {
        self.file(git).symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == self.size)
    }
}

/// The pointers among the entries of a tree, of those at `paths`.
pub fn pointers(git: &Git<'_>, items: &[Item], paths: &HashSet<Vec<u8>>) -> Result<Vec<(Vec<u8>, Pointer)>, Refusal> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error: Failed| Refusal::new(format!("cannot read from {}: {error}", git.mirror().display()));
    let is_file = |item: &&Item| matches!(item.kind, ItemKind::File { .. }) && paths.contains(&item.path);
    let files: Vec<&Item> = items.iter().filter(is_file).collect();
    let mut contents = Contents::start(git).map_err(failed)?;
    contents.ask(files.iter().map(|file| file.id.clone()).collect());
    let mut found = Vec::new();
    for file in files {
        let text = contents.text(&file.path, MAX_POINTER + 1)?;
        let small = text.len() as u64 <= MAX_POINTER;
        found.extend(Pointer::parse(&text).filter(|_| small).map(|pointer| (file.path.clone(), pointer)));
    }
    contents.end().map_err(failed)?;
    Ok(found)
}

/// The files of a commit that are in Git LFS, by their paths in a release.
#[derive(Debug, Default)]
pub struct LfsFiles {
    files: HashMap<Vec<u8>, (Pointer, PathBuf)>,
}

impl LfsFiles {
    /// Below `prefix`, which is empty or ends with a slash.
    pub fn below(prefix: &[u8], pointers: Vec<(Vec<u8>, Pointer)>, git: &Git<'_>) -> Self {
        let one = |(path, pointer): (Vec<u8>, Pointer)| {
            let file = pointer.file(git);
            ([prefix, &path].concat(), (pointer, file))
        };
        Self { files: pointers.into_iter().map(one).collect() }
    }

    /// The pointer at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Pointer> {
        self.files.get(path).map(|(pointer, _)| pointer)
    }

    /// Which content a path has. Not git's object: that is the pointer's, and may have been released as such.
    pub fn content_of(&self, path: &[u8]) -> Option<ContentId> {
        ContentId::parse(&format!("sha256:{}", self.get(path)?.oid))
    }

    /// Makes the file at `path` from the store. A content that is another is refused, and is fetched anew by the next
    /// deployment.
    pub fn write(&self, path: &[u8], mode: u32, pointer: &Pointer, exporter: &mut Exporter) -> Result<(), Refusal> {
        let shown = printable(&String::from_utf8_lossy(path));
        let Some((_, file)) = self.files.get(path) else { return Err(Refusal::new(format!("{shown} is not in LFS"))) };
        let mut content = open(file, &shown)?.take(pointer.size.saturating_add(1));
        let (size, id) = exporter.file(path, mode, &mut content)?;
        if size == pointer.size && Some(id) == self.content_of(path) {
            return Ok(());
        }
        std::fs::remove_file(file).map_err(|error| Refusal::io("remove", file, error))?;
        let reason = format!("the content of {shown} that Git LFS keeps is not the one that its pointer names");
        Err(Refusal::with(reason, "deploy again: it was removed from the mirror, and is fetched anew"))
    }
}

fn open(file: &PathBuf, shown: &str) -> Result<File, Refusal> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(file).map_err(|error| {
        let refusal = Refusal::io("open", file, error);
        refusal.of(&format!("the content of {shown}, which is in Git LFS")).or_remedy("deploy again: it is fetched")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_what_only_looks_like_one() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = |oid: &str, size: &str| format!("{}\noid sha256:{oid}\nsize {size}\n", VERSIONS[0]);
        let pointer = Pointer { oid: oid.into(), size: 12345 };
        assert_eq!(Pointer::parse(text(oid, "12345").as_bytes()), Some(pointer.clone()));
        let extended = format!("{}\next-0-foo sha256:{oid}\noid sha256:{oid}\nsize 12345\n", VERSIONS[1]);
        assert_eq!(Pointer::parse(extended.as_bytes()), Some(pointer));
        for bad in [
            text(&oid[1..], "1"),
            text(&oid.to_uppercase(), "1"),
            text("../../../../../../../../../../../../../../../../../../etc/passwd0000", "1"),
            text(oid, "-1"),
            text(oid, "+1"),
            text(oid, "18446744073709551616"),
            text(oid, ""),
            text(oid, "1").replace("sha256", "sha512"),
            text(oid, "1").replace("git-lfs", "other"),
            String::new(),
            "version".into(),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Pointer::parse(b"\xff\xfe"), None);
    }
}
