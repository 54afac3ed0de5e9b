//! The errors of the bus, and the one table of their names and exit statuses.
//!
//! `zbus::DBusError` is implemented by hand: the derived one turns every error that is passed through into
//! `org.freedesktop.zbus.Error`, and clients would never see that authentication was asked for.

use zbus::{Message, message::Header, names::ErrorName};

/// Why a call was refused or failed. The text says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such app is configured.
    #[error("{0}")]
    NoSuchApp(String),
    /// The app has no such release.
    #[error("{0}")]
    NoSuchRelease(String),
    /// The app has no such deployment.
    #[error("{0}")]
    NoSuchDeployment(String),
    /// The deployment has ended already.
    #[error("{0}")]
    NotRunning(String),
    /// The app's configuration has errors.
    #[error("{0}")]
    BadConfig(String),
    /// Something of the host did not do what it should.
    #[error("{0}")]
    Failed(String),
    /// An argument or option is unknown, of a wrong type or malformed.
    #[error("{0}")]
    InvalidArgs(String),
    /// Polkit said no.
    #[error("{0}")]
    AccessDenied(String),
    /// Polkit would say yes after authentication, and the caller did not allow to ask for it.
    #[error("{0}")]
    InteractiveAuthorizationRequired(String),
    /// The caller has too much going on.
    #[error("{0}")]
    LimitsExceeded(String),
    /// Whether it is allowed is not known, so that it was not done: polkit did not answer, or the app's configuration, by
    /// which it is decided, has errors.
    #[error("{0}")]
    Undecided(String),
}

/// Names on the bus, and `deployctl`'s exit status for each: 1 failed, 2 usage, 3 rejected, 7 denied, 8 not there.
const TABLE: [(&str, u8); 11] = [
    ("org.deployd1.Error.NoSuchApp", 8),
    ("org.deployd1.Error.NoSuchRelease", 8),
    ("org.deployd1.Error.NoSuchDeployment", 8),
    ("org.deployd1.Error.NotRunning", 1),
    ("org.deployd1.Error.BadConfig", 3),
    ("org.deployd1.Error.Failed", 1),
    ("org.freedesktop.DBus.Error.InvalidArgs", 2),
    ("org.freedesktop.DBus.Error.AccessDenied", 7),
    ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", 7),
    ("org.freedesktop.DBus.Error.LimitsExceeded", 1),
    ("org.deployd1.Error.Undecided", 7),
];

/// The exit status for an error's name; 1 for those of others.
pub fn exit_status(name: &str) -> u8 {
    TABLE.iter().find(|(known, _)| *known == name).map_or(1, |(_, status)| *status)
}

impl Error {
    /// The name on the bus.
    pub fn bus_name(&self) -> &'static str {
        let row = match self {
            Error::NoSuchApp(_) => 0,
            Error::NoSuchRelease(_) => 1,
            Error::NoSuchDeployment(_) => 2,
            Error::NotRunning(_) => 3,
            Error::BadConfig(_) => 4,
            Error::Failed(_) => 5,
            Error::InvalidArgs(_) => 6,
            Error::AccessDenied(_) => 7,
            Error::InteractiveAuthorizationRequired(_) => 8,
            Error::LimitsExceeded(_) => 9,
            Error::Undecided(_) => 10,
        };
        TABLE[row].0
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        match self {
            Error::NoSuchApp(text)
            | Error::NoSuchRelease(text)
            | Error::NoSuchDeployment(text)
            | Error::NotRunning(text)
            | Error::BadConfig(text)
            | Error::Failed(text)
            | Error::InvalidArgs(text)
            | Error::AccessDenied(text)
            | Error::InteractiveAuthorizationRequired(text)
            | Error::LimitsExceeded(text)
            | Error::Undecided(text) => text,
        }
    }
}

impl zbus::DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&(self.text(),))
    }
    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(self.bus_name())
    }
    fn description(&self) -> Option<&str> {
        Some(self.text())
    }
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        Error::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::DBusError;

    #[test]
    fn every_error_has_its_row() {
        let all = [
            (Error::NoSuchApp(String::new()), "NoSuchApp", 8),
            (Error::NoSuchRelease(String::new()), "NoSuchRelease", 8),
            (Error::NoSuchDeployment(String::new()), "NoSuchDeployment", 8),
            (Error::NotRunning(String::new()), "NotRunning", 1),
            (Error::BadConfig(String::new()), "BadConfig", 3),
            (Error::Failed(String::new()), "Failed", 1),
            (Error::InvalidArgs(String::new()), "InvalidArgs", 2),
            (Error::AccessDenied(String::new()), "AccessDenied", 7),
            (Error::InteractiveAuthorizationRequired(String::new()), "InteractiveAuthorizationRequired", 7),
            (Error::LimitsExceeded(String::new()), "LimitsExceeded", 1),
            (Error::Undecided(String::new()), "Undecided", 7),
        ];
        for (error, last, status) in &all {
            assert_eq!(error.bus_name().rsplit('.').next(), Some(*last));
            assert_eq!(exit_status(error.bus_name()), *status);
            assert!(ErrorName::try_from(error.name().to_string()).is_ok());
        }
        assert_eq!(all.len(), TABLE.len());
    }
}
