//! A tree of configuration in, a tree of drop-ins out.

use std::collections::BTreeMap;

use super::*;
use crate::config::tests::{Host, facts};

const GOOD: &str = "preset = \"laravel\"\nroot = \"/srv/ROOT\"\nuser = \"shop\"\nsource.git = \"/g\"\n";

fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for sub in fs::read_dir(dir).unwrap() {
        let sub = sub.unwrap();
        for file in fs::read_dir(sub.path()).unwrap() {
            let file = file.unwrap();
            let name = format!("{}/{}", sub.file_name().to_str().unwrap(), file.file_name().to_str().unwrap());
            out.insert(name, fs::read_to_string(file.path()).unwrap());
        }
    }
    out
}

fn users(name: &str) -> Option<(u32, u32)> {
    (name == "shop").then_some((1000, 1000))
}

#[test]
fn a_broken_app_keeps_no_other_from_its_drop_ins_and_is_told() {
    let host = Host::new();
    host.write("etc/deployd/apps/my-shop.toml", &GOOD.replace("ROOT", "my-shop"));
    host.write("etc/deployd/apps/broken.toml", "root = 1\n");
    host.write("etc/deployd/apps/stranger.toml", &GOOD.replace("ROOT", "x").replace("\"shop\"", "\"nobody2\""));
    host.write("usr/lib/deployd/apps/blog.toml", &GOOD.replace("ROOT", "blog"));
    host.write("dev/kmsg", "");
    let out = tempfile::tempdir().unwrap();
    let bare = HostFacts { users: BTreeMap::new(), ..facts() };
    generate(&host.paths(), out.path(), &bare, &users);

    let files = tree(out.path());
    assert_eq!(files.len(), 24, "{:?}", files.keys());
    assert!(files["app-fpm@my-shop:a.service.d/50-deployd.conf"].contains("Slice=deployd-my\\x2dshop.slice\n"));
    assert!(files["deploy@blog.service.d/50-deployd.conf"].contains("Slice=deployd-blog.slice\n"));
    assert!(!files.keys().any(|name| name.contains("broken") || name.contains("stranger")));

    let told = fs::read_to_string(host.paths().host(Path::new("/dev/kmsg"))).unwrap();
    assert!(told.contains("left out"), "{told}");
    generate(&host.paths(), out.path(), &bare, &users);
    assert_eq!(tree(out.path()), files, "a second run gives the same");
}

#[test]
fn no_apps_no_files() {
    let out = tempfile::tempdir().unwrap();
    generate(&Host::new().paths(), out.path(), &facts(), &users);
    assert!(tree(out.path()).is_empty());
}
