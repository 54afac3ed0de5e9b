//! What can go wrong at the command line, with the exit status of each.

use crate::dbus;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The bus answered with an error.
    #[error("{text}")]
    Refused {
        /// The error's name.
        name: String,
        /// What it says.
        text: String,
    },
    /// The bus cannot be reached, or broke off.
    #[error("cannot talk to deployd: {0}")]
    Bus(zbus::Error),
    /// Something of this process.
    #[error("{0}")]
    Local(String),
    /// The reader of standard output has gone: that is no error of ours.
    #[error("nobody reads the output")]
    Unread,
}

impl CtlError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            CtlError::Usage(_) => 2,
            CtlError::Refused { name, .. } => dbus::exit_status(name),
            CtlError::Bus(_) | CtlError::Local(_) => 1,
            CtlError::Unread => 0,
        }
    }

    /// What to do about it, when the sentence does not say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            // Its text says what is wrong, and nobody's rights are.
            CtlError::Refused { name, .. } if name.ends_with(".Undecided") => None,
            CtlError::Refused { name, .. } if self.status() == 7 => Some(if name.ends_with("AccessDenied") {
                "an administrator may: sudo deployctl …; a polkit rule can allow it to you, see org.deployd1(5)"
            } else {
                "run it as root, or where an authentication agent can ask you for a password"
            }),
            CtlError::Refused { name, .. } if name.ends_with(".ServiceUnknown") => {
                Some("deployd is not installed here, or its package was only just removed")
            }
            CtlError::Bus(_) => Some("is the system bus running? `systemctl status dbus deployd` says more"),
            _ => None,
        }
    }
}

impl From<zbus::Error> for CtlError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                CtlError::Refused { name: name.to_string(), text: text.unwrap_or_default() }
            }
            zbus::Error::FDO(error) => {
                let (name, text) = (zbus::DBusError::name(&*error), zbus::DBusError::description(&*error));
                CtlError::Refused { name: name.to_string(), text: text.unwrap_or_default().to_owned() }
            }
            error => CtlError::Bus(error),
        }
    }
}

impl From<zbus::fdo::Error> for CtlError {
    fn from(error: zbus::fdo::Error) -> Self {
        zbus::Error::from(error).into()
    }
}
