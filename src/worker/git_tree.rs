//! A commit's tree into a release: listed by `git ls-tree`, so that only what changed is asked of `git cat-file`.
//!
//! The attributes of gitattributes(5) that matter for an export are heeded as `git archive` heeds them: what is
//! `export-ignore` is left out; where content would be converted, `git archive` itself is read.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{ChildStdin, ChildStdout, Stdio},
    thread::JoinHandle,
};

use super::{
    exporter::{Exporter, Wanted},
    git::{Failed, Git, Running},
    git_attributes::{self, is_ignored},
    lfs::{self, LfsFiles},
    refusal::Refusal,
    rooted::MAX_PATH,
    walk::{ContentId, MAX_ENTRIES},
};

/// Of a pipe from git and of the reader behind it, in bytes.
pub const PIPE: u32 = 1024 * 1024;

/// An entry of a tree that is no directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// As git writes it.
    pub id: String,
    /// What it is.
    pub kind: ItemKind,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// A file.
    File {
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link, whose text is the object.
    Link,
    /// A commit of another repository: a directory here.
    Submodule,
}

/// What became of a tree.
#[derive(Debug)]
pub enum Done {
    /// It was written, but for these submodules, whose directories are empty.
    Written(Vec<Item>),
    /// Nothing was: it must be read from `git archive`, but for what is in Git LFS.
    Converted(LfsFiles),
}

/// Exports the tree of `revision` below `prefix`, which is empty or ends with a slash.
pub fn export(git: &Git<'_>, revision: &str, prefix: &[u8], exporter: &mut Exporter) -> Result<Done, Refusal> {
    let failed = |error| Refusal::new(format!("cannot export {revision} from {}: {error}", git.mirror().display()));
    // Started first: it gets ready while the tree is listed.
    let mut contents = Contents::start(git).map_err(failed)?;
    let mut items = list(git, revision).map_err(failed)?;
    let meaning = git_attributes::read(git, &items)?;
    items.retain(|item| !is_ignored(&meaning.ignored, &item.path));
    let lfs = LfsFiles::below(prefix, lfs::pointers(git, &items, &meaning.lfs)?, git);
    if meaning.converted {
        return Ok(Done::Converted(lfs));
    }
    let modules = items.iter().filter(|item| item.kind == ItemKind::Submodule).cloned().collect();
    if !prefix.is_empty() {
        items.iter_mut().for_each(|item| item.path.splice(..0, prefix.iter().copied()).for_each(drop));
    }
    let mut links = write(items, &lfs, &mut contents, exporter)?;
    for link in links.drain(..) {
        let target = contents.text(&link.path, MAX_PATH as u64 + 1)?;
        exporter.link(&link.path, &target)?;
    }
    contents.end().map_err(failed)?;
    Ok(Done::Written(modules))
}

/// Shares or writes the files; asks for the links' texts too, and returns the links.
fn write(
    items: Vec<Item>,
    lfs: &LfsFiles,
    contents: &mut Contents,
    exporter: &mut Exporter,
) -> Result<Vec<Item>, Refusal> {
    let (mut files, mut links) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match item.kind {
            ItemKind::Submodule => exporter.dir(&item.path, 0o755)?,
            ItemKind::Link => links.push(item),
            ItemKind::File { executable } => {
                let mode = if executable { 0o755 } else { 0o644 };
                let id = lfs.content_of(&item.path).or_else(|| ContentId::git(&item.id));
                let id = id.ok_or_else(|| Refusal::new("git listed an impossible id"))?;
                files.push(Wanted { path: item.path, mode, id });
            }
        }
    }
    let fresh = exporter.share_all(files)?;
    let ids = fresh.iter().filter_map(|one| one.id.object());
    contents.ask(ids.chain(links.iter().map(|link| link.id.clone())).collect());
    for file in &fresh {
        match lfs.get(&file.path) {
            Some(pointer) => lfs.write(&file.path, file.mode, pointer, exporter)?,
            None => contents.next(&file.path, |content| exporter.file_of(file, content))?,
        }
    }
    Ok(links)
}

