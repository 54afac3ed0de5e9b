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
fn a_deploy_key_of_root_s_is_made_registered_and_replaced() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    host.sh(
        "mkdir -p /etc/deployd/ssh; sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /etc/deployd/ssh/known",
    );
    let text = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\n[source]\n\
                git = \"ssh://forge@127.0.0.1/srv/git/shop.git\"\nref = \"main\"\n\
                known_hosts = \"/etc/deployd/ssh/known\"\n";
    host.write(&shop.toml_path(), text);
    host.sh("useradd --create-home --shell /bin/bash forge; install -d -m 0700 -o forge /home/forge/.ssh
runuser -u forge -- git config --global safe.directory '*'");
    let register = |public: &str| {
        host.write("/home/forge/.ssh/authorized_keys", public);
        host.sh("chown forge: /home/forge/.ssh/authorized_keys");
    };
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("deployctl key"), "{said}");
    let made = shop.ctl(&host, "key", &[]);
    assert!(made.stderr.contains("was made"), "{made}");
    let public = made.ok();
    assert_eq!(shop.ctl(&host, "key", &[]).ok(), public, "asked twice it is the same");
    assert!(public.starts_with("ssh-ed25519 ") && public.lines().count() == 1, "{public}");
    assert_eq!(
        host.ok(&["stat", "-c", "%U %a", "/var/lib/deployd/keys", "/var/lib/deployd/keys/shop"]),
        "root 700\nroot 600\n"
    );
    for user in ["shop", "deployd", "nobody"] {
        host.run_as(user, &["cat", "/var/lib/deployd/keys/shop"]).expect_failure();
    }
    host.run_as("shop", &["deployctl", "key", "shop"]).expect_status(7);
    register(&public);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    // No step sees it, though it is the same user's.
    let step = "[[step]]\nname = \"look\"\nrun = [\"sh\", \"-c\", \"! find /run/credentials -type f | grep .\"]\n";
    host.write(&shop.toml_path(), format!("{text}{step}"));
    shop.commit(&host, "r2", &[]);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
    let other = shop.ctl(&host, "key", &["--rotate"]).ok();
    assert_ne!(other, public);
    shop.commit(&host, "r3", &[]);
    shop.ctl(&host, "deploy", &[]).expect_failure();
    register(&other);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r3");
    let private = host.read("/var/lib/deployd/keys/shop");
    let secret = private.lines().nth(2).expect("a key has lines");
    host.ok(&["journalctl", "--sync"]);
    assert_eq!(host.run(&["sh", "-c", &format!("journalctl -o json | grep -cF '{secret}'")]).stdout, "0\n");
    assert!(!host.journal_of("MESSAGE_ID", deployd::model::events::KEY_MADE).is_empty());
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
