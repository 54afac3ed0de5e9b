//! A tree in, a tree out. What needs root says so and is skipped without it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn here() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(&temp.path().canonicalize().unwrap()).unwrap();
    (temp, dir)
}

fn said<T: std::fmt::Debug>(result: Result<T, TreeError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn no_link_anywhere_on_the_way() {
    let (temp, dir) = here();
    let base = temp.path().canonicalize().unwrap();
    dir.make_dir("real", 0o755).unwrap().make_dir("inner", 0o755).unwrap();
    symlink("real", base.join("link")).unwrap();
    assert!(Dir::open(&base.join("real/inner")).is_ok());
    assert!(said(Dir::open(&base.join("link/inner"))).contains("symbolic link"));
    assert!(said(Dir::open(&base.join("link"))).contains("symbolic link"));
    assert!(dir.dir("link").is_err());
    assert!(said(Dir::open_or_make(&base.join("link/new"), 0o755)).contains("symbolic link"));
    assert!(said(Dir::open(Path::new("relative"))).contains("absolute"));
    assert!(said(Dir::open(&base.join("real/../real"))).contains("`..`"));
    assert!(Dir::open(Path::new("/")).is_ok());
}

#[test]
fn an_entry_is_a_single_name() {
    let (_temp, dir) = here();
    for bad in ["", ".", "..", "a/b", "/etc", "a\0b"] {
        assert!(dir.kind(bad).is_err(), "{bad:?}");
        assert!(dir.dir(bad).is_err(), "{bad:?}");
        assert!(dir.make_dir(bad, 0o755).is_err(), "{bad:?}");
        assert!(dir.read_link(bad).is_err(), "{bad:?}");
        assert!(dir.swap_link(bad, "x", "t").is_err(), "{bad:?}");
        assert!(dir.clean_links(bad).is_err(), "{bad:?}");
        assert!(dir.rename(bad, "x").is_err() && dir.rename("x", bad).is_err(), "{bad:?}");
        assert!(dir.unlink(bad).is_err() && dir.remove_dir(bad).is_err(), "{bad:?}");
        assert!(dir.write(bad, b"", 0o644).is_err() && dir.read(bad, 1).is_err(), "{bad:?}");
    }
    assert!(dir.swap_link("x", "y", "../t").is_err());
    assert_eq!(dir.names().unwrap(), [""; 0]);
}

#[test]
fn another_file_system_is_not_entered() {
    let root = Dir::open(Path::new("/")).unwrap();
    let proc = Dir::open(Path::new("/proc")).unwrap();
    assert!(!root.same_file_system(&proc).unwrap());
    assert!(root.same_file_system(&root).unwrap());
    assert!(said(root.dir("proc")).contains("/proc: ") && said(root.dir("proc")).contains("another file system"));
    assert_eq!(proc.file_system().unwrap(), 0x9fa0, "PROC_SUPER_MAGIC");
}

#[test]
fn directories_are_made_with_the_mode_that_was_asked_for() {
    let (temp, dir) = here();
    let base = temp.path().canonicalize().unwrap();
    assert_eq!(dir.make_dir("a", 0o2777).unwrap().owner().unwrap().2, 0o2777);
    assert!(said(dir.make_dir("a", 0o755)).contains("/a: "));
    let made = Dir::open_or_make(&base.join("b"), 0o750).unwrap();
    assert_eq!(made.owner().unwrap().2, 0o750);
    let there = Dir::open_or_make(&base.join("b"), 0o700).unwrap();
    assert_eq!(there.owner().unwrap().2, 0o750, "what is there is left as it is");
    assert!(Dir::open_or_make(&base.join("no/b"), 0o700).is_err());
    dir.remove_dir("a").unwrap();
    assert_eq!(dir.names().unwrap(), ["b"]);
}

#[test]
fn owners_are_set_on_the_directory_itself() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a change of owner needs root");
        return;
    }
    let (_temp, dir) = here();
    let made = dir.make_dir("a", 0o700).unwrap();
    made.set_owner(33, 34, 0o2770).unwrap();
    assert_eq!(made.owner().unwrap(), (33, 34, 0o2770));
    made.write("f", b"x", 0o640).unwrap();
    let fd = rustix::fs::openat(&made.fd, "f", OFlags::RDONLY, Mode::empty()).unwrap();
    let stat = fstat(&fd).unwrap();
    assert_eq!((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777), (0, 34, 0o640));
}

#[test]
fn kinds_are_told_without_following() {
    let (temp, dir) = here();
    dir.make_dir("d", 0o755).unwrap();
    dir.write("f", b"", 0o644).unwrap();
    symlink("d", temp.path().join("l")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("s")).unwrap();
    let kinds = ["d", "f", "l", "s", "none"].map(|name| dir.kind(name).unwrap());
    use EntryKind::*;
    assert_eq!(kinds, [Directory, File, Link, Other, Missing]);
}

