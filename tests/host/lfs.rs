//! Git LFS with the real git-lfs: what is served is the content, shared while its pointer is the same, and the one that the
//! pointer names; without git-lfs nothing is touched.

use std::time::Duration;

use crate::{
    common::{eventually, installed, releases},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

const HERO: &str = "a picture of a hero\n";

/// Has git-lfs clean what is committed, as `git lfs install` sets it up, and commits a release with two such files.
fn track(host: &Host, shop: &Shop, label: &str) {
    let git = format!("runuser -u shop -- git --git-dir={} config", shop.repository());
    host.sh(&format!("{git} filter.lfs.clean 'git-lfs clean -- %f'; {git} filter.lfs.required true"));
    shop.commit(
        host,
        label,
        &[
            (".gitattributes", "public/img/* filter=lfs diff=lfs merge=lfs -text\n*.bat text eol=crlf\n"),
            ("public/img/hero.dat", HERO),
            ("public/img/other.dat", "one"),
        ],
    );
    let git = ["git", "-c", "safe.directory=*", "--git-dir", &shop.repository(), "show", "main:public/img/hero.dat"];
    assert!(host.ok(&git).starts_with("version https://git-lfs"), "git itself has a pointer");
}

/// Git LFS as GitLab has it: whoever asks with the token is told where the contents are and handed a header of the server's
/// own for them, and a request with two of the kind is a bad one. It sees what nginx was sent, as it was sent.
pub const FORGE: &str = r#"<?php
$basic = fn (string $pair) => 'Basic ' . base64_encode($pair);
$listen = stream_socket_server('tcp://127.0.0.1:8082');
while ($client = stream_socket_accept($listen, -1)) {
    for ($head = ''; ! str_ends_with($head, "\r\n\r\n") && ($line = fgets($client)) !== false; $head .= $line);
    $length = preg_match('/^Content-Length: (\d+)/im', $head, $found) ? (int) $found[1] : 0;
    $body = $length ? stream_get_contents($client, $length) : '';
    preg_match_all('/^Authorization: (.*?)\r$/im', $head, $sent);
    $oid = preg_match('~^GET /shop.git/gitlab-lfs/objects/([0-9a-f]{64}) ~', $head, $found) ? $found[1] : null;
    clearstatcache();
    $content = '{}';
    if (count($sent[1]) > 1) {
        $status = '400 Bad Request';
    } elseif ($sent[1] !== [$oid && ! is_file('/srv/no-header') ? $basic('robot:handed') : $basic('robot:kanarienvogel')]) {
        $status = '401 Unauthorized';
    } elseif ($oid) {
        $status = '200 OK';
        $content = file_get_contents("/srv/git/shop.git/lfs/objects/$oid[0]$oid[1]/$oid[2]$oid[3]/$oid");
        $content .= str_repeat('x', is_file('/srv/too-much') ? 5000000 : 0);
    } else {
        $status = '200 OK';
        $own = is_file('/srv/no-header') ? [] : ['header' => ['Authorization' => $basic('robot:handed')]];
        $one = fn ($object) => ['oid' => $object['oid'], 'size' => $object['size'], 'authenticated' => $own !== [], 'actions' => ['download' =>
            ['href' => "https://127.0.0.1:8443/shop.git/gitlab-lfs/objects/{$object['oid']}"] + $own]];
        $content = json_encode(['transfer' => 'basic', 'objects' => array_map($one, json_decode($body, true)['objects'])]);
    }
    fwrite(STDERR, strtok($head, "\r") . " $status\n");
    fwrite($client, "HTTP/1.1 $status\r\nWWW-Authenticate: Basic realm=forge\r\nContent-Type: application/vnd.git-lfs+json\r\n"
        . 'Content-Length: ' . strlen($content) . "\r\nConnection: close\r\n\r\n" . $content);
    fclose($client);
}
"#;

/// With a token, from a server that brings a header of its own for each content; and one that sends more than there is.
pub fn contents_of_a_forge_s_own_key(host: &Host, shop: &Shop) {
    track(host, shop, "r3");
    shop.ctl(host, "deploy", &[]).ok();
    assert_eq!(host.read("/srv/shop/current/public/img/hero.dat"), HERO);
    let log = || host.sh("journalctl --sync; journalctl -u forge-lfs -o cat");
    assert!(!log().contains("400") && !log().contains("401"), "{}", log());
    let before = shop.current(host);
    shop.commit(host, "r4", &[("public/img/other.dat", "another one")]);
    host.sh("touch /srv/too-much");
    let said = shop.ctl(host, "deploy", &[]).expect_status(3);
    assert!(said.stderr.contains("sends more than their pointers say"), "{said}");
    assert_eq!(shop.current(host), before);
    let cache = "/var/cache/deployd/shop/git/lfs";
    assert_eq!(host.sh(&format!("find {cache}/incomplete {cache}/tmp -type f 2>/dev/null || true")), "");
    host.sh("rm /srv/too-much");
    shop.ctl(host, "deploy", &[]).ok();
    assert_eq!(host.read("/srv/shop/current/public/img/other.dat"), "another one");
    // A plain server, which wants the token for the contents as well.
    host.sh("touch /srv/no-header");
    shop.commit(host, "r5", &[("public/img/other.dat", "a third one")]);
    shop.ctl(host, "deploy", &[]).ok();
    assert_eq!(host.read("/srv/shop/current/public/img/other.dat"), "a third one");
}

#[test]
fn what_is_in_git_lfs_is_served_shared_and_proved() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop").more("share = \"hardlink\"\n"));
    track(&host, &shop, "r2");

    host.sh("mv /usr/bin/git-lfs /root/");
    for verb in ["plan", "deploy"] {
        let said = shop.ctl(&host, verb, &[]).expect_status(3);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("2 files") && text.contains("install git-lfs") && text.contains("lfs = false"), "{said}");
    }
    assert_eq!((releases(&host, &shop).len(), shop.current(&host).as_str()), (0, ""), "nothing was touched");
    host.sh("mv /root/git-lfs /usr/bin/");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(shop.get(&host, "/img/hero.dat").body, HERO);
    let before = shop.current(&host);

    shop.commit(&host, "r3", &[("public/img/other.dat", "two")]);
    shop.ctl(&host, "plan", &[]).ok();
    // What was fetched for the plan is changed meanwhile, and has the size that it should have.
    let evil = "for f in $(grep -rlxF two /var/cache/deployd/shop/git/lfs/objects); do printf owt > $f; done";
    host.sh(evil);
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("public/img/other.dat") && said.stderr.contains("its pointer"), "{said}");
    assert_eq!((shop.release(&host).as_str(), shop.current(&host)), ("r2", before.clone()));
    shop.deploy(&host);
    assert_eq!((shop.release(&host).as_str(), shop.get(&host, "/img/other.dat").body.as_str()), ("r3", "two"));
    let inodes =
        host.sh(&format!("stat -c %i /srv/shop/{before}/public/img/hero.dat /srv/shop/current/public/img/hero.dat"));
    let inodes: Vec<_> = inodes.lines().collect();
    assert!(inodes.len() == 2 && inodes[0] == inodes[1], "the unchanged one is shared: {inodes:?}");

    // The mirror has all of it: the same again needs neither the repository's contents nor git-lfs.
    host.sh("mv /usr/bin/git-lfs /root/; mv /srv/git/shop.git/lfs /srv/git/lfs");
    let mirror = "/var/cache/deployd/shop/git";
    host.sh(&format!("runuser -u shop -- git --git-dir={mirror} update-ref refs/deployd/commits/x refs/tags/r1"));
    host.sh(&format!("touch -d '2 days ago' {mirror}/refs/deployd/commits/x"));
    // It is tidied once a day, and was today.
    host.sh("rm -f /run/deployd/shop/tidied");
    shop.ctl(&host, "deploy", &["--force"]).ok();
    assert_eq!(shop.get(&host, "/img/hero.dat").body, HERO);

    // Once that is confirmed the mirror is tidied: no release is kept that was made of r1.
    let asked = format!("{mirror}/refs/deployd/commits/x");
    let gone = || host.run(&["test", "-e", &asked]).status == 1;
    eventually("what nothing needs is gone", Duration::from_secs(60), gone);
    assert_eq!(host.sh(&format!("grep -rlxF -e two -e 'a picture of a hero' {mirror}/lfs/objects")).lines().count(), 2);
}
