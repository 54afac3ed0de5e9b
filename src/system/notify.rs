//! The service manager's notify socket: STATUS, READY, STOPPING and more time. Does nothing when there is none.

use std::time::Duration;

/// Sets the unit's status line. Newlines and control characters are made printable: they could forge other fields.
pub fn status(text: &str) {
    let _ = text;
    todo!()
}
/// Says that the service is ready.
pub fn ready() {
    todo!()
}
/// Says that the service is stopping.
pub fn stopping() {
    todo!()
}
/// Asks the manager for at least this much time from now.
pub fn extend_timeout(by: Duration) {
    let _ = by;
    todo!()
}
/// Tells the watchdog that this process lives.
pub fn alive() {
    todo!()
}
