//! An exclusive lock on a file of a rooted directory. The kernel frees it when its holder is gone.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    thread,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, fchmod, flock, fstat, openat, statat},
    io::{Errno, retry_on_intr},
};
use tokio::sync::oneshot;

use super::{Dir, TreeError};
use crate::model::printable;

/// As much as is read of a holder's text.
const HOLDER_MAX: u64 = 256;

/// An exclusive lock on a file (flock), held until dropped; dies with its holder.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The text is of use only while the lock is held; closing the file frees it.
        let _ = self.file.set_len(0);
    }
}

impl Lock {
    /// Takes the lock if it is free. `Ok(Err(holder))`: the text that the holder wrote into the file, printable.
    pub fn try_take(dir: &Dir, name: &str, holder: &str) -> Result<Result<Lock, String>, TreeError> {
        loop {
            let mut file = open(dir, name)?;
            match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) if is_current(dir, name, &file)? => return mark(dir, name, file, holder).map(Ok),
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Err(read_holder(&mut file))),
                Err(error) => return Err(dir.entry("lock", name)(error)),
            }
        }
    }
    /// Waits for the lock (in a thread of its own) and takes it.
    ///
    /// When the future is dropped the thread waits on and then lets the lock go at once; it does not hold up the end
    /// of the process, as a thread of the runtime would.
    pub async fn take(dir: &Dir, name: &str, holder: &str) -> Result<Lock, TreeError> {
        if let Ok(lock) = Self::try_take(dir, name, holder)? {
            return Ok(lock);
        }
        let fail = |source: io::Error| TreeError::Io { what: "wait for the lock", path: dir.at(name), source };
        let fd = dir.fd.try_clone().map_err(fail)?;
        let (there, entry) = (Dir { fd, path: dir.path.clone() }, name.to_owned());
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("lock".into())
            .spawn(move || {
                // Nobody there to take it: dropping the file frees the lock.
                drop(sender.send(wait(&there, &entry)));
            })
            .map_err(fail)?;
        let ended = |_| fail(io::Error::other("the waiting thread ended"));
        mark(dir, name, receiver.await.map_err(ended)??, holder)
    }
}

/// Waits (in a thread of its own, as [`Lock::take`]) until nobody has the file locked, and keeps no lock itself.
/// `false`: there is no such file.
pub async fn await_unlocked(dir: &Dir, name: &str) -> Result<bool, TreeError> {
    dir.component(name)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(&dir.fd, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(dir.entry("open the lock", name)(error)),
    };
    dir.check_regular(name, &file)?;
    let (sender, receiver) = oneshot::channel();
    let fail = |source: io::Error| TreeError::Io { what: "wait for the lock", path: dir.at(name), source };
    let wait = move || retry_on_intr(|| flock(&file, FlockOperation::LockExclusive));
    thread::Builder::new().name("unlocked".into()).spawn(move || sender.send(wait()).is_ok()).map_err(fail)?;
    receiver.await.map_err(|_| fail(io::Error::other("the waiting thread ended")))?.map_err(dir.entry("lock", name))?;
    Ok(true)
}

/// Waits for the lock on the file that `name` is when it is got.
fn wait(dir: &Dir, name: &str) -> Result<File, TreeError> {
    loop {
        let file = open(dir, name)?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).map_err(dir.entry("lock", name))?;
        if is_current(dir, name, &file)? {
            return Ok(file);
        }
    }
}

fn open(dir: &Dir, name: &str) -> Result<File, TreeError> {
    dir.component(name)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file: OwnedFd = openat(&dir.fd, name, flags, mode).map_err(|error| match error {
        Errno::LOOP => dir.shape(name, "is a symbolic link; remove it"),
        other => dir.entry("open the lock", name)(other),
    })?;
    dir.check_regular(name, &file)?;
    dir.share(name, &file)?;
    if fstat(&file).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode) != mode) {
        // Whatever the umask is: the group reads who has it.
        fchmod(&file, mode).map_err(dir.entry("change the mode of", name))?;
    }
    Ok(file.into())
}

/// Whether the locked file is still the one that has the name: a lock on a file that was replaced keeps nobody out.
fn is_current(dir: &Dir, name: &str, file: &File) -> Result<bool, TreeError> {
    let ours = file.metadata().map_err(|source| TreeError::Io { what: "look at", path: dir.at(name), source })?;
    match statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.dev(), ours.ino())),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(dir.entry("look at", name)(error)),
    }
}

