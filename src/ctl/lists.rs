//! Lists and texts that the bus gives: apps, releases, deployments, settings, plans.

use serde_json::Value;
use zbus::OwnedVariant;

use super::{
    args::StartOptions,
    bus::{self, Bus, Properties, flag, number, text},
    error::CtlError,
    out::{Out, minute, table},
};
use crate::{
    dbus,
    model::{AppName, Kind, printable},
};

/// The configured apps, one a line.
pub async fn apps(bus: &Bus, out: &Out) -> Result<u8, CtlError> {
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for (name, path) in bus.manager.list_apps().await? {
        let properties = bus.properties(&path, dbus::APP).await?;
        let current = text(&properties, "Current");
        rows.push(vec![printable(&name), if current.is_empty() { "-".into() } else { current }]);
        all.push(object(&properties));
    }
    if out.is_json() {
        out.json(&Value::Array(all))?;
    } else {
        table(&rows).iter().try_for_each(|line| out.line(line))?;
    }
    Ok(0)
}

/// An app's releases, newest first.
pub async fn releases(bus: &Bus, app: &AppName, out: &Out) -> Result<u8, CtlError> {
    let releases = bus.manager.list_releases(app.as_str()).await?;
    if out.is_json() {
        out.json(&releases.iter().map(object).collect())?;
        return Ok(0);
    }
    // A ref is as long as somebody likes: it comes last.
    let mut rows = vec![words(&["", "RELEASE", "STATE", "REVISION", "LIVE SINCE (UTC)", "REF"])];
    rows.extend(releases.iter().map(|r| {
        let state = if text(r, "held").is_empty() { text(r, "state") } else { format!("{}, held", text(r, "state")) };
        let mark = if flag(r, "live") { "*" } else { "" };
        vec![
            mark.into(),
            text(r, "id"),
            state,
            short(&text(r, "revision")),
            minute(number(r, "live_at")),
            text(r, "reference"),
        ]
    }));
    table(&rows).iter().try_for_each(|line| out.line(&out.fit(line)))?;
    Ok(0)
}

/// An app's ended deployments, newest first.
pub async fn deployments(bus: &Bus, app: &AppName, limit: u32, out: &Out) -> Result<u8, CtlError> {
    let deployments = bus.manager.list_deployments(app.as_str(), limit).await?;
    if out.is_json() {
        out.json(&deployments.iter().map(object).collect())?;
        return Ok(0);
    }
    let wide = out.columns().is_none_or(|columns| columns > 2 * NARROW);
    deployment_lines(&deployments, wide).iter().try_for_each(|line| out.line(&out.fit(line)))?;
    Ok(0)
}

/// One line for each; where there is less room its message has a line of its own.
fn deployment_lines(deployments: &[Properties], wide: bool) -> Vec<String> {
    let mut rows = vec![words(&["DEPLOYMENT", "KIND", "OUTCOME", "STARTED (UTC)", "TOOK", "BY"])];
    rows.extend(deployments.iter().map(|d| {
        let [id, kind, outcome, actor] = ["id", "kind", "outcome", "actor"].map(|k| text(d, k));
        vec![id, kind, outcome, minute(number(d, "started_at")), took(number(d, "wall_ms")), actor]
    }));
    let messages: Vec<_> =
        ["MESSAGE".to_owned()].into_iter().chain(deployments.iter().map(|d| text(d, "message"))).collect();
    if wide {
        rows.iter_mut().zip(messages).for_each(|(row, message)| row.push(message));
        return table(&rows);
    }
    let below = messages.into_iter().enumerate().map(|(at, message)| if at == 0 { String::new() } else { message });
    let pairs = table(&rows).into_iter().zip(below);
    pairs.flat_map(|(line, message)| [line, format!("    {message}")]).filter(|line| !line.trim().is_empty()).collect()
}

/// The columns that a narrow terminal has.
const NARROW: usize = 80;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A revision's first digits.
pub fn short(revision: &str) -> String {
    revision.chars().take(8).collect()
}

/// Milliseconds, for people: `412 ms`, `12.3 s`, `4 min 10 s`.
pub fn took(millis: i64) -> String {
    match millis {
        ..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
    }
}

/// An app's settings.
pub async fn show(bus: &Bus, app: &AppName, out: &Out) -> Result<u8, CtlError> {
    let shown = match out.is_json() {
        true => bus.manager.show_json(app.as_str()).await?,
        false => bus.manager.show(app.as_str()).await?,
    };
    shown.lines().try_for_each(|line| out.line(&printable(line)))?;
    Ok(0)
}

/// A plan: its decision and what it would do. The exit status is 3 when it is a refusal.
pub async fn plan(bus: &Bus, app: &AppName, kind: Kind, options: &StartOptions, out: &Out) -> Result<u8, CtlError> {
    let plan = bus.manager.plan(app.as_str(), kind.as_str(), &bus::options(options)).await?;
    let plan: Value =
        serde_json::from_str(&plan).map_err(|e| CtlError::Local(format!("the plan is not readable: {e}")))?;
    let status = if plan["decision"] == "rejected" { 3 } else { 0 };
    if out.is_json() {
        out.json(&plan)?;
    } else {
        outline(&plan, 0).iter().try_for_each(|line| out.line(line))?;
    }
    Ok(status)
}

