//! `deployctl status`: what is live and whether it is proved, what is running, what one can go back to, and how to go on.
//! At most 23 lines for an app, so that it fits a terminal of 24 with its prompt.

use serde_json::json;

use super::{
    bus::{Bus, Properties, flag, fraction, number, text},
    error::CtlError,
    fit::wrap,
    lists::{object, took},
    out::{Out, minute, table, time},
};
use crate::{
    dbus,
    model::{AppName, printable},
};

/// Releases that are named as ways back.
const WAYS_BACK: usize = 3;
/// Shared files that are named.
const FILES: usize = 3;

/// One app in full, or all of them in a line each.
pub async fn run(bus: &Bus, app: Option<AppName>, out: &Out) -> Result<u8, CtlError> {
    let Some(app) = app else { return all(bus, out).await };
    let mut status = Status::read(bus, app.as_str()).await?;
    status.look_at_shared(bus, app.as_str()).await?;
    if out.is_json() {
        out.json(&status.json())?;
    } else {
        let mut lines = status.lines(out.columns()).into_iter();
        if let Some(first) = lines.next() {
            out.line(&out.bold(&first))?;
        }
        lines.try_for_each(|line| out.line(&line))?;
    }
    Ok(status.exit_status())
}

async fn all(bus: &Bus, out: &Out) -> Result<u8, CtlError> {
    let found = bus.apps().await?;
    if out.is_json() {
        out.json(&found.iter().map(|(_, app)| object(app)).collect())?;
        return Ok(0);
    }
    if found.is_empty() {
        out.note("no app is configured\n\nwrite /etc/deployd/apps/NAME.toml, see deployd.toml(5)");
    }
    let row = |(name, app): &(String, Properties)| {
        let live = text(app, "Current");
        let live = if live.is_empty() { "-".into() } else { live };
        vec![printable(name), live, minute(number(app, "LiveSince")), state(app)]
    };
    table(&found.iter().map(row).collect::<Vec<_>>()).iter().try_for_each(|line| out.line(&out.fit(line)))?;
    Ok(0)
}

