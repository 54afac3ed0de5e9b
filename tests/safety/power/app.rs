//! The app of the power cuts: four releases whose files all differ, told apart by their label, and no service.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The labels; of these the first two are deployed before a cut, the last is for going on after it.
pub const LABELS: [&str; 4] = ["r1", "r2", "r3", "r4"];
/// The size of PHP applications' files, in number not: a machine in software is slow.
const FILES: usize = 300;

/// Writes the releases' trees below a directory.
pub fn write(dir: &Path) {
    for label in LABELS {
        let tree = dir.join(label);
        fs::create_dir_all(tree.join("src")).unwrap();
        for number in 0..FILES {
            fs::write(tree.join(format!("src/f{number}.php")), content(label, number)).unwrap();
        }
        fs::write(tree.join("RELEASE"), label).unwrap();
    }
}

/// 700 to 9,700 bytes.
fn content(label: &str, number: usize) -> String {
    let digest = Sha256::digest(format!("{label} {number}"));
    let word: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = word.repeat(160);
    text.truncate(700 + number * 30);
    text
}

/// The files of a tree, by their path below it.
pub fn files(tree: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![tree.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir { dirs.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    let mut below: Vec<_> = found.iter().map(|path| path.strip_prefix(tree).unwrap().to_path_buf()).collect();
    below.sort();
    below
}

/// A script that has the app's configuration name this release.
pub fn configure(label: &str) -> String {
    format!(
        "cat > /etc/deployd/apps/shop.toml <<'END'
root = \"/srv/shop\"
user = \"shop\"
source.directory = \"/opt/source/{label}\"
[health]
run = [\"/usr/bin/test\", \"-s\", \"RELEASE\"]
bake = \"0s\"
[releases]
keep = 2
END
"
    )
}

/// A script that mounts the disks as a host has them, and does what a boot does for apps.
pub fn come_up(own_state: bool) -> String {
    let state = if own_state {
        "mount /dev/vdc /var/lib/deployd"
    } else {
        "mkdir -p /mnt/app/state; mount --bind /mnt/app/state /var/lib/deployd"
    };
    format!(
        "set -e
mount /dev/vdb /mnt/app
mkdir -p /mnt/app/srv /srv/shop /var/lib/deployd
mount --bind /mnt/app/srv /srv/shop
{state}
systemctl start deployd-recover.service deployd-slots.target
systemctl start --wait deploy-settle@shop.service
"
    )
}
