//! The apps' secrets: files `NAME` and, while one is replaced by another, `NAME.next`, in a directory of root's that
//! PID 1 hands over as credentials. What is not safe is not used: then nothing is received at all.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::{model::AppName, system::credentials};

/// Where root keeps them.
pub const KEPT: &str = "/etc/deployd/webhook";
/// What PID 1 puts before each file's name: the id of `LoadCredential=`.
const PREFIX: &str = "secret_";
/// What stands behind the name of the second one.
const NEXT: &str = ".next";
/// The longest, in bytes.
const LONGEST: u64 = 4096;
/// The shortest, in bytes: 128 bits, if they are random.
const SHORTEST: usize = 16;

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Nothing was handed over.
    #[error("there are no secrets: write one for each app to {KEPT}/NAME, at least {SHORTEST} random characters")]
    None,
    /// Others than root can read them.
    #[error("{KEPT} is readable for others than root: `chmod -R go= {KEPT}`, and use new secrets")]
    Open,
    /// One is not usable.
    #[error("the secret {KEPT}/{0} {1}")]
    Bad(String, String),
    /// The kernel gives no random bytes.
    #[error("cannot read /dev/urandom: {0}")]
    Random(#[from] io::Error),
}

/// Two secrets of an app; the same one twice when there is no other.
#[derive(Clone)]
pub struct Pair(pub [Vec<u8>; 2]);

/// The secrets of all apps.
pub struct Secrets {
    apps: BTreeMap<AppName, Pair>,
    /// For whom there is no secret: nothing is signed by it, and the work is the same.
    stranger: Pair,
}

impl Secrets {
    /// As PID 1 handed them over.
    pub fn handed_over() -> Result<Self, SecretsError> {
        // This process is not root: what it can open, others can.
        if std::fs::read_dir(KEPT).is_ok() {
            return Err(SecretsError::Open);
        }
        let dir = credentials::dir().ok_or(SecretsError::None)?;
        let secrets = Self::read(&dir)?;
        let open = |app: &AppName| [app.to_string(), format!("{app}{NEXT}")].iter().any(|name| is_open(name));
        if secrets.apps.keys().any(open) { Err(SecretsError::Open) } else { Ok(secrets) }
    }

    /// Those in a directory of credentials.
    pub fn read(dir: &Path) -> Result<Self, SecretsError> {
        let entries = std::fs::read_dir(dir).map_err(|_| SecretsError::None)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
        for name in names {
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            let (app, which) = match name.strip_suffix(NEXT) {
                Some(app) => (app, &mut second),
                None => (name, &mut first),
            };
            let bad = |why: String| SecretsError::Bad(name.to_owned(), why);
            let app: AppName = app
                .parse()
                .map_err(|_| bad(format!("is called as no app can be: remove it, or call it NAME or NAME{NEXT}")))?;
            which.insert(app, one(&dir.join(format!("{PREFIX}{name}"))).map_err(bad)?);
        }
        let mut apps = BTreeMap::new();
        for app in first.keys().chain(second.keys()) {
            let (a, b) = (first.get(app).or(second.get(app)), second.get(app).or(first.get(app)));
            if let (Some(a), Some(b)) = (a, b) {
                apps.insert(app.clone(), Pair([a.clone(), b.clone()]));
            }
        }
        same(&apps)?;
        if apps.is_empty() {
            return Err(SecretsError::None);
        }
        let random = random()?;
        Ok(Self { apps, stranger: Pair([random.clone(), random]) })
    }

    /// An app's; `false`: it has none, and what is given fits nothing.
    pub fn of(&self, app: Option<&AppName>) -> (&Pair, bool) {
        match app.and_then(|app| self.apps.get(app)) {
            Some(pair) => (pair, true),
            None => (&self.stranger, false),
        }
    }
}

/// What is signed for one app could be handed in for another that has the same secret.
fn same(apps: &BTreeMap<AppName, Pair>) -> Result<(), SecretsError> {
    let mut known: BTreeMap<&[u8], &AppName> = BTreeMap::new();
    for (app, Pair(secrets)) in apps {
        for secret in secrets {
            if let Some(other) = known.insert(secret, app).filter(|other| *other != app) {
                let why = format!("is {other}'s too, whose deliveries would be its own: give each app one of its own");
                return Err(SecretsError::Bad(app.to_string(), why));
            }
        }
    }
    Ok(())
}

fn is_open(name: &str) -> bool {
    File::open(Path::new(KEPT).join(name)).is_ok()
}

fn one(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let text = bytes.trim_ascii();
    match text.len() {
        0 => Err("is empty: everyone could sign by it".into()),
        length if length < SHORTEST => Err(format!("is shorter than {SHORTEST} characters: it could be guessed")),
        length if length as u64 > LONGEST => Err(format!("is longer than {LONGEST} bytes")),
        _ => Ok(text.to_vec()),
    }
}

fn random() -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Secrets, SecretsError> {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        Secrets::read(dir.path())
    }

    #[test]
    fn a_secret_that_is_missing_empty_or_short_starts_nothing() {
        for (files, why) in [
            (&[][..], "there are no secrets"),
            (&[("else", "0123456789abcdef")][..], "there are no secrets"),
            (&[("secret_shop", "0123456789abcdef"), ("secret_my-shop", " \n")][..], "my-shop is empty"),
            (&[("secret_shop", "0123456789abcde\n")][..], "shorter than 16"),
            (&[("secret_shop.next", "")][..], "shop.next is empty"),
            (&[("secret_shop.bak", "0123456789abcdef")][..], "as no app can be"),
            (
                &[("secret_blog", "0123456789abcdef"), ("secret_shop", "0123456789abcdef\n")][..],
                "webhook/shop is blog's too",
            ),
            (
                &[
                    ("secret_blog", "0123456789abcdef"),
                    ("secret_shop", "fedcba9876543210"),
                    ("secret_shop.next", "0123456789abcdef"),
                ][..],
                "webhook/shop is blog's too",
            ),
        ] {
            let said = read(files).err().expect("it is refused").to_string();
            assert!(said.contains(why), "{why}: {said}");
        }
        let long = "x".repeat(4097);
        assert!(read(&[("secret_shop", &long)]).is_err());
    }

    #[test]
    fn two_are_good_while_one_replaces_the_other() {
        let secrets = read(&[
            ("secret_shop", "0123456789abcdef\n"),
            ("secret_shop.next", "fedcba9876543210"),
            ("secret_my-shop", "0000000000000000"),
        ]);
        let secrets = secrets.unwrap_or_else(|error| panic!("{error}"));
        let (pair, known) = secrets.of(Some(&"shop".parse().unwrap()));
        assert_eq!((known, &pair.0[0][..], &pair.0[1][..]), (true, &b"0123456789abcdef"[..], &b"fedcba9876543210"[..]));
        let (pair, known) = secrets.of(Some(&"my-shop".parse().unwrap()));
        assert!(known && pair.0[0] == pair.0[1]);
        for nobody in [Some("other".parse().unwrap()), None] {
            let (pair, known) = secrets.of(nobody.as_ref());
            assert!(!known && pair.0[0].len() == 32 && pair.0[0] != [0; 32]);
        }
    }
}
