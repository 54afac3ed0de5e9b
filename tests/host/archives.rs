//! Archives: of the host, from an https server, handed over; and hostile ones, of which nothing is ever released.

use std::io::Write;

use crate::{
    common::{Live, installed},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

/// A host with the app `shop`, whose release r1 is also the archive `/srv/builds/shop-r1.tar.gz`, as a forge makes it.
fn with_archives() -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    host.ok(&["mkdir", "-p", "/srv/builds"]);
    pack(&host, "r1");
    (host, shop)
}

fn pack(host: &Host, label: &str) {
    host.sh(&format!(
        "git --git-dir=/srv/git/shop.git -c safe.directory='*' archive --prefix=shop-{label}/ {label} \
         | gzip > /srv/builds/shop-{label}.tar.gz"
    ));
}

fn configure(host: &Host, shop: &Shop, source: &str) {
    let text = format!("preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\n[source]\n{source}\n");
    host.write(&shop.toml_path(), text);
}

#[test]
fn archives_of_the_host_and_of_a_server_are_deployed() {
    let (host, shop) = with_archives();
    configure(&host, &shop, "archive = \"/srv/builds/shop-{ref}.tar.gz\"\nref = \"r1\"");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let before = shop.current(&host);
    let digest = host.ok(&["sha256sum", "/srv/builds/shop-r1.tar.gz"]);
    assert!(before.ends_with(&digest[..8]), "its revision is its digest: {before}");
    shop.start(&host).ok();
    assert_eq!(shop.current(&host), before, "nothing new");
    shop.commit(&host, "r2", &[]);
    pack(&host, "r2");
    shop.ctl(&host, "deploy", &["--ref", "r2"]).ok();
    assert_eq!(shop.release(&host), "r2");
    // The same from a server with a certificate that this host trusts.
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    host.write("/etc/ssl/certs/ca-certificates.crt", key.cert.pem());
    host.write("/etc/nginx/key.pem", key.signing_key.serialize_pem());
    host.write(
        "/etc/nginx/conf.d/builds.conf",
        "server { listen 127.0.0.1:8443 ssl; server_name _; root /srv/builds;\n\
         ssl_certificate /etc/ssl/certs/ca-certificates.crt; ssl_certificate_key /etc/nginx/key.pem;\n\
         location /moved { return 302 /shop-r1.tar.gz; } location /plain { return 302 http://127.0.0.1/shop-r1.tar.gz; } }\n",
    );
    host.ok(&["systemctl", "reload-or-restart", "nginx"]);
    let digest = digest.split(' ').next().unwrap();
    let from = |path: &str, digest: &str| {
        configure(&host, &shop, &format!("archive = \"https://127.0.0.1:8443/{path}\"\nsha256 = \"{digest}\""));
        shop.ctl(&host, "deploy", &[])
    };
    let live = Live::of(&host, &shop);
    let other = "0".repeat(64);
    for (path, why) in [("plain", "not https"), ("none", "404"), ("moved", "has the SHA-256")] {
        let said = from(path, &other).expect_status(3);
        assert!(said.stderr.contains(why), "{said}");
    }
    assert_eq!(Live::of(&host, &shop), live);
    from("moved", digest).ok();
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn an_archive_is_handed_over() {
    let (host, shop) = with_archives();
    configure(&host, &shop, "upload = true");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(said.stderr.contains("--upload"), "{said}");
    // Nobody but its owner can open it: what goes over the bus is the open file.
    host.ok(&["install", "-m", "0600", "/srv/builds/shop-r1.tar.gz", "/root/build.tar.gz"]);
    shop.ctl(&host, "deploy", &["--upload", "/root/build.tar.gz"]).ok();
    assert_eq!(shop.release(&host), "r1");
    let before = shop.current(&host);
    shop.ctl(&host, "deploy", &["--upload", "/root/build.tar.gz"]).ok();
    assert_eq!(shop.current(&host), before, "nothing new");
    assert_eq!(host.ok(&["find", "/var/spool/deployd", "-type", "f"]), "", "what was taken over does not stay");
    shop.commit(&host, "r2", &[]);
    pack(&host, "r2");
    shop.ctl(&host, "stage", &["--upload", "/srv/builds/shop-r2.tar.gz"]).ok();
    assert_eq!(shop.current(&host), before);
    shop.ctl(&host, "activate", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
    for (file, status) in [("/dev/null", 1), ("/srv/builds", 1), ("/nowhere", 1)] {
        shop.ctl(&host, "deploy", &["--upload", file]).expect_status(status);
    }
    let denied = host.run_as("www-data", &["deployctl", "deploy", "shop", "--upload", "/srv/builds/shop-r2.tar.gz"]);
    assert!(denied.expect_status(7).stderr.contains("org.deployd1.upload"));
}

/// One entry of a tar file, with a name and a kind that no library would write, and all bits of its mode.
fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let raw = header.as_old_mut();
    raw.name[..name.len()].copy_from_slice(name.as_bytes());
    raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    raw.linkflag = [kind];
    header.set_mode(0o6777);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

#[test]
fn nothing_of_a_hostile_archive_is_released_and_nothing_outside_changes() {
    let (host, shop) = with_archives();
    configure(&host, &shop, "archive = \"/srv/builds/hostile.tar\"");
    host.ok(&["cp", "/srv/builds/shop-r1.tar.gz", "/srv/builds/hostile.tar"]);
    shop.deploy(&host);
    host.sh("truncate -s 10G /srv/large; tar --sparse -cf /srv/builds/sparse.tar -C /srv large; rm /srv/large");
    let outside = |host: &Host| {
        host.sh("find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path '/var/log' -o -path /var/cache/deployd \
                 -o -path /var/lib/deployd -o -path /srv/builds -o -path /srv/shop/releases -o -path /tmp \
                 -o -path /var/tmp \\) -prune -o -newer /srv/builds/mark ! -type d -printf '%p\\n'; ls -1 /srv /srv/shop")
    };
    host.ok(&["touch", "/srv/builds/mark"]);
    let (live, before) = (Live::of(&host, &shop), outside(&host));
    let file = |name: &str| entry(name, b'0', "", b"evil");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size(400 << 20);
    header.set_cksum();
    bomb.write_all(header.as_bytes()).unwrap();
    (0..400).for_each(|_| bomb.write_all(&vec![0; 1 << 20]).unwrap());
    bomb.write_all(&[0; 1024]).unwrap();
    let cases: [(&str, Vec<Vec<u8>>); 9] = [
        ("/srv/evil", vec![file("ok"), file("/srv/evil")]),
        ("../../evil", vec![file("ok"), file("../../evil")]),
        ("out", vec![file("ok"), entry("out", b'2', "../../../evil", b"")]),
        ("through/evil", vec![entry("through", b'2', "public", b""), file("through/evil")]),
        ("hard", vec![file("ok"), entry("hard", b'1', "/etc/shadow", b"")]),
        ("device", vec![file("ok"), entry("device", b'3', "", b"")]),
        ("twice", vec![file("twice"), file("twice")]),
        ("large", Vec::new()),
        ("zeros", vec![bomb.finish().unwrap()]),
    ];
    for (named, entries) in cases {
        let bytes = if named == "zeros" { entries.concat() } else { [entries.concat(), vec![0; 1024]].concat() };
        match named {
            "large" => drop(host.ok(&["cp", "/srv/builds/sparse.tar", "/srv/builds/hostile.tar"])),
            _ => host.write("/srv/builds/hostile.tar", bytes),
        }
        // As the configured source, and handed over: the same judgement.
        for handed in [&[][..], &["--upload", "/srv/builds/hostile.tar"]] {
            let said = shop.ctl(&host, "deploy", handed).expect_status(3);
            assert!(said.stderr.contains(named), "{named}: {said}");
        }
    }
    assert_eq!(Live::of(&host, &shop), live, "not even a directory was begun");
    assert_eq!(outside(&host), before);
    assert_eq!(shop.release(&host), "r1");
    // A setuid bit is not taken.
    let harmless = [file("public/index.php"), file("tool")].concat();
    host.write("/srv/builds/hostile.tar", [harmless, vec![0; 1024]].concat());
    host.write(
        &shop.toml_path(),
        "root = \"/srv/shop\"\nuser = \"shop\"\nsource.archive = \"/srv/builds/hostile.tar\"\n",
    );
    shop.ctl(&host, "stage", &[]).ok();
    assert_eq!(host.sh("find /srv/shop/releases -perm /7000"), "");
    assert_eq!(host.sh("find /srv/shop/releases -name tool -printf '%u %m'"), "shop 755");
}
