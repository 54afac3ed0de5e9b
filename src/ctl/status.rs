//! `deployctl status`: what is live, what is running, what one can go back to. At most 24 lines for an app.

use serde_json::json;

use super::{
    bus::{Bus, Properties, flag, number, text},
    error::CtlError,
    lists::object,
    out::{Out, table, time},
};
use crate::{
    dbus,
    model::{AppName, printable},
};

/// Releases that are named as ways back.
const WAYS_BACK: usize = 5;

/// One app in full, or all of them in a line each.
pub async fn run(bus: &Bus, app: Option<AppName>, out: &Out) -> Result<u8, CtlError> {
    let Some(app) = app else { return all(bus, out).await };
    let mut status = Status::read(bus, app.as_str()).await?;
    status.look_at_shared(bus, app.as_str()).await?;
    if out.is_json() {
        out.json(&status.json())?;
    } else {
        let mut lines = status.lines().into_iter();
        if let Some(first) = lines.next() {
            out.line(&out.bold(&first))?;
        }
        lines.try_for_each(|line| out.line(&line))?;
    }
    Ok(status.exit_status())
}

async fn all(bus: &Bus, out: &Out) -> Result<u8, CtlError> {
    let mut found = Vec::new();
    for (name, _) in bus.manager.list_apps().await? {
        found.push(Status::read(bus, &name).await?);
    }
    if out.is_json() {
        out.json(&found.iter().map(Status::json).collect())?;
        return Ok(0);
    }
    if found.is_empty() {
        out.note("no app is configured\n\nwrite /etc/deployd/apps/NAME.toml, see deployd.toml(5)");
    }
    found.iter().filter_map(|status| status.lines().into_iter().next()).try_for_each(|line| out.line(&line))?;
    Ok(0)
}

/// What is known of an app.
struct Status {
    app: Properties,
    running: Option<Properties>,
    releases: Vec<Properties>,
    last: Option<Properties>,
    /// Shared files that changed since, or why it is not known; none: nobody has looked.
    changed: Option<Result<Vec<String>, String>>,
}

impl Status {
    async fn read(bus: &Bus, name: &str) -> Result<Self, CtlError> {
        let path = bus.manager.get_app(name).await?;
        let app = bus.properties(&path, dbus::APP).await?;
        let id = text(&app, "Running");
        let running = match id.is_empty() {
            true => None,
            // It may have ended meanwhile, or be known from the state only.
            false => match bus.manager.get_deployment(name, &id).await {
                Ok(path) => Some(bus.properties(&path, dbus::DEPLOYMENT).await?),
                Err(_) => None,
            },
        };
        let releases = bus.manager.list_releases(name).await?;
        let last = bus.manager.list_deployments(name, 1).await?.into_iter().next();
        Ok(Self { app, running, releases, last, changed: None })
    }

    /// Has the shared files looked at; that they cannot be is told, and no failure of the status.
    async fn look_at_shared(&mut self, bus: &Bus, name: &str) -> Result<(), CtlError> {
        let path = bus.manager.get_app(name).await?;
        let changed = bus.app(&path).await?.survey().await;
        self.changed = Some(changed.map_err(|error| CtlError::from(error).to_string()));
        Ok(())
    }

    fn changed(&self) -> String {
        let name = text(&self.app, "Name");
        match &self.changed {
            Some(Ok(files)) if !files.is_empty() => {
                let files: Vec<String> = files.iter().map(|file| format!("shared/{}", printable(file))).collect();
                format!("{} since the live release was made: `deployctl deploy {name}`", files.join(", "))
            }
            Some(Err(why)) => format!("not known: {}", printable(why)),
            _ => String::new(),
        }
    }

    /// 5 when it is stuck, else 0.
    fn exit_status(&self) -> u8 {
        if text(&self.app, "Stuck").is_empty() { 0 } else { 5 }
    }

    fn live(&self) -> Option<&Properties> {
        self.releases.iter().find(|r| flag(r, "live"))
    }

    fn ways_back(&self) -> impl Iterator<Item = &Properties> {
        self.releases.iter().filter(|r| !flag(r, "live") && text(r, "state") == "confirmed")
    }

