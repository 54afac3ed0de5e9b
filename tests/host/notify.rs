//! Who is told how a deployment ended: by webhooks and by mail, with what came since; and nothing of it holds up or fails
//! a deployment.

use std::time::Duration;

use crate::{
    common::{eventually, installed},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

const PAGE: &str = "<?php echo 'start=', trim(file_get_contents('../RELEASE')), \"\\nend=\", trim(file_get_contents('../RELEASE')), \"\\n\";\n";
const NOTIFY: &str = "[[service]]\nkind = \"php-fpm\"\n\
                      [[notify]]\nkind = \"slack\"\nurl_file = \"/etc/deployd/secrets/slack\"\n\
                      [[notify]]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9099/geheim-hook\"\non = \"failure\"\n\
                      [[notify]]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/geheim-closed\"\n\
                      [[notify]]\nkind = \"mail\"\nto = \"ops@example.org\"\non = \"success\"\n";

/// What came to the webhook at `path`, one body a line.
fn came(host: &Host, path: &str) -> Vec<String> {
    let file = format!("/srv/hooks/{path}");
    host.run(&["cat", &file]).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn the_end_is_told_to_those_who_wait_for_it() {
    let host = installed();
    let hook = "<?php file_put_contents('/srv/hooks/'.basename($_SERVER['REQUEST_URI']), file_get_contents('php://input').\"\\n\", FILE_APPEND);\n";
    host.write("/srv/hooks/index.php", hook);
    host.ok(&["systemd-run", "--unit=hooks", "php", "-S", "127.0.0.1:9099", "/srv/hooks/index.php"]);
    host.write("/etc/deployd/secrets/slack", "http://127.0.0.1:9099/geheim-slack\n");
    host.ok(&["chmod", "0600", "/etc/deployd/secrets/slack"]);
    host.write("/usr/sbin/sendmail", "#!/bin/sh\nexec cat >> /var/mail/told\n");
    host.sh("chmod 0755 /usr/sbin/sendmail; touch /var/mail/told; chmod 0666 /var/mail/told");
    eventually("the webhook listens", Duration::from_secs(20), || {
        host.ok(&["ss", "-tlnH", "sport", "=", ":9099"]).contains("9099")
    });
    let shop = Shop::make(&host, Spec::node("shop").more(NOTIFY));
    shop.commit(&host, "r1", &[("public/index.php", PAGE)]);
    shop.deploy(&host);
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    let told = came(&host, "geheim-slack");
    assert_eq!(told.len(), 2, "{told:?}");
    for wanted in ["shop: deploy succeeded", "Release r2", "->", " s"] {
        assert!(told[1].replace("&gt;", ">").contains(wanted), "{wanted}: {}", told[1]);
    }
    assert!(came(&host, "geheim-hook").is_empty(), "it waits for failures");
    let mail = host.read("/var/mail/told");
    assert_eq!(mail.matches("To: ops@example.org\nSubject: shop: deploy succeeded").count(), 2, "{mail}");

    // A deployment that changes nothing is not worth a word; one that fails is.
    shop.deploy(&host);
    shop.configure(&host, &format!("{NOTIFY}[[step]]\nname = \"broken\"\nrun = [\"false\"]\n"));
    shop.ctl(&host, "deploy", &[]).expect_status(1);
    let told = came(&host, "geheim-hook");
    assert_eq!(told.len(), 1, "{told:?}");
    for wanted in ["\"outcome\":\"failed\"", "\"duration_ms\":", "\"from_commit\":", "the step broken failed"] {
        assert!(told[0].contains(wanted), "{wanted}: {}", told[0]);
    }
    assert_eq!(came(&host, "geheim-slack").len(), 3);
    assert_eq!(host.read("/var/mail/told"), mail);
    let journal = host.ok(&["journalctl", "--no-pager", "-o", "verbose"]);
    assert!(journal.contains("was not delivered: cannot connect to 127.0.0.1 port 9"), "the closed one is said");
    assert!(!journal.contains("geheim"), "an address is in the journal");
    assert!(!shop.ctl(&host, "show", &[]).said().contains("geheim"), "or is shown");
}