#[test]
fn a_link_is_replaced_in_one_step() {
    let (temp, dir) = here();
    dir.swap_link("current", "releases/1", "t1").unwrap();
    // One who was killed left this.
    symlink("nowhere", temp.path().join("current.t2.tmp")).unwrap();
    dir.swap_link("current", "releases/2", "t2").unwrap();
    dir.sync().unwrap();
    assert_eq!(dir.read_link("current").unwrap(), "releases/2");
    assert_eq!(dir.names().unwrap(), ["current"]);
    dir.make_dir("dir", 0o755).unwrap();
    dir.write("file", b"", 0o644).unwrap();
    assert!(said(dir.swap_link("dir", "x", "t")).contains("not a symbolic link"));
    assert!(said(dir.swap_link("file", "x", "t")).contains("not a symbolic link"));
    assert!(said(dir.read_link("file")).contains("not a symbolic link"));
    assert_eq!(dir.names().unwrap(), ["current", "dir", "file"]);
}

#[test]
fn only_left_over_links_are_cleaned() {
    let (temp, dir) = here();
    for link in ["current", "current.a.tmp", "current.b.tmp", "current.tmp", "other.a.tmp"] {
        symlink("x", temp.path().join(link)).unwrap();
    }
    dir.write("current.c.tmp", b"", 0o644).unwrap();
    assert_eq!(dir.clean_links("current").unwrap(), 2);
    assert_eq!(dir.names().unwrap(), ["current", "current.c.tmp", "current.tmp", "other.a.tmp"]);
}

#[test]
fn a_file_is_replaced_whole() {
    let (temp, dir) = here();
    dir.write("state.json", b"one", 0o640).unwrap();
    let first = std::fs::metadata(temp.path().join("state.json")).unwrap();
    dir.write("state.json", b"two", 0o604).unwrap();
    let second = std::fs::metadata(temp.path().join("state.json")).unwrap();
    assert_ne!(first.ino(), second.ino());
    assert_eq!((first.permissions().mode() & 0o7777, second.permissions().mode() & 0o7777), (0o640, 0o604));
    assert_eq!(dir.read("state.json", 3).unwrap().unwrap(), b"two");
    assert_eq!(dir.names().unwrap(), ["state.json"]);
    dir.make_dir("d", 0o755).unwrap();
    assert!(dir.write("d", b"", 0o644).is_err());
    assert_eq!(dir.names().unwrap(), ["d", "state.json"], "nothing is left of a write that failed");
    std::fs::write(temp.path().join(".state.json.1-0.tmp"), "half").unwrap();
    assert_eq!(dir.clean_writes("state.json").unwrap(), 1);
    assert_eq!(dir.names().unwrap(), ["d", "state.json"]);
}

#[test]
fn reading_is_bounded_and_follows_nothing() {
    let (temp, dir) = here();
    assert_eq!(dir.read("none", 9).unwrap(), None);
    dir.write("f", b"1234", 0o644).unwrap();
    assert!(said(dir.read("f", 3)).contains("longer than 3 bytes"));
    symlink("f", temp.path().join("l")).unwrap();
    assert!(said(dir.read("l", 9)).contains("symbolic link"));
    dir.make_dir("d", 0o755).unwrap();
    assert!(said(dir.read("d", 9)).contains("not a regular file"));
    let _ = rustix::fs::mknodat(&dir.fd, "p", FileType::Fifo, Mode::RWXU, 0);
    assert!(said(dir.read("p", 9)).contains("not a regular file"));
}

#[test]
fn a_rename_takes_no_name_that_is_taken() {
    let (_temp, dir) = here();
    dir.write("a", b"a", 0o644).unwrap();
    dir.write("b", b"b", 0o644).unwrap();
    assert!(said(dir.rename("a", "b")).contains("/b: "));
    dir.rename("a", "c").unwrap();
    dir.unlink("b").unwrap();
    assert_eq!(dir.names().unwrap(), ["c"]);
    dir.sync_file_system().unwrap();
}

#[test]
fn errors_name_a_remedy() {
    let error = |errno: Errno| TreeError::Io { what: "write", path: "/x".into(), source: errno.into() }.to_string();
    assert!(error(Errno::ROFS).contains("/x") && error(Errno::ROFS).contains("ReadWritePaths="));
    assert!(error(Errno::NOSPC).contains("df -i"));
    assert!(error(Errno::ACCESS).contains("sandbox"));
}

/// As `current` is moved: a reader that resolves it a thousand times a second finds a whole release every time.
#[test]
fn a_reader_sees_one_whole_release_at_every_moment_of_a_thousand_swaps() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    let (temp, dir) = here();
    let base = temp.path().canonicalize().unwrap();
    for release in ["one", "two"] {
        std::fs::create_dir_all(base.join("releases").join(release)).unwrap();
        for file in ["index.php", "version"] {
            std::fs::write(base.join("releases").join(release).join(file), release).unwrap();
        }
    }
    let swap = |number: usize| {
        let release = if number.is_multiple_of(2) { "one" } else { "two" };
        dir.swap_link("current", &format!("releases/{release}"), "t").unwrap();
    };
    swap(0);
    // As nginx hands it to PHP: resolved once, and then by that path.
    let whole = || -> std::io::Result<bool> {
        let real = base.join("current").canonicalize()?;
        Ok(std::fs::read(real.join("index.php"))? == std::fs::read(real.join("version"))?)
    };
    let (over, reads, wrong) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if !matches!(whole(), Ok(true)) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..=1000 {
            let seen = reads.load(Ordering::Relaxed);
            swap(number);
            // Each of them is seen by somebody.
            while reads.load(Ordering::Relaxed) == seen {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "of {reads:?} reads");
}
