//! `deployctl check`: what of the host would break the promise, the worst first, each with its remedy.

use serde_json::{Value, json};

use super::{
    bus::{Bus, Properties, text},
    error::CtlError,
    lists::object,
    out::Out,
};
use crate::model::AppName;

/// The exit status when something breaks the promise.
const BREAKS: u8 = 9;
/// Polkit's, of an app that is left out when all are asked for.
pub(super) const DENIED: u8 = 7;

/// One app, or all that the caller may see.
pub async fn run(bus: &Bus, app: Option<AppName>, out: &Out) -> Result<u8, CtlError> {
    let (checked, failed) = match &app {
        Some(app) => (vec![(app.to_string(), findings(bus, app.as_str()).await?)], 0),
        None => all(bus, out).await?,
    };
    if out.is_json() {
        let each = |(app, found): &(String, Vec<Properties>)| -> Value {
            json!({"app": app, "findings": found.iter().map(object).collect::<Vec<_>>()})
        };
        match (&app, checked.first()) {
            (Some(_), Some(one)) => out.json(&each(one))?,
            _ => out.json(&checked.iter().map(each).collect())?,
        }
    } else {
        for (app, found) in &checked {
            for line in lines(app, found) {
                out.line(&if line.starts_with(' ') { line } else { out.bold(&line) })?;
            }
        }
    }
    let breaks = checked.iter().flat_map(|(_, found)| found).any(|finding| text(finding, "severity") == "breaks");
    Ok(if breaks { BREAKS } else { failed })
}

/// Every app's findings, and the exit status of the first that could not be looked at, or 0.
async fn all(bus: &Bus, out: &Out) -> Result<(Vec<(String, Vec<Properties>)>, u8), CtlError> {
    let (mut checked, mut failed) = (Vec::new(), 0);
    for (app, _) in bus.manager.list_apps().await? {
        match findings(bus, &app).await {
            Ok(found) => checked.push((app, found)),
            Err(error) => {
                out.note(&format!("({app} is left out: {})", crate::model::printable(&error.to_string())));
                // Apps that are not the caller's to see are no failure.
                if error.status() != DENIED && failed == 0 {
                    failed = error.status();
                }
            }
        }
    }
    Ok((checked, failed))
}

async fn findings(bus: &Bus, app: &str) -> Result<Vec<Properties>, CtlError> {
    Ok(bus.manager.check(app, &Default::default()).await?)
}

/// A heading for the app and for each group, and under it each finding: what and where, what happens, the remedy.
fn lines(app: &str, found: &[Properties]) -> Vec<String> {
    let count = |severity: &str| found.iter().filter(|finding| text(finding, "severity") == severity).count();
    let counted: Vec<String> = [("breaks", "break the promise"), ("warning", "warnings"), ("note", "notes")]
        .iter()
        .map(|(severity, words)| (count(severity), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let summary = if counted.is_empty() { "nothing was found".into() } else { counted.join(", ") };
    let mut lines = vec![format!("{app}: {summary}")];
    let mut under = String::new();
    for finding in found {
        let word = |name: &str| text(finding, name);
        let heading = format!("{}: {}", word("severity"), word("group"));
        if heading != under {
            lines.push(heading.clone());
            under = heading;
        }
        lines.push(format!("  {}  {}", word("id"), word("place")).trim_end().to_owned());
        lines.push(format!("    {}: {}", word("thing"), word("happens")));
        lines.push(format!("    remedy: {}", word("remedy")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::{OwnedVariant, Variant};

    fn finding(severity: &str, id: &str) -> Properties {
        let pairs =
            [("severity", severity), ("id", id), ("group", "nginx"), ("place", "/etc/x:1"), ("thing", "t\u{1b}")];
        let value = |v: &str| OwnedVariant::try_from(Variant::from(v.to_owned())).unwrap();
        pairs.iter().map(|(key, v)| ((*key).to_owned(), value(v))).collect()
    }

    #[test]
    fn findings_are_counted_and_grouped() {
        assert_eq!(lines("shop", &[]), ["shop: nothing was found"]);
        let lines = lines("shop", &[finding("breaks", "a"), finding("breaks", "b"), finding("note", "c")]);
        assert_eq!(lines[0], "shop: 2 break the promise, 1 notes");
        assert_eq!(lines[1..3], ["breaks: nginx", "  a  /etc/x:1"]);
        assert!(lines[3].starts_with("    t\\u{1b}: "), "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.as_str() == "breaks: nginx").count(), 1);
    }
}
