//! The machine's root: the tree of the test hosts with the package in it, as an image that is never written.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    app,
    kernel::{self, Kernel},
};
use crate::support::{command, deb, lock::target_dir, root::Root};

/// Runs what comes over the second serial line, one script a line.
const AGENT: &str = r#"#!/bin/bash
stty raw -echo
export SYSTEMD_PAGER= SYSTEMD_COLORS=0
echo "== ready"
while IFS= read -r line; do
    bash -c "$(base64 -d <<< "$line")" < /dev/null 2>&1
    printf '\n== %s\n' $?
done
"#;
const AGENT_UNIT: &str = "[Unit]\nAfter=basic.target dbus.service\n[Service]\nExecStart=/usr/local/sbin/agent\n\
     StandardInput=tty-force\nTTYPath=/dev/ttyS1\nStandardOutput=tty\nStandardError=tty\n";
/// No more than a deployment needs: a machine in software takes a second for each unit.
const TARGET: &str = "[Unit]\nRequires=basic.target dbus.service\nWants=agent.service\nAfter=basic.target\n";

/// What a machine boots from.
pub struct Image {
    /// The image.
    pub root: PathBuf,
    /// What starts it.
    pub kernel: Kernel,
    /// The app's releases, as they are in it below `/opt/source`.
    pub sources: PathBuf,
    /// Where all that was made from it is kept.
    pub dir: PathBuf,
    /// systemd's version in it.
    pub systemd: String,
}

impl Image {
    /// The image for this package, made if it is not there; those of other packages are removed.
    pub fn ensure() -> Self {
        let root = Root::chosen();
        let kernel = kernel::ensure();
        let package = deb::ensure();
        let above = target_dir().join("safety/machines");
        let dir = above.join(key(&root, &kernel, &package));
        let image =
            Self { root: dir.join("root.img"), sources: dir.join("source"), systemd: systemd(&root), kernel, dir };
        if !image.root.is_file() {
            fs::remove_dir_all(&above).ok();
            fs::create_dir_all(&image.dir).unwrap_or_else(|e| panic!("{}: {e}", image.dir.display()));
            app::write(&image.sources);
            image.make(&root, &package);
        }
        image
    }

    fn make(&self, root: &Root, package: &Path) {
        let part = |name: &str| self.dir.join(name);
        for name in ["upper", "work", "merged"] {
            fs::create_dir_all(part(name)).unwrap();
        }
        let merged = part("merged");
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            root.dir.display(),
            part("upper").display(),
            part("work").display()
        );
        command::local(&["mount", "-t", "overlay", "overlay", "-o", &layers, &text(&merged)]).ok();
        let made = self.fill(&merged, package);
        command::local(&["umount", &text(&merged)]).ok();
        for name in ["upper", "work", "merged"] {
            fs::remove_dir_all(part(name)).unwrap();
        }
        if let Err(said) = made {
            panic!("{said}");
        }
        fs::rename(part("root.part"), &self.root).unwrap();
    }

    fn fill(&self, merged: &Path, package: &Path) -> Result<(), String> {
        let run = |argv: &[&str]| match command::local(argv) {
            ended if ended.status == 0 => Ok(()),
            ended => Err(ended.to_string()),
        };
        let put = |path: &str, content: &[u8], mode: u32| {
            fs::write(merged.join(path), content)
                .and_then(|()| fs::set_permissions(merged.join(path), PermissionsExt::from_mode(mode)))
        };
        fs::copy(package, merged.join("root/package.deb")).map_err(|e| format!("{}: {e}", package.display()))?;
        let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        let root = &*text(merged);
        run(&["chroot", root, "env", path, "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i", "/root/package.deb"])?;
        run(&["chroot", root, "env", path, "useradd", "-m", "shop"])?;
        for dir in ["mnt/app", "opt/source", "var/lib/deployd", "etc/deployd/apps"] {
            fs::create_dir_all(merged.join(dir)).map_err(|e| e.to_string())?;
        }
        run(&["cp", "-r", &format!("{}/.", self.sources.display()), &text(&merged.join("opt/source"))])?;
        let crash_at = target_dir().join("debug/examples/crash-at");
        let crash_at = fs::read(&crash_at).map_err(|e| format!("{}: {e}: build the example", crash_at.display()))?;
        let files: [(&str, &[u8], u32); 4] = [
            ("usr/local/sbin/agent", AGENT.as_bytes(), 0o755),
            ("usr/libexec/deployd/crash-at", &crash_at, 0o755),
            ("etc/systemd/system/agent.service", AGENT_UNIT.as_bytes(), 0o644),
            ("etc/systemd/system/vm.target", TARGET.as_bytes(), 0o644),
        ];
        for (path, content, mode) in files {
            put(path, content, mode).map_err(|e| format!("{path}: {e}"))?;
        }
        let image = text(&self.dir.join("root.part"));
        run(&["truncate", "-s", "2G", &image])?;
        run(&["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, &image])
    }
}

/// From all that the image is made of.
fn key(root: &Root, kernel: &Kernel, package: &Path) -> String {
    let mut digest = Sha256::new();
    for path in [&root.dir, &kernel.image] {
        digest.update(path.to_string_lossy().as_bytes());
    }
    for path in [package, &target_dir().join("debug/examples/crash-at")] {
        digest.update(fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
    for text in [include_str!("image.rs"), include_str!("app.rs"), include_str!("saved.rs"), include_str!("machine.rs")]
    {
        digest.update(text);
    }
    digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn systemd(root: &Root) -> String {
    let said = command::local(&["chroot", &text(&root.dir), "systemctl", "--version"]).ok();
    said.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
