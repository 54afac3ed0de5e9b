//! Where releases come from: a directory of the host, and git over ssh with a pinned host key.

use crate::{
    common::{installed, slow_step_begun, with_live_shop},
    lfs,
    support::shop::{Shop, Spec},
};

#[test]
fn a_directory_of_the_host_is_deployed() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    let four = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\nsource.directory = \"/srv/build/shop\"\n";
    host.write(&shop.toml_path(), four);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let before = shop.current(&host);
    shop.deploy(&host);
    assert_eq!(shop.current(&host), before, "nothing new");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn git_over_ssh_goes_only_to_the_pinned_host() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    let script = r#"install -d -m 0700 -o shop /home/shop/.ssh /home/shop/keys
runuser -u shop -- ssh-keygen -q -t ed25519 -N '' -f /home/shop/keys/deploy
cp /home/shop/keys/deploy.pub /home/shop/.ssh/authorized_keys; chown shop: /home/shop/.ssh/authorized_keys
mkdir -p /etc/deployd/ssh; sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /etc/deployd/ssh/known
ssh-keygen -q -t ed25519 -N '' -f /tmp/other; sed 's/^/127.0.0.1 /' /tmp/other.pub > /etc/deployd/ssh/other"#;
    host.sh(script);
    let with = |pinned: &str| {
        format!(
            "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\n[source]\n\
             git = \"ssh://shop@127.0.0.1/srv/git/shop.git\"\nref = \"main\"\n\
             ssh_key = \"/home/shop/keys/deploy\"\nknown_hosts = \"/etc/deployd/ssh/{pinned}\"\n"
        )
    };
    host.write(&shop.toml_path(), with("other"));
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.to_lowercase().contains("host key"), "{said}");
    assert_eq!(shop.current(&host), "");
    host.write(&shop.toml_path(), with("known"));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn a_deploy_key_of_root_s_is_made_registered_and_replaced() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    host.sh(
        "mkdir -p /etc/deployd/ssh; sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /etc/deployd/ssh/known",
    );
    let text = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\n[source]\n\
                git = \"ssh://forge@127.0.0.1/srv/git/shop.git\"\nref = \"main\"\n\
                known_hosts = \"/etc/deployd/ssh/known\"\n";
    host.write(&shop.toml_path(), text);
    host.sh("useradd --create-home --shell /bin/bash forge; install -d -m 0700 -o forge /home/forge/.ssh
runuser -u forge -- git config --global safe.directory '*'");
    let register = |public: &str| {
        host.write("/home/forge/.ssh/authorized_keys", public);
        host.sh("chown forge: /home/forge/.ssh/authorized_keys");
    };
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("deployctl key"), "{said}");
    let made = shop.ctl(&host, "key", &[]);
    assert!(made.stderr.contains("was made"), "{made}");
    let public = made.ok();
    assert_eq!(shop.ctl(&host, "key", &[]).ok(), public, "asked twice it is the same");
    assert!(public.starts_with("ssh-ed25519 ") && public.lines().count() == 1, "{public}");
    assert_eq!(
        host.ok(&["stat", "-c", "%U %a", "/var/lib/deployd/keys", "/var/lib/deployd/keys/shop"]),
        "root 700\nroot 600\n"
    );
    for user in ["shop", "deployd", "nobody"] {
        host.run_as(user, &["cat", "/var/lib/deployd/keys/shop"]).expect_failure();
    }
    host.run_as("shop", &["deployctl", "key", "shop"]).expect_status(7);
    register(&public);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    // No step sees it, though it is the same user's; nor does anything else of that user, once the source is fetched.
    let step =
        "[[step]]\nname = \"look\"\nshared = \"rw\"\nshell = true\nrun = '''if find /run/credentials -type f | grep .
