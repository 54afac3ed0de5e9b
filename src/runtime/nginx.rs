//! nginx before services that listen on a port: the include that names the live one, and what its processes say of
//! themselves. Pure.
//!
//! - A reload keeps the master and starts workers with the new configuration; those of before accept nothing any more,
//!   end their requests and call themselves `worker process is shutting down` (ngx_process_cycle.c). When the new
//!   configuration does not work out the master keeps the old workers, and `systemctl reload` may still say it is done.
//! - A worker that shuts down closes connections that it keeps open to an upstream, and keeps none any more: they do
//!   not hold up the drain of an old slot.

use crate::model::AppName;

/// By which the snippet of php-fpm is asked for the release that it hands to PHP: `APP RELEASE WORD`, and answers with
/// `yes WORD` or `no WORD`.
pub const RELEASE_HEADER: &str = "x-deployd-release";
/// By which the snippet of services on a port is asked for the address that a request went to: `UPSTREAM ADDRESS WORD`,
/// answered likewise.
pub const UPSTREAM_HEADER: &str = "x-deployd-upstream";

/// Of a worker that still ends what it has (ngx_worker_process_cycle).
const SHUTTING_DOWN: &str = "nginx: worker process is shutting down";
/// Of a worker.
const WORKER: &str = "nginx: worker process";

/// What an nginx process is, by its title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves.
    Worker,
    /// Ends what it has, and accepts nothing.
    Leaving,
    /// The master, a cache manager, something else.
    Other,
}

/// What a process is by the title that it has given itself.
pub fn role(title: &str) -> Role {
    if title.starts_with(SHUTTING_DOWN) {
        Role::Leaving
    } else if title.starts_with(WORKER) {
        Role::Worker
    } else {
        Role::Other
    }
}

/// The name of a service's upstream, as sites use it: `proxy_pass http://shop-octane`.
pub fn upstream_name(app: &AppName, service: &str) -> String {
    format!("{app}-{service}")
}

/// The include: the upstream with the live slot and its port. With none, an upstream that answers 502 until there is one.
pub fn upstream_text(app: &AppName, service: &str, live: Option<(&str, u16)>) -> String {
    let name = upstream_name(app, service);
    let (who, server) = match live {
        Some((slot, port)) => (slot, format!("127.0.0.1:{port}")),
        // An upstream without a server would fail the whole configuration; nobody listens on the discard port.
        None => ("nothing is live", "127.0.0.1:9 down".to_owned()),
    };
    format!("# {who}: written by deployd, changes are lost.\nupstream {name} {{\n    server {server};\n}}\n")
}

/// The port that an include names; none of one that is not ours.
pub fn upstream_port(text: &str) -> Option<u16> {
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server "))?;
    local_port(server.trim_end().strip_suffix(';')?)
}

/// The port of `127.0.0.1:8000`.
pub fn local_port(address: &str) -> Option<u16> {
    address.strip_prefix("127.0.0.1:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_include_names_its_port() {
        let text = upstream_text(&"my-shop".parse().unwrap(), "octane", Some(("app-octane@my-shop:b", 8001)));
        assert!(text.contains("upstream my-shop-octane {\n    server 127.0.0.1:8001;\n}"), "{text}");
        assert_eq!(upstream_port(&text), Some(8001));
        assert_eq!(upstream_port(&upstream_text(&"a".parse().unwrap(), "http", None)), None);
        assert_eq!(upstream_port("upstream x { server unix:/x; }"), None);
    }

    #[test]
    fn workers_are_known_by_their_titles() {
        assert_eq!(role("nginx: worker process"), Role::Worker);
        assert_eq!(role("nginx: worker process is shutting down"), Role::Leaving);
        assert_eq!(role("nginx: master process /usr/sbin/nginx -g daemon on;"), Role::Other);
        assert_eq!(role("nginx: cache manager process"), Role::Other);
    }
}
