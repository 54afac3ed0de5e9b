//! How a deployment ended, in words for people and for programs. Pure.

use crate::{
    model::{DeploymentRecord, printable},
    worker::order::Commit,
};

/// What is told of an end.
#[derive(Debug)]
pub struct Notice<'a> {
    /// Whose.
    pub app: &'a str,
    /// Where.
    pub host: &'a str,
    /// How it ended.
    pub record: &'a DeploymentRecord,
    /// The commit that was live before.
    pub from: Option<&'a str>,
    /// What came since, newest first, and whether there is more.
    pub commits: (&'a [Commit], bool),
}

impl Notice<'_> {
    /// `shop: deploy succeeded on web1 in 4.2 s`
    pub fn subject(&self) -> String {
        let record = self.record;
        let seconds = record.wall_ms as f64 / 1000.0;
        format!("{}: {} {} on {} in {seconds:.1} s", self.app, record.kind, record.outcome, self.host)
    }

    /// Several lines.
    pub fn text(&self) -> String {
        let mut lines = vec![self.subject(), printable(&self.record.message)];
        match (self.from, self.record.revision.as_deref()) {
            (Some(from), Some(to)) if from != to => lines.push(format!("{} -> {}", short(from), short(to))),
            (_, Some(to)) => lines.push(format!("commit {}", short(to))),
            _ => {}
        }
        let (commits, more) = self.commits;
        lines.extend(commits.iter().map(|commit| format!("  {} {}", commit.id, commit.subject)));
        lines.extend(more.then(|| "  and more".to_owned()));
        lines.push(format!("by {}, deployment {}", printable(&self.record.actor), self.record.id));
        lines.join("\n")
    }

    /// As Slack and those that are like it take it.
    pub fn slack(&self) -> String {
        let text = self.text().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        serde_json::json!({ "text": text }).to_string()
    }

    /// Everything by name.
    pub fn json(&self) -> String {
        let record = self.record;
        let (commits, more) = self.commits;
        serde_json::json!({
            "app": self.app,
            "host": self.host,
            "deployment": record.id,
            "kind": record.kind,
            "outcome": record.outcome,
            "message": record.message,
            "actor": record.actor,
            "release": record.to,
            "previous_release": record.from,
            "from_commit": self.from,
            "to_commit": record.revision,
            "commits": commits,
            "more_commits": more,
            "started_at": record.started_at,
            "live_ms": record.live_ms,
            "duration_ms": record.wall_ms,
        })
        .to_string()
    }

    /// As sendmail takes it: headers and text.
    pub fn mail(&self, to: &str, from: Option<&str>) -> String {
        let subject: String = self.subject().chars().filter(char::is_ascii).collect();
        let from = from.map_or_else(String::new, |from| format!("From: {from}\n"));
        format!(
            "To: {to}\n{from}Subject: {subject}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\n{}\n",
            self.text()
        )
    }
}

fn short(revision: &str) -> &str {
    revision.get(..8).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeploymentId, Kind, Outcome};

    #[test]
    fn every_form_carries_result_duration_and_commits() {
        let record = DeploymentRecord {
            id: DeploymentId::from_bits(7),
            kind: Kind::Deploy,
            actor: "user:ada".into(),
            outcome: Outcome::Succeeded,
            message: "x is live <b>\nEvil: header".into(),
            from: None,
            to: None,
            revision: Some("b".repeat(40)),
            reasons: Vec::new(),
            started_at: 1,
            live_ms: Some(900),
            wall_ms: 4200,
            timings: Vec::new(),
        };
        let commits = [Commit { id: "bbbbbbb".into(), subject: "Fix <it>".into() }];
        let from = "a".repeat(40);
        let notice =
            Notice { app: "shop", host: "web1", record: &record, from: Some(&from), commits: (&commits, true) };
        assert_eq!(notice.subject(), "shop: deploy succeeded on web1 in 4.2 s");
        let slack: serde_json::Value = serde_json::from_str(&notice.slack()).unwrap();
        let text = slack["text"].as_str().unwrap();
        for wanted in ["aaaaaaaa -&gt; bbbbbbbb", "bbbbbbb Fix &lt;it&gt;", "and more", "4.2 s", "user:ada"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&notice.json()).unwrap();
        assert_eq!((&json["outcome"], &json["duration_ms"]), (&"succeeded".into(), &4200.into()));
        assert_eq!((&json["from_commit"], &json["commits"][0]["subject"]), (&from.clone().into(), &"Fix <it>".into()));
        let mail = notice.mail("ops@example.org", None);
        let (headers, _) = mail.split_once("\n\n").unwrap();
        assert!(headers.starts_with("To: ops@example.org\nSubject: shop: deploy succeeded"));
        assert!(!headers.contains("Evil"), "{headers}");
    }
}