then exit 1; fi; touch storage/step-began; cat storage/go'''\n";
    host.write(&shop.toml_path(), format!("{text}{step}"));
    shop.commit(&host, "r2", &[]);
    host.sh("mkfifo /srv/shop/shared/storage/go; chmod 0644 /srv/shop/shared/storage/go");
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.ctl(&host, "deploy", &[]));
        slow_step_begun(&host, &shop);
        let open = host.sh("find /run/credentials -path '*deploy-worker*' -type f");
        host.sh("echo > /srv/shop/shared/storage/go");
        deploying.join().unwrap().ok();
        assert_eq!(open, "", "whoever works in the release has no key");
    });
    assert_eq!(shop.release(&host), "r2");
    host.write(&shop.toml_path(), text);
    let other = shop.ctl(&host, "key", &["--rotate"]).ok();
    assert_ne!(other, public);
    shop.commit(&host, "r3", &[]);
    shop.ctl(&host, "deploy", &[]).expect_failure();
    register(&other);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r3");
    let private = host.read("/var/lib/deployd/keys/shop");
    let secret = private.lines().nth(2).expect("a key has lines");
    host.ok(&["journalctl", "--sync"]);
    assert_eq!(host.run(&["sh", "-c", &format!("journalctl -o json | grep -cF '{secret}'")]).stdout, "0\n");
    assert!(!host.journal_of("MESSAGE_ID", deployd::model::events::KEY_MADE).is_empty());
}

/// A git server behind nginx: `git http-backend`, as a CGI program that PHP's own server runs.
const BACKEND: &str = r#"<?php
$env = ['GIT_PROJECT_ROOT' => '/srv/git', 'GIT_HTTP_EXPORT_ALL' => '1', 'PATH' => '/usr/bin:/bin',
    'GIT_CONFIG_COUNT' => '1', 'GIT_CONFIG_KEY_0' => 'safe.directory', 'GIT_CONFIG_VALUE_0' => '*',
    'PATH_INFO' => parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), 'QUERY_STRING' => $_SERVER['QUERY_STRING'] ?? '',
    'REQUEST_METHOD' => $_SERVER['REQUEST_METHOD'], 'CONTENT_TYPE' => $_SERVER['HTTP_CONTENT_TYPE'] ?? '',
    'HTTP_CONTENT_ENCODING' => $_SERVER['HTTP_CONTENT_ENCODING'] ?? '', 'GIT_PROTOCOL' => $_SERVER['HTTP_GIT_PROTOCOL'] ?? ''];
$git = proc_open(['git', 'http-backend'], [['pipe', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']], $pipes, '/', $env);
fwrite($pipes[0], file_get_contents('php://input'));
fclose($pipes[0]);
[$head, $body] = explode("\r\n\r\n", stream_get_contents($pipes[1]), 2);
foreach (explode("\r\n", $head) as $line) {
    if (str_starts_with($line, 'Status: ')) { http_response_code((int) substr($line, 8)); } else { header($line); }
}
echo $body;
"#;

#[test]
fn a_token_of_root_s_opens_an_https_source_and_its_submodules_and_is_seen_nowhere() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    host.write("/etc/ssl/certs/ca-certificates.crt", key.cert.pem());
    host.write("/etc/nginx/key.pem", key.signing_key.serialize_pem());
    host.write("/srv/backend.php", BACKEND);
    host.write("/etc/nginx/tokens", "robot:{PLAIN}kanarienvogel\n");
    host.write(
        "/etc/nginx/conf.d/forge.conf",
        "server { listen 127.0.0.1:8443 ssl; server_name _; ssl_certificate /etc/ssl/certs/ca-certificates.crt;\n\
         ssl_certificate_key /etc/nginx/key.pem; auth_basic forge; auth_basic_user_file /etc/nginx/tokens;\n\
         location / { proxy_pass http://127.0.0.1:8081; }\n\
         location ~ lfs/ { auth_basic off; proxy_pass http://127.0.0.1:8082; } }\n",
    );
    host.write("/srv/lfs.php", lfs::FORGE);
    let backend = "systemd-run -q --unit=forge -p User=shop php -d display_errors=stderr -S 127.0.0.1:8081 /srv/backend.php\n\
                   systemd-run -q --unit=forge-lfs -p User=shop php -d display_errors=stderr /srv/lfs.php\n\
                   systemctl reload-or-restart nginx; mkdir -p /etc/deployd/secrets";
    host.sh(backend);
    let listens = || host.ok(&["ss", "-ltn"]).matches("127.0.0.1:808").count() == 2;
    crate::common::eventually("the forge listens", std::time::Duration::from_secs(30), listens);
    let configure = |more: &str| {
        let text = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\n[source]\n\
                    git = \"https://127.0.0.1:8443/shop.git\"\nref = \"main\"\n";
        host.write(&shop.toml_path(), format!("{text}{more}"));
    };
    configure("");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(said.stderr.contains("token_credential"), "{said}");
    configure("token_credential = \"/etc/deployd/secrets/token\"\nsubmodules = true\n");
    let write = |token: &str| {
        host.write("/etc/deployd/secrets/token", format!("{token}\n"));
        host.ok(&["chmod", "0600", "/etc/deployd/secrets/token"]);
    };
    write("robot:wrong");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(said.stderr.contains("the token is refused"), "{said}");
    write("robot:kanarienvogel");
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    // A submodule of the same server, told by a relative url.
    host.sh("cd /srv/git; cp -a shop.git lib.git; id=$(git -c safe.directory='*' --git-dir=lib.git rev-parse main)
cd /srv/build/shop; mkdir lib; chown shop: lib
printf '[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n' > .gitmodules
runuser -u shop -- git --git-dir=/srv/git/shop.git update-index --add --cacheinfo 160000,$id,lib");
    shop.commit(&host, "r2", &[]);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(host.read("/srv/shop/current/lib/RELEASE"), "r1\n");
    lfs::contents_of_a_forge_s_own_key(&host, &shop);
    host.ok(&["journalctl", "--sync"]);
    let canaries = ["kanarienvogel", "cm9ib3Q6a2FuYXJpZW52b2dlbA"];
    for canary in canaries {
        let found = host
            .run(&["sh", "-c", &format!("journalctl -o json | grep -vE 'forge(-lfs)?.service' | grep -cF {canary}")])
            .stdout;
        assert_eq!(found, "0\n", "{canary} is in the journal");
        let files = ["grep", "-rlF", canary, "/var/cache/deployd", "/var/lib/deployd", "/srv/shop", "/run/deployd"];
        assert_eq!(host.run(&files).stdout, "", "{canary} is in a file");
    }
}

/// Says by its exit status whether it was handed what the package managers need.
const TOOL: &str = r#"#!/bin/sh -eu
test "$(printf %s "$COMPOSER_AUTH" | php -r 'echo json_decode(stream_get_contents(STDIN))->{"http-basic"}->h->password;')" = kanarienvogel
test "$NPM_CONFIG_USERCONFIG" = "$CREDENTIALS_DIRECTORY/npmrc"
grep -q _authToken=kanarienvogel "$NPM_CONFIG_USERCONFIG"
"#;

#[test]
fn a_plan_names_all_that_is_lacking_and_a_build_gets_its_secrets_and_programs() {
    let step = "[[step]]\nname = \"tool\"\nrun = [\"shop-tool\"]\n[[step]]\nname = \"later\"\nafter = \"activate\"\n\
                run = [\"sh\", \"-c\", \"test -z \\\"${COMPOSER_AUTH-}$NPM_CONFIG_USERCONFIG\\\"\"]\n";
    let step = step.replace("$NPM_CONFIG_USERCONFIG", "${NPM_CONFIG_USERCONFIG-}");
    let build = "[build]\npath = [\"/opt/tools/bin\"]\ncomposer_auth = \"/etc/deployd/secrets/auth.json\"\n\
                 npmrc = \"/etc/deployd/secrets/npmrc\"\n";
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{build}{step}")));
    host.sh("mv /srv/git/shop.git /srv/git/away; mv /srv/shop/shared/.env /srv/shop/env");
    let all = ["/srv/git/shop.git", "shop-tool", "secrets/auth.json", "secrets/npmrc", "shared/.env is missing"];
    let plan = shop.ctl(&host, "plan", &["--allow-destructive"]).expect_status(3);
    let deployed = shop.ctl(&host, "deploy", &[]).expect_status(3);
    for lacking in all {
        assert!(plan.stdout.contains(lacking), "{lacking}: {plan}");
        assert!(deployed.stderr.contains(lacking), "{lacking}: {deployed}");
    }
    host.sh("mv /srv/git/away /srv/git/shop.git; mv /srv/shop/env /srv/shop/shared/.env; mkdir -p /opt/tools/bin");
    host.write("/opt/tools/bin/shop-tool", TOOL);
    host.write(
        "/etc/deployd/secrets/auth.json",
        r#"{"http-basic": {"h": {"username": "u", "password": "kanarienvogel"}}}"#,
    );
    host.write("/etc/deployd/secrets/npmrc", "//registry.example.org/:_authToken=kanarienvogel\n");
    host.sh("chmod 0755 /opt/tools/bin/shop-tool; chmod 0600 /etc/deployd/secrets/*");
    shop.ctl(&host, "plan", &[]).ok();
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    host.ok(&["journalctl", "--sync"]);
    assert_eq!(host.run(&["sh", "-c", "journalctl -o json | grep -cF kanarienvogel"]).stdout, "0\n");
}

#[test]
fn only_what_changed_is_fetched() {
    let (host, shop) = with_live_shop("");
    let mirror = host.sh("find /var/cache/deployd/shop -name HEAD -not -path '*/logs/*' | head -n 1");
    assert!(!mirror.trim().is_empty(), "a mirror is kept");
    assert_eq!(host.ok(&["stat", "-c", "%U", mirror.trim()]), "shop\n");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}
