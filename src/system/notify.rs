//! The service manager's notify socket: STATUS, READY, STOPPING and more time. Does nothing when there is none.

use std::time::Duration;

use sd_notify::NotifyState;

use super::beginning;
use crate::model::printable;

/// The longest status line, in bytes; PID 1 reads at most a page of a message.
const STATUS_MAX: usize = 1024;

/// Sets the unit's status line. Newlines and control characters are made printable: they could forge other fields.
pub fn status(text: &str) {
    send(NotifyState::Status(&line(text)));
}
/// Says that the service is ready.
pub fn ready() {
    send(NotifyState::Ready);
}
/// Says that the service is stopping.
pub fn stopping() {
    send(NotifyState::Stopping);
}
/// Asks the manager for at least this much time from now. More than 71 minutes are 71 minutes.
pub fn extend_timeout(by: Duration) {
    send(NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX)));
}
/// Tells the watchdog that this process lives.
pub fn alive() {
    send(NotifyState::Watchdog);
}

fn send(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("cannot notify the service manager: {error}, ignoring");
    }
}

/// One line of text: `a\nERRNO=5` would set the unit's errno. Without escapes, for PID 1 takes backslashes away, and
/// without one at the end, which would take the line's end away.
fn line(text: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c != '\\' && printable(c.encode_utf8(&mut [0; 4])).starts_with('\\') => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let line: String = text.chars().map(plain).collect();
    beginning(&line, STATUS_MAX).trim_end_matches('\\').to_owned()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_status_is_one_bounded_line() {
        assert_eq!(line("fine\nERRNO=5\x1b[2J\u{202e}é\\"), "fine ERRNO=5\u{fffd}[2J\u{fffd}é");
        let long = line(&"é".repeat(5000));
        assert!(long.len() <= 1024 && long.len() > 1000);
    }
}
