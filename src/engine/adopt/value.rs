//! What adopting a tree comes to: which release gets which id, and what a person is told before. Pure; and a record, so
//! that an adoption that was interrupted goes on with the same ids.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    config::Settings,
    model::{ReleaseId, printable},
    worker::order::{ForeignRelease, Maker, Recognised},
};

/// How much of a name an id has, and of a commit is shown.
const SHORT: usize = 8;
/// The longest name of a release, in bytes.
const LONGEST: usize = 255;
/// The most releases: what a worker tells is bounded, and its user's word.
const MOST: usize = 1000;

/// An adoption, as it is recorded before its first effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adoption {
    /// Whose tree it is.
    pub made_by: Maker,
    /// The releases, oldest first.
    pub releases: Vec<Taken>,
    /// The one that is live.
    pub live: ReleaseId,
}

/// A release that is taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Its name in `releases/`; empty of a checkout.
    pub name: String,
    /// Its name from now on.
    pub id: ReleaseId,
    /// The commit that a file of the app's user says it has; empty: none says. Shown as said, and believed by nobody.
    pub revision: String,
    /// When it was made, in seconds since 1970.
    pub at: i64,
    /// Its maker went back from it: no rollback goes to it.
    #[serde(default)]
    pub bad: bool,
}

/// Why a tree is not taken over, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub String);

/// What a tree comes to. `now`: seconds since 1970.
pub fn adoption(settings: &Settings, tree: &Recognised, now: i64) -> Result<Adoption, Unfit> {
    let root = settings.root.display();
    if tree.made_by == Maker::Nobody {
        return Err(Unfit(format!(
            "{root} has no code in it: there is nothing to adopt, `deployctl deploy {}`",
            settings.app
        )));
    }
    if !tree.made_by.has_releases() {
        return checkout(settings, tree, now);
    }
    if tree.releases.len() > MOST {
        return Err(Unfit(format!("{root} has {} releases: more than {MOST} are not taken over", tree.releases.len())));
    }
    let foreign = tree.releases.iter().filter(|release| release.name.parse::<ReleaseId>().is_err());
    let mut releases: Vec<Taken> = Vec::new();
    for release in foreign {
        let taken = take(release, &releases, now)?;
        releases.push(taken);
    }
    releases.sort_by(|a, b| (a.id.as_str(), number(&a.name)).cmp(&(b.id.as_str(), number(&b.name))));
    let live = tree.live.as_deref().and_then(|live| releases.iter().find(|taken| taken.name == live));
    let live = live.map(|taken| taken.id.clone()).ok_or_else(|| {
        Unfit(format!("{root}/current leads to no directory of {root}/releases that is not deployd's already"))
    })?;
    // What is live is what people want.
    releases.iter_mut().for_each(|taken| taken.bad &= taken.id != live);
    Ok(Adoption { made_by: tree.made_by, releases, live })
}

fn checkout(settings: &Settings, tree: &Recognised, now: i64) -> Result<Adoption, Unfit> {
    if let Some(database) = tree.databases.first() {
        let (root, app) = (settings.root.display(), &settings.app);
        return Err(Unfit(format!(
            "{root}/{database} is a database in the checkout, whose journal goes by its path: with the site in maintenance \
             move it below {root}/shared, name that path as DB_DATABASE in .env, then `deployctl adopt {app}` again"
        )));
    }
    let head = tree.git.as_ref().and_then(|git| git.head.as_deref());
    let id = id(now, "checkout", &[])?;
    let taken = Taken { name: String::new(), id: id.clone(), revision: said(head), at: now, bad: false };
    Ok(Adoption { made_by: tree.made_by, releases: vec![taken], live: id })
}

/// A release by its name. What is said of it is its user's word: a time that is still to come is none, and an id has
/// nothing of the commit in it, as one of a release that deployd has fetched does.
fn take(release: &ForeignRelease, before: &[Taken], now: i64) -> Result<Taken, Unfit> {
    let name = &release.name;
    let plain = !name.is_empty() && name.len() <= LONGEST && !name.starts_with('.') && !name.contains(['/', '\0']);
    if !plain {
        return Err(Unfit(format!("{:?} is no name of a release", printable(name))));
    }
    let at = stamped(name).unwrap_or(release.modified).clamp(0, now.max(0));
    let id = id(at, &short(name), before)?;
    Ok(Taken { name: name.clone(), id, revision: said(release.revision.as_deref()), at, bad: release.bad })
}

/// A commit, in the only form that one has.
fn said(revision: Option<&str>) -> String {
    let is_commit = |text: &&str| matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    revision.filter(is_commit).unwrap_or_default().to_ascii_lowercase()
}

