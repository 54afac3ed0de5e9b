//! Migrations: what the live release may not survive is refused before it runs, what broke it stops the deployment, and
//! nothing that has run is forgotten.

use std::time::{Duration, Instant};

use crate::{
    common::{Live, eventually, with_live_shop, with_shop},
    support::{host::Host, shop::Shop},
};

const HEALTH: &str = "[health]\nhttp = \"http://127.0.0.1/notes\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
const PAGES: &str = include_str!("../app/app/Http/Pages.php");

/// A migration file that does this.
fn migration(up: &str) -> String {
    format!(
        "<?php\n\nuse Illuminate\\Database\\Migrations\\Migration;\nuse Illuminate\\Support\\Facades\\DB;\n\n\
         return new class extends Migration\n{{\n    public function up()\n    {{\n        {up}\n    }}\n}};\n"
    )
}

fn columns(host: &Host, shop: &Shop) -> String {
    let script = "$db = new PDO('sqlite:' . $argv[1]); \
                  foreach ($db->query('pragma table_info(notes)') as $row) { echo $row['name'], ' '; }";
    host.ok(&["php", "-r", script, &format!("{}/shared/database.sqlite", shop.root())])
}

/// What is live and which releases there are; an older slot may end meanwhile.
fn untouched(host: &Host, shop: &Shop) -> Live {
    Live { slots: Vec::new(), ..Live::of(host, shop) }
}

#[test]
fn the_live_release_survives_migrations_or_the_deployment_stops() {
    let (host, shop) = with_shop(HEALTH);
    shop.deploy(&host);

    // One that only adds goes live, and a rollback says that it does not undo it.
    shop.commit_second(&host);
    shop.deploy(&host);
    assert_eq!((shop.release(&host).as_str(), columns(&host, &shop).as_str()), ("r2", "id text colour "));
    let said = shop.ctl(&host, "rollback", &[]);
    assert_eq!(said.status, 0, "{said}");
    for wanted in ["2026_02_01_000000_add_colour_to_notes", "not undone"] {
        assert!(said.said().contains(wanted), "the rollback does not say {wanted:?}: {said}");
    }
    assert_eq!(columns(&host, &shop), "id text colour ");

    // One that drops a column is refused, with the file, the statement and the ways out.
    let drops = migration("DB::statement('alter table notes drop column text');");
    let reads = PAGES.replace("insertGetId(['text' => 'note'])", "count()");
    assert_ne!(reads, PAGES);
    let dropped = [("database/migrations/2026_03_01_000000_drop_text.php", &*drops), ("app/Http/Pages.php", &*reads)];
    shop.commit(&host, "r3", &dropped);
    let before = untouched(&host, &shop);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    let ways = ["drop it with the next", "--allow-destructive", "migrations = \"any\""];
    for wanted in ["2026_03_01_000000_drop_text", "`alter table notes drop column text`"].iter().chain(&ways) {
        assert!(said.stderr.contains(wanted), "the refusal does not say {wanted:?}: {said}");
    }
    assert_eq!((untouched(&host, &shop), columns(&host, &shop)), (before.clone(), "id text colour ".to_owned()));

    // One that is run all the same and breaks the live page: stopped before activate, and said.
    let said = shop.ctl(&host, "deploy", &["--allow-destructive"]).expect_status(1);
    for wanted in ["broke the live release", "/notes", "2026_03_01_000000_drop_text", "are not undone"] {
        assert!(said.stderr.contains(wanted), "the end does not say {wanted:?}: {said}");
    }
    assert_eq!(untouched(&host, &shop), before);
    // The way on is the release that can live with it.
    shop.deploy(&host);
    assert_eq!((shop.release(&host).as_str(), columns(&host, &shop).as_str()), ("r3", "id colour "));
}

#[test]
fn what_is_staged_migrates_when_it_is_activated() {
    let (host, shop) = with_live_shop("");
    shop.commit_second(&host);
    shop.ctl(&host, "stage", &[]).ok();
    assert_eq!((shop.release(&host).as_str(), columns(&host, &shop).as_str()), ("r1", "id text "));
    shop.ctl(&host, "activate", &[]).ok();
    assert_eq!((shop.release(&host).as_str(), columns(&host, &shop).as_str()), ("r2", "id text colour "));

    // What a deployment refuses is refused then, beside the release that is live then.
    let drops = migration("DB::statement('drop table if exists unused');");
    shop.commit(&host, "r3", &[("database/migrations/2026_03_01_000000_drop_unused.php", &drops)]);
    shop.set_env(&host, "APP_KEY", "base64:OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg=");
    shop.ctl(&host, "stage", &["--allow-key-rotation"]).ok();
    for (allowed, refused) in [(&[][..], "APP_PREVIOUS_KEYS"), (&["--allow-key-rotation"], "drop_unused")] {
        let said = shop.ctl(&host, "activate", allowed).expect_status(3);
        assert!(said.stderr.contains(refused) && said.stderr.contains("`deployctl activate shop --allow-"), "{said}");
        assert_eq!(shop.release(&host), "r2");
    }
    shop.ctl(&host, "activate", &["--allow-key-rotation", "--allow-destructive"]).ok();
    assert_eq!(shop.release(&host), "r3");
}

