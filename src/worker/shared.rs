//! The shared side of a shared path: made once, from what the first release has; after that it is only looked at.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, FileType, Mode, RenameFlags},
    io::Errno,
};

use super::{
    acl, copy_tree, empty,
    order::{SharedKind, SharedPath},
    refusal::Refusal,
    rooted, walk,
    walk::EntryKind,
    write_tree::TreeWriter,
};

/// What Laravel expects below `storage` (its skeleton's storage directory).
const STORAGE: [&str; 5] = ["app/public", "framework/cache/data", "framework/sessions", "framework/views", "logs"];
/// Where a first copy is made, beside, before it is given its name.
const BESIDE: &str = ".deployd-adopt";

/// The shared side.
#[derive(Debug)]
pub struct Shared<'a> {
    /// `<root>/shared`.
    pub root: OwnedFd,
    /// Its path.
    pub top: &'a Path,
    /// Who else may write there.
    pub run_as: Option<u32>,
}

impl Shared<'_> {
    /// Sees that `path` is there as it must be, making it from the release's own at first (`own`: the directory of the
    /// release that has it, and its name there). Returns whether it was made from that.
    pub fn prepare(&self, path: &SharedPath, own: Option<(&OwnedFd, &str, &Path)>) -> Result<bool, Refusal> {
        let place = self.top.join(&path.from);
        let mut parts = rooted::parts(&path.from)?;
        let name = parts.pop().unwrap_or_default();
        let (parent, made) = rooted::make_dirs(&self.root, &parts, Mode::from_raw_mode(0o755))
            .map_err(|error| Refusal::io("make the directory of", &place, error))?;
        if made > 0 {
            self.share(&parent, &place)?;
        }
        let found = rooted::look(&parent, name).map_err(|error| Refusal::io("look at", &place, error))?;
        let adopted = match (found, path.kind) {
            (Some(stat), kind) => {
                fits(&stat, kind, &place)?;
                false
            }
            (None, _) if path.required => return Err(missing(path, &place)),
            (None, SharedKind::Directory) => self.make_dir(&parent, name, &place, own)?,
            (None, SharedKind::File) => self.make_file(&parent, name, &place, own)?,
        };
        if path.kind == SharedKind::Directory {
            let dir = rooted::open_dir(&parent, name).map_err(|error| Refusal::io("open", &place, error))?;
            self.share(&dir, &place)?;
            if path.path == "storage" {
                self.skeleton(&dir, &place)?;
            }
        }
        Ok(adopted)
    }

    fn share(&self, dir: &OwnedFd, place: &Path) -> Result<(), Refusal> {
        if let Some(user) = self.run_as {
            acl::share_dir(dir, place, &[user, rustix::process::geteuid().as_raw()])?;
        }
        Ok(())
    }

    /// A directory that was missing: the release's own, moved or copied beside and then named; or an empty one.
    fn make_dir(
        &self,
        parent: &OwnedFd,
        name: &str,
        place: &Path,
        own: Option<(&OwnedFd, &str, &Path)>,
    ) -> Result<bool, Refusal> {
        let refuse = |error: Errno| Refusal::io("make", place, error);
        let Some((from, own_name, own_place)) = own else {
            fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(refuse)?;
            return Ok(false);
        };
        // A rename would carry no access list to what is inside.
        if self.run_as.is_none() && fs::renameat_with(from, own_name, parent, name, RenameFlags::NOREPLACE).is_ok() {
            return Ok(true);
        }
        // Another file system, or two mounts of one, as a sandbox makes them.
        let beside = self.top.join(BESIDE);
        empty::entry(self.root.as_fd(), BESIDE, &beside)?;
        fs::mkdirat(&self.root, BESIDE, Mode::from_raw_mode(0o755)).map_err(refuse)?;
        let to = rooted::open_dir(&self.root, BESIDE).map_err(refuse)?;
        self.share(&to, &beside)?;
        let source = rooted::open_dir(from, own_name).map_err(|error| Refusal::io("open", own_place, error))?;
        let entries = walk::list(source.as_fd(), own_place, &[])?;
        // Through the default list, a file's group bits are what its mask lets both users do.
        let both = if self.run_as.is_some() { (0o060, 0o070) } else { (0, 0) };
        copy_tree::copy(&source, own_place, &entries, &mut TreeWriter::new(to, &beside), |entry| match entry.kind {
            EntryKind::Directory => entry.mode & 0o777 | 0o700 | both.1,
            _ => entry.mode & 0o777 | both.0,
        })?;
        fs::renameat_with(&self.root, BESIDE, parent, name, RenameFlags::NOREPLACE).map_err(refuse)?;
        Ok(true)
    }

    /// A file that is missing: the release's own, if it has one; else the link waits for who makes it.
    fn make_file(
        &self,
        parent: &OwnedFd,
        name: &str,
        place: &Path,
        own: Option<(&OwnedFd, &str, &Path)>,
    ) -> Result<bool, Refusal> {
        let Some((from, own_name, own_place)) = own else { return Ok(false) };
        let (file, stat) = rooted::open_file(from, own_name).map_err(|error| Refusal::io("open", own_place, error))?;
        empty::entry(self.root.as_fd(), BESIDE, &self.top.join(BESIDE))?;
        let top = self.root.try_clone().map_err(|error| Refusal::io("open", self.top, error))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        TreeWriter::new(top, self.top).copy(
            BESIDE.as_bytes(),
            stat.st_mode & 0o755 | 0o600,
            &file.into(),
            size,
            true,
        )?;
        if let Some(user) = self.run_as {
            let (made, _) = rooted::open_file(&self.root, BESIDE).map_err(|error| Refusal::io("open", place, error))?;
            acl::share_file(&made, place, &[user, rustix::process::geteuid().as_raw()])?;
        }
        fs::renameat_with(&self.root, BESIDE, parent, name, RenameFlags::NOREPLACE)
            .map_err(|error| Refusal::io("make", place, error))?;
        Ok(true)
    }

    /// Makes what is missing of Laravel's; a part that is there as something else (a link to a disk) is left alone.
    fn skeleton(&self, storage: &OwnedFd, place: &Path) -> Result<(), Refusal> {
        for path in STORAGE {
            let parts: Vec<&str> = path.split('/').collect();
            for depth in 1..=parts.len() {
                let Some(parts) = parts.get(..depth) else { continue };
                match rooted::make_dirs(storage, parts, Mode::from_raw_mode(0o755)) {
                    Ok((dir, _)) => self.share(&dir, &place.join(parts.join("/")))?,
                    Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::ACCESS) => break,
                    Err(error) => return Err(Refusal::io("make", place.join(path), error)),
                }
            }
        }
        Ok(())
    }
}

