//! Apps that are released together, by systemd's own dependencies, as deploy@.service(8) shows it.

use crate::{
    common::installed,
    support::{
        lock::crate_dir,
        shop::{Shop, Spec},
    },
};

const FPM: &str = "[[service]]\nkind = \"php-fpm\"\n[service.pool]\npm = \"static\"\n\"pm.max_children\" = \"2\"\n";

/// The manual's two files.
fn shown() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(crate_dir().join("man/deploy@.service.8")).expect("it is there");
    let section = page.split(".Ss Several apps at once").nth(1).expect("the section is there");
    let example = section.split(".Bd -literal -offset indent\n").nth(1).and_then(|rest| rest.split(".Ed").next());
    let files = example.expect("the example is there").split("# ").skip(1);
    let file = |text: &str| text.split_once('\n').map(|(path, text)| (path.to_owned(), text.to_owned()));
    files.filter_map(file).collect()
}

#[test]
fn a_target_deploys_apps_in_order_and_ends_where_one_fails() {
    let host = installed();
    let make =
        |name: &str| Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new(name).more(FPM) });
    let (api, shop) = (make("api"), make("shop"));
    let files = shown();
    assert_eq!(files.len(), 2, "{files:?}");
    files.iter().for_each(|(path, text)| host.write(path, text));
    host.ok(&["systemctl", "daemon-reload"]);
    let commit = |label: &str| {
        for one in [&api, &shop] {
            one.commit(&host, label, &[("built", "yes")]);
        }
    };
    let release = || host.run(&["systemctl", "start", "release.target"]);
    let live_at = |shop: &Shop| host.ok(&["stat", "-c", "%.Y", &format!("{}/current", shop.root())]);

    commit("r1");
    release().ok();
    assert_eq!([&api, &shop].map(|one| one.release(&host)), ["r1", "r1"]);
    assert!(live_at(&api) < live_at(&shop), "the shop comes after its API");

    // Again, with something new; and then one that fails keeps the next from being touched.
    commit("r2");
    release().ok();
    assert_eq!([&api, &shop].map(|one| one.release(&host)), ["r2", "r2"]);
    commit("r3");
    api.configure(&host, &format!("[[step]]\nname = \"no\"\nrun = [\"/bin/false\"]\n{FPM}"));
    let failed = release().expect_failure();
    assert!(failed.said().contains("release.target"), "{failed}");
    assert_eq!([&api, &shop].map(|one| one.release(&host)), ["r2", "r2"]);
}
