//! As whom a service runs and what of the file system it may write, as PID 1 has it.

use std::{path::Path, sync::Arc};

use super::{UnitError, Units, answer::answer, link::Link, load};
use crate::model::UnitName;

/// A service's user, and its view of the file system as far as it says which parts may be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `User=`; empty: root.
    pub user: String,
    /// `ProtectSystem=`.
    pub system: String,
    /// `ProtectHome=`.
    pub home: String,
    /// `ReadOnlyPaths=` and `InaccessiblePaths=`.
    pub closed: Vec<String>,
    /// `ReadWritePaths=`.
    pub open: Vec<String>,
}

impl Access {
    /// Whether the unit itself says that nothing at `path` can be written.
    pub fn closes(&self, path: &Path) -> bool {
        let strict = (self.system == "strict").then_some("/");
        let homes = ["/home", "/root"].into_iter().filter(|_| !matches!(self.home.as_str(), "" | "no"));
        let closed = self.closed.iter().map(String::as_str).chain(strict).chain(homes);
        let depth = |dir: &str| path.starts_with(dir).then(|| Path::new(dir).components().count());
        let plain = |dir: &str| dir.trim_start_matches(['-', '+']).to_owned();
        let deepest = |dirs: Vec<String>| dirs.iter().filter_map(|dir| depth(dir)).max();
        let closed = deepest(closed.map(plain).collect());
        let open: Vec<String> = self.open.iter().map(|dir| plain(dir)).collect();
        // What is open below it is a part of it.
        let below = open.iter().any(|dir| Path::new(dir).starts_with(path));
        closed.is_some() && !below && deepest(open) < closed
    }
}

impl Units {
    /// As whom a service runs and what it may write.
    pub async fn access(&self, unit: &UnitName) -> Result<Access, UnitError> {
        self.ask(|link| read(link, unit)).await
    }
}

async fn read(link: Arc<Link>, unit: &UnitName) -> Result<Access, UnitError> {
    let path = load(&link, unit).await?;
    let read = async {
        let service = link.service(&path).await?;
        let (user, system, home) = tokio::try_join!(service.user(), service.protect_system(), service.protect_home())?;
        let (mut closed, inaccessible, open) =
            tokio::try_join!(service.read_only_paths(), service.inaccessible_paths(), service.read_write_paths())?;
        closed.extend(inaccessible);
        Ok(Access { user, system, home, closed, open })
    };
    answer(&format!("tell what {unit} may write"), read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_unit_says_of_a_path_is_the_nearest_that_it_says() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let closes = |system: &str, closed: &[&str], open: &[&str]| {
            let access =
                Access { system: system.into(), closed: words(closed), open: words(open), ..Access::default() };
            access.closes(Path::new("/srv/shop/releases"))
        };
        assert!(!closes("no", &[], &[]) && !closes("full", &[], &[]));
        assert!(closes("strict", &[], &[]) && closes("strict", &[], &["/var/lib/x"]));
        assert!(!closes("strict", &[], &["/srv/shop"]) && !closes("strict", &[], &["-/srv/shop/releases/x"]));
        assert!(closes("no", &["-/srv/shop/releases"], &[]) && closes("strict", &["/srv/shop/releases"], &["/srv"]));
        assert!(!closes("no", &["/srv/other", "/srv/shop/releases2"], &[]));
        let home = Access { home: "read-only".into(), ..Access::default() };
        assert!(home.closes(Path::new("/home/shop/site/releases")) && !home.closes(Path::new("/srv/shop/releases")));
    }
}
