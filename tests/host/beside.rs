//! A new slot beside the live one: each of its processes is warm before a visitor comes, and it yields the processors
//! until then.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    common::{eventually, installed},
    support::shop::{Shop, Spec},
};

/// Tells which process answers, and takes its time.
const TELLING: &str = "<?php\n\nfile_put_contents('/srv/shop/shared/storage/asked', getmypid() . \"\\n\", FILE_APPEND);\n\
                       $until = microtime(true) + 0.02;\nwhile (microtime(true) < $until);\necho 'r1';\n";
const POOL: &str = "[[service]]\nkind = \"php-fpm\"\n[service.pool]\npm = \"static\"\n\"pm.max_children\" = \"12\"\n\
                    [health]\nhttp = \"http://127.0.0.1/\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";

#[test]
fn each_process_of_a_new_slot_is_asked_and_it_yields_until_it_is_live() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop").more(POOL));
    shop.commit(&host, "r1", &[("public/index.php", TELLING)]);
    shop.deploy(&host);
    let asked = host.read("/srv/shop/shared/storage/asked");
    let asked: BTreeSet<_> = asked.lines().collect();
    let workers = host.ok(&["sh", "-c", "pgrep -P $(systemctl show -P MainPID app-fpm@shop:a)"]);
    let workers: BTreeSet<_> = workers.lines().collect();
    assert_eq!(workers.len(), 12);
    assert!(workers.is_subset(&asked), "not asked: {:?}", workers.difference(&asked));

    // An empty setting takes back what the slot began with.
    let weight = |slot: &str| host.ok(&["systemctl", "show", "-P", "CPUWeight", &format!("app-fpm@shop:{slot}")]);
    let set = "/run/systemd/system.control/app-fpm@shop:a.service.d/50-CPUWeight.conf";
    assert!(host.read(set).lines().any(|line| line == "CPUWeight="), "{}", host.read(set));
    assert_eq!(weight("a"), "[not set]\n");
    host.ok(&["systemctl", "set-property", "--runtime", "app-fpm@shop:b", "CPUWeight=300"]);
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(weight("b"), "300\n", "what an administrator has set");
    eventually("the old slot has ended", Duration::from_secs(20), || {
        host.run(&["systemctl", "is-active", "--quiet", "app-fpm@shop:a"]).status == 3
    });
    assert_eq!(weight("a"), "21\n", "it has yielded while it ended");
}