/// Writes who holds it, for those who find it taken.
fn mark(dir: &Dir, name: &str, file: File, holder: &str) -> Result<Lock, TreeError> {
    let fail = |source| TreeError::Io { what: "write the lock", path: dir.at(name), source };
    let lock = Lock { file };
    lock.file.set_len(0).map_err(fail)?;
    lock.file.write_all_at(holder.as_bytes(), 0).map_err(fail)?;
    Ok(lock)
}

fn read_holder(file: &mut File) -> String {
    let mut text = Vec::new();
    match file.take(HOLDER_MAX).read_to_end(&mut text) {
        Ok(0) | Err(_) => "an unnamed holder".into(),
        Ok(_) => printable(String::from_utf8_lossy(&text).trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn here() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(&temp.path().canonicalize().unwrap()).unwrap();
        (temp, dir)
    }

    #[tokio::test]
    async fn a_file_is_waited_for_until_the_last_who_shares_it_has_let_go() {
        let (temp, dir) = here();
        assert!(!await_unlocked(&dir, "looking").await.unwrap(), "nobody can have what is not there");
        let path = temp.path().join("looking");
        std::fs::write(&path, "").unwrap();
        let [first, second] = [(); 2].map(|()| File::open(&path).unwrap());
        for file in [&first, &second] {
            flock(file, FlockOperation::LockShared).unwrap();
        }
        let free = await_unlocked(&dir, "looking");
        tokio::pin!(free);
        let soon = Duration::from_millis(100);
        assert!(tokio::time::timeout(soon, &mut free).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(soon, &mut free).await.is_err());
        flock(&second, FlockOperation::Unlock).unwrap();
        assert!(free.await.unwrap());
        // And nobody is kept out by whoever has waited.
        let again = tokio::time::timeout(Duration::from_secs(10), await_unlocked(&dir, "looking")).await;
        assert!(again.unwrap().unwrap());
    }

    #[test]
    fn who_comes_second_is_told_who_holds_it() {
        let (_temp, dir) = here();
        let lock = Lock::try_take(&dir, "lock", "deployment 7\x1b").unwrap().unwrap();
        assert_eq!(Lock::try_take(&dir, "lock", "me").unwrap().unwrap_err(), "deployment 7\\u{1b}");
        drop(lock);
        let again = Lock::try_take(&dir, "lock", "me").unwrap().unwrap();
        assert_eq!(dir.read("lock", 99).unwrap().unwrap(), b"me");
        drop(again);
    }

    #[test]
    fn a_lock_on_a_file_that_was_replaced_is_not_the_lock() {
        let (temp, dir) = here();
        let old = Lock::try_take(&dir, "lock", "old").unwrap().unwrap();
        std::fs::remove_file(temp.path().join("lock")).unwrap();
        assert!(!is_current(&dir, "lock", &old.file).unwrap());
        let new = Lock::try_take(&dir, "lock", "new").unwrap().unwrap();
        assert!(is_current(&dir, "lock", &new.file).unwrap() && !is_current(&dir, "lock", &old.file).unwrap());
    }

    #[test]
    fn a_link_is_no_lock_file() {
        let (temp, dir) = here();
        std::os::unix::fs::symlink("/etc/passwd", temp.path().join("lock")).unwrap();
        assert!(Lock::try_take(&dir, "lock", "me").unwrap_err().to_string().contains("symbolic link"));
    }

    #[tokio::test]
    async fn who_waits_gets_it_when_it_is_let_go() {
        let (temp, dir) = here();
        let held = Lock::try_take(&dir, "lock", "first").unwrap().unwrap();
        let waiting = Lock::take(&dir, "lock", "second");
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
        // Whoever waits for a file that is replaced meanwhile waits for its successor.
        std::fs::remove_file(temp.path().join("lock")).unwrap();
        let successor = Lock::try_take(&dir, "lock", "third").unwrap().unwrap();
        drop(held);
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
        drop(successor);
        let got = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert_eq!(Lock::try_take(&dir, "lock", "x").unwrap().unwrap_err(), "second");
        drop(got);
    }

    #[test]
    fn a_dropped_wait_neither_holds_up_the_runtime_nor_keeps_the_lock() {
        let (_temp, dir) = here();
        let held = Lock::try_take(&dir, "lock", "first").unwrap().unwrap();
        let begun = std::time::Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let wait = async { tokio::time::timeout(Duration::from_millis(50), Lock::take(&dir, "lock", "second")).await };
        assert!(runtime.block_on(wait).is_err());
        drop(runtime);
        assert!(begun.elapsed() < Duration::from_secs(10));
        drop(held);
        // The thread that waited may hold it for a moment: waiting for it must succeed.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let wait = async { tokio::time::timeout(Duration::from_secs(10), Lock::take(&dir, "lock", "third")).await };
        assert!(runtime.block_on(wait).unwrap().is_ok());
    }
}