#[test]
fn what_has_run_for_a_release_does_not_run_again_unasked() {
    let line = |name: &str, when: &str, script: &str| {
        format!("[[step]]\nname = \"{name}\"\nshell = true\nas = \"run_as\"\nshared = \"rw\"\n{when}run = '{script}'\n")
    };
    let steps = [
        "[[step]]\nname = \"migrate\"\nrun = []\n".to_owned(),
        line("tables", "", "php artisan migrate --force; echo x >> storage/migrated"),
        line("greet", "after = \"activate\"\nonce = true\n", "echo x >> storage/greeted"),
    ];
    let (host, shop) = with_live_shop(&steps.concat());
    let times = || ["migrated", "greeted"].map(|name| host.read(&format!("/srv/shop/shared/storage/{name}")).len() / 2);
    shop.commit_second(&host);
    shop.ctl(&host, "stage", &[]).ok();
    assert_eq!(times(), [1, 1]);
    // It fails after it has migrated.
    host.ok(&["systemctl", "mask", "--runtime", "app-fpm@shop:b.service"]);
    let said = shop.ctl(&host, "activate", &[]).expect_status(1);
    assert!(said.stderr.contains("app-fpm@shop:b") && said.stderr.contains("are not undone"), "{said}");
    host.ok(&["systemctl", "unmask", "--runtime", "app-fpm@shop:b.service"]);
    assert_eq!((shop.release(&host).as_str(), times()), ("r1", [2, 1]));
    let said = shop.ctl(&host, "activate", &[]);
    assert_eq!(said.status, 0, "{said}");
    assert!(said.stderr.contains("the step tables is left out: it has run for"), "it does not say so: {said}");
    assert_eq!((shop.release(&host).as_str(), times()), ("r2", [2, 2]));

    // A release that was live before: what follows activate runs once as well, until it is asked for.
    let second = shop.current(&host).replace("releases/", "");
    for (again, greeted) in [(&[][..], 2), (&["--run-again"], 3)] {
        shop.ctl(&host, "rollback", &[]).ok();
        shop.ctl(&host, "activate", &[&[&*second], again].concat()).ok();
        assert_eq!((shop.release(&host).as_str(), times()), ("r2", [2, greeted]));
    }
}

#[test]
fn a_migration_that_is_cut_off_or_waits_for_a_lock_ends_and_is_said() {
    let (host, shop) = with_shop("[safety]\nlock_timeout = \"1s\"\n");
    shop.deploy(&host);
    let file = "database/migrations/2026_03_01_000000_slow.php";

    let slow = migration("DB::connection()->pretending() || touch(storage_path('slow')) && sleep(60);");
    shop.commit(&host, "r2", &[(file, &slow)]);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    let begun = format!("{}/shared/storage/slow", shop.root());
    eventually("the migration begins", Duration::from_secs(60), || host.run(&["test", "-e", &begun]).status == 0);
    host.ok(&["systemctl", "kill", "-s", "KILL", "deploy-step-shop-*"]);
    eventually("the deployment ends", Duration::from_secs(30), || {
        host.run(&["systemctl", "is-active", "deploy@shop"]).stdout.trim() == "failed"
    });
    assert_eq!(shop.release(&host), "r1");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(said.stderr.contains("was cut off while it migrated"), "{said}");
    assert!(said.stderr.contains("2026_03_01_000000_slow"), "{said}");

    // Somebody holds the database: the migration gives up, and holds up nobody.
    shop.commit(&host, "r3", &[(file, &migration("DB::statement('alter table notes add column x integer');"))]);
    let hold =
        "<?php $db = new PDO('sqlite:/srv/shop/shared/database.sqlite'); $db->exec('begin immediate'); sleep(40);";
    host.write("/srv/hold.php", hold);
    host.ok(&["systemd-run", "--uid=shop", "--unit=holder", "php", "/srv/hold.php"]);
    let started = Instant::now();
    let said = shop.ctl(&host, "deploy", &["--allow-destructive"]).expect_status(1);
    assert!(said.stderr.contains("migrate"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(30), "it took {:?}", started.elapsed());
    let output = host.ok(&["journalctl", "--no-pager", "-o", "cat", "DEPLOYD_STEP=migrate"]);
    assert!(output.contains("database is locked"), "{output}");
    host.ok(&["systemctl", "stop", "holder"]);
    shop.deploy(&host);
    assert_eq!((shop.release(&host).as_str(), columns(&host, &shop).as_str()), ("r3", "id text x "));
}

#[test]
fn another_application_key_is_refused_unless_it_is_allowed() {
    let (host, shop) = with_shop("");
    shop.deploy(&host);
    let key = "base64:OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg=";
    shop.set_env(&host, "APP_KEY", key);
    let before = untouched(&host, &shop);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    for wanted in ["APP_KEY", "APP_PREVIOUS_KEYS", "--allow-key-rotation"] {
        assert!(said.stderr.contains(wanted), "the refusal does not say {wanted:?}: {said}");
    }
    assert_eq!(untouched(&host, &shop), before);
    shop.ctl(&host, "deploy", &["--allow-key-rotation"]).ok();
    assert_ne!(shop.current(&host), before.current);
    // Neither key is anywhere but in the app's own files.
    let secret = "OTg3NjU0MzIxMDk4|MDEyMzQ1Njc4OTAx";
    let state = host.run(&["grep", "-rqE", secret, "/var/lib/deployd", "/run/deployd"]);
    let journal = host.ok(&["journalctl", "--no-pager", "-o", "verbose"]);
    assert_eq!((state.status, journal.contains("OTg3NjU0MzIxMDk4")), (1, false));
}
