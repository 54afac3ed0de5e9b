//! What a site needs beyond its pages: mail, and the front end that npm builds.

use crate::{
    common::installed,
    support::shop::{Shop, Spec},
};

/// A page that sends a message and says whether it could.
const MAILS: &str = "<?php\n\nheader('Content-Type: text/plain');\n$r = include __DIR__.'/../release.php';\n\
                     $sent = mail('shop@example.org', 'Order', \"paid\\n\") ? 'yes' : 'no';\n\
                     echo \"start=$r\\nsent=$sent\\nend=$r\\n\";\n";

/// A local sendmail as Postfix's is: what hands the message over is setgid, for a spool that nobody else may write.
const SENDMAIL: &str = "groupadd postdrop; install -d -g postdrop -m 0730 /var/spool/maildrop\n\
    install -g postdrop -m 2755 /usr/bin/tee /usr/sbin/postdrop\n\
    printf '#!/bin/sh\\nexec /usr/sbin/postdrop -a /var/spool/maildrop/new > /dev/null\\n' > /usr/sbin/sendmail\n\
    chmod 0755 /usr/sbin/sendmail";

#[test]
fn mail_goes_through_a_setgid_program() {
    let host = installed();
    host.sh(SENDMAIL);
    let shop =
        Shop::make(&host, Spec { laravel: false, ..Spec::new("shop").more("[[service]]\nkind = \"php-fpm\"\n") });
    shop.commit(&host, "r1", &[("public/index.php", MAILS)]);
    shop.deploy(&host);
    assert_eq!(shop.get(&host, "/").value("sent"), Some("yes"));
    assert!(host.read("/var/spool/maildrop/new").contains("Subject: Order"));
    // The control: where a unit forbids new privileges, the same page cannot.
    host.write("/etc/systemd/system/app-fpm@.service.d/90-test.conf", "[Service]\nNoNewPrivileges=yes\n");
    host.ok(&["systemctl", "daemon-reload"]);
    shop.ctl(&host, "deploy", &["--force"]).ok();
    assert_eq!(shop.get(&host, "/").value("sent"), Some("no"));
}

/// Stands for npm: it does what the two steps rely on, and no more.
const NPM: &str = r#"#!/bin/sh -eu
echo "$*" >> "$npm_config_cache.log"
case $1 in
ci) mkdir -p node_modules/vite "$npm_config_cache" ;;
run) test -d node_modules/vite; mkdir -p public/build; cat resources/app.js > public/build/app.js ;;
esac
"#;

#[test]
fn a_stand_in_for_npm_builds_and_its_modules_are_dropped() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    host.write("/usr/local/bin/npm", NPM);
    host.ok(&["chmod", "0755", "/usr/local/bin/npm"]);
    let files = [("package.json", "{}"), ("package-lock.json", "{}"), ("resources/app.js", "front end\n")];
    shop.commit(&host, "r2", &files);
    shop.deploy(&host);
    let log = host.read("/var/cache/deployd/shop/npm.log");
    assert_eq!(log, "ci --include=dev --no-audit --no-fund\nrun build --if-present\n");
    assert_eq!(host.read("/srv/shop/current/public/build/app.js"), "front end\n");
    assert_ne!(host.run(&["test", "-e", "/srv/shop/current/node_modules"]).status, 0);
}
