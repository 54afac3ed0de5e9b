//! The journal: tracing set up so that MESSAGE_ID and DEPLOYD_* fields arrive, and a sender for catalogued events.

use std::{io, os::unix::net::UnixDatagram, path::Path, sync::OnceLock, time::Duration};

use rustix::fs::fstat;
use tracing_journald::{Priority as Level, PriorityMappings};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use super::beginning;
use crate::model::{events::EventId, printable};

/// Where journald takes its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest value, in bytes; a message of ours fits a datagram.
const VALUE_MAX: usize = 48 * 1024;
/// The longest value when the message did not fit.
const VALUE_SMALL: usize = 2 * 1024;
/// How long a journal that does not read may hold us up.
const PATIENCE: Duration = Duration::from_secs(1);

static IDENTIFIER: OnceLock<&'static str> = OnceLock::new();

/// The target of spans that give lines their fields: they are there whatever `DEPLOYD_LOG` leaves out.
pub const FIELDS: &str = "deployd::fields";

/// Sets up tracing: to the journal when standard error is its stream (`JOURNAL_STREAM`), else plain lines on standard
/// error. `identifier` is SYSLOG_IDENTIFIER. Once for a process, by `bin/`. What is told is `DEPLOYD_LOG`'s to say
/// (like `debug` or `deployd=debug`), else `info` and above.
pub fn init(identifier: &'static str) {
    let _ = IDENTIFIER.set(identifier);
    let filter = EnvFilter::try_from_env("DEPLOYD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = match format!("{FIELDS}=error").parse() {
        Ok(always) => filter.add_directive(always),
        Err(_) => filter,
    };
    let journal = is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()).then(tracing_journald::layer);
    let layer = match journal {
        // Its default would prefix fields with F_, so that MESSAGE_ID did not arrive, and make INFO a notice.
        Some(Ok(layer)) => layer
            .with_field_prefix(None)
            .with_priority_mappings(PriorityMappings { info: Level::Informational, ..PriorityMappings::new() })
            .with_syslog_identifier(identifier.into())
            .boxed(),
        _ => tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .boxed(),
    };
    // A second call changes nothing.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names, `DEVICE:INODE` (systemd.exec(5)).
fn is_journal(stream: Option<&str>) -> bool {
    let named = stream.and_then(|stream| stream.split_once(':'));
    let named = named.and_then(|(device, inode)| Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?)));
    let ours = fstat(io::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
    named.is_some_and(|named| ours.is_ok_and(|ours| ours == named))
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
    if let Err(error) = send(Path::new(SOCKET), id, priority, message, fields) {
        tracing::debug!("cannot reach the journal: {error}, telling the event here");
        line(id, priority, message, fields);
    }
}

fn send(socket: &Path, id: EventId, priority: Priority, message: &str, fields: &[(&str, &str)]) -> io::Result<()> {
    let journal = UnixDatagram::unbound()?;
    journal.set_write_timeout(Some(PATIENCE))?;
    match journal.send_to(&encode(id, priority, message, fields, VALUE_MAX), socket) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
            journal.send_to(&encode(id, priority, message, fields, VALUE_SMALL), socket)
        }
        sent => sent,
    }
    .map(drop)
}

fn encode(id: EventId, priority: Priority, message: &str, fields: &[(&str, &str)], longest: usize) -> Vec<u8> {
    let priority = (priority as u8).to_string();
    let identifier = IDENTIFIER.get().copied().unwrap_or("deployd");
    let own = [("MESSAGE", message), ("MESSAGE_ID", id), ("PRIORITY", &priority), ("SYSLOG_IDENTIFIER", identifier)];
    let mut out = Vec::new();
    for (name, value) in own.iter().chain(fields.iter().filter(|(name, _)| is_field(name))) {
        let value = beginning(value, longest);
        out.extend(name.as_bytes());
        if value.contains('\n') {
            out.push(b'\n');
            out.extend((value.len() as u64).to_le_bytes());
        } else {
            out.push(b'=');
        }
        out.extend(value.as_bytes());
        out.push(b'\n');
    }
    out
}

