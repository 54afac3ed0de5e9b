//! The main job: a Laravel app goes live, moves on, goes back, and says what it is.

use std::time::Duration;

use deployd::model::events;

use crate::{
    common::{eventually, releases, with_live_shop, with_shop},
    support::{host::Host, shop::Shop, site},
};

#[test]
fn four_lines_deploy_a_laravel_app_and_go_back() {
    let (host, shop) = with_shop("");
    assert_eq!(host.read(&shop.toml_path()).lines().count(), 4);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    assert_eq!(shop.get(&host, "/up").status, 200);
    assert_eq!(shop.get(&host, "/notes").value("columns"), Some("id,text"), "the migration ran");
    assert_eq!(shop.get(&host, "/write/a").value("owner"), Some("shop"));
    assert_eq!(host.read("/srv/shop/shared/storage/app/public/a"), "written by a request\n");
    assert_eq!(host.ok(&["stat", "-c", "%U", "/srv/shop", "/srv/shop/releases"]), "root\nroot\n");

    let first = shop.current(&host);
    shop.commit_second(&host);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(shop.get(&host, "/notes").value("columns"), Some("id,text,colour"));

    let back = host.run(&["systemctl", "start", "deploy-rollback@shop"]);
    assert_eq!(back.status, 0, "{back}");
    assert_eq!(shop.release(&host), "r1");
    assert_eq!(shop.current(&host), first, "a rollback builds nothing");
    assert_eq!(shop.get(&host, "/write/a").value("bytes"), Some("42"), "uploads outlive releases");
}

#[test]
fn show_prints_what_was_inferred_and_why() {
    let (host, shop) = with_shop("");
    let shown = shop.ctl(&host, "show", &[]).ok();
    let version = site::php_version(&host);
    for part in ["storage", ".env", "composer", "php-fpm", &version, "preset", "default", "HEAD"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
}

#[test]
fn status_and_releases_name_what_is_live() {
    let (host, shop) = with_live_shop("");
    let first = shop.current(&host);
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    let second = shop.current(&host);
    let id = |current: &str| current.strip_prefix("releases/").expect("a relative link").to_owned();
    let (status, listed) = (shop.ctl(&host, "status", &[]).ok(), shop.ctl(&host, "releases", &[]).ok());
    assert!(status.contains(&id(&second)), "{status}");
    assert!(listed.contains(&id(&first)) && listed.contains(&id(&second)), "{listed}");
    shop.ctl(&host, "rollback", &[&id(&first)]).ok();
    assert_eq!(shop.current(&host), first);
    assert!(shop.ctl(&host, "status", &[]).ok().contains(&id(&first)));
    a_release_that_was_changed_is_gone_back_to_by_name_only(&host, &shop, &id(&first));
}

/// `release` is live, and what a rollback goes to once another one is.
fn a_release_that_was_changed_is_gone_back_to_by_name_only(host: &Host, shop: &Shop, release: &str) {
    shop.deploy(host);
    let live = shop.current(host);
    assert_eq!(shop.release(host), "r2");
    host.sh(&format!("cd /srv/shop/releases/{release}; echo >> artisan; rm composer.lock; touch added"));
    let said = shop.ctl(host, "rollback", &[]).expect_status(3).stderr;
    let wrong = format!("{release} is not as it was sealed: 2 entries changed or gone (artisan, composer.lock)");
    assert!(said.contains(&wrong) && said.contains(&format!("`deployctl rollback shop {release}`")), "{said}");
    host.run(&["systemctl", "start", "deploy-rollback@shop"]).expect_failure();
    assert_eq!((shop.current(host), shop.release(host)), (live, "r2".into()));
    shop.ctl(host, "rollback", &[release]).ok();
    assert_eq!(shop.current(host), format!("releases/{release}"));
    assert!(host.journal_of("MESSAGE_ID", events::DEPLOYMENT_WARNED).contains(&wrong));
}

#[test]
fn a_deployment_may_name_another_reference() {
    let (host, shop) = with_live_shop("");
    shop.commit(&host, "r2", &[]);
    shop.commit(&host, "r3", &[]);
    shop.ctl(&host, "deploy", &["--ref", "r2"]).ok();
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn staging_touches_nothing_live_and_activating_moves_to_it() {
    let (host, shop) = with_live_shop("");
    let before = shop.current(&host);
    shop.commit(&host, "r2", &[]);
    shop.ctl(&host, "stage", &[]).ok();
    assert_eq!((shop.release(&host).as_str(), shop.current(&host)), ("r1", before));
    assert_eq!(releases(&host, &shop).len(), 2);
    shop.ctl(&host, "activate", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn releases_beyond_keep_are_pruned_but_not_the_live_or_the_previous_one() {
    let (host, shop) = with_live_shop("[releases]\nkeep = 2\n");
    for label in ["r2", "r3", "r4"] {
        shop.commit(&host, label, &[]);
        let previous = shop.current(&host);
        shop.deploy(&host);
        let kept = releases(&host, &shop);
        for current in [previous, shop.current(&host)] {
            assert!(kept.iter().any(|id| format!("releases/{id}") == current), "{current} of {kept:?}");
        }
    }
    // What a draining slot still uses may stay for a while; the next deployment takes it.
    eventually("the oldest is pruned", Duration::from_secs(30), || releases(&host, &shop).len() <= 3);
}

#[test]
fn one_worker_makes_a_release_in_a_directory_that_was_roots_until_then() {
    let (host, shop) = with_live_shop("");
    let releases = format!("{}/releases", shop.root());
    let next = host.ok(&["find", &releases, "-maxdepth", "1", "-name", ".next-*", "-printf", "%f %u %m %i\n"]);
    let (name, owner) = next.trim().split_once(' ').expect("a directory is ready");
    let (owner, inode) = owner.rsplit_once(' ').unwrap();
    assert_eq!(owner, "root 755");
    let intruder = host.run(&["runuser", "-u", "shop", "--", "touch", &format!("{releases}/{name}/planted")]);
    assert_ne!(intruder.status, 0, "{intruder:?}");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    let live = host.ok(&["stat", "-L", "-c", "%i", &format!("{}/current", shop.root())]);
    assert_eq!(live.trim(), inode, "the release took it");
    let workers = host.ok(&["journalctl", "-o", "cat", "-t", "systemd", "--grep", "Starting deploy-worker-"]);
    let last: Vec<_> = workers.lines().filter(|line| !line.contains("-bake") && !line.contains("-remove")).collect();
    let of = |role: &str| last.iter().filter(|line| line.contains(&format!("-{role}.service"))).count();
    assert_eq!((of("fetch"), of("release"), of("tree")), (1, 1, 1), "only the first takes two: {last:?}");
}

#[test]
fn logs_tell_the_steps() {
    let (host, shop) = with_live_shop("");
    let logs = shop.ctl(&host, "logs", &[]).ok();
    for part in ["composer", "autoload", "Configuration cached"] {
        assert!(logs.contains(part), "{part} is not in:\n{logs}");
    }
    // As Laravel 8 has it, or a later one.
    assert!(["Migrated:", "DONE"].iter().any(|part| logs.contains(part)), "what migrate printed is not in:\n{logs}");
}
