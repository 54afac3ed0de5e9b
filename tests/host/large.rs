//! Releases of unusual size: a million files, and one file of 4 GiB. Of `make check-safety` alone: some minutes, and up to
//! 16 GB of disk.

use std::time::Instant;

use crate::support::{deb, disk::Disk, host::Host, inside::long, root::Root};

const TOML: &str = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.directory = \"/srv/build\"\nshared = []\n\
                    [releases]\nkeep = 2\n";

#[test]
fn a_million_files_and_one_of_4_gib_are_a_release() {
    if !long() {
        println!("left out: DEPLOYD_ATTACK=long has it made");
        return;
    }
    let disk = Disk::make("xfs", 40);
    let host = Host::boot_on(&Root::chosen(), &[(&disk, "srv"), (&disk, "var/cache/deployd")]);
    host.install_deb(&deb::ensure());
    host.sh("useradd --create-home shop; mkdir /srv/build; cd /srv/build
             for d in $(seq 1 1000); do mkdir d$d; (cd d$d; seq 1 1000 | split -l 1 -a 3 -); done
             truncate -s 4G large; printf end >> large; chown -R shop: /srv/build");
    host.write("/etc/deployd/apps/shop.toml", TOML);
    let timed = |what: &str, verb: &str| {
        let begun = Instant::now();
        let said = host.ok(&["deployctl", verb, "shop"]);
        println!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
        said
    };
    timed("a million files", "stage");
    let count = |script: &str| host.sh(script).trim().to_owned();
    assert_eq!(count("find /srv/shop/releases/*/ -type f | wc -l"), "1000001");
    assert_eq!(count("tail -c 3 /srv/shop/releases/*/large"), "end");
    assert_eq!(count("stat -c %s /srv/shop/releases/*/large"), "4294967299");
    assert!(timed("the same once more", "stage").contains("is staged already"));
    host.sh("echo changed > /srv/build/d1/xaaa");
    timed("one file changed", "stage");
    assert_eq!(count("ls /srv/shop/releases | wc -l"), "2");
}
