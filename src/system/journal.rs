//! The journal: tracing set up so that MESSAGE_ID and DEPLOYD_* fields arrive, and a sender for catalogued events.

use crate::model::events::EventId;

/// Sets up tracing: to the journal when standard error is its stream (`JOURNAL_STREAM`), else plain lines on standard
/// error. `identifier` is SYSLOG_IDENTIFIER. Once for a process, by `bin/`.
pub fn init(identifier: &'static str) {
    let _ = identifier;
    todo!()
}

/// Severity of an event, as syslog counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// 3
    Error = 3,
    /// 4
    Warning = 4,
    /// 5
    Notice = 5,
    /// 6
    Info = 6,
}

/// Sends one catalogued event with its fields, straight to the journal's socket. Values may hold anything: they cannot
/// forge fields. When there is no journal it goes through tracing as a line. Failures are ignored: nothing depends on it.
pub fn event(id: EventId, priority: Priority, message: &str, fields: &[(&str, &str)]) {
    let _ = (id, priority, message, fields);
    todo!()
}
