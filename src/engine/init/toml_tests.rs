//! What is written of an app that was found, and what is left to fill in.

use std::path::PathBuf;

use super::toml::{reload, text};
use crate::{
    check::{Served, Site},
    config::Origin,
    observe::{Found, PoolFound, Run, Runs},
    worker::order::{GitFound, Maker, Recognised, SharedLink},
};

fn found() -> Found {
    let at = Origin { file: "/etc/nginx/sites-enabled/shop".into(), line: 3 };
    let served = Served { to: "/run/php/shop.sock".into(), name: String::new(), fastcgi: true, at: vec![at.clone()] };
    let site = Site {
        at: at.clone(),
        names: vec!["shop.example.org".into()],
        root: "/srv/shop/current/public".into(),
        root_at: Some(at),
        port: Some(80),
        php: Some(served),
        deployd_app: None,
    };
    let pool = PoolFound {
        version: "8.2".into(),
        file: "/etc/php/8.2/fpm/pool.d/shop.conf".into(),
        name: "shop".into(),
        user: Some("www-data".into()),
        listen: "/run/php/shop.sock".into(),
    };
    let run = |what: &str, runs| Run {
        what: what.into(),
        place: "/etc/x:1".into(),
        artisan: Some("artisan app:sync".into()),
        runs,
        end: "`rm /etc/x`".into(),
    };
    let words = ["redis", "--queue=high,low", "--tries", "3"].map(str::to_owned).to_vec();
    let tree = Recognised {
        made_by: Maker::Capistrano,
        artisan: true,
        git: Some(GitFound { url: "git@example.org:a\"b".into(), branch: Some("live".into()), head: None }),
        links: vec![
            SharedLink { path: "storage".into(), from: "storage".into(), directory: true },
            SharedLink { path: "public/media".into(), from: "media".into(), directory: true },
        ],
        ..Recognised::default()
    };
    Found {
        root: PathBuf::from("/srv/shop"),
        public: "public".into(),
        site: Some(site),
        pool: Some(pool),
        owner: Some("deploy".into()),
        tree: Some(tree),
        runs: vec![
            run("supervisor program shop", Some(Runs::Horizon)),
            run("unit q.service", Some(Runs::Queue(words))),
            run("cron line", Some(Runs::Schedule)),
            run("cron line", None),
        ],
        page: Some("http://127.0.0.1/up".into()),
        unread: Vec::new(),
    }
}

#[test]
fn what_was_found_is_a_configuration() {
    let text = text(&"shop".parse().unwrap(), &found(), None);
    let table: ::toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(table["source"]["git"].as_str(), Some("git@example.org:a\"b"));
    assert_eq!((table["user"].as_str(), table["run_as"].as_str()), (Some("deploy"), Some("www-data")));
    let services = table["service"].as_array().unwrap();
    let kinds: Vec<_> =
        services.iter().map(|one| one.get("kind").or(one.get("unit")).unwrap().as_str().unwrap()).collect();
    assert_eq!(kinds, ["php8.2-fpm.service", "horizon", "queue"]);
    assert_eq!(services[2]["tries"].as_integer(), Some(3));
    let media = &table["shared"].as_array().unwrap()[0];
    assert_eq!((media["path"].as_str(), media["from"].as_str()), (Some("public/media"), Some("media")));
    for part in [
        "(/etc/x:1): artisan app:sync",
        "# kind = \"scheduler\"",
        "Two would run everything twice",
        "no deployment moves it",
        "Not promised",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains(&reload("php8.2-fpm.service").replace("NAME", "shop")));
}

#[test]
fn a_program_behind_a_port_is_no_pool_of_php() {
    let mut found = Found { pool: None, ..found() };
    if let Some(served) = found.site.as_mut().and_then(|site| site.php.as_mut()) {
        *served = Served { to: "http://127.0.0.1:3000".into(), name: String::new(), fastcgi: false, at: Vec::new() };
    }
    let text = text(&"shop".parse().unwrap(), &found, None);
    let table: ::toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    let services = table["service"].as_array().unwrap();
    assert!(services.iter().all(|one| one["kind"].as_str() != Some("php-fpm")), "{text}");
    assert!(text.contains("# nginx asks http://127.0.0.1:3000: a program on a port"), "{text}");
}

#[test]
fn what_was_not_found_is_a_comment_to_fill_in() {
    let none = Found { site: None, pool: None, owner: None, tree: None, runs: Vec::new(), page: None, ..found() };
    let text = text(&"shop".parse().unwrap(), &none, None);
    let table: ::toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(table["source"].as_table().unwrap().is_empty() && !table.contains_key("user"), "{text}");
    assert_eq!(text.matches("fill in").count(), 3, "{text}");
    let said = super::toml::text(&"shop".parse().unwrap(), &none, Some("/srv/git/shop.git"));
    assert!(said.parse::<::toml::Table>().unwrap()["source"]["git"].as_str().is_some());
}
