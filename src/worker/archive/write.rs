//! Writes an archive's entries into a release.

use std::fs::File;

use super::{
    super::{exporter::Exporter, refusal::Refusal},
    names::{self, Names},
    visit::{Visit, What, wrong},
};

/// What writes.
pub struct Writer<'a> {
    /// What is taken, and how it is called.
    pub names: Names<'a>,
    /// Refuses what is written twice, through a link, or outside.
    pub exporter: &'a mut Exporter,
}

impl Visit for Writer<'_> {
    fn entry(&mut self, name: &[u8], what: What<'_>) -> Result<(), Refusal> {
        let Some(path) = self.names.of(name) else { return Ok(()) };
        match what {
            What::Directory => self.exporter.dir(path, 0o755),
            What::Link(text) => self.exporter.link(path, &text),
            What::File { executable, size, content } => {
                let (written, _) = self.exporter.file(path, if executable { 0o755 } else { 0o644 }, content)?;
                if written == size { Ok(()) } else { Err(wrong(format!("{} is cut off", names::shown(name)))) }
            }
            What::Same(first) => {
                let first = self.names.of(&first).unwrap_or_default();
                let (from, mode) = self
                    .exporter
                    .open_again(first)
                    .map_err(|error| wrong(format!("{} is a hard link: {error}", names::shown(name))))?;
                // A copy: two names of one file would share what is written to one of them.
                self.exporter.file(path, mode, &mut File::from(from)).map(drop)
            }
            What::Never(why) => Err(wrong(format!("{} is {why}", names::shown(name)))),
        }
    }
}
