//! What an app's configuration says of what polkit will be asked. Pure, but for who reads the settings and knows names.

use std::time::Duration;

use super::access::{self, Names};
use crate::{
    config::{Settings, Source},
    dbus::{Judgement, Question, in_time},
    model::{Allow, Kind, Request},
};

/// Judges in time. What is not known by then names nobody: no answer means no.
pub async fn within(
    limit: Duration,
    question: Question,
    judged: impl FnOnce(&Question) -> Judgement + Send + 'static,
) -> Judgement {
    let other_ref = question.request.as_ref().is_some_and(|request| request.reference.is_some());
    let (app, uid) = (question.app.clone(), question.uid);
    if let Some(judgement) = in_time(limit, move || judged(&question)).await {
        return judgement;
    }
    tracing::warn!(
        DEPLOYD_APP = %app,
        "what the configuration of app {app} says of uid {uid} was not known within {limit:?}, and counts as no: what tells \
         users and groups (see `getent passwd`), or the disk, does not answer"
    );
    Judgement { other_ref, unknown: true, ..Judgement::default() }
}

/// Judges a question. What no list can be of, and names no ref, needs no settings, and they are not read.
pub fn judge(question: &Question, settings: impl FnOnce() -> Option<Settings>, names: &dyn Names) -> Judgement {
    let request = question.request.as_ref();
    let reference = request.and_then(|request| request.reference.as_deref());
    let listable = access::rights(question.action, request, false).is_some();
    if reference.is_none() && !listable {
        return Judgement::default();
    }
    let Some(settings) = settings() else {
        return Judgement { other_ref: reference.is_some(), unknown: true, ..Judgement::default() };
    };
    let configured = configured(&settings.source);
    let other_ref = reference.is_some_and(|reference| configured.is_none_or(|one| !is_it(one, reference)));
    let webhook = request.is_some_and(|request| by_webhook(&settings, request));
    let rights = access::rights(question.action, request, other_ref).unwrap_or_default();
    let listed = access::names(&settings.access, &rights, question.uid, names);
    Judgement { other_ref, webhook, listed, unknown: false }
}

/// A webhook names a ref, and asks for nothing more than its deployment.
fn by_webhook(settings: &Settings, request: &Request) -> bool {
    let plain = request.kind == Kind::Deploy
        && !request.force
        && !request.upload
        && request.release.is_none()
        && request.allow == Allow::default();
    let (Some(webhook), Some(reference)) = (&settings.webhook, &request.reference) else { return false };
    plain && webhook.allows(reference)
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
        config::{Right, Webhook, Who},
        daemon::show::tests::settings,
        dbus::{Action, Error},
        model::{Actor, DeploymentId},
    };

    /// The user 7 is called `ci`.
    struct Ci;

    impl Names for Ci {
        fn user(&self, name: &str) -> Option<u32> {
            (name == "ci").then_some(7)
        }
        fn is_member(&self, _uid: u32, _group: &str) -> bool {
            false
        }
    }

    fn of_deploy(request: &Request, settings: impl FnOnce() -> Option<Settings>) -> Judgement {
        let (app, request) = (request.app.clone(), Some(request.clone()));
        judge(&Question { action: Action::Deploy, app, uid: 7, request }, settings, &Ci)
    }

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
            assert_eq!(
                of_deploy(&request(reference), || app(configured)).other_ref,
                other,
                "{reference:?} {configured}"
            );
        }
        assert!(of_deploy(&request(Some("main")), || None).other_ref, "what is not known is another");
    }

    /// A push while the configuration has an error would be lost if its webhook were told that this ref is not deployed.
    #[test]
    fn what_is_refused_because_the_configuration_cannot_be_read_is_told_from_a_no() {
        let request = request(Some("refs/heads/main"));
        let no = || Err(Error::AccessDenied("no".into()));
        let settle = |settings, decided| of_deploy(&request, || settings).settle(&request.app, decided);
        assert!(matches!(settle(None, no()), Err(Error::Undecided(why)) if why.contains("deployctl check shop")));
        assert_eq!(settle(app("main"), no()), no());
        assert_eq!((settle(None, Ok(())), settle(app("main"), Ok(()))), (Ok(()), Ok(())));
    }

    /// DB-12: who is listed may what is listed; with a configuration that has errors nobody is.
    #[test]
    fn the_listed_may_what_is_listed_and_nothing_more() {
        let access = [(Right::Deploy, vec![Who::User("ci".into())])];
        let settings = || Some(Settings { access: access.clone().into_iter().collect(), ..app("main").unwrap() });
        let listed = |request: Request| of_deploy(&request, settings).listed;
        let plain = || request(None);
        assert!(listed(plain()) && listed(request(Some("main"))) && listed(request(Some("refs/heads/main"))));
        let allow = |allow: Allow| Request { allow, ..plain() };
        for more in [
            request(Some("topic")),
            request(Some("refs/tags/main")),
            Request { force: true, ..plain() },
            allow(Allow { destructive: true, ..Allow::default() }),
            allow(Allow { key_rotation: true, ..Allow::default() }),
        ] {
            assert!(!listed(more.clone()), "{more:?}");
        }
        assert!(!of_deploy(&plain(), || app("main")).listed, "nobody is listed");
        let broken = of_deploy(&plain(), || None);
        assert_eq!((broken.listed, broken.unknown, broken.other_ref), (false, true, false));
        let required = Err(Error::InteractiveAuthorizationRequired("it needs authentication".into()));
        assert!(matches!(broken.settle(&plain().app, required), Err(Error::Undecided(_))));
        let of = |action| Question { action, app: plain().app, uid: 7, request: None };
        assert!(!judge(&of(Action::Cancel), settings, &Ci).listed, "that has a list of its own");
        assert_eq!(judge(&of(Action::Key), || None, &Ci), Judgement::default(), "that has none, and is not unknown");
    }

    /// SE-: a directory that hangs lets nobody in, and holds nobody else up.
    #[tokio::test]
    async fn a_directory_that_does_not_answer_means_no() {
        struct Hanging(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);
        impl Names for Hanging {
            fn user(&self, _name: &str) -> Option<u32> {
                self.0.lock().unwrap().recv().ok();
                Some(7)
            }
            fn is_member(&self, _uid: u32, _group: &str) -> bool {
                true
            }
        }
        let (hangs, waits) = std::sync::mpsc::channel();
        let access = [(Right::Deploy, vec![Who::User("ci".into())])];
        let settings = move || Some(Settings { access: access.into_iter().collect(), ..app("main").unwrap() });
        let of = |reference| {
            let request = request(reference);
            Question { action: Action::Deploy, app: request.app.clone(), uid: 7, request: Some(request) }
        };
        let names = Hanging(waits.into());
        let judged = move |question: &Question| judge(question, settings, &names);
        let late = within(Duration::from_millis(100), of(Some("main")), judged).await;
        let unknown = Judgement { other_ref: true, unknown: true, ..Judgement::default() };
        assert_eq!(late, unknown, "listed, as the directory would say, was never said");
        drop(hangs);
        let soon =
            within(Duration::from_secs(60), of(None), |_| Judgement { listed: true, ..Judgement::default() }).await;
        assert!(soon.listed);
    }

    /// WH-10: a webhook may have deployed what is listed, plainly.
    #[test]
    fn a_webhook_is_allowed_what_is_listed_and_nothing_more() {
        let webhook = |request: Request| of_deploy(&request, || app("main")).webhook;
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
        assert!(!of_deploy(&main(), || Some(Settings { webhook: None, ..app("main").unwrap() })).webhook);
    }
}
