//! Symbolic links of a rooted directory. They are read and replaced, never followed.

use rustix::{
    fs::{RenameFlags, readlinkat, renameat, renameat_with, symlinkat},
    io::Errno,
};

use super::{Dir, EntryKind, TreeError};

impl Dir {
    /// The text of a symbolic link.
    pub fn read_link(&self, name: &str) -> Result<String, TreeError> {
        self.component(name)?;
        let text = readlinkat(&self.fd, name, Vec::new()).map_err(|error| match error {
            Errno::INVAL => self.shape(name, "is not a symbolic link; move it away"),
            other => self.entry("read the link", name)(other),
        })?;
        text.into_string().map_err(|_| self.shape(name, "is a link to a name that is not UTF-8; remove it"))
    }
    /// Makes `name` a link to `target` by one rename over whatever link is there, by way of `name.<token>.tmp`.
    /// Refuses when `name` is anything but a link. Not yet durable: call [`Dir::sync`].
    pub fn swap_link(&self, name: &str, target: &str, token: &str) -> Result<(), TreeError> {
        let beside = format!("{name}.{token}.tmp");
        self.component(&beside)?;
        if !matches!(self.kind(name)?, EntryKind::Missing | EntryKind::Link) {
            return Err(self.shape(name, "is there and is not a symbolic link; move it away"));
        }
        // Left over from one who was killed here.
        match self.unlink(&beside) {
            Err(TreeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
        symlinkat(target, &self.fd, beside.as_str()).map_err(self.entry("make the link", &beside))?;
        if let Err(error) = renameat(&self.fd, beside.as_str(), &self.fd, name) {
            // The first failure is the one to tell.
            let _ = self.unlink(&beside);
            return Err(self.entry("replace the link", name)(error));
        }
        Ok(())
    }
    /// Renames an entry and leaves a link with its old name, by one exchange: at every moment the old name leads to it.
    /// What was done before is no error. Durable when it returns.
    pub fn rename_leaving_link(&self, from: &str, to: &str) -> Result<(), TreeError> {
        match (self.kind(from)?, self.kind(to)?) {
            (EntryKind::Link, EntryKind::Directory) if self.read_link(from)? == to => return Ok(()),
            // It leads to itself, and nobody asks for it until it has the other name.
            (EntryKind::Directory, EntryKind::Missing) => {
                symlinkat(to, &self.fd, to).map_err(self.entry("make the link", to))?;
            }
            (EntryKind::Directory, EntryKind::Link) if self.read_link(to)? == to => {}
            (EntryKind::Directory, _) => return Err(self.shape(to, "is there already; move it away")),
            _ => return Err(self.shape(from, "is no directory any more; put it back")),
        }
        renameat_with(&self.fd, from, &self.fd, to, RenameFlags::EXCHANGE).map_err(self.entry("rename", from))?;
        self.sync()
    }
    /// Removes left-over `name.*.tmp` links; returns how many.
    pub fn clean_links(&self, name: &str) -> Result<usize, TreeError> {
        self.component(name)?;
        self.clean(&format!("{name}."), EntryKind::Link)
    }

    /// Removes the entries of one kind whose names begin with `start` and end with `.tmp`; returns how many.
    pub(super) fn clean(&self, start: &str, kind: EntryKind) -> Result<usize, TreeError> {
        let mut removed = 0;
        for entry in self.names()? {
            let middle = entry.strip_prefix(start).and_then(|rest| rest.strip_suffix(".tmp"));
            if middle.is_some_and(|middle| !middle.is_empty()) && self.kind(&entry)? == kind {
                self.unlink(&entry)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