/// What a release was made of, as the record has it: by whom, and what is only said of it.
pub fn origin(adoption: &Adoption, taken: &Taken) -> String {
    match taken.revision.get(..SHORT) {
        Some(short) => format!("{}, said to be {short}", adoption.made_by.name()),
        None => adoption.made_by.name().to_owned(),
    }
}

/// `20260101120000`, as Capistrano and Envoyer name releases, in UTC.
fn stamped(name: &str) -> Option<i64> {
    if name.len() != 14 || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", name).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn number(name: &str) -> u64 {
    name.parse().unwrap_or(0)
}

/// The end of a name, as an id takes it.
fn short(name: &str) -> String {
    let letters: String = name.chars().map(|c| c.to_ascii_lowercase()).filter(char::is_ascii_alphanumeric).collect();
    let short: String = letters.chars().skip(letters.len().saturating_sub(SHORT)).collect();
    if short.is_empty() { "adopted".into() } else { short }
}

fn id(at: i64, short: &str, before: &[Taken]) -> Result<ReleaseId, Unfit> {
    let stamp = jiff::Timestamp::from_second(at).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let free = |id: &ReleaseId| !before.iter().any(|taken| taken.id == *id);
    let ids = (1..1000).map_while(|nth| ReleaseId::new(&stamp, short, nth).ok());
    ids.into_iter().find(free).ok_or_else(|| Unfit(format!("no id is free for a release of {stamp}")))
}

/// What will be done, in its order.
pub fn told(settings: &Settings, tree: &Recognised, adoption: &Adoption) -> String {
    let root = settings.root.display();
    let mut lines = vec![format!("{}: {root} was made by {}", settings.app, adoption.made_by.name())];
    if adoption.made_by.has_releases() {
        let user = &settings.user;
        lines.push(format!(
            "  {root}, releases/ and current become root's; what is in releases/ and shared/ stays {user}'s"
        ));
        for taken in &adoption.releases {
            let what = match taken {
                _ if taken.id == adoption.live => ", which is live",
                _ if taken.bad => ", recorded as failed, since its maker went back from it",
                _ => "",
            };
            lines.push(format!(
                "  releases/{} becomes {}{what}; a link keeps its old name",
                printable(&taken.name),
                taken.id
            ));
        }
    } else {
        for path in moved(settings, tree) {
            lines.push(format!(
                "  {path} becomes shared/{path}, by one rename; a link takes its place, nothing is copied"
            ));
        }
        lines.push(format!("  {root} becomes root's; what is in it stays {}'s", settings.user));
        lines.push(format!("  its code, without what is shared, is copied to releases/{}", adoption.live));
    }
    lines.push(format!("  current leads to releases/{}", adoption.live));
    let which = match adoption.releases.iter().any(|taken| taken.bad) {
        true => "each of the others".to_owned(),
        false => count(adoption.releases.len()),
    };
    lines.push(format!("  {which} is sealed and recorded as confirmed: a rollback may go to it"));
    lines.join("\n")
}

/// What of the shared paths a checkout has as its own.
fn moved(settings: &Settings, tree: &Recognised) -> Vec<String> {
    let wanted = settings.shared.iter().map(|shared| shared.path.clone());
    wanted.filter(|path| tree.own.contains(path)).collect()
}

fn count(releases: usize) -> String {
    if releases == 1 { "1 release".into() } else { format!("each of {releases} releases") }
}

