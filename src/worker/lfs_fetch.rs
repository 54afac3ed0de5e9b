//! Brings into the mirror what a commit has in Git LFS, by git-lfs, which is started as git is: no hook, no prompt, the
//! same key or token. What `.lfsconfig` says is a repository's word: only a server's place is taken from it, if it is one.

use std::{collections::HashSet, fmt::Write as _, fs::OpenOptions, path::Path, process::Stdio, time::SystemTime};

use super::{
    git::{Failed, Git, Lfs, Running, pin},
    git_access::Asks,
    git_attributes::{self, is_ignored},
    git_names::{self, Transport},
    git_remedy::WITHHELD,
    git_tree,
    lfs::{self, Pointer},
    mirror,
    refusal::Refusal,
    sandbox::LARGEST_FILE,
};
use crate::model::printable;

/// What git starts for `git lfs`.
const PROGRAM: &str = "git-lfs";
/// How many files a refusal names.
const NAMED: usize = 3;
/// What git-lfs may write beside contents, in bytes of one file: a configuration.
const OTHER: u64 = 64 * 1024;
/// What is left free, in bytes.
const SPARE: u64 = 8 * MIB;
const MIB: u64 = 1024 * 1024;
/// How it is told that a file would have become larger than it may: by git, of the signal, by the system.
const CUT_OFF: [&str; 3] = ["died of signal 25", "file size limit exceeded", "file too large"];

/// Fetches what of a commit's files is not there yet. Where the pointers themselves are wanted, nothing.
pub fn fetch(git: &Git<'_>, revision: &str) -> Result<(), Refusal> {
    if git.lfs_pointers {
        return Ok(());
    }
    let files = {
        let _held = mirror::hold(git)?;
        known(git, revision)?
    };
    let lacking = lacking(git, files);
    if lacking.is_empty() {
        return Ok(());
    }
    if git.program(PROGRAM).is_none() {
        let (many, some) = (lacking.len(), named(&lacking));
        let reason =
            format!("{} keeps {many} files of {revision} in Git LFS ({some}), and git-lfs is not there", git.url);
        let remedy = "install git-lfs, or write lfs = false in [source] to release the pointers as they are";
        return Err(Refusal::with(reason, remedy));
    }
    let place = place(git, revision)?;
    room(git, revision, &lacking)?;
    let ended = {
        let _held = mirror::hold(git)?;
        contents(git, revision, &place, &lacking)?
    };
    let lacking = self::lacking(git, lacking);
    if lacking.is_empty() {
        return Ok(());
    }
    let cut_off = ended.as_ref().is_err_and(was_cut_off);
    let why = match ended {
        Ok(()) => "it has not got them".to_owned(),
        Err(_) if cut_off => "it sends more than their pointers say".to_owned(),
        Err(failed) => failed.said,
    };
    let reason = format!("{} files of {revision} that are in Git LFS ({}) ", lacking.len(), named(&lacking));
    let remedy = match git.transport {
        _ if cut_off => "see what that server has in their place; nothing of it was kept".into(),
        _ if git.withholds_at(&place) => WITHHELD.into(),
        Transport::Local => format!("`git lfs push --all {}` in a clone that has them", git.url),
        _ => "see that they were pushed (`git lfs push --all`), and that the key or token may read them".into(),
    };
    Err(Refusal::with(format!("{reason}cannot be fetched from {place}: {why}"), remedy))
}

