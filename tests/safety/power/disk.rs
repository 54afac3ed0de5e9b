//! The disks of a machine that outlive its power: files, and how they are copied, made and mounted here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::command;

/// An ext4 that writes when it likes and in what order it likes.
pub const CARELESS: &str = "ext4-writeback";
/// Bytes; what btrfs and xfs need at the least, with room.
const SIZE: &str = "640M";

/// The app's disk and the record's, in a directory of their own.
#[derive(Debug, Clone)]
pub struct Disks {
    /// Where they are.
    pub dir: PathBuf,
    /// Whether what the app's disk is written is also logged.
    pub logged: bool,
}

impl Disks {
    /// Two empty disks.
    pub fn blank(dir: &Path) -> Self {
        fs::remove_dir_all(dir).ok();
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let disks = Self { dir: dir.to_path_buf(), logged: false };
        for image in [disks.app(), disks.state()] {
            command::local(&["truncate", "-s", SIZE, &image.to_string_lossy()]).ok();
        }
        disks
    }

    /// The disk of `<root>`.
    pub fn app(&self) -> PathBuf {
        self.dir.join("app.img")
    }

    /// The disk of `/var/lib/deployd`, where it has one of its own.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.img")
    }

    /// The log of writes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log.img")
    }

    /// Makes file systems of this kind on both.
    pub fn format(&self, fs: &str) {
        let kind = if fs == CARELESS { "ext4" } else { fs };
        for image in [self.app(), self.state()] {
            let image = &*image.to_string_lossy();
            let quiet: &[&str] = if kind == "ext4" { &["-q", "-F"] } else { &["-q", "-f"] };
            command::local(&[&[&*format!("mkfs.{kind}")], quiet, &[image]].concat()).ok();
            if fs == CARELESS {
                // Kept in the file system: whoever mounts it has them.
                let options = ["-o", "journal_data_writeback", "-E", "mount_opts=commit=300"];
                command::local(&[&["tune2fs"], &options[..], &[image]].concat()).ok();
            }
        }
    }

    /// Both as they are now, in another directory.
    pub fn copy(&self, to: &Path) -> Self {
        fs::remove_dir_all(to).ok();
        fs::create_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
        let copy = Self { dir: to.to_path_buf(), logged: false };
        copy_file(&self.app(), &copy.app());
        copy_file(&self.state(), &copy.state());
        copy
    }

    /// What qemu is told of them.
    pub fn arguments(&self) -> Vec<String> {
        let file = |name: &str, path: PathBuf| format!("driver=file,node-name={name},filename={}", path.display());
        let mut arguments = vec![file("app-file", self.app())];
        if self.logged {
            fs::write(self.log(), b"").unwrap();
            arguments.push(file("log-file", self.log()));
            arguments.push("driver=blklogwrites,node-name=app,file=app-file,log=log-file,log-sector-size=512".into());
        } else {
            arguments.push("driver=raw,node-name=app,file=app-file".into());
        }
        arguments.extend([file("state-file", self.state()), "driver=raw,node-name=state,file=state-file".into()]);
        arguments
    }
}

/// Copies an image; what is a hole stays one.
pub fn copy_file(from: &Path, to: &Path) {
    command::local(&["cp", "--sparse=always", &from.to_string_lossy(), &to.to_string_lossy()]).ok();
}

/// A copy of an image, mounted here: the kernel brings it in order as after a power cut.
pub struct Mounted {
    image: PathBuf,
    /// Where it is mounted.
    pub dir: PathBuf,
}

impl Mounted {
    /// Mounts a copy, beside the image.
    pub fn copy_of(image: &Path) -> Result<Self, String> {
        let copy = image.with_extension("look");
        copy_file(image, &copy);
        let dir = image.with_extension("mnt");
        fs::create_dir_all(&dir).unwrap();
        let mounted = command::local(&["mount", "-o", "loop", &copy.to_string_lossy(), &dir.to_string_lossy()]);
        let this = Self { image: copy, dir };
        if mounted.status == 0 { Ok(this) } else { Err(mounted.said()) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let dir = self.dir.to_string_lossy().into_owned();
        if command::local(&["mountpoint", "-q", &dir]).status == 0 {
            command::local(&["umount", &dir]);
        }
        fs::remove_file(&self.image).ok();
        fs::remove_dir(&self.dir).ok();
    }
}