/// What of a checkout is no part of its code: what is shared, deployd's own, and caches with absolute paths of old.
pub fn excluded(settings: &Settings) -> Vec<String> {
    let own = ["releases", "shared", "current", ".git"].map(str::to_owned);
    let caches = ["config.php", "routes-v7.php", "routes.php", "events.php"];
    let caches = caches.map(|name| Path::new("bootstrap/cache").join(name).display().to_string());
    let shared = settings.shared.iter().map(|shared| shared.path.clone());
    own.into_iter().chain(caches).chain(shared).chain(settings.writable.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::tests::Host, worker::order::GitFound};

    const NOW: i64 = 1_800_000_000;

    fn settings() -> Settings {
        let text = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\n";
        Host::with(text).load().unwrap()
    }

    fn release(name: &str, revision: Option<&str>) -> ForeignRelease {
        let revision = revision.map(|text| text.repeat(20));
        ForeignRelease { name: name.into(), revision, modified: 1_767_225_600, bad: false }
    }

    #[test]
    fn releases_get_ids_in_their_own_order() {
        let tree = |names: &[&str], live: &str| Recognised {
            made_by: Maker::Capistrano,
            live: Some(live.into()),
            releases: names.iter().map(|name| release(name, None)).collect(),
            ..Recognised::default()
        };
        let taken = |tree: &Recognised| adoption(&settings(), tree, NOW).unwrap();
        let of = |adoption: &Adoption| adoption.releases.iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
        let stamped = taken(&tree(&["20260102120000", "20260101120000", "20260103T000000Z-abc"], "20260102120000"));
        assert_eq!(of(&stamped), ["20260101T120000Z-01120000", "20260102T120000Z-02120000"]);
        assert_eq!(stamped.live.as_str(), "20260102T120000Z-02120000");
        let numbered = taken(&tree(&["10", "9"], "10"));
        assert_eq!(of(&numbered), ["20260101T000000Z-10", "20260101T000000Z-9"]);
        assert!(adoption(&settings(), &tree(&["1"], "2"), 0).unwrap_err().0.contains("leads to no directory"));
        let mut after_a_rollback = tree(&["1", "2", "3"], "2");
        after_a_rollback.releases.iter_mut().for_each(|release| release.bad = release.name != "1");
        let adoption = taken(&after_a_rollback);
        let failed: Vec<_> = adoption.releases.iter().map(|taken| taken.bad).collect();
        assert_eq!(failed, [false, false, true], "what is live is not");
        let said = told(&settings(), &after_a_rollback, &adoption);
        assert!(said.contains("recorded as failed") && said.contains("each of the others is"), "{said}");
        let mut known = tree(&["20260101120000"], "20260101120000");
        known.releases[0].revision = Some("0a1b2c3d".repeat(5));
        assert_eq!(of(&taken(&known)), ["20260101T120000Z-01120000"]);
        assert!(told(&settings(), &known, &taken(&known)).contains("which is live; a link keeps its old name"));
    }

    #[test]
    fn what_the_apps_user_says_of_a_release_is_bounded_and_proves_nothing() {
        let tree = |name: &str, revision: &str, modified| Recognised {
            made_by: Maker::Releases,
            live: Some(name.into()),
            releases: vec![ForeignRelease { name: name.into(), revision: Some(revision.into()), modified, bad: false }],
            ..Recognised::default()
        };
        let of = |revision: &str, modified| adoption(&settings(), &tree("7", revision, modified), NOW).unwrap();
        for odd in ["--upload-pack=x", "HEAD", "main", "0a1b2c3d", "\u{1b}[2J", ""] {
            let adoption = of(odd, 5);
            assert_eq!((adoption.releases[0].revision.as_str(), adoption.live.as_str()), ("", "19700101T000005Z-7"));
            assert_eq!(origin(&adoption, &adoption.releases[0]), Maker::Releases.name(), "{odd}");
        }
        let good = of(&"ab".repeat(20), 5);
        assert_eq!(origin(&good, &good.releases[0]), format!("{}, said to be abababab", Maker::Releases.name()));
        for (modified, at) in [(i64::MAX, NOW), (i64::MIN, 0), (NOW + 1, NOW)] {
            assert_eq!(of("", modified).releases[0].at, at, "a time to come would go before what is live");
        }
        for name in ["", ".", "..", "../x", "a/b", ".git", &"x".repeat(256)] {
            assert!(adoption(&settings(), &tree(name, "", 0), NOW).is_err(), "{name}");
        }
        let mut many = tree("7", "", 0);
        many.releases = vec![many.releases[0].clone(); MOST + 1];
        assert!(adoption(&settings(), &many, NOW).unwrap_err().0.contains("more than 1000"));
    }

    #[test]
    fn a_checkout_becomes_one_release_unless_a_database_lies_in_it() {
        let mut tree = Recognised {
            made_by: Maker::Checkout,
            git: Some(GitFound { url: "/g".into(), branch: None, head: Some("ab".repeat(20)) }),
            own: vec!["storage".into(), ".env".into()],
            ..Recognised::default()
        };
        let taken = adoption(&settings(), &tree, 1_767_225_600).unwrap();
        assert_eq!(taken.live.as_str(), "20260101T000000Z-checkout");
        assert_eq!(origin(&taken, &taken.releases[0]), "git, said to be abababab");
        let told = told(&settings(), &tree, &taken);
        assert!(told.contains("storage becomes shared/storage") && told.contains("nothing is copied"), "{told}");
        tree.databases.push("database/database.sqlite".into());
        assert!(adoption(&settings(), &tree, 0).unwrap_err().0.contains("DB_DATABASE"));
        for path in ["storage", ".env", ".git", "releases", "bootstrap/cache/config.php"] {
            assert!(excluded(&settings()).contains(&path.to_owned()), "{path}");
        }
    }
}
