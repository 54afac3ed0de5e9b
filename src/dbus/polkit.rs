//! Polkit: whether a caller may. Asked about the caller's unique bus name, never about a process. No answer means no.

use std::{collections::HashMap, sync::Arc, time::Duration};

use zbus::{
    Connection,
    message::{Flags, Header},
    proxy::CacheProperties,
};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::{Access, Backend, Caller, Error, Judgement, Question};
use crate::model::{AppName, Request};

/// One action for each kind of risk, as `dbus/org.deployd1.policy` declares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Deploy,
    DeployOtherRef,
    Stage,
    Activate,
    Rollback,
    Cancel,
    ReadLogs,
    ReadServiceLogs,
    Plan,
    Upload,
    Key,
    RotateKey,
    Hold,
    Prune,
}

impl Action {
    #[cfg(test)]
    pub(super) const ALL: [Action; 14] = [
        Action::Deploy,
        Action::DeployOtherRef,
        Action::Stage,
        Action::Activate,
        Action::Rollback,
        Action::Cancel,
        Action::ReadLogs,
        Action::ReadServiceLogs,
        Action::Plan,
        Action::Upload,
        Action::Key,
        Action::RotateKey,
        Action::Hold,
        Action::Prune,
    ];

    /// The action's id.
    pub fn id(self) -> &'static str {
        match self {
            Action::Deploy => "org.deployd1.deploy",
            Action::DeployOtherRef => "org.deployd1.deploy-other-ref",
            Action::Stage => "org.deployd1.stage",
            Action::Activate => "org.deployd1.activate",
            Action::Rollback => "org.deployd1.rollback",
            Action::Cancel => "org.deployd1.cancel",
            Action::ReadLogs => "org.deployd1.read-logs",
            Action::ReadServiceLogs => "org.deployd1.read-service-logs",
            Action::Plan => "org.deployd1.plan",
            Action::Upload => "org.deployd1.upload",
            Action::Key => "org.deployd1.key",
            Action::RotateKey => "org.deployd1.rotate-key",
            Action::Hold => "org.deployd1.hold",
            Action::Prune => "org.deployd1.prune",
        }
    }
}

/// The longest that polkit may take, when it asks nobody.
const AT_ONCE: Duration = Duration::from_secs(20);
/// The longest that a person may take to authenticate.
const BY_A_PERSON: Duration = Duration::from_secs(300);

/// A call that somebody must be let make.
pub struct Asking<'a> {
    pub backend: &'a Arc<dyn Backend>,
    pub connection: &'a Connection,
    pub header: &'a Header<'a>,
    pub caller: &'a Caller,
}

impl Asking<'_> {
    /// Whether the caller may; of what is no deployment.
    pub async fn may(&self, action: Action, app: &AppName, details: HashMap<&str, &str>) -> Result<(), Error> {
        let judged = self.judge(action, app, None).await?;
        self.authorise(action, app, judged, details).await
    }

    /// What the app's configuration says of it.
    pub async fn judge(&self, action: Action, app: &AppName, request: Option<&Request>) -> Result<Judgement, Error> {
        let (app, request) = (app.clone(), request.cloned());
        Arc::clone(self.backend).judge(Question { action, app, uid: self.caller.uid, request }).await
    }

    /// Asks polkit on an app's behalf and tells the journal what it said. `Ok` only when it said yes.
    pub async fn authorise(
        &self,
        action: Action,
        app: &AppName,
        judged: Judgement,
        mut details: HashMap<&str, &str>,
    ) -> Result<(), Error> {
        // A person may be thinking: the service is not idle meanwhile.
        let _held = self.backend.hold();
        // Nobody but deployd sets it: what a caller gives is never a detail's name.
        details.insert("access", if judged.listed { "listed" } else { "no" });
        let answer = ask(self.connection, self.header, action, &details).await;
        let actor = self.caller.actor();
        let refusal = answer.as_ref().err().map(Error::text);
        self.backend.access(&Access { action: action.id(), app, actor: &actor, refusal });
        judged.settle(app, answer)
    }
}

