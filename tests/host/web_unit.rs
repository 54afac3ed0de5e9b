//! `[web] unit`: an nginx that another unit than nginx.service runs, with a configuration of its own. That one is tested
//! before anything is live, reloaded and awaited, and has the live slot over a reboot.

use deployd::model::events;

use crate::{
    common::installed,
    upstream::{HTTP, shop},
};

const CONF: &str = "user www-data;\npid /run/web.pid;\nerror_log /var/log/nginx/web.log;\nevents {}\nhttp {\n    \
                    include /etc/web/*.inc;\n    include /etc/nginx/conf.d/*.conf;\n    \
                    include /etc/nginx/sites-enabled/*;\n}\n";
const UNIT: &str = "[Service]\nType=forking\nPIDFile=/run/web.pid\nExecStart=/usr/sbin/nginx -c /etc/web/nginx.conf\n\
                    ExecReload=/usr/sbin/nginx -c /etc/web/nginx.conf -s reload\n[Install]\nWantedBy=multi-user.target\n";

#[test]
fn the_nginx_of_another_unit_is_the_one_that_is_tested_and_reloaded() {
    let mut host = installed();
    let shop = shop(&host, &format!("{HTTP}[web]\nunit = \"web.service\"\n"));
    host.write("/etc/web/nginx.conf", CONF);
    host.write("/etc/systemd/system/web.service", UNIT);
    host.ok(&["systemctl", "disable", "--quiet", "--now", "nginx"]);
    // What nobody starts nginx with is not what is read.
    host.write("/etc/nginx/nginx.conf", "no_such_directive on;\n");
    host.sh("ln -s /etc/nginx/snippets /etc/web/; systemctl daemon-reload; systemctl enable --quiet --now web");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");

    shop.point(&host, "r2");
    host.write("/etc/web/wrong.inc", "another_wrong_directive on;\n");
    shop.start(&host).expect_status(1);
    let told = host.journal_of("MESSAGE_ID", events::DEPLOYMENT_FAILED);
    assert!(told.contains("another_wrong_directive") && told.contains("/etc/web/wrong.inc"), "{told}");
    assert_eq!(shop.release(&host), "r1");
    host.ok(&["rm", "/etc/web/wrong.inc"]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");

    let current = shop.current(&host);
    host.reboot();
    shop.wait_release(&host, "r2");
    assert_eq!(shop.current(&host), current);
}
