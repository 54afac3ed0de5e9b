//! `[access]` on a host: whom the shipped rule lets without anybody's own rule, and how one would get in who is not named.

use crate::{
    common::installed,
    support::{
        command::Ended,
        host::Host,
        shop::{Shop, Spec},
    },
};

const ACCESS: &str = "source.ref = \"main\"\n[access]\ndeploy = [\"ci\", \"%web\"]\nread_logs = [\"ci\"]\n";

fn scene(more: &str) -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") }.more(more));
    host.sh("groupadd web; useradd ci; useradd ann; useradd -G web eve");
    shop.deploy(&host);
    (host, shop)
}

fn deploy(host: &Host, user: &str, more: &[&str]) -> Ended {
    host.run_as(user, &[&["deployctl", "deploy", "shop"], more].concat())
}

#[test]
fn who_is_listed_deploys_and_nobody_gets_on_the_list_by_himself() {
    let (host, shop) = scene(ACCESS);
    let release = || host.read("/srv/shop/current/RELEASE");
    shop.commit(&host, "r2", &[]);
    deploy(&host, "ann", &[]).expect_status(7);
    deploy(&host, "ci", &[]).ok();
    assert_eq!(release(), "r2\n");
    shop.commit(&host, "r3", &[]);
    deploy(&host, "eve", &[]).ok();
    assert_eq!(release(), "r3\n");

    // For nothing more than it says.
    for more in [["--force"], ["--allow-destructive"], ["--allow-key-rotation"], ["--ref=r1"], ["--ref=refs/tags/main"]]
    {
        deploy(&host, "ci", &more).expect_status(7);
    }
    for verb in ["stage", "activate", "rollback", "plan", "check", "key", "hold", "unhold", "prune"] {
        host.run_as("ci", &["deployctl", verb, "shop"]).expect_status(7);
    }
    host.run_as("ci", &["deployctl", "logs", "shop"]).ok();
    host.run_as("eve", &["deployctl", "logs", "shop"]).expect_status(7);

    let more = "hold = [\"ann\"]\nprune = [\"%web\"]\n";
    shop.configure(&host, &format!("{ACCESS}{more}"));
    host.run_as("ann", &["deployctl", "hold", "shop", "--reason", "the sale is on"]).ok();
    host.run_as("eve", &["deployctl", "unhold", "shop"]).expect_status(7);
    host.run_as("ann", &["deployctl", "unhold", "shop"]).ok();
    host.run_as("ann", &["deployctl", "prune", "shop"]).expect_status(7);
    host.run_as("eve", &["deployctl", "prune", "shop"]).ok();
    shop.configure(&host, ACCESS);

    // Who has left the group has left the list, and who comes to it is on it; deployd runs on.
    host.sh("gpasswd -d eve web; gpasswd -a ann web");
    deploy(&host, "eve", &[]).expect_status(7);
    deploy(&host, "ann", &[]).ok();

    // What deployd tells polkit is nobody else's to tell.
    let target =
        ["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager", "Deploy", "sa{sv}", "shop"];
    let said = host.run_as("eve", &[&target[..], &["1", "access", "s", "listed"]].concat()).expect_failure();
    assert!(said.stderr.contains("unknown option"), "{said}");
    let check = ["pkcheck", "--action-id", "org.deployd1.deploy", "--process", "1", "--detail", "access", "listed"];
    let said = host.run_as("eve", &check).expect_failure();
    assert!(said.stderr.contains("Only trusted callers"), "{said}");
    assert_eq!(release(), "r3\n");

    // With an error in it the description says nothing of anybody.
    shop.configure(&host, &format!("{ACCESS}deplyo = []\n"));
    let said = deploy(&host, "ci", &[]).expect_status(7);
    assert!(said.stderr.contains("deployctl check shop"), "{said}");

    // A list of the app's own user, in its tree, is no list.
    host.sh("mkdir -p /srv/shop/shared; printf '[access]\\ndeploy = [\"eve\"]\\n' > /srv/shop/shared/shop.toml");
    shop.configure(&host, ACCESS);
    deploy(&host, "eve", &[]).expect_status(7);
}

#[test]
fn a_name_that_is_nobody_s_is_told_and_an_administrator_s_no_goes_before_the_list() {
    let (host, shop) = scene(&ACCESS.replace("\"ci\", ", "\"ci\", \"gone\", "));
    let said = shop.ctl(&host, "check", &[]).said();
    assert!(said.contains("access-name") && said.contains("gone"), "{said}");
    deploy(&host, "ci", &[]).ok();
    let no = "polkit.addRule(function (action, subject) {
    if (action.id.indexOf(\"org.deployd1.\") === 0 && subject.user === \"ci\") return polkit.Result.NO;
    return polkit.Result.NOT_HANDLED;
});\n";
    host.write("/etc/polkit-1/rules.d/60-no.rules", no);
    host.ok(&["systemctl", "restart", "polkit"]);
    deploy(&host, "ci", &[]).expect_status(7);
    // Without the shipped rule the list is a text.
    host.sh(
        "rm /etc/polkit-1/rules.d/60-no.rules /usr/share/polkit-1/rules.d/org.deployd1.rules; systemctl restart polkit",
    );
    deploy(&host, "ci", &[]).expect_status(7);
}
