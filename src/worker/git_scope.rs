//! For which repositories a source's key or token is used: what `.gitmodules` and `.lfsconfig` name is a committer's choice,
//! who shall not reach by it what only the key may read. Pure.

/// A source's place, and how far its key or token goes from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    place: Place,
    whole_server: bool,
}

/// A url in parts that can be compared, however it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// `https`, or `ssh` with its user.
    by: String,
    /// Host and port.
    server: String,
    /// Parts of the path.
    path: Vec<String>,
}

impl Scope {
    /// What lies beside a source, or all of its server. One of this host has none: no secret opens it.
    pub fn of(url: &str, whole_server: bool) -> Option<Self> {
        Some(Self { place: Place::of(url)?, whole_server })
    }

    /// Whether the key or token is for this one, too.
    pub fn covers(&self, url: &str) -> bool {
        let Some(other) = Place::of(url) else { return false };
        let same_server = other.by == self.place.by && other.server == self.place.server;
        let behind = self.place.behind(&other.path);
        let fits = behind.is_some() || self.whole_server;
        same_server && fits && !behind.unwrap_or(&other.path).iter().any(|part| is_odd(part))
    }
}

impl Place {
    fn of(url: &str) -> Option<Self> {
        let (by, authority, path) = match url.split_once("://") {
            Some((scheme @ ("https" | "ssh"), rest)) => {
                let (authority, path) = rest.split_once('/')?;
                (scheme, authority, path)
            }
            Some(_) => return None,
            None => url.split_once(':').map(|(authority, path)| ("ssh", authority, path))?,
        };
        let (user, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let path: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let server = server.to_ascii_lowercase();
        let fits = !server.is_empty() && !path.is_empty();
        fits.then(|| Self { by: format!("{by} {user}"), server, path })
    }

    /// What of a path lies in this one's directory, behind what both have, letter for letter: that is the administrator's
    /// word, and may be written as only a server understands it (`~acme`, `My%20Project`).
    fn behind<'a>(&self, path: &'a [String]) -> Option<&'a [String]> {
        let (own, dir) = self.path.split_last()?;
        let behind = path.strip_prefix(dir)?;
        match behind.split_first() {
            // The repository itself; its contents in Git LFS are in NAME.git, whether its url ends so or not.
            Some((name, inner)) if name.strip_suffix(".git").unwrap_or(name) == own || name == own => Some(inner),
            _ => Some(behind),
        }
    }
}

/// What a server could take for another path than the one that is written.
fn is_odd(part: &str) -> bool {
    part == "." || part == ".." || part.contains(['%', '?', '#', ';', '\\', '~'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_what_lies_beside_the_source_and_the_whole_server_only_when_it_is_said() {
        let source = "https://h.example/acme/shop.git";
        let spaced = "https://h.example/o/My%20P/_git/my%20x";
        for (source, other, beside, on_server) in [
            (source, "https://h.example/acme/lib.git", true, true),
            (source, "https://H.example/acme/shop.git/info/lfs", true, true),
            (source, "https://h.example/acme/deep/lib", true, true),
            (source, "https://h.example/acme-secret/lib", false, true),
            (source, "https://h.example/other/lib", false, true),
            (source, "https://h.example/acme/../other/lib", false, false),
            (source, "https://h.example/acme/%2e%2e/other/lib", false, false),
            (source, "https://h.example/acme/x?y=../../other", false, false),
            (source, "https://h.example:8443/acme/lib", false, false),
            (source, "https://h.example.evil/acme/lib", false, false),
            (source, "git@h.example:acme/lib", false, false),
            ("git@h.example:acme/shop.git", "ssh://git@h.example/acme/lib.git", true, true),
            ("git@h.example:acme/shop.git", "git@h.example:other/lib.git", false, true),
            ("git@h.example:acme/shop.git", "root@h.example:acme/lib.git", false, false),
            ("git@h.example:acme/shop.git", "git@h.example:~other/lib.git", false, false),
            ("git@h.example:acme/shop.git", "git@i.example:acme/lib.git", false, false),
            ("ssh://git@h.example:22/acme/team/shop", "ssh://git@h.example:22/acme/lib", false, true),
            ("https://h.example/shop.git", "https://h.example/lib.git", true, true),
            ("/srv/git/shop.git", "https://h.example/lib.git", false, false),
            ("git@h.example:~acme/shop", "git@h.example:~acme/lib", true, true),
            ("git@h.example:~acme/shop", "ssh://git@h.example/~acme/shop/info/lfs", true, true),
            ("git@h.example:~acme/shop", "git@h.example:~other/lib", false, false),
            ("git@h.example:~acme/shop", "git@h.example:~acme/../~other/lib", false, false),
            ("git@h.example:~acme/shop", "git@i.example:~acme/lib", false, false),
            (spaced, "https://h.example/o/My%20P/_git/my%20x.git/info/lfs", true, true),
            (spaced, "https://h.example/o/My%20P/_git/y", true, true),
            (spaced, "https://h.example/o/My%20P/_git/%2e%2e/%2e%2e/other/_git/y", false, false),
            (spaced, "https://h.example/o/my%20p/_git/y", false, false),
            (spaced, "https://h.example/o/other/_git/y", false, true),
            (spaced, "https://i.example/o/My%20P/_git/y", false, false),
        ] {
            let covers = |whole| Scope::of(source, whole).is_some_and(|scope| scope.covers(other));
            assert_eq!((covers(false), covers(true)), (beside, on_server), "{source} {other}");
        }
    }
}
