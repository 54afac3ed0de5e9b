//! Lists and texts that the bus gives: apps, releases, deployments, settings, plans.

use serde_json::Value;
use zbus::OwnedVariant;

use super::{
    args::StartOptions,
    bus::{self, Bus, Properties, flag, number, text},
    error::CtlError,
    out::{Out, table, time},
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
    let row = |r: &Properties| {
        let mark = if flag(r, "live") { "*" } else { "" };
        let revision = text(r, "revision").chars().take(12).collect();
        vec![mark.into(), text(r, "id"), text(r, "state"), revision, text(r, "reference"), time(number(r, "live_at"))]
    };
    list(&["", "RELEASE", "STATE", "REVISION", "REF", "LIVE SINCE"], &releases, row, out)
}

/// An app's ended deployments, newest first.
pub async fn deployments(bus: &Bus, app: &AppName, limit: u32, out: &Out) -> Result<u8, CtlError> {
    let deployments = bus.manager.list_deployments(app.as_str(), limit).await?;
    let row = |d: &Properties| {
        let took = format!("{} ms", number(d, "wall_ms"));
        let [id, kind, outcome, actor, message] = ["id", "kind", "outcome", "actor", "message"].map(|k| text(d, k));
        vec![id, kind, outcome, time(number(d, "started_at")), took, actor, message]
    };
    list(&["DEPLOYMENT", "KIND", "OUTCOME", "STARTED", "TOOK", "BY", "MESSAGE"], &deployments, row, out)
}

fn list(
    head: &[&str],
    items: &[Properties],
    row: impl Fn(&Properties) -> Vec<String>,
    out: &Out,
) -> Result<u8, CtlError> {
    if out.is_json() {
        out.json(&items.iter().map(object).collect())?;
        return Ok(0);
    }
    let mut rows = vec![head.iter().map(|h| (*h).to_owned()).collect()];
    rows.extend(items.iter().map(row));
    table(&rows).iter().try_for_each(|line| out.line(line))?;
    Ok(0)
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
}