async fn ask(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    details: &HashMap<&str, &str>,
) -> Result<(), Error> {
    let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let limit = if interactive { BY_A_PERSON } else { AT_ONCE };
    match tokio::time::timeout(limit, check(connection, header, action, details, interactive)).await {
        Ok(answer) => answer,
        Err(_) => Err(unasked(action.id(), &format!("it did not answer within {limit:?}"))),
    }
}

/// That is no "no": whoever asks may come again.
pub fn unasked(id: &str, what: &str) -> Error {
    Error::Undecided(format!("polkit could not be asked about {id}: {what} (see `systemctl status polkit`)"))
}

async fn check(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    details: &HashMap<&str, &str>,
    interactive: bool,
) -> Result<(), Error> {
    let id = action.id();
    let unknown = |what: String| unasked(id, &what);
    let subject = Subject::new_for_message_header(header).map_err(|e| unknown(e.to_string()))?;
    let authority = AuthorityProxy::builder(connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .map_err(|e| unknown(e.to_string()))?;
    let flags =
        if interactive { CheckAuthorizationFlags::ALLOW_USER_INTERACTION } else { CheckAuthorizationFlags::empty() };
    let answer =
        authority.check_authorization(&subject, id, details, flags, "").await.map_err(|e| unknown(e.to_string()))?;
    if answer.is_authorized {
        Ok(())
    } else if answer.is_challenge && !interactive {
        Err(Error::InteractiveAuthorizationRequired(format!("{id} needs authentication")))
    } else {
        Err(Error::AccessDenied(format!("{id} is not allowed; a polkit rule or an administrator can allow it")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DB-12: deployd alone may have the name, and whoever is let send is let send to it.
    #[test]
    fn the_bus_policy_lets_everyone_talk_to_deployd_and_to_nobody_else() {
        let policy = include_str!("../../dbus/org.deployd1.conf");
        let mut inside = "";
        let mut allowed = 0;
        for line in policy.lines().map(str::trim) {
            if line.starts_with("<policy ") {
                inside = line;
            }
            if line.starts_with("<allow ") {
                let own = inside == "<policy user=\"deployd\">" && line == "<allow own=\"org.deployd1\"/>";
                let send = inside == "<policy context=\"default\">"
                    && line.starts_with("<allow send_destination=\"org.deployd1\" send_interface=\"org.");
                assert!(own || send, "{inside} {line}");
                allowed += 1;
            }
        }
        assert_eq!((allowed, policy.matches("<allow ").count()), (8, 8));
        assert!(policy.contains("<policy context=\"default\">\n    <deny own=\"org.deployd1\"/>"));
    }

    /// What the shipped rule lets the listed do is what a list of `[access]` can be of.
    #[test]
    fn the_shipped_rule_knows_every_action_that_a_list_can_be_of() {
        let rules = include_str!("../../dbus/org.deployd1.rules");
        let rule = rules.split("polkit.addRule").find(|rule| rule.contains("\"listed\"")).unwrap();
        for action in Action::ALL {
            let named = rule.contains(&format!("\"{}\"", action.id()));
            let none = [Action::Key, Action::RotateKey, Action::ReadServiceLogs];
            assert_eq!(named, !none.contains(&action), "{}", action.id());
        }
    }

    /// DB-12: each action is declared, with the owner that lets deployd pass details, and nobody is let in unasked.
    #[test]
    fn the_policy_declares_every_action_safely() {
        let policy = include_str!("../../dbus/org.deployd1.policy");
        for action in Action::ALL {
            assert!(policy.contains(&format!("<action id=\"{}\">", action.id())), "{}", action.id());
        }
        let count = |text: &str| policy.matches(text).count();
        assert_eq!(count("<action id="), Action::ALL.len());
        assert_eq!(count("<allow_any>auth_admin</allow_any>"), Action::ALL.len());
        assert_eq!(count("<allow_inactive>auth_admin</allow_inactive>"), Action::ALL.len());
        assert_eq!(count("<allow_active>auth_admin_keep</allow_active>"), Action::ALL.len());
        let owner = "<annotate key=\"org.freedesktop.policykit.owner\">unix-user:deployd</annotate>";
        assert_eq!(count(owner), Action::ALL.len());
    }
}
