//! The tests as a gate: what they wipe is a scratch copy's, and a release that does not pass them is none.

use crate::{
    common::{installed, releases, with_live_shop},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

/// A small runner in the place of phpunit, which the test root does not have: a test of it uses Laravel's RefreshDatabase,
/// which empties the default database, and says what it could reach.
const RUNNER: &str = r#"<?php
require __DIR__.'/../vendor/autoload.php';
function holds(bool $holds, string $what): void { if (!$holds) { fwrite(STDERR, "failed: $what\n"); exit(1); } }
@touch(__DIR__.'/../database/database.sqlite');
$app = require __DIR__.'/../bootstrap/app.php';
$kernel = $app->make(Illuminate\Contracts\Console\Kernel::class);
final class Test
{
    use Illuminate\Foundation\Testing\RefreshDatabase;
    public $app;
    public function __construct($app) { $this->app = $app; }
    public function artisan($command, $parameters = []) {
        $kernel = $this->app[Illuminate\Contracts\Console\Kernel::class];
        holds($kernel->call($command, $parameters + ['--force' => true]) === 0, $command);
        holds($command === 'migrate:fresh', 'the trait begins with an empty database');
    }
    public function beforeApplicationDestroyed(callable $callback) {}
}
$kernel->bootstrap();
(new Test($app))->refreshDatabase();
holds(Illuminate\Foundation\Testing\RefreshDatabaseState::$migrated, 'the trait has emptied it');
$app['db']->table('notes')->insert(['text' => 'made by a test']);
holds($app['db']->table('notes')->count() === 1, 'the database is the test\'s own');
if (($argv[1] ?? '') !== 'outside') {
    holds(class_exists('Tests\Probe'), 'the packages for development are there');
    holds(getenv('APP_ENV') === 'testing', 'APP_ENV');
    holds(getenv('APP_SECRET') === false, 'no environment of the site');
    holds(!file_exists('/srv/shop/shared/.env') && !is_dir('/srv/shop/releases'), 'nothing of the site is seen');
    holds(!@stream_socket_client('tcp://127.0.0.1:80', $n, $e, 2), 'no network');
    holds(!@stream_socket_client('unix:///run/systemd/journal/stdout', $n, $e, 2), 'no socket of the host');
}
exit((int) trim(file_get_contents(__DIR__.'/status')));
"#;

fn database(host: &Host) -> String {
    host.ok(&["sha256sum", "/srv/shop/shared/database.sqlite"])
}

#[test]
fn what_tests_wipe_is_a_scratch_copy_s() {
    let (host, shop) = with_live_shop("");
    assert_eq!(shop.get(&host, "/notes").value("note"), Some("1"), "the site has data");
    let gate = "[gates]\ntests = [\"php\", \"tests/run.php\"]\n[environment]\nAPP_SECRET = \"geheim\"\n";
    shop.configure(&host, gate);
    let composer = include_str!("../app/composer.json")
        .replace("\"scripts\":", "\"autoload-dev\": {\"psr-4\": {\"Tests\\\\\": \"tests/\"}},\n    \"scripts\":");
    let probe = "<?php\n\nnamespace Tests;\n\nclass Probe\n{\n}\n";
    let files = |status| {
        [("tests/run.php", RUNNER), ("tests/Probe.php", probe), ("tests/status", status), ("composer.json", &composer)]
    };
    let before = database(&host);

    shop.commit(&host, "r2", &files("1\n"));
    let there = releases(&host, &shop);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(1);
    assert!(said.stderr.contains("the step tests failed with exit status 1"), "{said}");
    assert_eq!((shop.release(&host).as_str(), releases(&host, &shop)), ("r1", there));
    assert_eq!(database(&host), before);

    shop.commit(&host, "r3", &files("0\n"));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r3");
    assert_eq!(database(&host), before, "the site's database is as it was, byte for byte");
    assert_eq!(host.run(&["ls", "/var/cache/deployd/shop/scratch"]).status, 2, "the copy is gone");
    let vendor = host.run(&["grep", "-rq", "Tests.Probe", "/srv/shop/current/vendor/composer/autoload_classmap.php"]);
    assert_ne!(vendor.status, 0, "the release has no packages for development");

    // The same runner in the release, beside the site's .env, does wipe the site's database: the gate is what kept it.
    host.run_as("shop", &["php", "/srv/shop/current/tests/run.php", "outside"]).ok();
    assert_ne!(database(&host), before);
}

/// Debian's composer, and what it would say of an advisory with a severity: Debian 12's tells none, Debian 13's null.
const COMPOSER: &str = r#"#!/bin/sh
said=$(/usr/bin/composer "$@"); status=$?
severity=$(cat /srv/advisories/severity)
printf '%s\n' "$said" | sed -e '' ${severity:+-e "s/\"advisoryId\"/\"severity\": \"$severity\", &/; s/\"severity\": null/\"severity\": \"$severity\"/"}
exit $status
"#;

const ADVISORY: &str = r#"{"packages": {"acme/danger": [
{"name": "acme/danger", "version": "1.0.0", "version_normalized": "1.0.0.0", "type": "metapackage"}]},
"security-advisories": [{"advisoryId": "X-1", "affectedVersions": "<2.0", "title": "Everything leaks", "cve": "CVE-2026-1",
"link": "https://example.org/1", "reportedAt": "2026-01-01T00:00:00+00:00", "sources": [{"name": "x", "remoteId": "1"}]}]}"#;

