//! Whose things are: two users, and roots below a home.

use crate::{
    common::installed,
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

#[test]
fn logs_and_uploads_are_written_by_both_users() {
    let host = installed();
    let spec = Spec { user: "deploy".into(), ..Spec::new("shop") }.more("run_as = \"www-data\"\n");
    let shop = Shop::make(&host, spec);
    host.ok(&["setfacl", "-m", "u:www-data:rw", "/srv/shop/shared/database.sqlite"]);
    host.ok(&["setfacl", "-m", "u:www-data:rwx", "/srv/shop/shared"]);
    shop.deploy(&host);
    let id = shop.current(&host);
    assert_eq!(host.ok(&["stat", "-c", "%U", &format!("/srv/shop/{id}/artisan")]), "deploy\n");
    assert_eq!(shop.get(&host, "/write/web").value("owner"), Some("www-data"));
    let storage = "/srv/shop/shared/storage";
    for file in ["logs/laravel.log", "app/public/web"] {
        let append = format!("echo more >> {storage}/{file}");
        host.run_as("deploy", &["sh", "-c", &append]).ok();
    }
    host.run_as("deploy", &["sh", "-c", &format!("echo one >> {storage}/app/public/cli")]).ok();
    assert_eq!(shop.get(&host, "/write/cli").value("owner"), Some("www-data"));
    assert!(host.read(&format!("{storage}/app/public/cli")).starts_with("one\n"));
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.get(&host, "/write/web").status, 200, "and after another deployment");
}

/// An app below the home of `deploy`, which is `/home/deploy` with mode 0750.
fn below_a_home(host: &Host) -> Shop {
    host.ok(&["useradd", "--create-home", "--shell", "/bin/bash", "deploy"]);
    host.ok(&["chmod", "0750", "/home/deploy"]);
    let spec = Spec { user: "deploy".into(), root: "/home/deploy/shop".into(), ..Spec::new("shop") };
    Shop::make(host, spec)
}

#[test]
fn a_root_below_a_home_works_when_nginx_may_pass() {
    let host = installed();
    let shop = below_a_home(&host);
    host.ok(&["usermod", "-aG", "deploy", "www-data"]);
    host.ok(&["systemctl", "restart", "nginx"]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    assert_eq!(host.ok(&["stat", "-c", "%U %a", "/home/deploy"]), "deploy 750\n", "the home is left alone");
}

#[test]
fn a_root_elsewhere_is_said_beforehand_and_served_at_the_second_start() {
    let host = installed();
    let shop = Shop::make(&host, Spec { root: "/data/shop".into(), ..Spec::new("shop") });
    host.ok(&["chmod", "0755", "/data", "/data/shop"]);
    let said = shop.ctl(&host, "plan", &[]).ok();
    assert!(said.contains("systemctl daemon-reload"), "{said}");
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("start the deployment again"), "{said}");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn a_root_that_nginx_cannot_pass_is_an_error_with_the_remedy() {
    let host = installed();
    let shop = below_a_home(&host);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    let error = &said.stderr;
    assert!(error.contains("/home/deploy") && error.contains("www-data"), "{said}");
    assert!(error.contains("setfacl") || error.contains("chmod") || error.contains("usermod"), "no remedy: {said}");
    assert!(shop.current(&host).is_empty());
}