    fn lines(&self) -> Vec<String> {
        let name = text(&self.app, "Name");
        let current = text(&self.app, "Current");
        let head = if !text(&self.app, "Stuck").is_empty() {
            format!("{name}: stuck")
        } else if current.is_empty() {
            format!("{name}: nothing is live yet")
        } else {
            let proved = if flag(&self.app, "Confirmed") { "confirmed" } else { "not confirmed yet" };
            format!("{name}: {current} is live since {}, {proved}", time(number(&self.app, "LiveSince")))
        };
        let mut rows: Vec<(&str, String)> = vec![("stuck", text(&self.app, "Stuck"))];
        rows.push(("root", text(&self.app, "Root")));
        if let Some(live) = self.live() {
            rows.push(("revision", format!("{} ({})", text(live, "revision"), text(live, "reference"))));
        }
        rows.push(("changed", self.changed()));
        rows.push(("slots", self.slots()));
        rows.push(("running", self.running.as_ref().map(running).unwrap_or_default()));
        rows.push(("last", self.last.as_ref().map(last).unwrap_or_default()));
        let back: Vec<String> = self.ways_back().take(WAYS_BACK).map(|r| text(r, "id")).collect();
        rows.push(("back to", back.join(" ")));
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| vec![format!("  {name}"), value])
            .collect();
        [head].into_iter().chain(table(&rows)).collect()
    }

    fn slots(&self) -> String {
        let slots = self.app.get("LiveSlots").and_then(|v| v.try_clone().ok());
        let slots = slots.and_then(|v| std::collections::HashMap::<String, String>::try_from(v).ok());
        let mut named: Vec<String> = slots.unwrap_or_default().iter().map(|(s, slot)| format!("{s}:{slot}")).collect();
        named.sort();
        printable(&named.join(" "))
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "app": object(&self.app),
            "changed_shared": self.changed.as_ref().and_then(|changed| changed.as_ref().ok()),
            "running": self.running.as_ref().map(object),
            "last": self.last.as_ref().map(object),
            "rollback_to": self.ways_back().map(|r| text(r, "id")).collect::<Vec<_>>(),
        })
    }
}

fn running(d: &Properties) -> String {
    let [kind, id, actor, phase, status] = ["Kind", "Id", "Actor", "Phase", "Status"].map(|name| text(d, name));
    let status = if status.is_empty() { status } else { format!(" ({status})") };
    format!("{kind} {id} by {actor}: {phase}{status}")
}

fn last(d: &Properties) -> String {
    let [kind, outcome, message] = ["kind", "outcome", "message"].map(|name| text(d, name));
    format!("{kind} {outcome} {} in {} ms: {message}", time(number(d, "started_at")), number(d, "wall_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::{OwnedVariant, Variant};

    fn of(pairs: &[(&str, Variant<'static>)]) -> Properties {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), OwnedVariant::try_from(v.try_clone().unwrap()).unwrap())).collect()
    }

    #[test]
    fn an_app_fits_a_screen() {
        let release = |id: &str, live: bool| {
            of(&[("id", id.to_owned().into()), ("live", live.into()), ("state", "confirmed".into())])
        };
        let releases = (0..40).map(|n| release(&format!("R{n}"), n == 0)).collect();
        let app = of(&[
            ("Name", "shop".into()),
            ("Current", "R0".into()),
            ("Confirmed", true.into()),
            ("LiveSince", 1_767_225_600i64.into()),
        ]);
        let mut status = Status { app, running: None, releases, last: None, changed: Some(Ok(vec![])) };
        assert!(!status.lines().join("").contains("changed"));
        status.changed = Some(Ok(vec![".env".into()]));
        let lines = status.lines();
        let changed = "shared/.env since the live release was made: `deployctl deploy shop`";
        assert!(lines.iter().any(|line| line.starts_with("  changed ") && line.ends_with(changed)), "{lines:#?}");
        assert_eq!(lines[0], "shop: R0 is live since 2026-01-01 00:00:00 UTC, confirmed");
        assert!(lines.len() <= 24 && lines.last().unwrap().ends_with("R1 R2 R3 R4 R5"), "{lines:#?}");
        assert_eq!(status.exit_status(), 0);
    }
}
