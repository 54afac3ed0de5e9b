//! What was used already: a delivery is good once. Of each app the newest are remembered, in a file of its own that
//! survives this process.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};

use super::delivery::Delivery;
use crate::model::AppName;

/// Marks that are remembered of an app; a delivery leaves one or two.
pub const MOST: usize = 4096;
/// Digits of a mark in the file; with the line's end one more.
const DIGITS: usize = 32;

/// What is remembered of a delivery: the half of a SHA-256, in hexadecimal digits.
pub type Mark = String;

/// The marks of a delivery: its id, where it has one, and its body, where that is what was signed. The id of most is not,
/// so that a body that comes again by another name is the same.
pub fn marks(delivery: &Delivery, body: &[u8]) -> Vec<Mark> {
    let id = (!delivery.id.is_empty()).then(|| mark(&[delivery.forge.as_str().as_bytes(), delivery.id.as_bytes()]));
    let body = delivery.proof.covers_the_body().then(|| mark(&[b"body", body]));
    id.into_iter().chain(body).collect()
}

fn mark(parts: &[&[u8]]) -> Mark {
    let mut sha256 = Sha256::new();
    parts.iter().for_each(|part| {
        sha256.update(part);
        sha256.update([0]);
    });
    let mut mark = hex::encode(sha256.finalize());
    mark.truncate(DIGITS);
    mark
}

/// The store.
#[derive(Debug)]
pub struct Replay {
    dir: PathBuf,
    apps: Arc<Mutex<HashMap<AppName, Seen>>>,
}

#[derive(Debug, Default)]
struct Seen {
    order: VecDeque<Mark>,
    known: HashSet<Mark>,
    /// Deliveries that are being served.
    under_way: HashSet<Mark>,
    /// Lines of the file.
    lines: usize,
}

/// A delivery that is being served; unless it is kept, it was not used.
#[derive(Debug)]
pub struct Claim {
    app: AppName,
    marks: Vec<Mark>,
    file: PathBuf,
    apps: Arc<Mutex<HashMap<AppName, Seen>>>,
}

impl Replay {
    /// Over a directory that is there and ours.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        fs::read_dir(&dir)?;
        Ok(Self { dir, apps: Arc::default() })
    }

    /// Takes a delivery up; `None`: it was used already, or is being used.
    pub fn claim(&self, app: &AppName, marks: Vec<Mark>) -> io::Result<Option<Claim>> {
        let file = self.dir.join(app.as_str());
        let mut apps = locked(&self.apps);
        if !apps.contains_key(app) {
            apps.insert(app.clone(), Seen::read(&file)?);
        }
        let Some(seen) = apps.get_mut(app) else { return Ok(None) };
        if marks.iter().any(|mark| seen.known.contains(mark) || seen.under_way.contains(mark)) {
            return Ok(None);
        }
        seen.under_way.extend(marks.iter().cloned());
        Ok(Some(Claim { app: app.clone(), marks, file, apps: Arc::clone(&self.apps) }))
    }
}

impl Claim {
    /// It was used: nobody uses it again.
    pub fn keep(&self) -> io::Result<()> {
        let mut apps = locked(&self.apps);
        let Some(seen) = apps.get_mut(&self.app) else { return Ok(()) };
        self.marks.iter().for_each(|mark| seen.remember(mark.clone()));
        seen.lines += self.marks.len();
        if seen.lines > 2 * MOST {
            return seen.write(&self.file);
        }
        let text: String = self.marks.iter().map(|mark| format!("{mark}\n")).collect();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(seen) = locked(&self.apps).get_mut(&self.app) {
            seen.under_way.retain(|mark| !self.marks.contains(mark));
        }
    }
}