/// Whether the journal takes a field of this name from a client (`journal_field_valid`, systemd's journal-util.c).
fn is_field(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= 64 && name.as_bytes().first().is_some_and(u8::is_ascii_uppercase) && name.bytes().all(allowed)
}

/// The event as a line for people.
fn line(id: EventId, priority: Priority, message: &str, fields: &[(&str, &str)]) {
    let mut text = printable(message);
    for (name, value) in fields {
        text.push_str(&format!(" {name}={:?}", printable(value)));
    }
    match priority {
        Priority::Error => tracing::error!(MESSAGE_ID = id, "{text}"),
        Priority::Warning => tracing::warn!(MESSAGE_ID = id, "{text}"),
        Priority::Notice | Priority::Info => tracing::info!(MESSAGE_ID = id, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::events::PHASE;

    /// Reads the native protocol, as journald does.
    fn decode(mut data: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut fields = BTreeMap::new();
        while !data.is_empty() {
            let end = data.iter().position(|b| *b == b'\n').unwrap();
            let head = &data[..end];
            data = &data[end + 1..];
            let (name, value) = if let Some(at) = head.iter().position(|b| *b == b'=') {
                (&head[..at], &head[at + 1..])
            } else {
                let length = u64::from_le_bytes(*data.first_chunk().unwrap()) as usize;
                let value = &data[8..8 + length];
                assert_eq!(data[8 + length], b'\n');
                data = &data[8 + length + 1..];
                (head, value)
            };
            fields.insert(String::from_utf8(name.to_vec()).unwrap(), value.to_vec());
        }
        fields
    }

    #[test]
    fn an_event_arrives_with_its_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let fields = [("DEPLOYD_APP", "shop"), ("_UID", "0"), ("lower", "x"), ("DEPLOYD_STEP", "a\nPRIORITY=0")];
        send(&path, PHASE, Priority::Notice, "hello\nworld", &fields).unwrap();
        let mut buffer = [0; 4096];
        let length = journal.recv(&mut buffer).unwrap();
        let got = decode(&buffer[..length]);
        let text = |name: &str| String::from_utf8(got[name].clone()).unwrap();
        assert_eq!(text("MESSAGE"), "hello\nworld");
        assert_eq!(text("MESSAGE_ID"), PHASE);
        assert_eq!(text("PRIORITY"), "5");
        assert_eq!(text("DEPLOYD_APP"), "shop");
        assert_eq!(text("DEPLOYD_STEP"), "a\nPRIORITY=0");
        assert!(!got.contains_key("_UID") && !got.contains_key("lower"));
    }

    #[test]
    fn a_message_too_large_for_a_datagram_is_cut_and_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let long = "x".repeat(60_000);
        let names: Vec<String> = (0..20).map(|n| format!("DEPLOYD_{n}")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
        send(&path, PHASE, Priority::Info, "long", &fields).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let length = journal.recv(&mut buffer).unwrap();
        assert_eq!(decode(&buffer[..length])["DEPLOYD_19"].len(), VALUE_SMALL);
    }

    #[test]
    fn no_journal_is_an_error_for_the_fallback() {
        assert!(send(Path::new("/nonexistent/journal"), PHASE, Priority::Info, "x", &[]).is_err());
    }

    #[test]
    fn only_our_own_standard_error_is_the_journal() {
        assert!(!is_journal(None) && !is_journal(Some("x")) && !is_journal(Some("0:0")));
        let stat = fstat(io::stderr()).unwrap();
        assert!(is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
    }

    proptest! {
        #[test]
        fn no_value_can_forge_a_field(value in "(\\PC|\n|=|[A-Z]){0,40}") {
            let sent = encode(PHASE, Priority::Info, &value, &[("DEPLOYD_STEP", &value)], VALUE_MAX);
            let got = decode(&sent);
            prop_assert_eq!(got.len(), 5);
            prop_assert_eq!(&got["DEPLOYD_STEP"], value.as_bytes());
            prop_assert_eq!(&got["PRIORITY"], b"6");
        }
    }
}
