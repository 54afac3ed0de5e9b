//! The sites that nginx serves: which tree, by which PHP. Pure.

use std::path::PathBuf;

use super::{Directive, passes::of_server, variables};
use crate::config::Origin;

/// One server block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where it stands.
    pub at: Origin,
    /// Its names, without `_`, patterns and wildcards.
    pub names: Vec<String>,
    /// Its document root.
    pub root: PathBuf,
    /// Where that is written; none: above the server block.
    pub root_at: Option<Origin>,
    /// A port on which it answers without TLS.
    pub port: Option<u16>,
    /// Who answers for PHP.
    pub php: Option<Served>,
    /// The name that it gives to deployd's snippets.
    pub deployd_app: Option<String>,
}

/// Where nginx sends requests for PHP, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `/run/php/php8.2-fpm.sock`, `127.0.0.1:9000`, `http://127.0.0.1:8000`.
    pub to: String,
    /// What is named in its place: an upstream, or the same.
    pub name: String,
    /// By `fastcgi_pass`, and not by `proxy_pass`.
    pub fastcgi: bool,
    /// Where it is written, each time.
    pub at: Vec<Origin>,
}

/// Every site that has a document root.
pub fn sites(nginx: &[Directive]) -> Vec<Site> {
    let mut found = Vec::new();
    for http in nginx.iter().filter(|directive| directive.name == "http") {
        let above = http.inner().iter().rfind(|d| d.name == "root");
        let servers = http.inner().iter().filter(|d| d.name == "server" && d.block.is_some());
        found.extend(servers.filter_map(|server| site(server, above, http.inner())));
    }
    found
}

fn site(server: &Directive, above: Option<&Directive>, http: &[Directive]) -> Option<Site> {
    let own = server.inner().iter().rfind(|d| d.name == "root");
    let root = PathBuf::from(expand(own.or(above)?.arg(0), server));
    let names = server.inner().iter().filter(|d| d.name == "server_name").flat_map(|d| &d.args);
    let plain = |name: &&String| *name != "_" && !name.is_empty() && !name.contains(['*', '~', '$', '"']);
    let listens: Vec<_> = server.inner().iter().filter(|d| d.name == "listen").collect();
    let without_tls = |d: &&&Directive| !d.args.iter().any(|word| word == "ssl" || word == "quic");
    let port = match listens.is_empty() {
        true => Some(80),
        false => listens.iter().filter(without_tls).find_map(|d| port(d.arg(0))),
    };
    let app = server.inner().iter().rfind(|d| d.name == "set" && d.arg(0) == "$deployd_app");
    root.is_absolute().then(|| Site {
        at: server.at.clone(),
        names: names.filter(plain).cloned().collect(),
        root_at: own.map(|own| own.at.clone()),
        root,
        port,
        php: served(server, http),
        deployd_app: app.map(|set| set.arg(1).to_owned()),
    })
}

/// `80`, `*:80`, `[::]:80`, `127.0.0.1:8080`; none of a socket's.
fn port(listen: &str) -> Option<u16> {
    if listen.starts_with("unix:") {
        return None;
    }
    match listen.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => listen.parse().ok().or(Some(80)),
    }
}

/// By `fastcgi_pass` where there is one: what is proxied beside it is another program's corner.
fn served(server: &Directive, http: &[Directive]) -> Option<Served> {
    let passes = of_server(server, http);
    let first = passes.iter().find(|pass| pass.fastcgi).or(passes.first())?;
    let same = passes.iter().filter(|pass| pass.fastcgi == first.fastcgi && pass.to == first.to);
    Some(Served {
        to: first.to.clone(),
        name: first.name.clone(),
        fastcgi: first.fastcgi,
        at: same.map(|pass| pass.at.clone()).collect(),
    })
}

/// With the variables that the server block sets.
pub(super) fn expand(value: &str, server: &Directive) -> String {
    variables::expand(value, &variables::set_at(server.inner()).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::check::parse_nginx;

    fn found(text: &str) -> Vec<Site> {
        sites(&parse_nginx(Path::new("/etc/nginx/x"), &format!("http {{\n{text}\n}}")))
    }

    #[test]
    fn a_site_as_debian_has_it() {
        let text = "upstream php { server unix:/run/php/shop.sock; }\n\
                    server { listen 443 ssl; listen [::]:80; server_name shop.example.org www.* _;\n\
                    set $base /srv/shop; root $base/current/public;\n\
                    location / { try_files $uri /index.php; }\n\
                    location ~ \\.php$ { include x; fastcgi_pass php; }\n\
                    location /ws { proxy_pass http://127.0.0.1:6001; } }\n\
                    server { listen unix:/x; location / { return 200; } }";
        let [site] = &found(text)[..] else { panic!() };
        assert_eq!((site.names.as_slice(), site.port), (&["shop.example.org".to_owned()][..], Some(80)));
        assert_eq!(site.root, Path::new("/srv/shop/current/public"));
        assert_eq!(site.root_at.as_ref().unwrap().line, 4);
        let php = site.php.as_ref().unwrap();
        assert_eq!((php.to.as_str(), php.fastcgi, php.at.len()), ("/run/php/shop.sock", true, 1));
        assert_eq!(php.at[0].line, 6);
    }

    #[test]
    fn a_proxied_site_and_one_that_is_deployd_s() {
        let text = "server { listen 8080; root /srv/a/public; location / { proxy_pass http://octane; } }\n\
                    upstream octane { server 127.0.0.1:8000; }\n\
                    server { root /srv/b/current/public; set $deployd_app b; include snippets/deployd-php.conf; }";
        let [a, b] = &found(text)[..] else { panic!() };
        let php = a.php.as_ref().unwrap();
        assert_eq!((php.to.as_str(), php.fastcgi, a.port), ("http://127.0.0.1:8000", false, Some(8080)));
        assert_eq!((b.deployd_app.as_deref(), b.php.as_ref(), b.port), (Some("b"), None, Some(80)));
    }
}
