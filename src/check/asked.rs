//! Whether nginx asks any slot of an app, live or not, anywhere and by whatever name. Pure. In doubt it does: whoever wants
//! to know is about to end them.

use core::net::IpAddr;
use std::path::PathBuf;

use super::{
    Directive,
    variables::{Variables, expand, set_at},
};

/// Where the slots of an app are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The app, as snippets are told it.
    pub app: String,
    /// Sockets, and links to them.
    pub sockets: Vec<PathBuf>,
    /// Ports of this host.
    pub ports: Vec<u16>,
    /// Upstreams of deployd's own.
    pub upstreams: Vec<String>,
}

/// The first directive that asks one of them: as `fastcgi_pass` and the like, as any server of an upstream, or as a value
/// that a variable may have.
pub fn asked<'d>(nginx: &'d [Directive], of: &Addresses) -> Option<&'d Directive> {
    level(nginx, &Variables::new(), of)
}

fn level<'d>(inner: &'d [Directive], outer: &Variables<'d>, of: &Addresses) -> Option<&'d Directive> {
    let mut variables = outer.clone();
    variables.extend(set_at(inner));
    inner.iter().find_map(|directive| match directive.name.as_str() {
        // Where it listens itself, and what deployd writes.
        "listen" => None,
        "upstream" if of.upstreams.iter().any(|name| name == directive.arg(0)) => None,
        "set" if directive.arg(0) == "$deployd_app" && directive.arg(1) == of.app => Some(directive),
        _ if directive.args.iter().any(|word| of.is_one(&expand(word, &variables))) => Some(directive),
        // A `map` has its values as names.
        _ => level(directive.inner(), &variables, of),
    })
}

impl Addresses {
    fn is_one(&self, word: &str) -> bool {
        let rest = word.split_once("://").map_or(word, |(_, rest)| rest);
        if let Some(path) = rest.strip_prefix("unix:") {
            // Debian's /var/run is /run; a uri may follow the socket after a colon.
            let path = path.replacen("/var/run/", "/run/", 1);
            let is_it = |socket: &PathBuf| path.strip_prefix(&socket.display().to_string()).is_some_and(ends);
            return self.sockets.iter().any(is_it);
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if self.upstreams.iter().any(|name| name == authority) {
            return true;
        }
        let Some((host, port)) = authority.rsplit_once(':') else { return false };
        port.parse().is_ok_and(|port: u16| self.ports.contains(&port)) && may_be_here(host)
    }
}

fn ends(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(':')
}

/// Slots listen on the loopback: an address is there or is not, and a name may be anywhere.
fn may_be_here(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => !host.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::check::parse_nginx;

    fn of() -> Addresses {
        Addresses {
            app: "shop".into(),
            sockets: vec!["/run/deployd/shop/fpm.sock".into(), "/run/deployd-fpm/shop:a/fpm.sock".into()],
            ports: vec![8000, 8001],
            upstreams: vec!["shop-octane".into()],
        }
    }

    fn line(text: &str) -> Option<usize> {
        let nginx = parse_nginx(Path::new("/n"), &format!("http {{\n{text}\n}}"));
        asked(&nginx, &of()).map(|directive| directive.at.line)
    }

    #[test]
    fn whoever_asks_a_slot_is_found() {
        for asks in [
            "server { set $deployd_app shop; }",
            "server { location / { fastcgi_pass unix:/run/deployd/shop/fpm.sock; } }",
            "server { location / { fastcgi_pass unix:/var/run/deployd/shop/fpm.sock; } }",
            "server { location / { fastcgi_pass unix:/run/deployd-fpm/shop:a/fpm.sock; } }",
            "server { location / { proxy_pass http://unix:/run/deployd-fpm/shop:a/fpm.sock:/x; } }",
            "server { set $a shop; location / { fastcgi_pass unix:/run/deployd/${a}/fpm.sock; } }",
            "server { location / { proxy_pass http://shop-octane; } }",
            "server { location / { proxy_pass http://127.0.0.1:8001/; } }",
            "server { location / { proxy_pass http://localhost:8000; } }",
            "server { location / { proxy_pass http://[::1]:8001; } }",
            "server { location / { proxy_pass http://[::ffff:127.0.0.1]:8001; } }",
            "server { location / { proxy_pass http://0.0.0.0:8001; } }",
            "server { location / { proxy_pass http://this-host:8001; } }",
            "server { location / { grpc_pass grpc://127.0.0.2:8001; } }",
            "upstream all { server 127.0.0.1:9000; server 127.0.0.1:8001 backup; }",
            "map $x $to { default 127.0.0.1:9000; new 127.0.0.1:8001; }",
            "server { root /srv; } server { location /a { proxy_pass http://127.0.0.1:1; } location /b { proxy_pass http://127.0.0.1:8000; } }",
        ] {
            assert_eq!(line(asks), Some(2), "{asks}");
        }
    }

    #[test]
    fn who_asks_others_is_not() {
        for other in [
            "upstream shop-octane { server 127.0.0.1:8001; }",
            "server { listen 127.0.0.1:8001; set $deployd_app blog; root /srv/shop/current/public; }",
            "server { set $a blog; location / { fastcgi_pass unix:/run/deployd/$a/fpm.sock; } }",
            "server { location / { fastcgi_pass unix:/run/deployd/shop/fpm.sock2; } }",
            "server { location / { fastcgi_pass unix:/run/php/shop.sock; proxy_pass http://127.0.0.1:80010; } }",
            "server { location / { proxy_pass http://192.0.2.1:8001; } }",
        ] {
            assert_eq!(line(other), None, "{other}");
        }
    }
}