/// How an app is, in a few words.
fn state(app: &Properties) -> String {
    let live = !text(app, "Current").is_empty();
    let first = if !text(app, "Stuck").is_empty() {
        "stuck"
    } else if !live {
        "nothing is live yet"
    } else if flag(app, "Confirmed") {
        "live, confirmed"
    } else {
        "live, not confirmed yet"
    };
    let held = if text(app, "Held").is_empty() { "" } else { ", held" };
    let running = if text(app, "Running").is_empty() { "" } else { ", a deployment is running" };
    format!("{first}{held}{running}")
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

/// One thing that is told: its name, its text, and the most lines that it may take.
type Row = (&'static str, String, usize);

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

    fn name(&self) -> String {
        text(&self.app, "Name")
    }

    fn changed(&self) -> String {
        match &self.changed {
            Some(Ok(files)) if !files.is_empty() => {
                let named: Vec<String> =
                    files.iter().take(FILES).map(|file| format!("shared/{}", printable(file))).collect();
                let more = files.len() - named.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let name = self.name();
                format!("{}{more} since the live release was made: `deployctl deploy {name}`", named.join(", "))
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

    /// Confirmed ones, in the order in which they were live last.
    fn ways_back(&self) -> Vec<&Properties> {
        let back = |r: &&Properties| !flag(r, "live") && text(r, "state") == "confirmed";
        let mut back: Vec<_> = self.releases.iter().filter(back).collect();
        back.sort_by_key(|r| std::cmp::Reverse((number(r, "live_at"), number(r, "seq"))));
        back
    }

    /// The newest that was staged after what is live.
    fn staged(&self) -> Option<&Properties> {
        let live = self.live().map_or(-1, |live| number(live, "seq"));
        let staged = |r: &&Properties| text(r, "state") == "sealed" && number(r, "seq") > live;
        self.releases.iter().filter(staged).max_by_key(|r| number(r, "seq"))
    }

    fn lines(&self, columns: Option<usize>) -> Vec<String> {
        let head = format!("{}: {}", self.name(), state(&self.app));
        let wide = |(name, _, _): &Row| name.len();
        let rows: Vec<Row> = self.rows().into_iter().filter(|(_, value, _)| !value.is_empty()).collect();
        let indent = rows.iter().map(wide).max().unwrap_or_default() + 4;
        // What is no terminal has lines of any length, one for each thing.
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(indent));
        let row = |(name, value, most): Row| {
            let lines = if columns.is_some() { wrap(&value, room, most) } else { vec![value] };
            let label = |at: usize| if at == 0 { name } else { "" };
            let pad = indent - 2;
            lines
                .into_iter()
                .enumerate()
                .map(move |(at, line)| format!("  {:<pad$}{line}", label(at)))
                .collect::<Vec<_>>()
        };
        let lines = [head].into_iter().chain(rows.into_iter().flat_map(row));
        lines.map(|line| columns.map_or(line.clone(), |columns| super::fit::cut(&line, columns))).collect()
    }

    /// Of at most 22 lines together.
    fn rows(&self) -> Vec<Row> {
        let name = self.name();
        let stuck = text(&self.app, "Stuck");
        let held = text(&self.app, "Held");
        let go_on = |what: &str, how: &str| if what.is_empty() { String::new() } else { format!("`{how}{name}`") };
        let (settle, unhold) = (go_on(&stuck, "systemctl start deploy-settle@"), go_on(&held, "deployctl unhold "));
        let mut rows: Vec<Row> = vec![
            ("stuck", stuck, 4),
            ("then", settle, 1),
            ("held", held, 2),
            ("until", unhold, 1),
            ("running", self.running.as_ref().map(running).unwrap_or_default(), 2),
        ];
        if let Some(live) = self.live() {
            let since = time(number(&self.app, "LiveSince"));
            rows.push(("live", format!("{} since {since}", text(live, "id")), 1));
            let (revision, reference) = (revision(live), text(live, "reference"));
            // Of what was adopted nobody knows the commit.
            let made_of = if revision.is_empty() { reference } else { format!("{revision} ({reference})") };
            rows.push(("revision", made_of, 1));
        } else if !text(&self.app, "Current").is_empty() {
            rows.push(("live", text(&self.app, "Current"), 1));
        }
        rows.push(("root", text(&self.app, "Root"), 1));
        rows.push(("slots", self.slots(), 2));
        rows.push(("changed", self.changed(), 2));
        if let Some(staged) = self.staged() {
            rows.push(("staged", format!("`deployctl activate {name}`: {}", release(staged)), 2));
        }
        rows.push(("last", self.last.as_ref().map(last).unwrap_or_default(), 3));
        let back = self.ways_back();
        for (at, one) in back.iter().take(WAYS_BACK).enumerate() {
            rows.push((if at == 0 { "back to" } else { "" }, release(one), 1));
        }
        if let Some(more @ 1..) = back.len().checked_sub(WAYS_BACK) {
            rows.push(("", format!("and {more} more: `deployctl releases {name}`"), 1));
        }
        rows.retain(|(_, value, _)| !value.is_empty());
        bounded(rows)
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
            "staged": self.staged().map(|r| text(r, "id")),
            "rollback_to": self.ways_back().into_iter().map(|r| text(r, "id")).collect::<Vec<_>>(),
        })
    }
}

/// The most lines under the head.
const MOST: usize = 22;

/// Takes lines from the longest rows, the last one first, until all fit.
fn bounded(mut rows: Vec<Row>) -> Vec<Row> {
    while rows.iter().map(|(_, _, most)| most).sum::<usize>() > MOST {
        match rows.iter_mut().rev().max_by_key(|(_, _, most)| *most).filter(|(_, _, most)| *most > 1) {
            Some((_, _, most)) => *most -= 1,
            None => rows.truncate(MOST),
        }
    }
    rows
}

/// `20260131T120000Z-1a2b3c4d, live 2026-01-31 12:00, main`: the id has the revision in it.
fn release(r: &Properties) -> String {
    let live = number(r, "live_at");
    let live = if live == 0 { String::new() } else { format!(", live {}", minute(live)) };
    let held = if text(r, "held").is_empty() { "" } else { ", held" };
    format!("{}{live}{held}, {}", text(r, "id"), text(r, "reference"))
}

/// As much of it as nobody else's begins with.
fn revision(r: &Properties) -> String {
    text(r, "revision").chars().take(12).collect()
}

fn running(d: &Properties) -> String {
    let [kind, id, actor, phase, step, status] =
        ["Kind", "Id", "Actor", "Phase", "Step", "Status"].map(|name| text(d, name));
    let step = if step.is_empty() { step } else { format!(", step {step}") };
    let far = fraction(d, "Fraction").map(|far| format!(", {:.0}%", far * 100.0)).unwrap_or_default();
    let status = if status.is_empty() { status } else { format!(" ({status})") };
    format!("{kind} {id} by {actor}: {phase}{step}{far}{status}")
}

fn last(d: &Properties) -> String {
    let [kind, outcome, message] = ["kind", "outcome", "message"].map(|name| text(d, name));
    let (at, took) = (minute(number(d, "started_at")), took(number(d, "wall_ms")));
    format!("{kind} {outcome} {at} in {took}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::fit::width;
    use zbus::{OwnedVariant, Variant};

    fn of(pairs: &[(&str, Variant<'static>)]) -> Properties {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), OwnedVariant::try_from(v.try_clone().unwrap()).unwrap())).collect()
    }

    fn release_of(n: i64, state: &str, reference: &str) -> Properties {
        of(&[
            ("id", format!("20260101T0000{n:02}Z-{}", "f".repeat(16)).into()),
            ("live", (n == 49).into()),
            ("state", state.to_owned().into()),
            ("seq", u64::try_from(n).unwrap().into()),
            ("live_at", (if state == "sealed" { 0 } else { n }).into()),
            ("revision", "f".repeat(64).into()),
            ("reference", reference.to_owned().into()),
        ])
    }

    /// As bad as it may be: every text is long and hostile, every row is there.
    fn worst(reference: &str) -> Status {
        let hostile = "\u{1b}[2J\u{1b}[1;1H\r\n\u{9b}31m\u{202e}日本語 ".repeat(40);
        let mut releases: Vec<_> = (0..50).map(|n| release_of(n, "confirmed", reference)).collect();
        releases.push(release_of(50, "sealed", reference));
        let slots: std::collections::HashMap<String, String> =
            (0..30).map(|n| (format!("service-{n}"), "a".to_owned())).collect();
        let mut app = of(&[
            ("Name", "a".repeat(32).into()),
            ("Current", "R".into()),
            ("Confirmed", true.into()),
            ("LiveSince", 1_767_225_600i64.into()),
            ("Root", format!("/srv/{hostile}").into()),
            ("Stuck", hostile.clone().into()),
            ("Held", hostile.clone().into()),
            ("Running", "x".into()),
        ]);
        app.insert("LiveSlots".into(), OwnedVariant::try_from(Variant::from(slots)).unwrap());
        let names = ["Kind", "Id", "Actor", "Phase", "Step", "Status"];
        let running: Vec<_> = names.map(|name| (name, Variant::from(hostile.clone()))).into();
        let last: Vec<_> = ["kind", "outcome", "message"].map(|name| (name, Variant::from(hostile.clone()))).into();
        let (running, last) = (Some(of(&running)), Some(of(&last)));
        Status { app, running, releases, last, changed: Some(Ok(vec![hostile; 20])) }
    }

    #[test]
    fn the_worst_that_may_be_fits_24_lines_of_80_columns_and_moves_no_cursor() {
        for reference in
            ["main", "\u{1b}[31mrefs/heads/日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語"]
        {
            let lines = worst(reference).lines(Some(80));
            assert!(lines.len() <= 23, "{} lines: {lines:#?}", lines.len());
            for line in &lines {
                assert!(width(line) <= 80, "{line}");
                assert!(!line.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{line:?}");
            }
            for told in [
                "stuck", "then", "held", "until", "running", "live", "revision", "changed", "staged", "last", "back to",
            ] {
                assert!(lines.iter().any(|line| line.starts_with(&format!("  {told} "))), "{told}: {lines:#?}");
            }
            assert!(
                lines.iter().any(|line| line.contains("and 46 more: `deployctl releases ")) || reference != "main",
                "{lines:#?}"
            );
            let piped = worst(reference).lines(None);
            assert!(piped.len() <= 23 && !piped.concat().contains('\u{1b}'), "{piped:#?}");
        }
    }

    #[test]
    fn an_app_is_told_in_a_few_lines() {
        let release = |seq: u64, id: &str, state: &str, live_at: i64| {
            let (id, state) = (id.to_owned(), state.to_owned());
            of(&[
                ("id", id.into()),
                ("live", (seq == 3).into()),
                ("state", state.into()),
                ("seq", seq.into()),
                ("live_at", live_at.into()),
                ("revision", "0123456789ab".into()),
                ("reference", "main".into()),
            ])
        };
        let releases = vec![
            release(4, "R4", "sealed", 0),
            release(3, "R3", "confirmed", 1_767_225_600),
            release(2, "R2", "failed", 9),
            release(1, "R1", "confirmed", 60),
        ];
        let app = of(&[
            ("Name", "shop".into()),
            ("Current", "R3".into()),
            ("Confirmed", true.into()),
            ("LiveSince", 1_767_225_600i64.into()),
        ]);
        let mut status = Status { app, running: None, releases, last: None, changed: Some(Ok(vec![])) };
        assert!(!status.lines(None).join("").contains("changed"));
        status.changed = Some(Ok(vec![".env".into()]));
        let expected = [
            "shop: live, confirmed",
            "  live      R3 since 2026-01-01 00:00:00 UTC",
            "  revision  0123456789ab (main)",
            "  changed   shared/.env since the live release was made: `deployctl deploy shop`",
            "  staged    `deployctl activate shop`: R4, main",
            "  back to   R1, live 1970-01-01 00:01, main",
        ];
        assert_eq!(status.lines(None), expected);
        assert_eq!(status.lines(Some(80)), expected);
        assert_eq!(status.exit_status(), 0);
        status.app.insert("Held".into(), OwnedVariant::try_from(Variant::from("by user:anna")).unwrap());
        assert!(status.lines(None)[0] == "shop: live, confirmed, held");
        let held: Vec<_> = status.lines(None)[1..3].iter().map(|line| line.trim().to_owned()).collect();
        assert_eq!(held, ["held      by user:anna", "until     `deployctl unhold shop`"]);
    }
}