/// Everything in the tree that is no directory, in git's order.
pub fn list(git: &Git<'_>, revision: &str) -> Result<Vec<Item>, Failed> {
    let mut command = git.command(&["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision]);
    command.stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let mut items = Vec::new();
    let mut wrong = None;
    if let Some(stdout) = running.child.stdout.take() {
        widen(&stdout);
        let mut lines = BufReader::with_capacity(PIPE as usize, stdout);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut lines).take(MAX_PATH as u64 + 200).read_until(0, &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => wrong = Some(error.to_string()),
            }
            match item(&line) {
                Some(item) if items.len() < MAX_ENTRIES => items.push(item),
                Some(_) => wrong = Some(format!("it has more than {MAX_ENTRIES} entries")),
                None => wrong = Some("git's list of it is not understood".to_owned()),
            }
            if wrong.is_some() {
                break;
            }
        }
    }
    match wrong {
        None => running.end().map(|()| items),
        Some(wrong) => {
            running.kill();
            Err(Failed::from(wrong))
        }
    }
}

/// `100644 blob ID\tPATH\0`.
fn item(line: &[u8]) -> Option<Item> {
    let line = line.strip_suffix(b"\0")?;
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = line.split_at_checked(tab)?;
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "120000" => ItemKind::Link,
        "160000" => ItemKind::Submodule,
        "100755" => ItemKind::File { executable: true },
        mode if mode.starts_with("100") => ItemKind::File { executable: false },
        _ => return None,
    };
    Some(Item { path: path.get(1..)?.to_vec(), id: id.to_owned(), kind })
}

/// A `git cat-file --batch`: asked once for objects, it gives them in the same order.
#[derive(Debug)]
pub struct Contents {
    running: Running,
    questions: Option<ChildStdin>,
    asking: Option<JoinHandle<()>>,
    answers: BufReader<ChildStdout>,
}

impl Contents {
    /// Starts it.
    pub fn start(git: &Git<'_>) -> Result<Self, Failed> {
        let mut command = git.command(&["cat-file", "--batch", "--buffer"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(command)?;
        let questions = running.child.stdin.take();
        let answers = running.child.stdout.take().ok_or_else(|| Failed::from("git has no output".to_owned()))?;
        widen(&answers);
        let answers = BufReader::with_capacity(PIPE as usize, answers);
        Ok(Self { running, questions, asking: None, answers })
    }

    /// Asks for objects; nothing can be asked after them.
    pub fn ask(&mut self, ids: Vec<String>) {
        let mut text = ids.join("\n").into_bytes();
        text.push(b'\n');
        self.asking = self.questions.take().map(|stdin| feed(stdin, text));
    }

    /// Hands the next object over, which must be read to its end.
    pub fn next(
        &mut self,
        path: &[u8],
        take: impl FnOnce(&mut dyn Read) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let cut = |error: std::io::Error| Refusal::new(format!("git gave only a part of {}: {error}", shown()));
        let mut head = String::new();
        (&mut self.answers).take(200).read_line(&mut head).map_err(cut)?;
        let mut words = head.trim_end().split(' ');
        let (_, kind, size) = (words.next(), words.next(), words.next().and_then(|size| size.parse::<u64>().ok()));
        let (Some("blob"), Some(size)) = (kind, size) else {
            let reason = format!("git does not give the content of {}: {}", shown(), head.trim_end());
            return Err(Refusal::with(reason, "remove `git` in the app's cache; it is fetched again"));
        };
        let mut content = (&mut self.answers).take(size);
        take(&mut content)?;
        if content.limit() > 0 {
            return Err(cut(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.answers.read_exact(&mut [0]).map_err(cut)
    }

    /// The next object, of which no more than `limit` bytes are kept.
    pub fn text(&mut self, path: &[u8], limit: u64) -> Result<Vec<u8>, Refusal> {
        let mut text = Vec::new();
        self.next(path, |content| {
            let all =
                content.take(limit).read_to_end(&mut text).and_then(|_| std::io::copy(content, &mut std::io::sink()));
            let shown = String::from_utf8_lossy(path);
            all.map(drop).map_err(|error| Refusal::new(format!("git gave only a part of {shown}: {error}")))
        })?;
        Ok(text)
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<(), Failed> {
        drop(self.questions.take());
        drop(self.asking.take());
        self.running.end()
    }
}

/// Writes to git in a thread: it waits for its answers to be read before it reads on. If it has left, it says why.
pub fn feed(mut stdin: ChildStdin, text: Vec<u8>) -> JoinHandle<()> {
    std::thread::spawn(move || drop(stdin.write_all(&text)))
}

/// A larger pipe lets git go on while files are written; where that is not allowed it only takes longer.
pub fn widen(pipe: impl std::os::fd::AsFd) {
    let _ = nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE.cast_signed()));
}