#[test]
fn an_audit_refuses_what_is_critical_and_what_cannot_be_asked() {
    let host = installed();
    let more = "[gates]\ncomposer_audit = true\n[build]\npath = [\"/opt/tools/bin\"]\n";
    let shop = Shop::make(&host, Spec::new("shop").more(more));
    host.write(
        "/srv/advisories/packages.json",
        r#"{"metadata-url": "/srv/advisories/%package%.json", "available-packages": ["acme/danger"],
"security-advisories": {"metadata": true}}"#,
    );
    host.write("/srv/advisories/acme/danger.json", ADVISORY);
    host.write("/srv/advisories/severity", "");
    host.write("/opt/tools/bin/composer", COMPOSER);
    host.ok(&["chmod", "-R", "a+rX,a+x", "/opt/tools", "/srv/advisories"]);
    let composer = include_str!("../app/composer.json")
        .replace(
            "\"repositories\": [",
            "\"repositories\": [{\"type\": \"composer\", \"url\": \"file:///srv/advisories\"}, ",
        )
        .replace("\"require\": {", "\"require\": {\"acme/danger\": \"^1.0\", ");
    shop.commit(&host, "r2", &[("composer.json", &composer)]);
    host.sh("cd /srv/build/shop; runuser -u shop -- composer update --no-install --no-scripts --no-interaction -q");
    shop.commit(&host, "r3", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r3");
    host.ok(&["journalctl", "--sync"]);
    let told = host.ok(&["journalctl", "-o", "cat", "-p", "warning", "SYSLOG_IDENTIFIER=composer-audit"]);
    assert!(told.contains("acme/danger: CVE-2026-1, of unknown severity: Everything leaks"), "{told}");

    shop.commit(&host, "r4", &[]);
    for (severity, live) in [("critical", "r3"), ("high", "r4")] {
        host.write("/srv/advisories/severity", severity);
        let said = shop.ctl(&host, "deploy", &[]);
        assert_eq!(said.status, i32::from(live == "r3"), "{said}");
        assert!(live == "r4" || said.stderr.contains("the step composer-audit failed"), "{said}");
        assert_eq!(shop.release(&host), live);
    }
    shop.commit(&host, "r5", &[]);
    host.sh("mv /srv/advisories/acme /srv/advisories/away; rm -r /var/cache/deployd/shop/composer");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(1);
    assert!(said.stderr.contains("the step composer-audit failed"), "{said}");
    assert_eq!(shop.release(&host), "r4");
}