/// Any value as indented lines.
fn outline(value: &Value, depth: usize) -> Vec<String> {
    let pad = "  ".repeat(depth);
    let entry = |name: &str, inner: &Value| match inner {
        Value::Null => vec![],
        Value::Object(map) if span(map).is_some() => {
            vec![format!("{pad}{name}: {}", span(map).unwrap_or_default())]
        }
        Value::Object(map) if map.is_empty() => vec![],
        Value::Array(items) if items.is_empty() => vec![],
        Value::Object(_) | Value::Array(_) => {
            let mut lines = vec![format!("{pad}{name}:")];
            lines.extend(outline(inner, depth + 1));
            lines
        }
        plain => vec![format!("{pad}{name}: {}", scalar(plain))],
    };
    match value {
        Value::Object(map) => map.iter().flat_map(|(key, inner)| entry(&printable(key), inner)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(at, item)| match item {
                Value::Object(_) | Value::Array(_) => entry(&format!("{}", at + 1), item),
                plain => vec![format!("{pad}- {}", scalar(plain))],
            })
            .collect(),
        plain => vec![format!("{pad}{}", scalar(plain))],
    }
}

/// A time span, as a value of seconds and nanoseconds, in the words of the configuration.
fn span(map: &serde_json::Map<String, Value>) -> Option<String> {
    let number = |key: &str| map.get(key).and_then(Value::as_u64);
    let (2, Some(seconds), Some(nanos)) = (map.len(), number("secs"), number("nanos")) else { return None };
    let millis = nanos / 1_000_000;
    let counts = [("h", seconds / 3600), ("min", seconds / 60 % 60), ("s", seconds % 60), ("ms", millis)];
    let parts: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).map(|(unit, n)| format!("{n}{unit}")).collect();
    Some(if parts.is_empty() { "0s".into() } else { parts.join(" ") })
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}

/// Properties as a JSON object, their names in snake case.
pub fn object(properties: &Properties) -> Value {
    let pairs: std::collections::BTreeMap<String, Value> =
        properties.iter().map(|(name, v)| (snake(name), value(v))).collect();
    pairs.into_iter().collect::<serde_json::Map<_, _>>().into()
}

/// `LiveSince` as `live_since`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// A value of the bus as JSON: texts, numbers, truth values, lists of texts, dictionaries of texts; others as null.
pub fn value(value: &OwnedVariant) -> Value {
    if let Ok(text) = value.downcast_ref::<&str>() {
        return text.into();
    }
    if let Ok(yes) = value.downcast_ref::<bool>() {
        return yes.into();
    }
    if let Ok(number) = value.downcast_ref::<i64>() {
        return number.into();
    }
    if let Ok(number) = value.downcast_ref::<u64>() {
        return number.into();
    }
    if let Ok(number) = value.downcast_ref::<f64>() {
        return number.into();
    }
    let Ok(copy) = value.try_clone() else { return Value::Null };
    if let Ok(texts) = Vec::<String>::try_from(copy) {
        return texts.into();
    }
    let Ok(copy) = value.try_clone() else { return Value::Null };
    let texts = std::collections::HashMap::<String, String>::try_from(copy).unwrap_or_default();
    let sorted: std::collections::BTreeMap<_, _> = texts.into_iter().collect();
    sorted.into_iter().map(|(k, v)| (k, Value::from(v))).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_outlined() {
        let plan = serde_json::json!({"decision": "go", "steps": ["a\u{1b}", "b"], "none": [], "x": {"y": 1}});
        assert_eq!(outline(&plan, 0), ["decision: go", "steps:", "  - a\\u{1b}", "  - b", "x:", "  y: 1"]);
        let spans =
            serde_json::json!({"bake": std::time::Duration::from_millis(90_200), "none": std::time::Duration::ZERO});
        assert_eq!(outline(&spans, 0), ["bake: 1min 30s 200ms", "none: 0s"]);
        assert_eq!(snake("LiveSince"), "live_since");
    }

    #[test]
    fn deployments_fit_a_narrow_terminal() {
        let own = |value: zbus::Variant<'static>| OwnedVariant::try_from(value).unwrap();
        let one: Properties = [
            ("id", own("0123456789abcdef".into())),
            ("kind", own("rollback".into())),
            ("outcome", own("rolled-back".into())),
            ("actor", own("user:anna".into())),
            ("message", own("it \u{1b}[2J failed".into())),
            ("started_at", own(1_767_225_600i64.into())),
            ("wall_ms", own(250_000u64.into())),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let narrow = deployment_lines(std::slice::from_ref(&one), false);
        assert_eq!(narrow[1], "0123456789abcdef  rollback  rolled-back  2026-01-01 00:00  4 min 10 s  user:anna");
        assert_eq!(narrow[2..], ["    it \\u{1b}[2J failed"]);
        assert_eq!(deployment_lines(&[one], true)[1], format!("{}  it \\u{{1b}}[2J failed", narrow[1]));
        assert_eq!([took(412), took(12_345)], ["412 ms", "12.3 s"]);
    }
}
