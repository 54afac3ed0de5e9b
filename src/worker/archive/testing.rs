//! For the tests only: archives that no program would write.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::*;
use crate::worker::{exporter::Sharing, testing};

/// A tar entry with a name and a kind that no library would write.
pub fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    entry_of_size(name, kind, link, content, content.len() as u64)
}

/// The same with another size in its header.
pub fn entry_of_size(name: &str, kind: u8, link: &str, content: &[u8], size: u64) -> Vec<u8> {
    let mut header = ::tar::Header::new_gnu();
    let raw = header.as_old_mut();
    raw.name[..name.len()].copy_from_slice(name.as_bytes());
    raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    raw.linkflag = [kind];
    header.set_mode(0o6777);
    header.set_size(size);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

/// A record of POSIX's extended header, which tells its own length.
pub fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..).find(|length| length.to_string().len() + rest == *length).unwrap();
    entry("pax", b'x', "", format!("{length} {key}={value}\n").as_bytes())
}

/// Entries as a tar file.
pub fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// As gzip packs it.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A place with an archive, a cache and an outside that nobody may touch.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new(archive: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cache")).unwrap();
        std::fs::write(dir.path().join("outside"), "mine").unwrap();
        std::fs::write(dir.path().join("archive"), archive).unwrap();
        Self { dir }
    }

    pub fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    pub fn order(&self) -> ArchiveOrder {
        ArchiveOrder {
            at: self.archive().to_str().unwrap().to_owned(),
            name: "the archive".into(),
            reference: None,
            sha256: None,
            signed_by: Vec::new(),
            signature: None,
            strip: true,
            exclude: [".git", ".env", "storage", "node_modules"].map(str::to_owned).into(),
        }
    }

    pub fn resolve(&self, order: &ArchiveOrder, markers: &[&str]) -> Result<(String, Vec<String>), Refusal> {
        let markers: Vec<String> = markers.iter().map(|marker| (*marker).to_owned()).collect();
        match resolve(order, &self.dir.path().join("cache"), &markers)? {
            Answer::Resolved { revision, markers, .. } => Ok((revision, markers)),
            other => panic!("{other:?}"),
        }
    }

    /// Written into a directory of its own; what is there then.
    pub fn export(&self, order: &ArchiveOrder, revision: &str) -> Result<Vec<String>, Refusal> {
        let release = tempfile::tempdir_in(self.dir.path()).unwrap();
        let source = crate::worker::order::SourceOrder::Archive(order.clone());
        let cache = self.dir.path().join("cache");
        crate::worker::export::run(&testing::export(&source, &cache, revision, release.path()))?;
        Ok(testing::tree(release.path()))
    }

    /// Both, as a deployment does it.
    pub fn released(&self) -> Result<Vec<String>, Refusal> {
        let order = self.order();
        let (revision, _) = self.resolve(&order, &[])?;
        self.export(&order, &revision)
    }

    /// Written without having been looked at: what the last line of defence refuses.
    pub fn written_blindly(&self) -> Result<Vec<String>, Refusal> {
        let release = self.dir.path().join("release");
        std::fs::create_dir(&release).unwrap();
        let root = rooted::open(&release).unwrap();
        let sharing = Sharing { previous: None, share: crate::model::Share::Reflink, own: Vec::new() };
        let mut exporter = Exporter::new(&root, &release, sharing).unwrap();
        let order = self.order();
        let names = Names { exclude: &order.exclude, top: None };
        let written =
            open::again(&order, Path::new("/")).unwrap().entries(&mut Writer { names, exporter: &mut exporter });
        written.map(|_| testing::tree(&release))
    }

    /// What lies beside the release is as it was.
    pub fn is_unharmed(&self) -> bool {
        std::fs::read_to_string(self.dir.path().join("outside")).is_ok_and(|text| text == "mine")
            && !self.dir.path().join("evil").exists()
    }
}
