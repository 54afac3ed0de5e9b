//! Where nginx's server blocks send requests: each `fastcgi_pass` and `proxy_pass`, with the variables of its place. Pure.

use super::{
    Directive,
    variables::{self, Variables},
};
use crate::config::Origin;

/// One place that sends requests somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Where it is written.
    pub at: Origin,
    /// Where its server block begins.
    pub server: Origin,
    /// By `fastcgi_pass`, and not by `proxy_pass`.
    pub fastcgi: bool,
    /// The address, without a path: an upstream's first server, without `unix:`. `/run/php/shop.sock`, `http://127.0.0.1:8000`.
    pub to: String,
    /// What is named in its place: `shop-octane`, `127.0.0.1:8000`.
    pub name: String,
    /// An upstream of more than one server, or of one with options.
    pub spread: bool,
    /// Its location may end before it what the rewrite module does, and `set` is of that.
    pub breaks: bool,
    /// The program is told for which host the request is.
    pub tells_host: bool,
}

/// Every place, in the order in which they are written.
pub fn passes(nginx: &[Directive]) -> Vec<Pass> {
    let mut found = Vec::new();
    for http in nginx.iter().filter(|directive| directive.name == "http") {
        for server in http.inner().iter().filter(|d| d.name == "server" && d.block.is_some()) {
            found.extend(of_server(server, http.inner()));
        }
    }
    found
}

/// Those of one server block.
pub(super) fn of_server(server: &Directive, http: &[Directive]) -> Vec<Pass> {
    let tells_host = host_at(http).unwrap_or(false);
    let mut found = Vec::new();
    Scope { http, server: &server.at, variables: Variables::new(), breaks: false, tells_host }
        .block(server, &mut found);
    found
}

struct Scope<'d> {
    http: &'d [Directive],
    server: &'d Origin,
    variables: Variables<'d>,
    breaks: bool,
    tells_host: bool,
}

impl<'d> Scope<'d> {
    fn block(&self, block: &'d Directive, found: &mut Vec<Pass>) {
        let mut variables = self.variables.clone();
        variables.extend(variables::set_at(block.inner()));
        // Those of the server block itself are over when a location is chosen.
        let breaks = block.name != "server" && (self.breaks || breaks(block));
        let tells_host = host_at(block.inner()).unwrap_or(self.tells_host);
        let inside = Scope { http: self.http, server: self.server, variables, breaks, tells_host };
        for directive in block.inner() {
            if matches!(directive.name.as_str(), "fastcgi_pass" | "proxy_pass") {
                found.push(inside.pass(directive));
            }
            inside.block(directive, found);
        }
    }

    fn pass(&self, directive: &Directive) -> Pass {
        let to = variables::expand(directive.arg(0), &self.variables);
        let (scheme, rest) = to.split_once("://").map_or(("", to.as_str()), |(scheme, rest)| (scheme, rest));
        let upstream = self.http.iter().find(|d| d.name == "upstream" && d.arg(0) == authority(rest));
        let servers: Vec<_> = upstream.iter().flat_map(|d| d.inner()).filter(|d| d.name == "server").collect();
        let address = servers.first().map_or(authority(rest), |server| server.arg(0)).trim_start_matches("unix:");
        Pass {
            at: directive.at.clone(),
            server: self.server.clone(),
            fastcgi: directive.name == "fastcgi_pass",
            to: if scheme.is_empty() { address.to_owned() } else { format!("{scheme}://{}", by_number(address)) },
            name: authority(rest).to_owned(),
            spread: upstream.is_some() && !matches!(&servers[..], [one] if one.args.len() == 1),
            breaks: self.breaks,
            tells_host: self.tells_host,
        }
    }
}

/// One way to write what has two.
fn by_number(address: &str) -> String {
    address.strip_prefix("localhost:").map_or_else(|| address.to_owned(), |port| format!("127.0.0.1:{port}"))
}

/// Up to a path, or to a variable that nothing is known of.
fn authority(rest: &str) -> &str {
    if rest.starts_with("unix:") { rest } else { rest.split(['/', '$']).next().unwrap_or_default() }
}

fn breaks(block: &Directive) -> bool {
    block.inner().iter().any(|d| matches!(d.name.as_str(), "rewrite" | "break") || breaks(d))
}

/// Whether a level that sets headers sets `Host`; none: it sets none, and has those of the level above.
fn host_at(level: &[Directive]) -> Option<bool> {
    let mut headers = level.iter().filter(|d| d.name == "proxy_set_header").peekable();
    headers.peek()?;
    Some(headers.any(|d| d.arg(0).eq_ignore_ascii_case("Host")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::check::parse_nginx;

    fn of(text: &str) -> Vec<Pass> {
        passes(&parse_nginx(Path::new("/s"), &format!("http {{\n{text}\n}}")))
    }

    #[test]
    fn each_pass_is_seen_with_what_holds_at_its_place() {
        let found = of("upstream all { server 127.0.0.1:8000; server 127.0.0.1:8001; }\n\
                        upstream one { server 127.0.0.1:8000; }\nupstream last { server 127.0.0.1:8000 backup; }\n\
                        upstream shop-octane { server 127.0.0.1:8000; }\n\
                        server { proxy_set_header Host $http_host; rewrite ^/old /new;\n\
                        location /a { proxy_pass http://all; }\n\
                        location /b { proxy_set_header X-A b; proxy_pass http://one$suffix; }\n\
                        location /c { if ($x) { rewrite ^ /y break; } proxy_pass http://last/; }\n\
                        location /d { set $deployd_app shop; set $deployd_service octane;\n\
                        proxy_pass http://$deployd_app-$deployd_service$suffix; } }");
        let seen: Vec<_> =
            found.iter().map(|one| (one.name.as_str(), one.spread, one.breaks, one.tells_host)).collect();
        let wanted = [
            ("all", true, false, true),
            ("one", false, false, false),
            ("last", true, true, true),
            ("shop-octane", false, false, true),
        ];
        assert_eq!(seen, wanted);
        assert!(
            found.iter().all(|one| one.to == "http://127.0.0.1:8000" && one.server == found[0].server),
            "{found:?}"
        );
    }
}
