//! What an app's configuration says of a request that polkit will be asked about. Pure, but for who reads the settings.

use crate::{
    config::{Settings, Source},
    dbus::Judgement,
    model::{Allow, Kind, Request},
};

/// Judges a request. Without a ref there is nothing to look up, and the settings are not read.
pub fn judge(request: &Request, settings: impl FnOnce() -> Option<Settings>) -> Judgement {
    let Some(reference) = &request.reference else {
        return Judgement { other_ref: false, webhook: false, unknown: false };
    };
    let plain = request.kind == Kind::Deploy
        && !request.force
        && !request.upload
        && request.release.is_none()
        && request.allow == Allow::default();
    let settings = settings();
    let configured = settings.as_ref().and_then(|settings| configured(&settings.source));
    let other_ref = configured.is_none_or(|configured| !is_it(configured, reference));
    let unknown = settings.is_none();
    let webhook = settings.and_then(|settings| settings.webhook).is_some_and(|webhook| webhook.allows(reference));
    Judgement { other_ref, webhook: plain && webhook, unknown }
}

fn configured(source: &Source) -> Option<&str> {
    match source {
        Source::Git(git) => Some(&git.reference),
        Source::Archive { reference, .. } => reference.as_deref(),
        Source::Directory { .. } | Source::Upload { .. } => None,
    }
}

/// By its name or by its whole name; a branch is preferred where a tag is called the same. What is no branch's name has no
/// other: anybody who may push can call a branch `HEAD`, `refs/heads/main` or as a commit.
fn is_it(configured: &str, reference: &str) -> bool {
    let is_commit = matches!(configured.len(), 40 | 64) && configured.bytes().all(|byte| byte.is_ascii_hexdigit());
    let may_be_branch = configured != "HEAD" && !configured.starts_with("refs/") && !is_commit;
    reference == configured || may_be_branch && reference.strip_prefix("refs/heads/") == Some(configured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Webhook,
        daemon::show::tests::settings,
        dbus::Error,
        model::{Actor, DeploymentId},
    };

    fn request(reference: Option<&str>) -> Request {
        Request {
            app: "shop".parse().unwrap(),
            id: DeploymentId::from_bits(1),
            kind: Kind::Deploy,
            reference: reference.map(str::to_owned),
            release: None,
            force: false,
            allow: Default::default(),
            upload: false,
            actor: Actor::Bus { uid: 1, user: None },
        }
    }

    fn app(reference: &str) -> Option<Settings> {
        let git = crate::config::GitSource { reference: reference.into(), ..Default::default() };
        let webhook = Some(Webhook { refs: vec!["main".into(), "tag:v*".into()] });
        Some(Settings { source: Source::Git(git), webhook, ..settings() })
    }

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn another_ref_is_told_from_the_configured_one() {
        for (reference, configured, other) in [
            (Some("main"), "main", false),
            (Some("refs/heads/main"), "main", false),
            (Some("refs/tags/main"), "main", true),
            (Some("topic"), "main", true),
            (Some("main"), "HEAD", true),
            (None, "main", false),
            (Some("HEAD"), "HEAD", false),
            (Some("refs/heads/HEAD"), "HEAD", true),
            (Some("refs/heads/main"), "refs/heads/main", false),
            (Some("refs/heads/refs/heads/main"), "refs/heads/main", true),
            (Some(COMMIT), COMMIT, false),
            (Some(&format!("refs/heads/{COMMIT}")), COMMIT, true),
            (Some("refs/heads/0123456"), "0123456", false),
        ] {
            assert_eq!(judge(&request(reference), || app(configured)).other_ref, other, "{reference:?} {configured}");
        }
        assert!(judge(&request(Some("main")), || None).other_ref, "what is not known is another");
    }

    /// A push while the configuration has an error would be lost if its webhook were told that this ref is not deployed.
    #[test]
    fn what_is_refused_because_the_configuration_cannot_be_read_is_told_from_a_no() {
        let request = request(Some("refs/heads/main"));
        let no = || Err(Error::AccessDenied("no".into()));
        let settle = |settings, decided| judge(&request, || settings).settle(&request.app, decided);
        assert!(matches!(settle(None, no()), Err(Error::Undecided(why)) if why.contains("deployctl check shop")));
        assert_eq!(settle(app("main"), no()), no());
        assert_eq!((settle(None, Ok(())), settle(app("main"), Ok(()))), (Ok(()), Ok(())));
    }

    /// WH-10: a webhook may have deployed what is listed, plainly.
    #[test]
    fn a_webhook_is_allowed_what_is_listed_and_nothing_more() {
        let webhook = |request: Request| judge(&request, || app("main")).webhook;
        let main = || request(Some("refs/heads/main"));
        assert!(webhook(main()) && webhook(request(Some("refs/tags/v1"))));
        for other in [Some("refs/heads/topic"), Some("refs/tags/w1"), Some("main"), None] {
            assert!(!webhook(request(other)), "{other:?}");
        }
        let allow = Allow { destructive: true, ..Allow::default() };
        for more in [
            Request { force: true, ..main() },
            Request { upload: true, ..main() },
            Request { kind: Kind::Stage, ..main() },
            Request { allow, ..main() },
        ] {
            assert!(!webhook(more.clone()), "{more:?}");
        }
        assert!(!judge(&main(), || Some(Settings { webhook: None, ..app("main").unwrap() })).webhook);
    }
}
