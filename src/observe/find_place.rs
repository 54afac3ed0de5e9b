//! Which of nginx's sites an app is, where its root is, and what it may be called.

use std::path::{Path, PathBuf};

use super::FindError;
use crate::{
    check::Site,
    model::{AppName, Paths},
};

/// Debian's welcome page.
const WELCOME: [&str; 3] = ["/var/www/html", "/usr/share/nginx/html", "/var/www/html/public"];
/// Last directories of a document root that are the public part of an app.
const PUBLIC: [&str; 4] = ["public", "web", "htdocs", "public_html"];

/// Whether a site is the distribution's, and nobody's app.
pub(super) fn is_welcome(site: &Site) -> bool {
    WELCOME.iter().any(|root| site.root == Path::new(root)) && site.deployd_app.is_none()
}

/// Where the app is, its public part, and its site.
pub(super) fn place(
    paths: &Paths,
    all: &[Site],
    name: Option<&AppName>,
    root: Option<&Path>,
) -> Result<(PathBuf, String, Option<Site>), FindError> {
    let matching: Vec<&Site> = match (root, name) {
        (Some(root), _) => all.iter().filter(|site| site.root.starts_with(root)).collect(),
        (None, Some(name)) => all.iter().filter(|site| is_of(site, name)).collect(),
        (None, None) => all.iter().collect(),
    };
    let mut roots: Vec<PathBuf> = matching.iter().map(|site| split(&site.root).0).collect();
    roots.dedup();
    match (root, &matching[..]) {
        (Some(root), sites) => {
            let site = best(sites);
            let public = site.map_or_else(|| "public".to_owned(), |site| split(&site.root).1);
            Ok((root.to_owned(), public, site.cloned()))
        }
        (None, []) => {
            let name = name.ok_or_else(|| unclear("nginx has no site of an app"))?;
            let usual = ["/srv", "/var/www", "/opt"].map(|dir| Path::new(dir).join(name.as_str()));
            let there = usual.into_iter().find(|dir| paths.host(dir).is_dir());
            let root =
                there.ok_or_else(|| unclear(&format!("nginx has no site of {name}, and /srv/{name} is not there")))?;
            Ok((root, "public".into(), None))
        }
        (None, sites) if roots.len() == 1 => {
            let site = best(sites);
            let (root, public) = site.map_or_else(Default::default, |site| split(&site.root));
            Ok((root, public, site.cloned()))
        }
        (None, _) => {
            let roots: Vec<_> = roots.iter().map(|root| root.display().to_string()).collect();
            Err(unclear(&format!("nginx has sites of several apps: {}", roots.join(", "))))
        }
    }
}

fn unclear(what: &str) -> FindError {
    FindError::Unclear(format!("{what}; say which one is meant: `deployctl init NAME --root DIR`"))
}

/// Of several server blocks the one that serves PHP without TLS, which can be asked from here.
fn best<'s>(sites: &[&'s Site]) -> Option<&'s Site> {
    let rank = |site: &&&Site| (site.php.is_some() || site.deployd_app.is_some(), site.port.is_some());
    sites.iter().max_by_key(rank).copied()
}

/// Whether a site is what somebody calls by a name.
fn is_of(site: &Site, name: &AppName) -> bool {
    let name = name.as_str();
    let file = site.at.file.file_name().and_then(|file| file.to_str()).unwrap_or_default();
    site.deployd_app.as_deref() == Some(name)
        || site.root.components().any(|part| part.as_os_str() == name)
        || site.names.iter().any(|host| host == name || host.split('.').next() == Some(name))
        || file.trim_end_matches(".conf") == name
}

/// A document root as an app's root and its public part.
fn split(document: &Path) -> (PathBuf, String) {
    let parts: Vec<_> = document.components().collect();
    if let Some(at) = parts.iter().rposition(|part| part.as_os_str() == "current") {
        let (root, rest) = parts.split_at(at);
        let rest: PathBuf = rest.iter().skip(1).collect();
        let public = if rest.as_os_str().is_empty() { ".".to_owned() } else { rest.display().to_string() };
        return (root.iter().collect(), public);
    }
    match (document.file_name().and_then(|name| name.to_str()), document.parent()) {
        (Some(name), Some(parent)) if PUBLIC.contains(&name) => (parent.to_owned(), name.to_owned()),
        _ => (document.to_owned(), ".".to_owned()),
    }
}

/// A name for an app that was not given one: its directory's, or its site's first word.
pub(super) fn named(root: &Path, site: Option<&Site>) -> Result<AppName, FindError> {
    let dir = root.file_name().and_then(|name| name.to_str());
    let host = site.and_then(|site| site.names.first()).map(String::as_str);
    let words = dir.into_iter().chain(host).filter_map(|name| name.split('.').next()).map(str::to_lowercase);
    words
        .filter(|word| !["app", "html", "www", "site"].contains(&word.as_str()))
        .find_map(|word| word.parse().ok())
        .ok_or_else(|| unclear(&format!("{} gives the app no name", root.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_of_another_name_is_not_the_app() {
        let parsed = crate::check::parse_nginx(Path::new("/s"), "http { server { root /srv/shop/public; } }");
        let tree = tempfile::tempdir().unwrap();
        let paths = crate::model::Paths::below(tree.path().canonicalize().unwrap());
        let of = |name: &str| place(&paths, &crate::check::sites(&parsed), Some(&name.parse().unwrap()), None);
        assert_eq!(of("shop").unwrap().0, Path::new("/srv/shop"));
        let unclear = of("blog").unwrap_err().to_string();
        assert!(unclear.contains("no site of blog") && unclear.contains("--root DIR"), "{unclear}");
    }

    #[test]
    fn a_document_root_is_taken_apart() {
        let of = |path: &str| {
            let (root, public) = split(Path::new(path));
            (root.display().to_string(), public)
        };
        assert_eq!(of("/srv/shop/current/public"), ("/srv/shop".into(), "public".into()));
        assert_eq!(of("/srv/shop/current"), ("/srv/shop".into(), ".".into()));
        assert_eq!(of("/var/www/shop/public"), ("/var/www/shop".into(), "public".into()));
        assert_eq!(of("/var/www/shop"), ("/var/www/shop".into(), ".".into()));
        assert_eq!(named(Path::new("/var/www/shop.example.org"), None).unwrap().as_str(), "shop");
        assert!(named(Path::new("/var/www/html"), None).is_err());
    }
}
