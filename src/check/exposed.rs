//! Whether nginx would serve what adopting a checkout puts into its root: `shared/`, `releases/` and `current`. Pure. What
//! cannot be proved to be closed is open.

use std::path::{Path, PathBuf};

use super::Directive;
use crate::config::Origin;

/// What is new in the root.
const NEW: [&str; 3] = ["shared", "releases", "current"];

/// A document root with the app's root in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Where it is written.
    pub at: Origin,
    /// The locations that close it, as nginx has them; empty: none can, it is no server's own root.
    pub closing: Vec<String>,
}

/// The first document root that is the app's root, or has it in it, and does not close what is new there.
pub fn exposed(nginx: &[Directive], root: &Path) -> Option<Exposed> {
    nginx.iter().filter(|directive| directive.name == "http").find_map(|http| {
        let above = http.inner().iter().rfind(|d| d.name == "root");
        let servers = http.inner().iter().filter(|d| d.name == "server" && d.block.is_some());
        servers.into_iter().find_map(|server| of_server(server, above, root))
    })
}

fn of_server(server: &Directive, above: Option<&Directive>, root: &Path) -> Option<Exposed> {
    let own = server.inner().iter().rfind(|d| d.name == "root");
    let of_own = own.or(above).and_then(|directive| {
        let closing = inside(directive, server, root)?;
        let open = closing.iter().any(|location| !is_closed(server, location));
        open.then(|| Exposed { at: directive.at.clone(), closing })
    });
    of_own.or_else(|| server.inner().iter().filter(|d| d.block.is_some()).find_map(|d| below(d, server, root)))
}

/// A root or alias of a location: by which addresses it is reached is not followed.
fn below(level: &Directive, server: &Directive, root: &Path) -> Option<Exposed> {
    level.inner().iter().find_map(|directive| match directive.name.as_str() {
        "root" | "alias" => {
            inside(directive, server, root).map(|_| Exposed { at: directive.at.clone(), closing: Vec::new() })
        }
        _ => below(directive, server, root),
    })
}

/// The prefixes of what is new, when a document root is the app's root or above it. One with a variable that is not known
/// may be anything, and is taken for the app's only where its beginning is.
fn inside(directive: &Directive, server: &Directive, root: &Path) -> Option<Vec<String>> {
    let path = super::sites::expand(directive.arg(0), server);
    let known = path.split('$').next().unwrap_or_default();
    let path = PathBuf::from(&path);
    if known.len() < path.as_os_str().len() {
        return Path::new(known).starts_with(root).then(Vec::new);
    }
    let rest = path.is_absolute().then(|| root.strip_prefix(&path).ok()).flatten()?;
    Some(NEW.iter().map(|name| format!("/{}", rest.join(name).display())).collect())
}

/// `location ^~ /shared { deny all; }`: no regular expression goes before it. One more such location below it would.
fn is_closed(server: &Directive, prefix: &str) -> bool {
    let locations = || server.inner().iter().filter(|d| d.name == "location");
    let closes = |d: &Directive| {
        d.inner().iter().any(|inner| match inner.name.as_str() {
            "deny" => inner.arg(0) == "all",
            "return" => matches!(inner.arg(0), "403" | "404" | "410" | "444"),
            _ => false,
        }) && !d.inner().iter().any(|inner| matches!(inner.name.as_str(), "allow" | "satisfy" | "location"))
    };
    let is_it = |d: &&Directive| d.arg(0) == "^~" && d.arg(1).trim_end_matches('/') == prefix;
    let path = |d: &Directive| d.args.last().cloned().unwrap_or_default();
    let deeper = |d: &Directive| d.arg(0) != "~" && d.arg(0) != "~*" && path(d).starts_with(&format!("{prefix}/"));
    locations().any(|d| is_it(&d) && closes(d)) && !locations().any(|d| deeper(d) && !closes(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::parse_nginx;

    fn of(server: &str) -> Option<Exposed> {
        let nginx =
            parse_nginx(Path::new("/n"), &format!("http {{\nroot /usr/share/nginx;\nserver {{\n{server}\n}} }}"));
        exposed(&nginx, Path::new("/srv/shop"))
    }

    const CLOSED: &str =
        "location ^~ /shared { deny all; } location ^~ /releases/ { return 404; } location ^~ /current { deny all; }";

    #[test]
    fn a_document_root_that_has_the_app_s_in_it_is_open_until_it_is_closed() {
        for open in [
            "root /srv/shop;",
            "root /srv/shop/;",
            "root \"/srv/shop\";",
            "set $a shop; root /srv/$a;",
            "root /srv/shop; location ^~ /shared { deny all; } location ^~ /releases { deny all; }",
            "root /srv/shop; location /shared { deny all; } location /releases { deny all; } location /current { deny all; }",
            "root /srv/shop; location ~ ^/(shared|releases|current) { deny all; }",
        ] {
            let found = of(open).unwrap_or_else(|| panic!("{open}"));
            assert_eq!((found.at.line, found.closing.join(" ").as_str()), (4, "/shared /releases /current"), "{open}");
        }
        assert_eq!(of("root /srv;").unwrap().closing, ["/shop/shared", "/shop/releases", "/shop/current"]);
        for open in [
            "root /srv/shop/public; location /files { alias /srv/shop; }",
            "root /srv/shop/public; location /a { location /b { root /srv/shop/; } }",
        ] {
            assert!(of(open).unwrap().closing.is_empty(), "{open}");
        }
        let allowed = CLOSED.replace("deny all;", "allow 192.0.2.1; deny all;");
        assert!(of(&format!("root /srv/shop; {allowed}")).is_some(), "somebody is let in");
        assert!(of(&format!("root /srv/shop; {CLOSED} location ^~ /shared/x {{ }}")).is_some(), "a part is open");
    }

    #[test]
    fn what_is_below_or_beside_or_closed_is_not() {
        for closed in [
            "root /srv/shop/public;",
            "root /srv/shop/current;",
            "root /srv/shop2;",
            "listen 80;",
            "root /srv/$host;",
            &format!("root /srv/shop; {CLOSED}"),
        ] {
            assert_eq!(of(closed), None, "{closed}");
        }
    }
}
