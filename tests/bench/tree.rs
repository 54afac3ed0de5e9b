//! Repositories to make releases of: a first commit, and ten more that each change one file in a hundred.

use std::{
    fs,
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{command, lock::target_dir};

/// Commits after the first.
const COMMITS: usize = 10;

/// A tree.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    /// How many files.
    pub files: usize,
    bytes: usize,
    name: &'static str,
    /// It has a page that names its release, `r` and the commit's number.
    served: bool,
}

/// That page.
const PAGE: &str = "<?php\n\nheader('Content-Type: text/plain');\n$r = include __DIR__.'/../release.php';\n\
                    echo \"start=$r\\nend=$r\\n\";\n";

impl Tree {
    /// 2,000 files, as an app without its dependencies has.
    pub fn small() -> Self {
        Self { files: 2000, bytes: 1600, name: "stage-2000", served: false }
    }

    /// 100,000 files, as an app with all its dependencies has.
    pub fn large() -> Self {
        Self { files: 100_000, bytes: 1600, name: "stage-100000", served: false }
    }

    /// 500 MB that no compression makes less.
    pub fn fat() -> Self {
        Self { files: 5000, bytes: 100_000, name: "disk-10x500", served: false }
    }

    /// Ten files and a page.
    pub fn ten() -> Self {
        Self { files: 10, bytes: 1600, name: "activate-10", served: true }
    }

    /// 100,000 and the page.
    pub fn many() -> Self {
        Self { files: 100_000, name: "activate-100000", ..Self::ten() }
    }

    /// What is measured of it.
    pub fn work(&self) -> String {
        self.name.to_owned()
    }

    /// The same with 1 % changed, where that is measured.
    pub fn changed(&self) -> Option<String> {
        (self.files == 100_000).then(|| format!("{}-1pct", self.name))
    }

    /// Puts a bare repository of it at `path`, whose `main` is the first commit.
    pub fn put(&self, path: &Path) {
        let made = target_dir().join("bench").join(format!("{}.git", self.name));
        if !made.is_dir() {
            self.make(&made);
        }
        command::local(&["cp", "-a", &made.to_string_lossy(), &path.to_string_lossy()]).ok();
        command::local(&["chown", "-R", "0:0", &path.to_string_lossy()]).ok();
        point(path, 0);
    }

    fn make(&self, path: &Path) {
        let part = path.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        let git = |arguments: &[&str]| command::local(&[&["git", "-C", &*part.to_string_lossy()], arguments].concat());
        fs::create_dir_all(&part).expect("it is ours");
        git(&["init", "-q", "--bare", "-b", "main"]).ok();
        git(&["config", "core.compression", if self.bytes > 50_000 { "0" } else { "1" }]).ok();
        let mut import = Command::new("git");
        import.arg("-C").arg(&part).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
        let mut child = import.spawn().expect("git is there");
        let mut stream = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("piped"));
        for commit in 0..=COMMITS {
            self.commit(&mut stream, commit).expect("git reads on");
        }
        drop(stream);
        assert!(child.wait().expect("it ends").success(), "git fast-import");
        fs::rename(&part, path).expect("beside");
    }

    fn commit(&self, to: &mut impl Write, commit: usize) -> std::io::Result<()> {
        writeln!(
            to,
            "commit refs/heads/r{commit}\ncommitter Test <test@example.org> {} +0000",
            1_700_000_000 + commit
        )?;
        writeln!(to, "data 1\n{}", commit % 10)?;
        if commit > 0 {
            writeln!(to, "from refs/heads/r{}", commit - 1)?;
        }
        // One in a hundred, another one each time: all over the tree.
        for file in (0..self.files).filter(|file| commit == 0 || file % 100 == commit) {
            let path = format!("src/p{}/m{}/Class{file}.php", file / 1000, file / 40);
            let content = self.content(file, commit);
            writeln!(to, "M 100644 inline {path}\ndata {}", content.len())?;
            to.write_all(&content)?;
            writeln!(to)?;
        }
        if self.served {
            let label = format!("<?php\n\nreturn 'r{commit}';\n");
            for (path, content) in [("public/index.php", PAGE), ("release.php", &label)] {
                writeln!(to, "M 100644 inline {path}\ndata {}\n{content}", content.len())?;
            }
        }
        Ok(())
    }

    fn content(&self, file: usize, commit: usize) -> Vec<u8> {
        let mut state = (file as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (commit as u64) << 40;
        let mut out = format!("<?php // {file} {commit}\n").into_bytes();
        while out.len() < self.bytes {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if self.bytes > 50_000 {
                out.extend_from_slice(&state.to_le_bytes());
            } else {
                out.extend_from_slice(format!("$name{} = {};\n", state % 97, state % 9973).as_bytes());
            }
        }
        out
    }
}

/// Points `main` of a repository at its commit of that number.
pub fn point(repository: &Path, commit: usize) {
    let id = fs::read_to_string(repository.join(format!("refs/heads/r{commit}"))).expect("a loose reference");
    fs::write(repository.join("refs/heads/main"), id).expect("it is ours");
}
