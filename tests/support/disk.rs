//! A file system of its own, in an image below `target/`: mounted while the value lives, removed with it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{command, lock::hosts_dir};

/// A mounted image.
#[derive(Debug)]
pub struct Disk {
    base: PathBuf,
}

impl Disk {
    /// A fresh file system (`ext4`, `xfs`, `btrfs`) of so many GiB; the image takes only what is written.
    pub fn make(kind: &str, gib: u64) -> Self {
        Self::small(kind, gib * 1024)
    }

    /// The same of so many MiB.
    pub fn small(kind: &str, mib: u64) -> Self {
        let disk = Self::place();
        let image = disk.base.join("image").to_string_lossy().into_owned();
        command::local(&["truncate", "-s", &format!("{mib}M"), &image]).ok();
        // As many inodes as releases of small files need, and no work left over for a thread of the kernel's.
        let options: &[&str] = match kind {
            "ext4" => &["-q", "-F", "-i", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
            "xfs" => &["-q", "-m", "reflink=1"],
            _ => &["-q"],
        };
        command::local(&[&[&*format!("mkfs.{kind}")], options, &[&*image]].concat()).ok();
        command::local(&["mount", "-o", "loop", &image, &disk.dir().to_string_lossy()]).ok();
        disk
    }

    /// What would be there if the power had gone now: a copy of what the device has been given, mounted by itself. Of
    /// ext4: the others refuse two of one name.
    pub fn after_a_power_cut(&self) -> Self {
        let copy = Self::place();
        let [from, to] = [self, &copy].map(|disk| disk.base.join("image").to_string_lossy().into_owned());
        command::local(&["cp", "--sparse=always", &from, &to]).ok();
        command::local(&["mount", "-o", "loop", &to, &copy.dir().to_string_lossy()]).ok();
        copy
    }

    /// Where an image can be put and mounted.
    fn place() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = hosts_dir().join("disks").join(format!("t{}-{number}", std::process::id()));
        fs::create_dir_all(base.join("mnt")).unwrap_or_else(|e| panic!("{}: {e}", base.display()));
        Self { base }
    }

    /// Where it is mounted.
    pub fn dir(&self) -> PathBuf {
        self.base.join("mnt")
    }

    /// Brings all that was written to the disk.
    pub fn sync(&self) {
        let dir = fs::File::open(self.dir()).expect("it is mounted");
        rustix::fs::syncfs(&dir).expect("it can be synced");
    }

    /// What was written to it since it was made, in bytes: its device's own count.
    pub fn written(&self) -> u64 {
        // Not by the directory's own device: btrfs has one for each subvolume, and it is no disk's.
        let device = command::local(&["findmnt", "-no", "SOURCE", &self.dir().to_string_lossy()]).ok();
        let found = rustix::fs::stat(device.trim()).expect("it is mounted").st_rdev;
        let (major, minor) = (rustix::fs::major(found), rustix::fs::minor(found));
        let file = format!("/sys/dev/block/{major}:{minor}/stat");
        let stat = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
        // In sectors of 512 bytes, whatever the device's are (Documentation/block/stat.rst).
        stat.split_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok()).expect("a count") * 512
    }

    /// What is in use, in bytes.
    pub fn used(&self) -> u64 {
        used(&self.dir())
    }
}

fn used(dir: &Path) -> u64 {
    let found = rustix::fs::statvfs(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A host that was just ended may hold it for a moment; the loop device goes with the last mount.
        let dir = self.dir().to_string_lossy().into_owned();
        if command::local(&["umount", &dir]).status != 0 {
            command::local(&["umount", "--lazy", &dir]);
        }
        if fs::remove_file(self.base.join("image")).is_ok() {
            let _ = fs::remove_dir(self.dir());
            let _ = fs::remove_dir(&self.base);
        }
    }
}
