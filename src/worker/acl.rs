//! POSIX access control lists as the kernel keeps them: `system.posix_acl_access` and `system.posix_acl_default`.
//!
//! The format is that of linux/posix_acl_xattr.h: a little-endian u32 version (2), then entries of u16 tag, u16
//! permissions and u32 id, sorted by tag, named users by id. A missing default list has no attribute.

use std::{os::fd::AsFd, path::Path};

use rustix::{
    fs::{self, XattrFlags},
    io::Errno,
};

use super::refusal::Refusal;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const VERSION: u32 = 2;
/// Ids are meaningless for entries that name nobody.
const NOBODY: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Read, write, and enter.
const RWX: u16 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    tag: u16,
    id: u32,
    permissions: u16,
}

/// Lets each of `users` read, write and enter a directory, and read and write all that will be made in it; what else is
/// granted there is kept. Returns whether anything was changed; a directory of somebody else's is left as it is.
pub fn share_dir(dir: impl AsFd, path: &Path, users: &[u32]) -> Result<bool, Refusal> {
    share(dir, path, users, true)
}

/// Lets each of `users` read and write a file.
pub fn share_file(file: impl AsFd, path: &Path, users: &[u32]) -> Result<bool, Refusal> {
    share(file, path, users, false)
}

fn share(fd: impl AsFd, path: &Path, users: &[u32], directory: bool) -> Result<bool, Refusal> {
    let stat = fs::fstat(&fd).map_err(|error| Refusal::io("look at", path, error))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        tracing::warn!("{} is not ours, so its access list is left as it is", path.display());
        return Ok(false);
    }
    let grant = if directory { RWX } else { 6 };
    let mut base = from_mode(stat.st_mode);
    let mut changed = false;
    for attribute in if directory { &[ACCESS, DEFAULT][..] } else { &[ACCESS][..] } {
        let before = read(&fd, attribute).map_err(|error| refuse(path, error))?;
        let mut after = before.clone().unwrap_or_else(|| base.clone());
        for user in users {
            allow(&mut after, *user, grant);
        }
        if before.as_ref() != Some(&after) {
            fs::fsetxattr(&fd, *attribute, &encode(&after), XattrFlags::empty())
                .map_err(|error| refuse(path, error))?;
            changed = true;
        }
        // With an access list the mode's group bits are its mask: a default list begins as that list does.
        base = after;
    }
    Ok(changed)
}

fn refuse(path: &Path, error: Errno) -> Refusal {
    match error {
        Errno::OPNOTSUPP => Refusal::with(
            format!("the file system of {} keeps no access lists, which two users need", path.display()),
            "mount it with the option \"acl\", use another file system, or set run_as to the same user",
        ),
        error => Refusal::io("set the access list of", path, error),
    }
}

fn read(fd: impl AsFd, attribute: &str) -> Result<Option<Vec<Entry>>, Errno> {
    let mut buffer = vec![0; 4096];
    match fs::fgetxattr(fd, attribute, &mut buffer[..]) {
        Ok(length) => decode(buffer.get(..length).unwrap_or_default()).map(Some).ok_or(Errno::INVAL),
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error),
    }
}

fn from_mode(mode: u32) -> Vec<Entry> {
    let bits = |shift: u32| u16::try_from((mode >> shift) & 7).unwrap_or(0);
    [(USER_OBJ, bits(6)), (GROUP_OBJ, bits(3)), (OTHER, bits(0))]
        .map(|(tag, permissions)| Entry { tag, id: NOBODY, permissions })
        .to_vec()
}

/// Adds a named user, and widens the mask, which bounds all but the owner and others.
fn allow(entries: &mut Vec<Entry>, user: u32, permissions: u16) {
    let mask =
        entries.iter().filter(|e| !matches!(e.tag, USER_OBJ | OTHER)).fold(permissions, |m, e| m | e.permissions);
    let mut set = |tag, id, permissions| match entries.iter_mut().find(|e| e.tag == tag && e.id == id) {
        Some(entry) => entry.permissions |= permissions,
        None => entries.push(Entry { tag, id, permissions }),
    };
    set(USER, user, permissions);
    set(MASK, NOBODY, mask);
    entries.sort_unstable();
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        out.extend(entry.tag.to_le_bytes());
        out.extend(entry.permissions.to_le_bytes());
        out.extend(entry.id.to_le_bytes());
    }
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
        return None;
    }
    let entries = rest.chunks_exact(8).filter_map(|chunk| {
        let (tag, chunk) = chunk.split_first_chunk::<2>()?;
        let (permissions, id) = chunk.split_first_chunk::<2>()?;
        let id = u32::from_le_bytes(id.try_into().ok()?);
        Some(Entry { tag: u16::from_le_bytes(*tag), permissions: u16::from_le_bytes(*permissions), id })
    });
    Some(entries.collect())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    #[test]
    fn what_is_written_is_what_the_kernel_keeps_and_a_second_time_changes_nothing() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::set_permissions(tree.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        let dir = crate::worker::rooted::open(tree.path()).unwrap();
        let me = rustix::process::geteuid().as_raw();
        assert!(share_dir(&dir, tree.path(), &[me, 33]).unwrap());
        assert!(!share_dir(&dir, tree.path(), &[me, 33]).unwrap());
        for attribute in [ACCESS, DEFAULT] {
            let found = read(&dir, attribute).unwrap().unwrap();
            let entry = |tag, id, permissions| Entry { tag, id, permissions };
            assert!(found.contains(&entry(USER, 33, 7)) && found.contains(&entry(USER, me, 7)), "{found:?}");
            assert!(found.contains(&entry(OTHER, NOBODY, 0)) && found.contains(&entry(GROUP_OBJ, NOBODY, 5)));
            assert!(found.contains(&entry(MASK, NOBODY, 7)));
        }
        // A third user's entry is kept.
        assert!(share_dir(&dir, tree.path(), &[34]).unwrap());
        assert_eq!(read(&dir, ACCESS).unwrap().unwrap().iter().filter(|e| e.tag == USER).count(), 3);
        // And what is made inside is for both.
        std::fs::write(tree.path().join("log"), "x").unwrap();
        let (log, _) = crate::worker::rooted::open_file(&dir, "log").unwrap();
        assert!(read(&log, ACCESS).unwrap().unwrap().contains(&Entry { tag: USER, id: 33, permissions: 7 }));
    }

    #[test]
    fn another_user_can_write_what_was_shared_with_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        use std::os::unix::process::CommandExt;
        let tree = tempfile::tempdir().unwrap();
        std::fs::set_permissions(tree.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let touch = |name: &str| {
            let mut command = Command::new("/usr/bin/touch");
            command.arg(tree.path().join(name)).uid(65534).gid(65534).stderr(std::process::Stdio::null());
            command.status().unwrap().success()
        };
        assert!(!touch("before"));
        share_dir(crate::worker::rooted::open(tree.path()).unwrap(), tree.path(), &[65534]).unwrap();
        assert!(touch("after"));
    }
}