/// Refuses, before anything is fetched, what does not fit: the pointers tell how much it is.
fn room(git: &Git<'_>, revision: &str, lacking: &[Named]) -> Result<(), Refusal> {
    let mirror = git.mirror();
    let Ok(found) = rustix::fs::statvfs(&mirror) else { return Ok(()) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let mut counted = HashSet::new();
    let new = lacking.iter().filter(|(_, pointer)| counted.insert(&pointer.oid));
    let wanted = new.fold(SPARE, |sum, (_, pointer)| sum.saturating_add(pointer.size));
    if wanted <= free {
        return Ok(());
    }
    let reason = format!(
        "{} has {} MiB free, and what {revision} has in Git LFS ({}) takes {} MiB",
        mirror.display(),
        free / MIB,
        named(lacking),
        wanted.div_ceil(MIB)
    );
    Err(Refusal::with(reason, "make room there, or write lfs = false in [source] to release the pointers as they are"))
}

/// Runs git-lfs; an error matters only when something is still lacking. A server whose answer brings nothing that opens the
/// contents gets the token for them, too.
fn contents(git: &Git<'_>, revision: &str, place: &str, lacking: &[Named]) -> Result<Result<(), Failed>, Refusal> {
    let largest = lacking.iter().map(|(_, pointer)| pointer.size).max().unwrap_or_default();
    let largest = largest.saturating_add(OTHER).min(LARGEST_FILE);
    let fetch = |asks| {
        let ended = run(git, revision, &Lfs { place, asks, largest })?;
        drop_remains(git)?;
        Ok(ended)
    };
    let first = fetch(Asks::Where)?;
    if first.is_ok() || first.as_ref().is_err_and(was_cut_off) || !git.has_token_for(place) {
        return Ok(first);
    }
    let second = fetch(Asks::ForAll)?;
    Ok(if second.is_ok() || second.as_ref().is_err_and(was_cut_off) { second } else { first })
}

fn was_cut_off(failed: &Failed) -> bool {
    let said = failed.all.to_ascii_lowercase();
    CUT_OFF.iter().any(|sign| said.contains(sign))
}

/// A file in Git LFS: what it is called in messages, and its pointer.
pub type Named = (String, Pointer);

fn lacking(git: &Git<'_>, files: Vec<Named>) -> Vec<Named> {
    files.into_iter().filter(|(_, pointer)| !pointer.is_there(git)).collect()
}

fn named(files: &[Named]) -> String {
    let some: Vec<&str> = files.iter().take(NAMED).map(|(name, _)| name.as_str()).collect();
    format!("{}{}", some.join(", "), if files.len() > NAMED { ", …" } else { "" })
}

/// The commit's files in Git LFS. They are the same for ever: what was found is kept beside the mirror.
fn known(git: &Git<'_>, revision: &str) -> Result<Vec<Named>, Refusal> {
    let lists = git.lfs_lists();
    let list = lists.join(revision);
    if let Some(files) = listed(&list) {
        // By this it is known when it was last of use.
        let file = OpenOptions::new().append(true).open(&list);
        let touched = file.and_then(|file| file.set_modified(SystemTime::now()));
        touched.map_err(|error| Refusal::io("touch", &list, error))?;
        return Ok(files);
    }
    let failed = |error: Failed| Refusal::new(format!("cannot list {revision} of {}: {error}", git.url));
    let mut items = git_tree::list(git, revision).map_err(failed)?;
    let meaning = git_attributes::read(git, &items)?;
    items.retain(|item| !is_ignored(&meaning.ignored, &item.path));
    let found = lfs::pointers(git, &items, &meaning.lfs)?;
    let shown = |(path, pointer): (Vec<u8>, Pointer)| (printable(&String::from_utf8_lossy(&path)), pointer);
    let files: Vec<Named> = found.into_iter().map(shown).collect();
    std::fs::create_dir_all(&lists).map_err(|error| Refusal::io("make the directory", &lists, error))?;
    pin(&list, &text(&files))?;
    Ok(files)
}

/// What was found before.
pub fn listed(list: &Path) -> Option<Vec<Named>> {
    parse(&std::fs::read_to_string(list).ok()?)
}

/// A line for each; the last one says that it is whole.
fn text(files: &[Named]) -> String {
    let mut text = String::new();
    for (name, Pointer { oid, size }) in files {
        let _ = writeln!(text, "{oid} {size} {name}");
    }
    text + END
}

const END: &str = "end\n";

fn parse(text: &str) -> Option<Vec<Named>> {
    let one = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (oid, size, name) = (words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), Pointer::of(oid, size)?))
    };
    text.strip_suffix(END)?.lines().map(one).collect()
}

/// Where the contents are: what `.lfsconfig` of the commit says, else where git-lfs looks for them beside a repository.
fn place(git: &Git<'_>, revision: &str) -> Result<String, Refusal> {
    let blob = format!("{revision}:.lfsconfig");
    // One that is not there, or has no such word, is an error for git.
    let written = git.run(&["config", "--no-includes", "--blob", &blob, "--get", "lfs.url"], b"").unwrap_or_default();
    let written = String::from_utf8_lossy(&written).trim().to_owned();
    if !written.is_empty() {
        return match git_names::transport(&written) {
            Ok(Transport::Https) => Ok(written),
            Ok(Transport::Ssh) => plain(written),
            _ => {
                let reason = "lfs.url in .lfsconfig is none from which a deployment fetches";
                Err(Refusal::with(reason, "write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH there"))
            }
        };
    }
    let url = git.url.trim_end_matches('/');
    match git.transport {
        Transport::Https if url.ends_with(".git") => Ok(format!("{url}/info/lfs")),
        Transport::Https => Ok(format!("{url}.git/info/lfs")),
        Transport::Ssh => plain(url.to_owned()),
        Transport::Local => Ok(format!("file://{url}")),
    }
}

/// A place over ssh. git quotes a path for the shell on the server; git-lfs does not, so that it must mean itself there.
fn plain(url: String) -> Result<String, Refusal> {
    if url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._~+-@:".contains(&byte)) {
        return Ok(url);
    }
    let reason = format!("the place of the contents in Git LFS, {}, is more than a path to a shell", printable(&url));
    Err(Refusal::with(reason, "over ssh write it of letters, digits and / . _ ~ + - @ : alone, or fetch over https"))
}

/// Removes what git-lfs had begun to receive: half of a content, or one that was not what its pointer says. The lock of the
/// mirror is held.
pub fn drop_remains(git: &Git<'_>) -> Result<(), Refusal> {
    let store = git.mirror().join("lfs");
    ["incomplete", "tmp"].iter().filter(|name| store.join(name).is_dir()).try_for_each(|name| {
        let dir = store.join(name);
        std::fs::remove_dir_all(&dir).map_err(|error| Refusal::io("remove", &dir, error))
    })
}

fn run(git: &Git<'_>, revision: &str, lfs: &Lfs<'_>) -> Result<Result<(), Failed>, Refusal> {
    // What the mirror's own HEAD says in its `.lfsconfig` counts less than this.
    let only = format!("lfs.url={}", lfs.place);
    // Where the contents may want the token too, git-lfs would try eight times without, for more than half a minute.
    let tries = if lfs.asks == Asks::Where && git.has_token_for(lfs.place) { 2 } else { 8 };
    let tries = format!("lfs.transfer.maxRetries={tries}");
    let arguments = ["-c", &only, "-c", &tries, "lfs", "fetch", "--include=", "--exclude=", lfs.place, revision];
    let mut command = git.lfs_command(&arguments, lfs)?;
    command.stdout(Stdio::null());
    Ok(Running::start(command).and_then(Running::end))
}

#[cfg(test)]
#[path = "lfs_tests.rs"]
mod tests;
