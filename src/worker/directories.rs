//! The directories of a tree that are still to be read, shared by the threads that read them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is still to be read.
#[derive(Debug)]
pub struct Directories {
    left: Mutex<Left>,
    /// There is more, or nothing more will come.
    changed: Condvar,
}

#[derive(Debug)]
struct Left {
    paths: Vec<Vec<u8>>,
    /// How many are being read, in which more may be found.
    being_read: usize,
    /// No other is begun.
    given_up: bool,
}

/// One that a thread reads. When it is dropped it has been.
#[derive(Debug)]
pub struct Reading<'a> {
    of: &'a Directories,
    /// Relative to the top of the tree.
    pub path: Vec<u8>,
    /// The directories that were found in it.
    pub found: Vec<Vec<u8>>,
}

impl Directories {
    /// A tree's: its top.
    pub fn of_tree() -> Self {
        Self {
            left: Mutex::new(Left { paths: vec![Vec::new()], being_read: 0, given_up: false }),
            changed: Condvar::new(),
        }
    }

    /// The next one, which may have to be found first by another thread; none: all have been read.
    pub fn next(&self) -> Option<Reading<'_>> {
        let mut left = self.lock();
        loop {
            if left.given_up {
                return None;
            }
            if let Some(path) = left.paths.pop() {
                left.being_read += 1;
                return Some(Reading { of: self, path, found: Vec::new() });
            }
            if left.being_read == 0 {
                return None;
            }
            left = self.changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No other is begun: one could not be read.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut left = self.of.lock();
        left.paths.append(&mut self.found);
        left.being_read -= 1;
        drop(left);
        self.of.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a tree of numbers with so many threads: `N` has `N/0`, `N/1` and so on, three levels deep.
    fn read(threads: usize, stop_at: Option<&[u8]>) -> Vec<Vec<u8>> {
        let directories = Directories::of_tree();
        let reader = || {
            let mut seen = Vec::new();
            while let Some(mut reading) = directories.next() {
                seen.push(reading.path.clone());
                if reading.path.len() < 3 {
                    reading.found = (b'0'..=b'9').map(|digit| [&reading.path[..], &[digit]].concat()).collect();
                }
                if stop_at == Some(&reading.path[..]) {
                    directories.give_up();
                    return seen;
                }
            }
            seen
        };
        let mut all = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
            readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort();
        all
    }

    #[test]
    fn each_is_read_once_by_one_of_them() {
        let alone = read(1, None);
        assert_eq!(alone.len(), 1111);
        for _ in 0..50 {
            assert_eq!(read(4, None), alone);
        }
    }

    #[test]
    fn who_gives_up_ends_all() {
        // The last that was found is read first.
        assert_eq!(read(1, Some(b"99")), [&b""[..], b"9", b"99"]);
        assert_eq!(read(1, Some(b"")), [b""]);
        for _ in 0..50 {
            assert_eq!(read(4, Some(b"")), [b""]);
        }
    }
}
