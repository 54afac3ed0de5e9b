//! Git LFS with the real git-lfs: what is served is the content, shared while its pointer is the same, and the one that the
//! pointer names; without git-lfs nothing is touched.

use std::time::Duration;

use crate::{
    common::{eventually, installed, releases},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

const HERO: &str = "a picture of a hero\n";

/// Has git-lfs clean what is committed, as `git lfs install` sets it up.
fn track(host: &Host, shop: &Shop) {
    let git = format!("runuser -u shop -- git --git-dir={} config", shop.repository());
    host.sh(&format!("{git} filter.lfs.clean 'git-lfs clean -- %f'; {git} filter.lfs.required true"));
    shop.commit(
        host,
        "r2",
        &[
            (".gitattributes", "public/img/* filter=lfs diff=lfs merge=lfs -text\n*.bat text eol=crlf\n"),
            ("public/img/hero.dat", HERO),
            ("public/img/other.dat", "one"),
        ],
    );
    let git = ["git", "-c", "safe.directory=*", "--git-dir", &shop.repository(), "show", "main:public/img/hero.dat"];
    assert!(host.ok(&git).starts_with("version https://git-lfs"), "git itself has a pointer");
}

#[test]
fn what_is_in_git_lfs_is_served_shared_and_proved() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop").more("share = \"hardlink\"\n"));
    track(&host, &shop);

    host.sh("mv /usr/bin/git-lfs /root/");
    for verb in ["plan", "deploy"] {
        let said = shop.ctl(&host, verb, &[]).expect_status(3);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("2 files") && text.contains("install git-lfs") && text.contains("lfs = false"), "{said}");
    }
    assert_eq!((releases(&host, &shop).len(), shop.current(&host).as_str()), (0, ""), "nothing was touched");
    host.sh("mv /root/git-lfs /usr/bin/");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(shop.get(&host, "/img/hero.dat").body, HERO);
    let before = shop.current(&host);

    shop.commit(&host, "r3", &[("public/img/other.dat", "two")]);
    shop.ctl(&host, "plan", &[]).ok();
    // What was fetched for the plan is changed meanwhile, and has the size that it should have.
    let evil = "for f in $(grep -rlxF two /var/cache/deployd/shop/git/lfs/objects); do printf owt > $f; done";
    host.sh(evil);
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("public/img/other.dat") && said.stderr.contains("its pointer"), "{said}");
    assert_eq!((shop.release(&host).as_str(), shop.current(&host)), ("r2", before.clone()));
    shop.deploy(&host);
    assert_eq!((shop.release(&host).as_str(), shop.get(&host, "/img/other.dat").body.as_str()), ("r3", "two"));
    let inodes =
        host.sh(&format!("stat -c %i /srv/shop/{before}/public/img/hero.dat /srv/shop/current/public/img/hero.dat"));
    let inodes: Vec<_> = inodes.lines().collect();
    assert!(inodes.len() == 2 && inodes[0] == inodes[1], "the unchanged one is shared: {inodes:?}");

    // The mirror has all of it: the same again needs neither the repository's contents nor git-lfs.
    host.sh("mv /usr/bin/git-lfs /root/; mv /srv/git/shop.git/lfs /srv/git/lfs");
    let mirror = "/var/cache/deployd/shop/git";
    host.sh(&format!("runuser -u shop -- git --git-dir={mirror} update-ref refs/deployd/commits/x refs/tags/r1"));
    shop.ctl(&host, "deploy", &["--force"]).ok();
    assert_eq!(shop.get(&host, "/img/hero.dat").body, HERO);

    // Once that is confirmed the mirror is tidied: no release is kept that was made of r1.
    let asked = format!("{mirror}/refs/deployd/commits/x");
    let gone = || host.run(&["test", "-e", &asked]).status == 1;
    eventually("what nothing needs is gone", Duration::from_secs(60), gone);
    assert_eq!(host.sh(&format!("grep -rlxF -e two -e 'a picture of a hero' {mirror}/lfs/objects")).lines().count(), 2);
}
