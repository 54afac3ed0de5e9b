//! Bad input: an error that names file, line and remedy, and nothing is touched.

use crate::{
    common::{installed, with_live_shop, with_shop},
    support::host::Host,
};

/// Everything below the app's root, with owners and times; what bad input may not change.
fn tree(host: &Host) -> String {
    host.sh("find /srv/shop /var/lib/deployd/apps /run/deployd -printf '%p %u %m %T@\\n' 2>/dev/null | grep -v /lock | sort || true")
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_remedy() {
    let (host, shop) = with_shop("");
    let good = host.read(&shop.toml_path());
    // What is written, the line it stands on, and words that must be in the message.
    let cases: [(String, u32, &[&str]); 6] = [
        (format!("{good}usr = \"x\"\n"), 5, &["usr", "user"]),
        (good.replace("user = \"shop\"", "user = 7"), 3, &["user"]),
        (good.replace("user = \"shop\"", "user = \"nosuch\""), 3, &["nosuch", "useradd"]),
        (good.replace("/srv/shop", "srv/shop"), 2, &["root"]),
        (format!("{good}source.ref = \"--upload-pack=x\"\n"), 5, &["--upload-pack"]),
        (format!("{good}[[service]]\nunit = \"nosuch.service\"\nstrategy = \"reload\"\n"), 6, &["nosuch.service"]),
    ];
    let before = tree(&host);
    for (text, line, words) in cases {
        host.write(&shop.toml_path(), &text);
        let said = shop.ctl(&host, "deploy", &[]).expect_failure();
        assert!(said.said().contains(&format!("shop.toml:{line}")), "line {line} of\n{text}\n{said}");
        words.iter().for_each(|word| assert!(said.said().contains(word), "{word}: {said}"));
        shop.start(&host).expect_failure();
        let status = host.run(&["systemctl", "status", "--no-pager", "--full", "deploy@shop"]).said();
        assert!(status.contains(&format!("shop.toml:{line}")), "{status}");
        assert!(
            shop.current(&host).is_empty() && host.run(&["test", "-e", "/srv/shop/releases"]).status != 0,
            "{text}"
        );
    }
    assert_eq!(
        tree(&host).lines().filter(|line| line.starts_with("/srv")).collect::<Vec<_>>(),
        before.lines().filter(|line| line.starts_with("/srv")).collect::<Vec<_>>()
    );
    host.write(&shop.toml_path(), good);
    shop.deploy(&host);
}

#[test]
fn bad_names_and_references_are_refused() {
    let (host, shop) = with_live_shop("");
    let before = shop.current(&host);
    for name in ["../x", "Shop", "a--b", "x/y", ""] {
        let said = host.run(&["deployctl", "deploy", "--", name]).expect_failure();
        assert!(said.stderr.contains("name"), "{name:?}: {said}");
        let call = ["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager", "Deploy"];
        host.run(&[&call[..], &["sa{sv}", name, "0"]].concat()).expect_failure();
    }
    for unit in ["deploy@..-x", "deploy@x\\x2fy", "deploy@-x"] {
        host.run(&["systemctl", "start", "--", unit]).expect_failure();
    }
    for reference in ["--upload-pack=x", "a..b", "a b", "-x", "refs/heads/../x"] {
        let said = host.run(&["deployctl", "deploy", "shop", &format!("--ref={reference}")]).expect_failure();
        assert!(said.stderr.contains(reference), "{reference:?}: {said}");
    }
    assert_eq!(shop.current(&host), before);
    assert!(!host.run(&["ls", "/var/lib/deployd/apps"]).stdout.lines().any(|app| app != "shop"));
}

#[test]
fn an_app_without_a_file_is_named() {
    let host = installed();
    let said = host.run(&["deployctl", "deploy", "nosuch"]).expect_status(8);
    assert!(said.stderr.contains("nosuch"), "{said}");
    host.run(&["systemctl", "start", "deploy@nosuch"]).expect_failure();
    let status = host.run(&["systemctl", "status", "--no-pager", "--full", "deploy@nosuch"]).said();
    assert!(status.contains("/etc/deployd/apps/nosuch.toml"), "{status}");
}

#[test]
fn unknown_options_of_the_bus_are_refused() {
    let (host, shop) = with_live_shop("");
    let before = shop.current(&host);
    let call = ["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager", "Deploy", "sa{sv}"];
    host.run(&[&call[..], &["shop", "1", "froce", "b", "true"]].concat()).expect_failure();
    assert_eq!(shop.current(&host), before);
}
