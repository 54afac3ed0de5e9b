//! Answers of PID 1: awaited within a limit, and told apart: refused, or none at all.

use std::{future::Future, time::Duration};

use super::UnitError;
use crate::model::printable;

/// How long PID 1 has for an answer, like libdbus gives.
pub(super) const ANSWER: Duration = Duration::from_secs(25);

/// Whether the call may have been carried out or not: PID 1 or the bus went away before the answer.
pub(super) fn is_unanswered(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::InputOutput(_))
        || is_absent(error)
        || is_named(error, "org.freedesktop.DBus.Error.NoReply")
        || is_named(error, "org.freedesktop.DBus.Error.Disconnected")
}

/// Whether nobody owns PID 1's name at the moment. `systemd1.service` has `Exec=/bin/false`, hence the first.
fn is_absent(error: &zbus::Error) -> bool {
    let name = error_name(error).unwrap_or_default();
    name.starts_with("org.freedesktop.DBus.Error.Spawn.")
        || name == "org.freedesktop.DBus.Error.ServiceUnknown"
        || name == "org.freedesktop.DBus.Error.NameHasNoOwner"
}

fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, ..) => Some(name.to_string()),
        zbus::Error::FDO(error) => Some(zbus::DBusError::name(&**error).to_string()),
        _ => None,
    }
}

/// Whether the peer answered with the error `name`.
pub(super) fn is_named(error: &zbus::Error, name: &str) -> bool {
    error_name(error).as_deref() == Some(name)
}

/// An error in the peer's words.
pub(super) fn call_error(what: &str, error: &zbus::Error) -> UnitError {
    let detail = match error {
        zbus::Error::MethodError(_, Some(text), _) => printable(text),
        other => printable(&other.to_string()),
    };
    if is_unanswered(error) {
        return UnitError::Unanswered { what: what.into(), detail };
    }
    UnitError::Call { what: what.into(), detail }
}

/// Awaits an answer of PID 1, at most [`ANSWER`].
pub(super) async fn answer<T>(what: &str, call: impl Future<Output = zbus::Result<T>>) -> Result<T, UnitError> {
    answer_within(ANSWER, what, call).await?.map_err(|error| call_error(what, &error))
}

/// Awaits an answer of PID 1, at most `limit`; the peer's refusal is left to the caller.
pub(super) async fn answer_within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<zbus::Result<T>, UnitError> {
    tokio::time::timeout(limit, call).await.map_err(|_| UnitError::Timeout(limit, what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_did_not_come_is_told_from_a_refusal() {
        let fdo = |error: zbus::fdo::Error| call_error("start x.service", &zbus::Error::FDO(Box::new(error)));
        let lost = zbus::Error::InputOutput(std::sync::Arc::new(std::io::ErrorKind::BrokenPipe.into()));
        for none in [
            fdo(zbus::fdo::Error::NoReply("the recipient disconnected".into())),
            fdo(zbus::fdo::Error::NameHasNoOwner("nobody".into())),
            fdo(zbus::fdo::Error::ServiceUnknown("nobody".into())),
            fdo(zbus::fdo::Error::SpawnChildExited("1".into())),
            call_error("start x.service", &lost),
        ] {
            assert!(matches!(none, UnitError::Unanswered { .. }), "{none}");
        }
        for refused in [fdo(zbus::fdo::Error::AccessDenied("no".into())), fdo(zbus::fdo::Error::Failed("no".into()))] {
            assert!(matches!(refused, UnitError::Call { .. }), "{refused}");
        }
    }
}
