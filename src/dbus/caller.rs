//! Who calls: the user behind a unique bus name, as the bus daemon vouches for it.

use zbus::{Connection, fdo::DBusProxy, message::Header, names::BusName};

use super::{
    Error,
    in_time::{NAMED, in_time},
};
use crate::model::Actor;

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Numeric user id.
    pub uid: u32,
    /// The user's name, when it has one.
    pub user: Option<String>,
}

impl Caller {
    /// Of a message, by its sender.
    pub async fn of(connection: &Connection, header: &Header<'_>) -> Result<Self, Error> {
        let sender = header.sender().ok_or_else(|| Error::AccessDenied("the message has no sender".into()))?;
        let bus = DBusProxy::new(connection).await?;
        let uid = bus
            .get_connection_unix_user(BusName::from(sender.clone()))
            .await
            .map_err(|e| Error::AccessDenied(format!("the bus does not know the caller's user: {e}")))?;
        Ok(Self { uid, user: in_time(NAMED, move || name(uid)).await.flatten() })
    }

    /// As records and the journal name it.
    pub fn actor(&self) -> Actor {
        Actor::Bus { uid: self.uid, user: self.user.clone() }
    }
}

/// For people only: without it the number is told.
fn name(uid: u32) -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}