/// Whether what is there can be what was configured.
fn fits(stat: &fs::Stat, kind: SharedKind, place: &Path) -> Result<(), Refusal> {
    let refuse = |what: &str, remedy: String| Err(Refusal::with(format!("{} {what}", place.display()), remedy));
    match (rooted::kind(stat), kind) {
        (FileType::Directory, SharedKind::Directory) => Ok(()),
        (FileType::RegularFile, SharedKind::File) if stat.st_nlink > 1 => refuse(
            "has a second name (a hard link), which could be anybody's file",
            format!("give it content of its own: cp -p {0} {0}.new && mv {0}.new {0}", place.display()),
        ),
        (FileType::RegularFile, SharedKind::File) => Ok(()),
        (FileType::Symlink, _) => refuse(
            "is a symbolic link, which is not followed",
            "put the file or directory itself there, or bind-mount it".to_owned(),
        ),
        (FileType::Directory, SharedKind::File) => {
            refuse("is a directory, and is configured as a file", "write it with a slash at its end".to_owned())
        }
        (FileType::RegularFile, SharedKind::Directory) => {
            refuse("is a file, and is configured as a directory", "move the file away".to_owned())
        }
        _ => refuse("is neither a file nor a directory", format!("remove it: rm {}", place.display())),
    }
}

fn missing(path: &SharedPath, place: &Path) -> Refusal {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let user = user.map_or_else(|| rustix::process::geteuid().as_raw().to_string(), |user| user.name);
    let name = path.path.rsplit('/').next().unwrap_or(&path.path);
    let shown = place.display();
    let remedy = match path.kind {
        SharedKind::File => format!("install -o {user} -m 0640 {name} {shown}"),
        SharedKind::Directory => format!("install -d -o {user} -m 0755 {shown}"),
    };
    Refusal::with(format!("{shown} is missing, and is required"), remedy)
}
