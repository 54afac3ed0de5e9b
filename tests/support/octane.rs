//! An Octane app in a host: Laravel with what Octane would bring, on a real server where it can be built, or on the
//! stand-in for Swoole.

use std::fs;

use super::{
    host::Host,
    root::Root,
    runtimes::Server,
    shop::{Shop, Spec},
    site::Php,
};

/// The health of an Octane app.
pub const HEALTH: &str = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";

/// `server = "..."` of `[[service]]`, with three slots.
pub fn service(server: &str) -> String {
    format!("[[service]]\nkind = \"octane\"\nserver = \"{server}\"\nports = [8000, 8001, 8002]\nworkers = 2\n{HEALTH}")
}

/// The app, behind nginx by deployd's upstream; it has r1 and r2, `main` is r1, and nothing is deployed yet.
pub fn shop(host: &Host, more: &str) -> Shop {
    make(host, Php::Upstream("octane"), more)
}

/// The same behind a fixed port.
pub fn shop_at(host: &Host, port: u16, more: &str) -> Shop {
    make(host, Php::Ports(vec![port]), more)
}

fn make(host: &Host, php: Php, more: &str) -> Shop {
    let shop = Shop::make(host, Spec { php, over: Some("app-octane"), ..Spec::new("shop").more(more) });
    shop.commit(host, "r2", &[]);
    shop.point(host, "r1");
    shop
}

/// Installs the real server where Octane finds it, or gives the reason why it cannot be had.
pub fn install(host: &Host, root: &Root, server: Server) -> Result<(), String> {
    let program = server.ensure(root)?;
    let bytes = fs::read(&program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let path = format!("/usr/local/bin/{}", server.program());
    host.write(&path, bytes);
    host.ok(&["chmod", "0755", &path]);
    Ok(())
}
