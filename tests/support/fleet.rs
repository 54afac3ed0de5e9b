//! Several hosts with addresses of their own: a hub, and each of the others on a wire of its own to it. The wires are between
//! the hosts' network namespaces and go with them; the machine's own network has none of it.

use super::{command, host::Host, root::Root};

/// What hosts of a fleet have beyond the others: the tools that manage them.
const TOOLS: [&str; 4] = ["ansible-core", "puppet-agent", "puppet-lint", "python3-apt"];

/// Files of a release whose health fails once it is live, while its other pages are well.
pub const BAD: [(&str, &str); 1] = [(
    "public/index.php",
    r#"<?php
$live = readlink('/srv/shop/current') === 'releases/'.basename(realpath(__DIR__.'/..'));
http_response_code($live && $_SERVER['REQUEST_URI'] === '/up' ? 500 : 200);
$release = trim(file_get_contents(__DIR__.'/../RELEASE'));
echo "start=$release\nend=$release\n";
"#,
)];

/// The tree of the fleet's hosts.
pub fn root() -> Root {
    Root::with(&TOOLS)
}

/// The tree of hosts of which one runs etcd.
pub fn etcd_root() -> Root {
    Root::with(&["etcd-server", "etcd-client"])
}

/// Has Debian's etcd serve all of a host's networks.
pub fn serve_etcd(host: &Host) {
    // By addresses alone: the host has no name of its own to look up.
    let peer = "http://127.0.0.1:2380";
    let all = format!(
        "ETCD_NAME=hub\nETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379\nETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:2379\n\
         ETCD_LISTEN_PEER_URLS={peer}\nETCD_INITIAL_ADVERTISE_PEER_URLS={peer}\nETCD_INITIAL_CLUSTER=hub={peer}\n"
    );
    host.write("/etc/default/etcd", all);
    host.ok(&["systemctl", "restart", "etcd"]);
    host.ok(&["env", "ETCDCTL_API=3", "etcdctl", "--endpoints=http://127.0.0.1:2379", "endpoint", "health"]);
}

/// The keys that begin so, one a line.
pub fn etcd_keys(host: &Host, prefix: &str) -> String {
    let argv = ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints=http://127.0.0.1:2379", "get", "--prefix"];
    host.ok(&[&argv[..], &["--keys-only", prefix]].concat())
}

/// A fleet.
pub struct Fleet {
    /// The hosts that serve, reached at [`address`] of their place.
    pub webs: Vec<Host>,
    /// The load balancer, which is the controller too. Dropped last: the others are in its turn.
    pub hub: Host,
}

/// The address of the host at this place, from 0.
pub fn address(place: usize) -> String {
    format!("10.88.{}.2", place + 1)
}

impl Fleet {
    /// Boots a hub and this many hosts; no other host of this process runs beside them.
    pub fn boot(root: &Root, count: usize) -> Self {
        let hub = Host::boot_alone(root);
        let webs: Vec<Host> = (0..count).map(|_| hub.boot_beside(root)).collect();
        webs.iter().enumerate().for_each(|(place, web)| wire(&hub, web, place));
        Self { webs, hub }
    }
}

fn wire(hub: &Host, web: &Host, place: usize) {
    let (near, network) = (format!("web{}", place + 1), format!("10.88.{}", place + 1));
    let (hub_pid, web_pid) = (hub.leader().to_string(), web.leader().to_string());
    let ends = [&near, "netns", &hub_pid, "type", "veth", "peer", "name", "uplink", "netns", &web_pid];
    command::local(&[&["ip", "link", "add"][..], &ends[..]].concat()).ok();
    for (host, device, end) in [(hub, near.as_str(), "1"), (web, "uplink", "2")] {
        host.ok(&["ip", "address", "add", &format!("{network}.{end}/24"), "dev", device]);
        host.ok(&["ip", "link", "set", device, "up"]);
    }
}
