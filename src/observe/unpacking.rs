//! Whether composer can unpack what it downloads. Where it cannot it still fetches each package by git, which takes long, or
//! fails where a token opens archives alone: told, and no reason to refuse.

use std::path::{Path, PathBuf};

use super::{Lack, find_program};
use crate::config::Settings;

/// The program.
pub const COMPOSER: &str = "composer";
/// What composer unpacks zip files with, beside PHP's own extension.
const UNPACKERS: [&str; 4] = ["unzip", "7z", "7zz", "7za"];

/// What is missed, if composer is among the programs that will be run.
pub fn missed<'a>(settings: &Settings, mut programs: impl Iterator<Item = &'a str>) -> Option<Lack> {
    let runs = programs.any(|program| Path::new(program).file_name().is_some_and(|name| name == COMPOSER));
    let unpacks = || UNPACKERS.iter().any(|program| find_program(settings, program, true).is_some());
    if !runs || unpacks() {
        return None;
    }
    let php = find_program(settings, "php", true)?.canonicalize().ok()?;
    let extensions = extensions(&php)?;
    (!has_zip(&extensions)).then(|| Lack {
        what: format!(
            "composer can unpack no archive: there is neither unzip nor 7z, and no zip extension in {}; it fetches each \
             package by git",
            extensions.display()
        ),
        remedy: Some("install unzip".into()),
    })
}

/// Where the distribution of a PHP keeps its extensions' files; of one that was built by hand nothing is known.
fn extensions(php: &Path) -> Option<PathBuf> {
    let name = php.strip_prefix("/usr/bin").ok()?.to_str()?;
    let dir = match name.strip_prefix("php")? {
        "" => PathBuf::from("/etc/php.d"),
        version => Path::new("/etc/php").join(version).join("cli/conf.d"),
    };
    dir.is_dir().then_some(dir)
}

fn has_zip(extensions: &Path) -> bool {
    let names = std::fs::read_dir(extensions).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).any(|name| name == "zip.ini" || name.ends_with("-zip.ini"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Host;

    #[test]
    fn a_zip_extension_is_found_by_its_file_whatever_its_number() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("20-bz2.ini"), "").unwrap();
        assert!(!has_zip(dir.path()));
        std::fs::write(dir.path().join("40-zip.ini"), "").unwrap();
        assert!(has_zip(dir.path()));
        assert_eq!(extensions(Path::new("/usr/local/bin/php")), None, "nobody knows what that one has");
        assert_eq!(extensions(Path::new("/usr/bin/python3")), None);
    }

    #[test]
    fn who_has_an_unpacker_or_runs_no_composer_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("7zz"), "").unwrap();
        let text = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\nbuild.path = [\"DIR\"]\n";
        let settings = Host::with(&text.replace("DIR", dir.path().to_str().unwrap())).load().unwrap();
        assert_eq!(missed(&settings, ["composer"].into_iter()), None);
        assert_eq!(missed(&settings, ["npm"].into_iter()), None);
    }
}
