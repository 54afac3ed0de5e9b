//! Which secret goes where, and to nobody else.

use super::*;

fn order() -> GitOrder {
    GitOrder { url: "https://git.example.org:8443/acme/shop.git".into(), ..GitOrder::default() }
}

#[test]
fn a_token_goes_to_its_server_alone_and_is_told_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    for (content, pair) in [("s3cret\n", "x-access-token:s3cret"), ("robot:s3cret", "robot:s3cret")] {
        std::fs::write(dir.path().join(TOKEN), content).unwrap();
        let access = Access::from(&order(), Some(dir.path())).unwrap();
        let settings: std::collections::BTreeMap<_, _> = access.settings().into_iter().collect();
        assert_eq!(settings["GIT_CONFIG_KEY_0"], "http.https://git.example.org:8443/.extraHeader");
        assert_eq!(settings["GIT_CONFIG_VALUE_0"], format!("Authorization: Basic {}", STANDARD.encode(pair)));
        assert_eq!(
            (&*settings["GIT_CONFIG_KEY_1"], &*settings["GIT_CONFIG_VALUE_1"]),
            ("http.followRedirects", "false")
        );
        assert_eq!(settings["GIT_CONFIG_COUNT"], "2");
        assert!(!format!("{access:?}").contains("s3cret") && !access.ssh().contains("s3cret"));
        let ssh = GitOrder { url: "git@git.example.org:acme/shop.git".into(), ..GitOrder::default() };
        assert!(Access::from(&ssh, Some(dir.path())).unwrap().settings().is_empty());
    }
    for bad in ["", "\n", "two words", "a\nb", "tok\u{e9}n"] {
        std::fs::write(dir.path().join(TOKEN), bad).unwrap();
        let refusal = Access::from(&order(), Some(dir.path())).unwrap_err();
        assert!(!refusal.reason().contains("words") || bad != "two words", "{}", refusal.reason());
    }
    assert!(Access::from(&order(), None).unwrap().settings().is_empty());
}

#[test]
fn git_lfs_has_the_token_for_its_question_alone_and_no_other_place_has_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(TOKEN), "s3cret").unwrap();
    let access = Access::from(&order(), Some(dir.path())).unwrap();
    let key = |place: &str, asks| access.lfs_settings(place, asks).get(1).map(|(_, key)| key.clone());
    let place = "https://git.example.org:8443/acme/shop.git/info/lfs";
    let question = format!("http.{place}/objects/batch.extraHeader");
    assert_eq!(key(place, Asks::Where), Some(question.clone()));
    assert_eq!(key(&format!("{place}/"), Asks::Where), Some(question));
    assert_eq!(key(place, Asks::ForAll).unwrap(), "http.https://git.example.org:8443/.extraHeader");
    for other in ["https://git.example.org:8443/other/x", "https://h.example/acme/x", "ssh://git@git.example.org/x"] {
        assert_eq!((key(other, Asks::Where), key(other, Asks::ForAll)), (None, None), "{other}");
    }
    assert!(access.to("https://git.example.org:8443/other/x").lfs_settings(place, Asks::ForAll).is_empty());
}

#[test]
fn what_the_source_names_elsewhere_is_reached_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(TOKEN), "s3cret").unwrap();
    let access = Access::from(&order(), Some(dir.path())).unwrap();
    let (beside, other) = ("https://git.example.org:8443/acme/lib.git", "https://git.example.org:8443/other/lib.git");
    assert!(!access.to(beside).settings().is_empty() && !access.to(beside).withholds());
    assert!(access.to(other).settings().is_empty() && access.to(other).withholds());
    // What that one names, in its turn, is judged by the source, too.
    assert!(!access.to(other).to(beside).settings().is_empty());
    let wide = Access::from(&GitOrder { whole_server: true, ..order() }, Some(dir.path())).unwrap();
    assert!(!wide.to(other).settings().is_empty() && wide.to("https://h.example/acme/lib").settings().is_empty());
    std::fs::rename(dir.path().join(TOKEN), dir.path().join(SSH_KEY)).unwrap();
    let ssh = GitOrder { url: "git@git.example.org:acme/shop.git".into(), ..GitOrder::default() };
    let access = Access::from(&ssh, Some(dir.path())).unwrap();
    assert!(access.to("git@git.example.org:acme/lib.git").ssh().contains("-i '"));
    assert!(!access.to("git@git.example.org:other/lib.git").ssh().contains("-i '"));
    assert!(!access.to("git@h.example:acme/lib.git").ssh().contains("-i '"));
}

#[test]
fn a_key_that_was_handed_over_is_used_unless_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(SSH_KEY), "key").unwrap();
    let handed = Access::from(&order(), Some(dir.path())).unwrap().ssh();
    assert!(handed.contains(&format!("-i '{}/source-ssh-key' -o IdentitiesOnly=yes", dir.path().display())));
    std::fs::rename(dir.path().join(SSH_KEY), dir.path().join(DEPLOY_KEY)).unwrap();
    let own = Access::from(&order(), Some(dir.path())).unwrap().ssh();
    assert!(own.ends_with(&format!("-i '{}/deploy-key'", dir.path().display())), "{own}");
    let named = GitOrder { ssh_key: Some("/home/shop/key".into()), ..order() };
    assert!(Access::from(&named, Some(dir.path())).unwrap().ssh().contains("-i '/home/shop/key'"));
    assert!(!Access::from(&order(), None).unwrap().ssh().contains("-i "));
}

#[test]
fn a_source_whose_url_only_its_server_understands_keeps_its_secrets_from_others_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for name in [TOKEN, SSH_KEY] {
        std::fs::write(dir.path().join(name), "s3cret").unwrap();
    }
    let access =
        |url: &str| Access::from(&GitOrder { url: url.into(), ..GitOrder::default() }, Some(dir.path())).unwrap();
    for source in ["git@git.sr.ht:~acme/shop", "https://dev.azure.com/o/My%20P/_git/x", "/srv/git/shop.git"] {
        for other in ["git@h.example:acme/lib", "https://h.example/acme/lib", "https://dev.azure.com/other/lib"] {
            let access = access(source).to(other);
            assert!(access.withholds() && !access.ssh().contains("-i '") && access.settings().is_empty(), "{other}");
        }
    }
    let own = "https://dev.azure.com/o/My%20P/_git/x.git/info/lfs";
    assert!(!access("https://dev.azure.com/o/My%20P/_git/x").lfs_settings(own, Asks::Where).is_empty());
    assert!(access("git@git.sr.ht:~acme/shop").to("git@git.sr.ht:~acme/lib").ssh().contains("-i '"));
}

#[test]
fn where_a_named_key_is_withheld_no_key_of_the_user_is_offered_in_its_place() {
    let ssh = |order: &GitOrder| Access::from(order, None).unwrap();
    let source = GitOrder { url: "git@h.example:acme/shop".into(), ..GitOrder::default() };
    let named = ssh(&GitOrder { ssh_key: Some("/home/shop/key".into()), ..source.clone() });
    let withheld = named.to("git@h.example:other/lib").ssh();
    assert!(withheld.ends_with(" -o IdentitiesOnly=yes -o IdentityFile=none"), "{withheld}");
    assert!(!withheld.contains("/home/shop/key") && !named.ssh().contains("none"));
    // Without one they are what the source itself is reached with.
    assert!(!ssh(&source).to("git@h.example:other/lib").ssh().contains("Identit"));
}
