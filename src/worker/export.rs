//! Writes a source's tree at a revision into the empty directory of a release.

use std::{
    ffi::OsStr,
    io::{BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::Stdio,
};

use rustix::fs::Mode;
use tar::EntryType;

use super::{
    acl, carry, directory,
    exporter::{Exported, Exporter, Sharing},
    git::{Git, Running},
    git_names,
    git_tree::{self, Done},
    lfs::LfsFiles,
    order::{Answer, PreviousRelease, SourceOrder},
    previous::Previous,
    refusal::Refusal,
    rooted, submodules, walk,
};
use crate::model::Share;

/// What a release is exported from and to.
#[derive(Debug)]
pub struct Export<'a> {
    /// Where from.
    pub source: &'a SourceOrder,
    /// The app's cache.
    pub cache: &'a Path,
    /// Which revision of it.
    pub revision: &'a str,
    /// The release.
    pub release: &'a Path,
    /// The user of services, when another.
    pub run_as: Option<u32>,
    /// Directories that it may write.
    pub writable: &'a [String],
    /// The release before.
    pub previous: Option<&'a PreviousRelease>,
    /// How it is shared.
    pub share: Share,
    /// Beside `writable`: what is no link.
    pub own: &'a [String],
    /// What is brought from the release before.
    pub carry: &'a [String],
    /// What is compared with it.
    pub compare: &'a [String],
}

/// Carries out [`super::order::Order::Export`]; also what was written, for the seal.
pub fn run(export: &Export<'_>) -> Result<(Answer, Exported), Refusal> {
    let release = export.release;
    let root = rooted::open(release)?;
    if !walk::list(root.as_fd(), release, &[])?.is_empty() {
        let remedy = "start another deployment: each makes a release of its own";
        return Err(Refusal::with(format!("{} is not empty", release.display()), remedy));
    }
    let sharing = Sharing {
        previous: export.previous.and_then(|previous| Previous::open(export.cache, previous)),
        share: export.share,
        own: export.writable.iter().chain(export.own).chain(export.carry).cloned().collect(),
    };
    let mut exporter = Exporter::new(&root, release, sharing)?;
    match export.source {
        SourceOrder::Directory { path, exclude } => {
            directory::export(path, exclude, export.revision, &mut exporter)?;
        }
        SourceOrder::Archive(order) => super::archive::export(order, export.cache, export.revision, &mut exporter)?,
        SourceOrder::Git(order) => from_git(&Git::of(order, export.cache)?, export.revision, b"", &mut exporter)?,
    }
    let unchanged = carry::unchanged(export.compare, &exporter);
    let carried = carry::carry(&root, release, export.carry, &mut exporter)?;
    for path in export.writable {
        make_writable(&root, release, path, export.run_as)?;
    }
    let (files, bytes, shared) = exporter.counts();
    Ok((Answer::Exported { files, bytes, shared, carried, unchanged }, exporter.finish()))
}

/// Carries out [`super::order::Order::MakeWritable`].
pub fn make_all_writable(release: &Path, paths: &[String], run_as: Option<u32>) -> Result<Answer, Refusal> {
    let root = rooted::open(release)?;
    for path in paths {
        make_writable(&root, release, path, run_as)?;
    }
    Ok(Answer::Done { entries: paths.len() as u64 })
}

/// A commit below `prefix`, and with it, where that is wanted, its submodules.
fn from_git(git: &Git<'_>, revision: &str, prefix: &[u8], exporter: &mut Exporter) -> Result<(), Refusal> {
    if !git_names::full_id(revision) {
        return Err(Refusal::new(format!("\"{revision}\" is not a commit's id")));
    }
    let modules = match git_tree::export(git, revision, prefix, exporter)? {
        Done::Written(modules) if git.submodules => submodules::among(git, revision, &modules)?,
        Done::Written(_) => Vec::new(),
        Done::Converted(lfs) => {
            archive(git, revision, prefix, &lfs, exporter)?;
            if git.submodules { submodules::of(git, revision)? } else { Vec::new() }
        }
    };
    for module in modules {
        let below = [prefix, &module.path, b"/"].concat();
        module.with(git, |repository| from_git(repository, &module.commit, &below, exporter))?;
    }
    Ok(())
}

