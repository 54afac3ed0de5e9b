//! What the process that holds a fleet's slot is told, once, and what it says: lines of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What it is to do. Secrets are credentials: [`PASSWORD`], [`AUTHORITY`], [`CERTIFICATE`], [`KEY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetOrder {
    /// Whose.
    pub app: String,
    /// This host's name, for people.
    pub host: String,
    /// This host, among all hosts: 32 hexadecimal digits.
    pub id: String,
    /// Which hosts wait for each other.
    pub group: String,
    /// The release, for people.
    pub release: String,
    /// What it was made from: the same on every host.
    pub revision: String,
    /// Activate it though another host went back from it.
    pub force: bool,
    /// A revision from which this host went back, of which nobody is told yet.
    pub untold: Option<String>,
    /// What.
    pub what: FleetWhat,
    /// Where.
    pub semaphore: SemaphoreOrder,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FleetWhat {
    /// Take a slot and keep it until a signal says how it went.
    Take,
    /// Say that this host went back from the revision; there is no slot.
    Report,
    /// The release was confirmed, and the process that took the slot is gone: give back what FleetLock knows of it, take
    /// back what etcd knows of the revision if it was forced.
    GiveBack,
}

/// Where the slots are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SemaphoreOrder {
    /// etcd.
    Etcd {
        /// Its members.
        endpoints: Vec<String>,
        /// How many hosts at once.
        slots: u32,
        /// How long a host that says nothing keeps its slot.
        lease: Duration,
        /// Who it is to etcd, with the credential [`PASSWORD`].
        user: Option<String>,
    },
    /// FleetLock.
    FleetLock {
        /// Without `/v1/…`.
        url: String,
    },
}

/// One line of what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FleetSays {
    /// It waits, and for what.
    Waits(String),
    /// It has a slot.
    Taken,
    /// Another host went back from this revision: which, and when.
    Held(String),
    /// It cannot be done, and waiting does not help.
    Failed(String),
}

/// The signal by which it is told that the slot is not needed: nothing was activated.
pub const GIVE_BACK: rustix::process::Signal = rustix::process::Signal::HUP;
/// The release is confirmed.
pub const CONFIRMED: rustix::process::Signal = rustix::process::Signal::USR2;
/// This host went back from the release.
pub const WENT_BACK: rustix::process::Signal = rustix::process::Signal::USR1;

/// The password of etcd's user.
pub const PASSWORD: &str = "password";
/// The authority of the semaphore's certificates, PEM.
pub const AUTHORITY: &str = "ca";
/// This host's certificate, PEM.
pub const CERTIFICATE: &str = "cert";
/// Its key, PEM.
pub const KEY: &str = "key";