impl Seen {
    /// As it was left; a last line that was cut off is none.
    fn read(file: &Path) -> io::Result<Self> {
        let mut text = String::new();
        match File::open(file) {
            Ok(file) => drop(file.take((4 * MOST * (DIGITS + 1)) as u64).read_to_string(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut seen = Self::default();
        for line in text.lines() {
            seen.lines += 1;
            if line.len() == DIGITS {
                seen.remember(line.to_owned());
            }
        }
        // Of a line that was cut off the rest would be taken for a part of the next.
        if !text.is_empty() && !text.ends_with('\n') {
            seen.write(file)?;
        }
        Ok(seen)
    }

    fn remember(&mut self, mark: Mark) {
        if self.known.insert(mark.clone()) {
            self.order.push_back(mark);
        }
        while self.order.len() > MOST
            && let Some(old) = self.order.pop_front()
        {
            self.known.remove(&old);
        }
    }

    /// Only what is remembered, in the place of what was.
    fn write(&mut self, file: &Path) -> io::Result<()> {
        let text: String = self.order.iter().map(|mark| format!("{mark}\n")).collect();
        let beside = file.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, file)?;
        self.lines = self.order.len();
        Ok(())
    }
}

fn locked(apps: &Mutex<HashMap<AppName, Seen>>) -> MutexGuard<'_, HashMap<AppName, Seen>> {
    apps.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::{delivery::Forge, signature::Proof};

    fn delivery(id: &str, proof: Proof) -> Delivery {
        Delivery { forge: Forge::GitHub, event: "push".into(), id: id.into(), proof }
    }

    /// WH-03
    #[test]
    fn a_delivery_is_used_once_and_a_restart_does_not_forget_it() {
        let dir = tempfile::tempdir().unwrap();
        let shop: AppName = "shop".parse().unwrap();
        let first = marks(&delivery("1", Proof::none()), b"body");
        let replay = Replay::open(dir.path().into()).unwrap();
        let claim = replay.claim(&shop, first.clone()).unwrap().expect("it is new");
        assert!(replay.claim(&shop, first.clone()).unwrap().is_none(), "it is being used");
        drop(claim);
        let claim = replay.claim(&shop, first.clone()).unwrap().expect("it was not used after all");
        claim.keep().unwrap();
        drop(claim);
        let restarted = Replay::open(dir.path().into()).unwrap();
        for replay in [&replay, &restarted] {
            for (id, body) in [("1", &b"body"[..]), ("2", b"body"), ("1", b"other")] {
                let again = marks(&delivery(id, Proof::none()), body);
                assert!(replay.claim(&shop, again).unwrap().is_none(), "{id}");
            }
            let other = marks(&delivery("2", Proof::none()), b"other");
            assert!(replay.claim(&shop, other).unwrap().is_some());
            assert!(replay.claim(&"my-shop".parse().unwrap(), first.clone()).unwrap().is_some(), "another app's");
        }
    }

    /// What GitLab's token proves is who sends: the same push may come again.
    #[test]
    fn where_the_body_is_not_signed_its_id_alone_counts() {
        let token = || Proof::Token("t".into());
        assert_eq!(marks(&delivery("1", token()), b"body"), marks(&delivery("1", token()), b"other"));
        assert!(marks(&delivery("", token()), b"body").is_empty());
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let shop: AppName = "shop".parse().unwrap();
        let (first, second) = (mark(&[b"1"]), mark(&[b"2"]));
        fs::write(dir.path().join("shop"), format!("{first}\nabc")).unwrap();
        let replay = Replay::open(dir.path().into()).unwrap();
        replay.claim(&shop, vec![second.clone()]).unwrap().unwrap().keep().unwrap();
        let replay = Replay::open(dir.path().into()).unwrap();
        for used in [first, second] {
            assert!(replay.claim(&shop, vec![used]).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_in_memory_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let shop: AppName = "shop".parse().unwrap();
        let replay = Replay::open(dir.path().into()).unwrap();
        for number in 0..3 * MOST {
            let marks = vec![mark(&[number.to_string().as_bytes()])];
            replay.claim(&shop, marks).unwrap().unwrap().keep().unwrap();
        }
        let bytes = fs::metadata(dir.path().join("shop")).unwrap().len();
        assert!(bytes <= (2 * MOST * (DIGITS + 1)) as u64, "{bytes}");
        assert_eq!(locked(&replay.apps)[&shop].order.len(), MOST);
        let newest = vec![mark(&[(3 * MOST - 1).to_string().as_bytes()])];
        assert!(Replay::open(dir.path().into()).unwrap().claim(&shop, newest).unwrap().is_none());
    }
}
