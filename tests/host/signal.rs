//! An existing unit that takes up new code at a signal: its old processes are watched until they are gone.

use crate::{
    common::installed,
    support::{
        host::Host,
        shop::{Shop, Spec},
        site::Php,
    },
};

const SERVICE: &str = "[[service]]\nunit = \"shop-cluster.service\"\nstrategy = \"signal\"\nsignal = \"USR2\"\n\
                       drain = \"3s\"\n";

fn with_cluster(environment: &str) -> (Host, Shop) {
    let host = installed();
    let unit = format!(
        "[Service]\nUser=shop\nEnvironment=PORT=3001 CURRENT=/srv/shop/current\n{environment}\
         ExecStart=/usr/bin/node /usr/local/lib/cluster.js\n"
    );
    host.write("/etc/systemd/system/shop-cluster.service", unit);
    host.write("/usr/local/lib/cluster.js", include_str!("../app-node/cluster.js"));
    host.ok(&["systemctl", "daemon-reload"]);
    // Before the unit there is a release to run.
    let shop = Shop::make(&host, Spec { php: Php::Ports(vec![3001]), ..Spec::node("shop") });
    shop.configure(&host, "");
    shop.deploy(&host);
    host.ok(&["systemctl", "start", "shop-cluster"]);
    shop.wait_release(&host, "r1");
    shop.configure(&host, SERVICE);
    shop.commit(&host, "r2", &[]);
    (host, shop)
}

fn main_pid(host: &Host) -> String {
    host.ok(&["systemctl", "show", "-P", "MainPID", "shop-cluster"])
}

#[test]
fn a_signal_moves_a_unit_and_its_old_processes_are_gone_when_the_deployment_ends() {
    let (host, shop) = with_cluster("");
    let main = main_pid(&host);
    let old = host.ok(&["pgrep", "-P", main.trim()]);
    shop.deploy(&host);
    let new = host.ok(&["pgrep", "-P", main.trim()]);
    assert!(old.lines().all(|pid| !new.lines().any(|other| other == pid)), "old {old:?}, new {new:?}");
    assert_eq!(main_pid(&host), main, "signalled, not restarted");
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn a_unit_that_is_deaf_to_its_signal_is_noticed_and_everything_goes_back() {
    let (host, shop) = with_cluster("Environment=DEAF=yes\n");
    let before = shop.current(&host);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(4).said();
    assert!(said.contains("still has 2 old processes"), "{said}");
    assert_eq!(shop.current(&host), before);
    assert_eq!(shop.release(&host), "r1");
}
