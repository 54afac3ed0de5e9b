//! What was read of an app's files, until they are others: whoever asks for all properties of many apps has each file read
//! once, and then looked at.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{dbus::Error, model::AppName};

/// A file that was changed within so many nanoseconds may be changed once more without a sign of it: it is read again.
const MOMENT: i128 = 1_000_000_000;

/// What a file is told from another by, `None` where it is not there: device, number, size, and when it was changed.
type Stamp = Option<(u64, u64, u64, i128)>;

/// A file as it is, or was.
type Stamped = (PathBuf, Stamp);

/// A value, and the files that it was read from as they were before that.
type Read<T> = (Vec<Stamped>, T);

/// Values by app.
#[derive(Debug)]
pub struct Remembered<T>(Mutex<BTreeMap<AppName, Read<T>>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Remembered<T> {
    /// The value of an app, if it was read and these files are as they were.
    pub fn seen(&self, app: &AppName, files: Vec<PathBuf>) -> Option<T> {
        self.of_these(app, &stamped(files))
    }

    /// The value of an app: `read`, unless it was and these files are as they were.
    pub fn get(&self, app: &AppName, files: Vec<PathBuf>, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let files = stamped(files);
        if let Some(value) = self.of_these(app, &files) {
            return Ok(value);
        }
        // Whoever hangs in here keeps nobody else waiting.
        let value = read()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i128::try_from(since.as_nanos()).unwrap_or_default();
        let still = |stamp: &Stamp| stamp.is_none_or(|(.., changed)| changed.saturating_add(MOMENT) < now);
        if files.iter().all(|(_, stamp)| still(stamp)) {
            self.known().insert(app.clone(), (files, value.clone()));
        } else {
            self.known().remove(app);
        }
        Ok(value)
    }

    /// Forgets an app that is gone.
    pub fn forget(&self, app: &AppName) {
        self.known().remove(app);
    }

    fn of_these(&self, app: &AppName, files: &[Stamped]) -> Option<T> {
        self.known().get(app).filter(|(seen, _)| seen == files).map(|(_, value)| value.clone())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<AppName, Read<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamped(files: Vec<PathBuf>) -> Vec<Stamped> {
    let of = |file: PathBuf| {
        let stamp = stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(of).collect()
}

fn stamp(file: &Path) -> Stamp {
    let meta = file.symlink_metadata().ok()?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), meta.size(), changed))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_is_another_or_was_changed_a_moment_ago() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        let (remembered, reads) = (Remembered::default(), Cell::new(0));
        let app = "shop".parse().unwrap();
        let get = || {
            let read = || {
                reads.set(reads.get() + 1);
                Ok(std::fs::read_to_string(&file).unwrap_or_default())
            };
            remembered.get(&app, vec![file.clone()], read).unwrap()
        };
        assert_eq!((get(), get()), (String::new(), String::new()));
        assert_eq!(reads.get(), 1, "a file that is not there is seen too");
        std::fs::write(&file, "1").unwrap();
        assert_eq!((get(), get()), ("1".into(), "1".into()));
        assert_eq!(reads.get(), 3, "it was written a moment ago");
        // Of a file that was changed long ago: the time of the change cannot be set, so one of the system's is taken.
        let old = PathBuf::from("/etc/passwd");
        let count = Cell::new(0);
        let twice = || {
            remembered.get(&app, vec![old.clone()], || {
                count.set(count.get() + 1);
                Ok(String::new())
            })
        };
        assert!(twice().is_ok() && twice().is_ok());
        assert_eq!(count.get(), 1);
        assert_eq!(remembered.seen(&app, vec![old.clone()]), Some(String::new()));
        assert_eq!(remembered.seen(&app, Vec::new()), None, "it was read from other files");
        remembered.forget(&app);
        assert_eq!(remembered.seen(&app, vec![old.clone()]), None);
        assert!(twice().is_ok());
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn who_hangs_while_an_app_is_read_keeps_nobody_else() {
        let (remembered, app): (Remembered<String>, AppName) = (Remembered::default(), "shop".parse().unwrap());
        let (remembered, app) = (&remembered, &app);
        let (hangs, waits) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let hanging = move || {
                begun.send(()).unwrap();
                let _ = waits.recv();
                Ok("late".into())
            };
            scope.spawn(move || remembered.get(app, Vec::new(), hanging));
            begins.recv().unwrap();
            scope.spawn(move || {
                let blog = "blog".parse().unwrap();
                remembered.forget(&blog);
                let other = remembered.get(&blog, Vec::new(), || Ok("soon".into())).unwrap();
                done.send((remembered.seen(app, Vec::new()), other)).unwrap();
            });
            let told = finished.recv_timeout(std::time::Duration::from_secs(10));
            drop(hangs);
            assert_eq!(told.expect("they wait for who hangs"), (None, "soon".into()));
        });
        assert_eq!(remembered.seen(app, Vec::new()).as_deref(), Some("late"));
    }
}
