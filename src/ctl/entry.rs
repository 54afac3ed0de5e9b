//! A journal entry, as `journalctl -o json` writes it, and the line that people see of it. Pure.

use serde_json::Value;

use crate::model::{events, printable};

/// What is used of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub message: String,
    pub event: Option<String>,
    pub phase: String,
    pub step: String,
    pub pid: String,
    /// The unit that said it.
    pub unit: String,
    /// The app it names; of what its services say none.
    pub app: String,
    /// The deployment it names, if any.
    pub deployment: String,
    /// Microseconds since 1970.
    pub time: i64,
}

/// How deployments end, as events.
const ENDS: [&str; 7] = [
    events::DEPLOYMENT_SUCCEEDED,
    events::DEPLOYMENT_UNCHANGED,
    events::DEPLOYMENT_REJECTED,
    events::DEPLOYMENT_FAILED,
    events::DEPLOYMENT_ROLLED_BACK,
    events::DEPLOYMENT_CANCELLED,
    events::DEPLOYMENT_STUCK,
];

impl Entry {
    /// From one line; `None`: it is no entry.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| text(value.get(name));
        // What an app's own user runs in its slice can send any field: only root and the bus service tell of events.
        let trusted = field("_UID") == "0" || field("_SYSTEMD_UNIT") == "deployd.service";
        let event = Some(field("MESSAGE_ID")).filter(|id| trusted && !id.is_empty());
        let time = field("__REALTIME_TIMESTAMP").parse().unwrap_or_default();
        Some(Self {
            message: field("MESSAGE"),
            event,
            phase: field("DEPLOYD_PHASE"),
            step: field("DEPLOYD_STEP"),
            pid: field("_PID"),
            unit: field("_SYSTEMD_UNIT"),
            app: field("DEPLOYD_APP"),
            deployment: field("DEPLOYD_DEPLOYMENT"),
            time,
        })
    }

    /// It tells that the deployment has ended.
    pub fn is_end(&self) -> bool {
        self.event.as_deref().is_some_and(|id| ENDS.contains(&id))
    }

    /// What somebody sees who waits for the deployment: phases as headings, the output of steps below them.
    /// `None`: it tells him nothing new (PID 1's own messages, the end, which is told in full, the start).
    pub fn live(&self) -> Option<Live> {
        let head = |text: &str| {
            let text = format!("{}: {text}", heading(&self.phase));
            Some(Live::Heading { text, step: self.step.clone() })
        };
        if self.pid == "1" || self.message.is_empty() {
            return None;
        }
        match self.event.as_deref() {
            Some(events::PHASE) if self.step.is_empty() => head(&self.message),
            Some(events::PHASE) => head(&self.step),
            Some(events::ACCESS_ALLOWED | events::DEPLOYMENT_STARTED) => None,
            Some(_) if self.is_end() => None,
            _ => Some(Live::Output { step: self.step.clone(), text: self.message.clone() }),
        }
    }

    /// The line of a log: time, who says it, message. Of deployd's own words nobody is named.
    pub fn logged(&self) -> String {
        let who = match (self.step.is_empty(), self.service()) {
            (false, _) => format!("{}: ", self.step),
            (true, Some(service)) => format!("{service}: "),
            (true, None) => String::new(),
        };
        format!("{}  {who}{}", super::out::time(self.time / 1_000_000), self.message)
    }

    /// The unit that says it, where it is none of deployd's own words: `app-fpm@shop:a`.
    fn service(&self) -> Option<&str> {
        let unit = self.unit.strip_suffix(".service").unwrap_or(&self.unit);
        Some(unit).filter(|unit| self.app.is_empty() && !unit.is_empty())
    }
}

/// What is seen live of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// A phase or a step begins.
    Heading {
        /// `Staging: composer-install`.
        text: String,
        /// The step, if it is one.
        step: String,
    },
    /// A line of a step, or of nobody's.
    Output {
        /// Whose.
        step: String,
        /// What.
        text: String,
    },
}

/// `cutting-over` as a heading: `Cutting over`.
pub fn heading(phase: &str) -> String {
    let words = phase.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A field: a text, or an array of bytes when it is not one, or of texts when there are several. Made printable.
fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(parts)) if parts.iter().all(Value::is_u64) => {
            let bytes: Vec<u8> = parts.iter().filter_map(Value::as_u64).filter_map(|b| u8::try_from(b).ok()).collect();
            printable(&String::from_utf8_lossy(&bytes))
        }
        Some(Value::Array(parts)) => text(parts.first()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(json: &str) -> Option<String> {
        Some(match Entry::parse(json).unwrap().live()? {
            Live::Heading { text, .. } => text,
            Live::Output { step, text } => format!("{step}: {text}"),
        })
    }

    #[test]
    fn a_log_says_who_speaks() {
        let logged = |json: &str| Entry::parse(json).unwrap().logged();
        let service = r#"{"MESSAGE":"a\u001b[2Jb","_SYSTEMD_UNIT":"app-fpm@shop:a.service","__REALTIME_TIMESTAMP":"1767225600000000"}"#;
        assert_eq!(logged(service), "2026-01-01 00:00:00 UTC  app-fpm@shop:a: a\\u{1b}[2Jb");
        let own = service.replace("}", ",\"DEPLOYD_APP\":\"shop\"}");
        assert_eq!(logged(&own), "2026-01-01 00:00:00 UTC  a\\u{1b}[2Jb");
        let step = own.replace("}", ",\"DEPLOYD_STEP\":\"npm-ci\"}");
        assert_eq!(logged(&step), "2026-01-01 00:00:00 UTC  npm-ci: a\\u{1b}[2Jb");
    }

    #[test]
    fn phases_head_and_steps_follow() {
        let phase = format!(
            r#"{{"MESSAGE":"cutting over","MESSAGE_ID":"{}","DEPLOYD_PHASE":"cutting-over","_UID":"0"}}"#,
            events::PHASE
        );
        assert_eq!(live(&phase).as_deref(), Some("Cutting over: cutting over"));
        let output = r#"{"MESSAGE":"Loading \u001b[2J composer","DEPLOYD_STEP":"composer-install","_PID":"77"}"#;
        assert_eq!(live(output).as_deref(), Some("composer-install: Loading \\u{1b}[2J composer"));
        assert_eq!(live(r#"{"MESSAGE":"Started x","DEPLOYD_STEP":"x","_PID":"1"}"#), None);
        let bytes = r#"{"MESSAGE":[255,104,105]}"#;
        assert_eq!(live(bytes).as_deref(), Some(": \u{fffd}hi"));
        assert_eq!(Entry::parse("not json"), None);
        let end = format!(r#"{{"MESSAGE":"x","MESSAGE_ID":"{}","_UID":"0"}}"#, events::DEPLOYMENT_FAILED);
        assert!(Entry::parse(&end).unwrap().is_end() && live(&end).is_none());
        let forged = end.replace("\"_UID\":\"0\"", "\"_UID\":\"1000\"");
        assert!(!Entry::parse(&forged).unwrap().is_end(), "an app's user says so");
    }
}
