//! Where releases come from: a directory of the host, and git over ssh with a pinned host key.

use crate::{
    common::{installed, with_live_shop},
    support::shop::{Shop, Spec},
};

#[test]
fn a_directory_of_the_host_is_deployed() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    let four = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\nsource.directory = \"/srv/build/shop\"\n";
    host.write(&shop.toml_path(), four);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let before = shop.current(&host);
    shop.deploy(&host);
    assert_eq!(shop.current(&host), before, "nothing new");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn git_over_ssh_goes_only_to_the_pinned_host() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    let script = r#"install -d -m 0700 -o shop /home/shop/.ssh /home/shop/keys
runuser -u shop -- ssh-keygen -q -t ed25519 -N '' -f /home/shop/keys/deploy
cp /home/shop/keys/deploy.pub /home/shop/.ssh/authorized_keys; chown shop: /home/shop/.ssh/authorized_keys
mkdir -p /etc/deployd/ssh; sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /etc/deployd/ssh/known
ssh-keygen -q -t ed25519 -N '' -f /tmp/other; sed 's/^/127.0.0.1 /' /tmp/other.pub > /etc/deployd/ssh/other"#;
    host.sh(script);
    let with = |pinned: &str| {
        format!(
            "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\n[source]\n\
             git = \"ssh://shop@127.0.0.1/srv/git/shop.git\"\nref = \"main\"\n\
             ssh_key = \"/home/shop/keys/deploy\"\nknown_hosts = \"/etc/deployd/ssh/{pinned}\"\n"
        )
    };
    host.write(&shop.toml_path(), with("other"));
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.to_lowercase().contains("host key"), "{said}");
    assert_eq!(shop.current(&host), "");
    host.write(&shop.toml_path(), with("known"));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn only_what_changed_is_fetched() {
    let (host, shop) = with_live_shop("");
    let mirror = host.sh("find /var/cache/deployd/shop -name HEAD -not -path '*/logs/*' | head -n 1");
    assert!(!mirror.trim().is_empty(), "a mirror is kept");
    assert_eq!(host.ok(&["stat", "-c", "%U", mirror.trim()]), "shop\n");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}
