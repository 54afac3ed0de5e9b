//! For the worker's tests only: trees and repositories to work on, and tests that are nobody instead of root.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// What tells the second run of a test where its directory is.
const TREE: &str = "DEPLOYD_TEST_TREE";

/// A test whose point is what a user may not do, which root may.
pub struct AsNobody;

impl AsNobody {
    /// As root: runs the named test again as nobody, in a directory of nobody's, and returns `None`.
    /// As another user: returns the directory to work in.
    pub fn run(test: &str) -> Option<PathBuf> {
        Self::run_with(test, |_| {})
    }

    /// The same, with what root prepares in the directory before.
    pub fn run_with(test: &str, prepare: impl FnOnce(&Path)) -> Option<PathBuf> {
        if let Some(tree) = std::env::var_os(TREE) {
            return Some(PathBuf::from(tree));
        }
        let tree = tempfile::tempdir().unwrap();
        prepare(tree.path());
        if !rustix::process::geteuid().is_root() {
            return Some(tree.keep());
        }
        std::os::unix::fs::chown(tree.path(), Some(65534), Some(65534)).unwrap();
        // The build directory may be closed to nobody: it runs a copy beside its tree.
        let program = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(program.path(), mode).unwrap();
        let copy = program.path().join("tests");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let mut command = Command::new(&copy);
        command.args(["--exact", test, "--nocapture"]).env(TREE, tree.path()).current_dir("/").uid(65534).gid(65534);
        // A child that another test is about to start may still have the copy open for writing.
        let busy = |output: &std::io::Result<_>| matches!(output, Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy);
        let mut output = command.output();
        for _ in 0..100 {
            if !busy(&output) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            output = command.output();
        }
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        None
    }
}

/// As root: runs the named test again in a mount namespace of its own, in a directory where `mounts` (a shell's words;
/// `$DEPLOYD_TEST_TREE` is the directory) were made, and returns `None`. There: returns the directory. Else skips.
pub fn with_mounts(test: &str, mounts: &str, prepare: impl FnOnce(&Path)) -> Option<PathBuf> {
    if let Some(tree) = std::env::var_os(TREE) {
        return Some(PathBuf::from(tree));
    }
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let tree = tempfile::tempdir().unwrap();
    prepare(tree.path());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "/bin/sh", "-ec", &format!("{mounts}; exec \"$0\" --exact {test} --nocapture")]);
    let output = command.arg(std::env::current_exe().unwrap()).env(TREE, tree.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    None
}

/// Runs git for a test's own repository and returns what it printed; the user's configuration is not read.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        command.env(format!("{name}_NAME"), "Test").env(format!("{name}_EMAIL"), "test@example.org");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with one commit on `main`: `artisan` (executable), `public/index.php`, and a link.
pub fn repository(dir: &Path) {
    std::fs::create_dir_all(dir.join("public")).unwrap();
    std::fs::write(dir.join("public/index.php"), "<?php echo 1;").unwrap();
    std::fs::write(dir.join("artisan"), "#!/usr/bin/env php\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.join("artisan"), mode).unwrap();
    std::os::unix::fs::symlink("../outside", dir.join("public/link")).unwrap();
    git(dir, &["init", "-q", "-b", "main"]);
    commit(dir, "first");
}

/// Commits everything and returns the commit.
pub fn commit(dir: &Path, message: &str) -> String {
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "--allow-empty", "-m", message]);
    git(dir, &["rev-parse", "HEAD"])
}

/// Writes a program.
pub fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Every entry below a directory as `path kind mode content`, sorted: a tree to compare.
pub fn tree(dir: &Path) -> Vec<String> {
    fn visit(top: &Path, dir: &Path, out: &mut Vec<String>) {
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let meta = path.symlink_metadata().unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_symlink() {
                out.push(format!("{name} -> {}", std::fs::read_link(&path).unwrap().display()));
            } else if meta.is_dir() {
                out.push(format!("{name}/ {mode:o}"));
                visit(top, &path, out);
            } else {
                out.push(format!("{name} {mode:o} {}", String::from_utf8_lossy(&std::fs::read(&path).unwrap())));
            }
        }
    }
    let mut out = Vec::new();
    visit(dir, dir, &mut out);
    out.sort();
    out
}

/// An export that shares nothing.
pub fn export<'a>(
    source: &'a super::order::SourceOrder,
    cache: &'a Path,
    revision: &'a str,
    release: &'a Path,
) -> super::export::Export<'a> {
    let share = crate::model::Share::Reflink;
    super::export::Export {
        source,
        cache,
        revision,
        release,
        run_as: None,
        writable: &[],
        previous: None,
        share,
        own: &[],
        carry: &[],
        compare: &[],
    }
}
