//! The Puppet module as it is in packaging/: what its tools say of it, and a real puppet apply.

use std::fs;

use crate::support::{
    command::Ended,
    deb, fleet,
    host::Host,
    lock::crate_dir,
    shop::{Shop, Spec},
    site::Php,
};

const MODULE: &str = "/root/modules/deployd";
/// The app with its release, as a node has it.
const NODE: &str = r#"class { 'deployd':
  package_source => '/root/deployd.deb',
  apps           => {
    'shop' => {
      'deploy'   => true,
      'settings' => {
        'root'    => '/srv/shop',
        'user'    => 'shop',
        'source'  => { 'git' => '/srv/git/shop.git' },
        'service' => [{ 'kind' => 'php-fpm', 'pool' => { 'pm' => 'static', 'pm.max_children' => '4' } }],
        'health'  => { 'http' => 'http://127.0.0.1/', 'host' => 'shop.example.org', 'bake' => '1s' },
      },
    },
  },
}
"#;
/// What `--detailed-exitcodes` ends with.
const NOTHING: i32 = 0;
const CHANGED: i32 = 2;

fn apply(host: &Host, manifest: &str, more: &[&str]) -> Ended {
    host.write("/root/site.pp", manifest);
    let argv = ["puppet", "apply", "--modulepath", "/root/modules", "--detailed-exitcodes", "--color=false"];
    host.run(&[&argv[..], more, &["/root/site.pp"]].concat())
}

#[test]
fn a_node_converges_shows_the_plan_and_fails_with_the_remedy() {
    let host = Host::boot(&fleet::root());
    host.copy_in(&crate_dir().join("packaging/puppet"), MODULE);
    host.ok(&["puppet", "parser", "validate", &format!("{MODULE}/manifests")]);
    host.ok(&["sh", "-euc", "cd /root/modules && puppet-lint --fail-on-warnings deployd"]);
    host.write("/root/deployd.deb", fs::read(deb::ensure()).unwrap());

    // By the socket's own path: nginx has deployd's snippet only when the package is there.
    let php = Php::Socket("/run/deployd/shop/fpm.sock".into());
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), php, ..Spec::new("shop") });
    shop.commit(&host, "r1", &[("built", "yes")]);
    host.ok(&["rm", &shop.toml_path()]);

    // The package, the app and its release in one run, and the second time nothing.
    apply(&host, NODE, &[]).expect_status(CHANGED);
    assert_eq!(shop.release(&host), "r1");
    let first = shop.current(&host);
    apply(&host, NODE, &[]).expect_status(NOTHING);
    assert_eq!(shop.current(&host), first);

    // The plan, then the deployment.
    shop.commit(&host, "r2", &[]);
    let noop = apply(&host, NODE, &["--noop"]);
    // Puppet 7 names the live release, Puppet 8 has deployd's own sentence, with the live revision.
    let live = first.rsplit('-').next().unwrap_or_default();
    assert!(noop.stdout.contains("(noop)") && noop.stdout.contains(live), "{noop}");
    assert_eq!(shop.current(&host), first, "{noop}");
    let said = apply(&host, NODE, &[]).expect_status(CHANGED);
    assert!(said.stdout.contains("is live (was"), "{said}");
    assert_eq!(shop.release(&host), "r2");
    apply(&host, NODE, &[]).expect_status(NOTHING);

    // Held, and a release that does not prove healthy while it is not live yet.
    let live = shop.current(&host);
    shop.commit(&host, "r3", &[("bad-health", "")]);
    shop.ctl(&host, "hold", &["--reason", "moving"]).ok();
    let held = apply(&host, NODE, &[]).expect_failure();
    assert!(held.said().contains("moving") && held.said().contains("deployctl unhold shop"), "{held}");
    shop.ctl(&host, "unhold", &[]).ok();
    let bad = apply(&host, NODE, &[]).expect_failure();
    assert!(bad.said().contains("shop: failed: ") && bad.said().contains("deployctl logs shop"), "{bad}");
    assert_eq!((shop.current(&host), shop.release(&host).as_str()), (live.clone(), "r2"));

    // A file that deployd does not take: named, in every run, and nothing is deployed by it.
    shop.point(&host, "r1");
    let wrong = NODE.replace("'user'    => 'shop',", "'user'    => 'shop', 'usr' => 'x',");
    for _ in 0..2 {
        let said = apply(&host, &wrong, &[]).expect_failure();
        assert!(said.said().contains("usr") && said.said().contains("shop.toml"), "{said}");
    }
    assert_eq!(shop.current(&host), live);
}
