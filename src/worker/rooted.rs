//! Handles of directories and what is opened below them: never through a symbolic link, never out of the tree, never
//! onto another mount.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::refusal::Refusal;

/// The longest relative path, in bytes: the kernel's PATH_MAX, which bounds what one openat2 can name.
pub const MAX_PATH: usize = 4095;
/// The deepest entry that is written or sealed.
pub const MAX_DEPTH: usize = 128;
/// The longest name of one entry, in bytes (NAME_MAX).
const MAX_NAME: usize = 255;

/// How everything below a handle is opened.
pub const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens an absolute directory; no component may be a symbolic link.
pub fn open(path: &Path) -> Result<OwnedFd, Refusal> {
    if !path.is_absolute() {
        return Err(Refusal::new(format!("{} is not an absolute path", path.display())));
    }
    fs::openat2(CWD, path, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
        .map_err(|error| Refusal::io("open", path, error))
}

/// Opens an absolute directory whose path root wrote down: links on the way are root's or the administrator's choice.
pub fn open_source(path: &Path) -> Result<OwnedFd, Refusal> {
    if !path.is_absolute() {
        return Err(Refusal::new(format!("{} is not an absolute path", path.display())));
    }
    fs::openat2(CWD, path, DIRECTORY, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .map_err(|error| Refusal::io("open", path, error))
}

/// Opens a directory below `dir`.
pub fn open_dir(dir: impl AsFd, relative: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    fs::openat2(dir, relative, DIRECTORY, Mode::empty(), WITHIN)
}

/// Opens a regular file below `dir` for reading; never blocks, whatever is there.
pub fn open_file(dir: impl AsFd, relative: impl rustix::path::Arg) -> std::io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = fs::openat2(dir, relative, flags, Mode::empty(), WITHIN)?;
    let stat = fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok((file, stat))
    } else {
        Err(std::io::Error::other("it is no regular file"))
    }
}

/// What an entry is, links not followed; `None`: nothing there.
pub fn look(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<Option<Stat>, Errno> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether something is at a path in normal form; links on the way are not followed.
pub fn is_there(dir: impl AsFd, path: &str) -> bool {
    match path.rsplit_once('/') {
        None => look(dir, path),
        Some((parent, name)) => open_dir(dir, parent).and_then(|parent| look(&parent, name)),
    }
    .is_ok_and(|found| found.is_some())
}

/// The kind in an entry's mode.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens the directory that `parts` name below `dir`, making what is missing with `mode`; also how many were made.
pub fn make_dirs(dir: impl AsFd, parts: &[&str], mode: Mode) -> Result<(OwnedFd, usize), Errno> {
    let mut at = open_dir(dir, c".")?;
    let mut made = 0;
    for part in parts {
        at = match open_dir(&at, *part) {
            Err(Errno::NOENT) => {
                match fs::mkdirat(&at, *part, mode) {
                    Ok(()) => made += 1,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                open_dir(&at, *part)?
            }
            other => other?,
        };
    }
    Ok((at, made))
}

/// The components of a relative path in normal form: no `.`, `..`, empty component, NUL; bounded in length and depth.
pub fn parts(path: &str) -> Result<Vec<&str>, Refusal> {
    let refuse = |why: &str| Err(Refusal::new(format!("path \"{path}\" {why}")));
    if path.is_empty() || path.len() > MAX_PATH {
        return refuse("is empty or too long");
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > MAX_DEPTH {
        return refuse("is too deep");
    }
    for part in &parts {
        if part.is_empty() || *part == "." || *part == ".." || part.contains('\0') || part.len() > MAX_NAME {
            return refuse("is not a normal relative path (no leading or double slash, no \".\" or \"..\")");
        }
    }
    Ok(parts)
}

/// The same for a path of bytes, as archives carry them; one trailing slash is allowed.
pub fn parts_of_bytes(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    let refuse = |why: &str| Err(Refusal::new(format!("path \"{}\" {why}", String::from_utf8_lossy(path))));
    let bare = path.strip_suffix(b"/").unwrap_or(path);
    if bare.is_empty() || bare.len() > MAX_PATH {
        return refuse("is empty or too long");
    }
    let parts: Vec<&[u8]> = bare.split(|byte| *byte == b'/').collect();
    if parts.len() > MAX_DEPTH {
        return refuse("is too deep");
    }
    for part in &parts {
        if part.is_empty() || *part == b"." || *part == b".." || part.contains(&0) || part.len() > MAX_NAME {
            return refuse("leaves the tree or is not in normal form");
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_normal_paths() {
        for bad in ["", "/x", "../x", "a/../x", "./", "a//b", "a/", "a\0b", &"x".repeat(256), &"d/".repeat(200)] {
            assert!(super::parts(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "/", "/x", "../x", "a/..", "./", "a//b", "a//", "a\0b", &"x".repeat(256)] {
            assert!(super::parts_of_bytes(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(super::parts("a/..b/c").unwrap(), ["a", "..b", "c"]);
        assert_eq!(super::parts_of_bytes(b"a/b/").unwrap(), [b"a", b"b"]);
    }
}
