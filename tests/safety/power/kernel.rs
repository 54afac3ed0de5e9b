//! Debian's cloud kernel and an initramfs that puts a layer of memory over the root: nothing of it is ever written.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    command,
    lock::{hosts_dir, lock},
};

const META: &str = "linux-image-cloud-amd64";
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "overlay", "xfs", "btrfs"];
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for m in /m/*; do /bin/busybox insmod $m; done
/bin/busybox mount -t ext4 -o ro /dev/vda /lower
/bin/busybox mount -t tmpfs tmpfs /rw
/bin/busybox mkdir /rw/u /rw/w
/bin/busybox mount -t overlay overlay -o lowerdir=/lower,upperdir=/rw/u,workdir=/rw/w /new
/bin/busybox umount /proc
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /lib/systemd/systemd
";

/// What a machine is started from.
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
}

/// The kernel that this machine's Debian has now; fetched and unpacked once.
pub fn ensure() -> Kernel {
    let _held = lock(&hosts_dir().join("kernel.lock"));
    let package = package();
    let dir = hosts_dir().join(&package);
    if !dir.is_dir() {
        make(&package, &dir);
    }
    let version = package.trim_start_matches("linux-image-");
    Kernel { image: dir.join(format!("boot/vmlinuz-{version}")), initrd: dir.join("initrd.gz") }
}

/// The package that the one without a version stands for.
fn package() -> String {
    let read = || {
        let said = command::local(&["apt-cache", "depends", META]).stdout;
        said.lines().find_map(|line| Some(line.trim().strip_prefix("Depends: ")?.to_owned()))
    };
    read().unwrap_or_else(|| {
        command::local(&["apt-get", "update", "-q"]).ok();
        read().unwrap_or_else(|| panic!("apt knows no {META}: power cuts need a kernel of Debian's"))
    })
}

fn make(package: &str, dir: &Path) {
    let part = dir.with_extension("part");
    fs::remove_dir_all(&part).ok();
    fs::create_dir_all(part.join("deb")).unwrap();
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", package]).current_dir(part.join("deb"));
    if command::run(download, b"").status != 0 {
        command::local(&["apt-get", "update", "-q"]).ok();
        let mut again = Command::new("apt-get");
        again.args(["download", "-q", package]).current_dir(part.join("deb"));
        command::run(again, b"").ok();
    }
    let deb = fs::read_dir(part.join("deb")).unwrap().next().expect("what was fetched").unwrap().path();
    command::local(&["dpkg-deb", "-x", &text(&deb), &text(&part)]).ok();
    fs::remove_dir_all(part.join("deb")).unwrap();
    initrd(&part, package.trim_start_matches("linux-image-"));
    fs::rename(&part, dir).unwrap();
}

/// busybox and the modules, in the order in which they need each other.
fn initrd(dir: &Path, version: &str) {
    let tree = dir.join("initrd");
    for part in ["bin", "m", "proc", "sys", "dev", "lower", "rw", "new"] {
        fs::create_dir_all(tree.join(part)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("the package busybox-static");
    fs::write(tree.join("init"), INIT).unwrap();
    fs::set_permissions(tree.join("init"), PermissionsExt::from_mode(0o755)).unwrap();
    command::local(&["depmod", "-b", &text(dir), version]).ok();
    let mut files: Vec<String> = Vec::new();
    for module in MODULES {
        let said = command::local(&["modprobe", "-d", &text(dir), "-S", version, "--show-depends", module]).ok();
        let named = said.lines().filter_map(|line| line.strip_prefix("insmod ")).map(|line| line.trim().to_owned());
        files.extend(named.filter(|file| !files.contains(file)).collect::<Vec<_>>());
    }
    for (number, file) in files.iter().enumerate() {
        let name = Path::new(file).file_name().unwrap().to_string_lossy();
        fs::copy(file, tree.join(format!("m/{:02}-{name}", number + 10))).unwrap();
    }
    let pack = r#"cd "$1/initrd" && find . | cpio -o -H newc --quiet | gzip -1 > ../initrd.gz"#;
    command::local(&["sh", "-euc", pack, "sh", &text(dir)]).ok();
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