/// Streams `git archive` into the exporter.
fn archive(
    git: &Git<'_>,
    revision: &str,
    prefix: &[u8],
    lfs: &LfsFiles,
    exporter: &mut Exporter,
) -> Result<(), Refusal> {
    let failed = |error| Refusal::new(format!("cannot export {revision} from {}: {error}", git.mirror().display()));
    let mut command = git.command(&["archive", "--format=tar"]);
    if !prefix.is_empty() {
        command.arg(OsStr::from_bytes(&[b"--prefix=", prefix].concat()));
    }
    command.args(["--end-of-options", revision]);
    command.stdout(Stdio::piped());
    let mut running = Running::start(command).map_err(failed)?;
    let Some(stdout) = running.child.stdout.take() else { return Err(Refusal::new("git has no output")) };
    git_tree::widen(&stdout);
    match unpack(BufReader::with_capacity(git_tree::PIPE as usize, stdout), lfs, exporter) {
        Ok(()) => running.end().map_err(failed),
        // Cut off, it is git that knows why, when it is not the archive itself that was refused.
        Err(Problem::Stream(error)) => {
            running.end().map_err(failed)?;
            Err(Refusal::new(format!("git's archive of {revision} is damaged: {error}")))
        }
        Err(Problem::Refused(refusal)) => {
            running.kill();
            Err(refusal)
        }
    }
}

#[derive(Debug)]
enum Problem {
    Stream(std::io::Error),
    Refused(Refusal),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem::Refused(refusal)
    }
}

