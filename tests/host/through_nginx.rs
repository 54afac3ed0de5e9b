//! A switch as it is seen through nginx, which says by deployd's snippets where a request goes: the release is proved at
//! the site itself, and a site that nginx leaves where it was is gone back from.

use std::time::Duration;

use deployd::model::events;

use crate::{
    common::{eventually, installed},
    support::{
        host::Host,
        shop::{Shop, Spec},
        site::Php,
    },
    upstream::{HTTP, live_shop},
};

const FPM: &str = "[[service]]\nkind = \"php-fpm\"\n[health]\nhttp = \"http://127.0.0.1/\"\nhost = \"shop.example.org\"\n\
                   bake = \"1s\"\n";
const SITE: &str = "/etc/nginx/sites-enabled/shop";

/// The heads of the site's answer to a request with this header.
fn heads(host: &Host, header: &str) -> String {
    let ask = r#"$heads = ['Host: shop.example.org', $argv[1]];
        $context = stream_context_create(['http' => ['header' => $heads, 'ignore_errors' => true]]);
        file_get_contents('http://127.0.0.1/', false, $context);
        echo implode("\n", $http_response_header);"#;
    host.ok(&["php", "-r", ask, "--", header]).to_lowercase()
}

#[test]
fn the_release_is_proved_through_nginx_and_a_site_that_stays_with_the_old_one_is_gone_back_from() {
    let host = installed();
    let shop = Shop::make(&host, Spec { laravel: false, php: Php::Snippet, ..Spec::new("shop").more(FPM) });
    shop.commit(&host, "r2", &[]);
    shop.point(&host, "r1");
    shop.deploy(&host);
    let told = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE);
    assert!(told.contains("is live in slot a, seen through nginx"), "{told}");
    assert!(shop.ctl(&host, "show", &[]).ok().contains("seen through nginx, by the health check 127.0.0.1/"));

    // Only who asks is answered; and what the site adds to its answers stays.
    let site = host.read(SITE);
    host.write(SITE, site.replace("access_log off;", "access_log off;\n    add_header X-Site kept always;"));
    host.ok(&["systemctl", "reload", "nginx"]);
    // The reload returns before the new workers are there.
    let plain = || heads(&host, "Accept: */*");
    eventually("nginx has read it", Duration::from_secs(20), || plain().contains("x-site: kept"));
    assert!(!plain().contains("x-deployd"), "{}", plain());
    let asked = |ask: &str| heads(&host, &format!("X-Deployd-Release: {ask}"));
    let release = shop.current(&host).replace("releases/", "");
    assert!(asked(&format!("shop {release} w1")).contains("x-deployd-release: yes w1"));
    assert!(asked("shop 20200101-000000-aaaaaaa w2").contains("x-deployd-release: no w2"));
    // Whoever else asks gets the site's own answer, whole.
    let forwarded = format!("shop {release} w1\r\nX-Forwarded-For: 203.0.113.9");
    let others =
        [format!("other {release} w1"), "a b c|a ".into(), "a b a".into(), format!("shop {release}"), forwarded];
    for other in others {
        let plain = asked(&other);
        assert!(plain.contains("x-site: kept") && !plain.contains("x-deployd"), "{other}: {plain}");
    }

    // A site that names one release instead of `current`: every page of it is well, and none is the new one's.
    host.write(SITE, site.replace("/srv/shop/current/", &format!("/srv/shop/releases/{release}/")));
    host.ok(&["systemctl", "reload", "nginx"]);
    eventually("nginx has read it", Duration::from_secs(20), || !heads(&host, "Accept: */*").contains("x-site"));
    let before = (shop.current(&host), host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]));
    shop.point(&host, "r2");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(4).said();
    assert!(said.contains("nginx sends the request of the health check 127.0.0.1/ somewhere else"), "{said}");
    assert_eq!((shop.current(&host), host.ok(&["readlink", "/run/deployd/shop/fpm.sock"])), before);

    // Without the snippet nobody answers, and the link is what proves; as before.
    let by_hand = "location / {\n    include fastcgi_params;\n    fastcgi_param SCRIPT_FILENAME \
                   $realpath_root/index.php;\n    fastcgi_pass unix:/run/deployd/shop/fpm.sock;\n}";
    host.write(SITE, site.replace("include snippets/deployd-php.conf;", by_hand));
    host.ok(&["systemctl", "reload", "nginx"]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    let told = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE);
    assert!(!told.lines().last().unwrap().contains("seen through nginx"), "{told}");
}

#[test]
fn a_service_on_a_port_is_proved_through_nginx() {
    let host = installed();
    let shop = live_shop(&host, HTTP);
    let told = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE);
    assert!(told.contains("is live in slot a, seen through nginx"), "{told}");
    let asked = |ask: &str| heads(&host, &format!("X-Deployd-Upstream: {ask}"));
    assert!(asked("shop-http 127.0.0.1:3000 w1").contains("x-deployd-upstream: yes w1"));
    assert!(asked("shop-http 127.0.0.1:3001 w1").contains("x-deployd-upstream: no w1"));
    assert!(!asked("shop-octane 127.0.0.1:3000").contains("x-deployd"), "another service's question");
    assert!(!heads(&host, "Accept: */*").contains("x-deployd"), "{}", shop.name());
}