/// Writes the entries of a tar stream: directories, files and symbolic links, and nothing else.
fn unpack(stream: impl Read, lfs: &LfsFiles, writer: &mut Exporter) -> Result<(), Problem> {
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries().map_err(Problem::Stream)? {
        let mut entry = entry.map_err(Problem::Stream)?;
        let path = entry.path_bytes().into_owned();
        let entry_size = entry.size();
        let refuse = |what: &str| {
            let name = String::from_utf8_lossy(&path).into_owned();
            Problem::Refused(Refusal::with(format!("{name} is {what}"), "keep only files, directories and links there"))
        };
        match entry.header().entry_type() {
            // The comment in which git says which commit it is.
            EntryType::XGlobalHeader => {}
            EntryType::Directory => writer.dir(&path, 0o755)?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| refuse("a link without a text"))?.into_owned();
                writer.link(&path, &target)?;
            }
            EntryType::Regular => {
                let executable = entry.header().mode().map_err(Problem::Stream)? & 0o100 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                if let Some(pointer) = lfs.get(&path) {
                    lfs.write(&path, mode, pointer, writer)?;
                    continue;
                }
                let mut content = entry.by_ref().take(entry_size);
                writer.file(&path, mode, &mut content)?;
                if content.limit() > 0 {
                    return Err(Problem::Stream(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
            EntryType::Link => return Err(refuse("a hard link")),
            other => {
                return Err(refuse(&format!("of a kind that no release may have ({:?})", char::from(other.as_byte()))));
            }
        }
    }
    // What is left is padding: whoever writes it shall not find the pipe closed.
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(Problem::Stream)?;
    Ok(())
}

/// Makes a directory that services may write.
fn make_writable(root: &OwnedFd, release: &Path, path: &str, run_as: Option<u32>) -> Result<(), Refusal> {
    let place = release.join(path);
    let (dir, _) = rooted::make_dirs(root, &rooted::parts(path)?, Mode::from_raw_mode(0o755))
        .map_err(|error| Refusal::io("make the directory", &place, error))?;
    if let Some(user) = run_as {
        acl::share_dir(&dir, &place, &[user, rustix::process::geteuid().as_raw()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::worker::testing;

    /// A tar header with a name and a kind that no library would write.
    fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        raw.linkflag = [kind];
        header.set_mode(0o4777);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(content);
        out.resize(out.len().div_ceil(512) * 512, 0);
        out
    }

    fn write(entries: &[Vec<u8>], below: &Path) -> Result<(), String> {
        let stream = [entries.concat(), vec![0; 1024]].concat();
        unpack_all(&stream, below)
    }

    fn unpack_all(stream: &[u8], below: &Path) -> Result<(), String> {
        let sharing = Sharing { previous: None, share: Share::Reflink, own: Vec::new() };
        let mut exporter = Exporter::new(&rooted::open(below).unwrap(), below, sharing).unwrap();
        unpack(stream, &LfsFiles::default(), &mut exporter).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn what_is_written_is_what_was_there_without_setuid() {
        let out = tempfile::tempdir().unwrap();
        let entries = [
            entry("d/", b'5', "", b""),
            entry("d/f", b'0', "", b"text"),
            entry("e/g", b'0', "", b""),
            entry("l", b'2', "../../x", b""),
        ];
        write(&entries, out.path()).unwrap();
        assert_eq!(testing::tree(out.path()), ["d/ 755", "d/f 755 text", "e/ 755", "e/g 755 ", "l -> ../../x"]);
    }

    #[test]
    fn nothing_gets_out_of_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        let text = outside.path().to_str().unwrap();
        std::fs::create_dir(outside.path().join("sub")).unwrap();
        std::fs::write(outside.path().join("kept"), "kept").unwrap();
        let mode = outside.path().metadata().unwrap().mode();
        let evil = |name: &str| entry(name, b'0', "", b"evil");
        let link = |name: &str, to: &str| entry(name, b'2', to, b"");
        let attacks = [
            ("dots", vec![evil("../evil")]),
            ("inner dots", vec![evil("a/../../evil")]),
            ("absolute", vec![evil(&format!("{text}/evil"))]),
            ("dot", vec![evil("./evil")]),
            ("through a link", vec![link("d", text), evil("d/evil")]),
            ("a directory over a link", vec![link("d", text), entry("d/", b'5', "", b""), evil("d/evil")]),
            ("a chain of links", vec![link("a", "b"), link("b", text), evil("a/evil")]),
            ("a relative link", vec![link("d", ".."), evil("d/evil")]),
            ("a file over a link", vec![link("d", &format!("{text}/kept")), evil("d")]),
            ("a hard link", vec![entry("h", b'1', &format!("{text}/kept"), b"")]),
            ("a fifo", vec![entry("p", b'6', "", b"")]),
            ("a device", vec![entry("n", b'3', "", b"")]),
            ("twice", vec![evil("x"), evil("x")]),
            ("a file, then a directory", vec![evil("x"), evil("x/y")]),
            ("sparse", vec![entry("s", b'S', "", b"")]),
        ];
        for (name, entries) in attacks {
            let out = tempfile::tempdir().unwrap();
            assert!(write(&entries, out.path()).is_err(), "{name}");
            assert_eq!(testing::tree(outside.path()), ["kept 644 kept", "sub/ 755"], "{name}");
            assert_eq!(outside.path().metadata().unwrap().mode(), mode, "{name}");
            assert!(!out.path().parent().unwrap().join("evil").exists(), "{name}");
        }
    }

    #[test]
    fn a_stream_that_was_cut_off_is_an_error() {
        let stream = entry("big", b'0', "", &[7; 4096]);
        for end in [1, 511, 513, 1024, 4096, 4607] {
            let out = tempfile::tempdir().unwrap();
            assert!(unpack_all(&stream[..end], out.path()).is_err(), "{end}");
        }
    }

    #[test]
    fn a_full_release_is_refused_and_writable_directories_are_made() {
        let source = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("f"), "x").unwrap();
        let order = SourceOrder::Directory { path: source.path().to_owned(), exclude: Vec::new() };
        let cache = Path::new("/nonexistent");
        let Ok(Answer::Resolved { revision, .. }) = directory::resolve(source.path(), &[], cache, &[]) else {
            panic!()
        };
        let release = tempfile::tempdir().unwrap();
        let writable = ["bootstrap/cache".to_owned()];
        let export = || {
            let plain = testing::export(&order, Path::new("/"), &revision, release.path());
            run(&Export { run_as: Some(33), writable: &writable, ..plain })
        };
        assert!(matches!(export().unwrap().0, Answer::Exported { files: 1, bytes: 1, shared: 0, .. }));
        assert!(release.path().join("bootstrap/cache").is_dir());
        assert!(export().unwrap_err().reason().contains("not empty"));
    }
}
