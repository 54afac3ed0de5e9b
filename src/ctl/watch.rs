//! A deployment watched to its end: its lines and how far it is, until its outcome is known. Survives a restart of
//! deployd: the deployment does not depend on it, and the record tells how it ended.

use std::{io::Stderr, time::Duration};

use futures_util::StreamExt;
use zbus::{OwnedObjectPath, fdo};

use super::{
    bus::{Bus, Properties, fraction, text},
    entry::{Entry, Live, heading},
    error::CtlError,
    logs::{Log, Wanted},
    out::Out,
    screen::{Now, Screen},
};
use crate::{
    dbus,
    model::{AppName, DeploymentId, Outcome, printable},
};

/// The longest that the last lines of the log may come after the outcome.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How often the clock in the redrawn line goes on.
const TICK: Duration = Duration::from_secs(1);

/// Waits for the outcome; returns the deployment's properties then. With `live` it is told meanwhile.
pub async fn outcome(
    mut bus: Bus,
    app: &AppName,
    id: &DeploymentId,
    mut path: OwnedObjectPath,
    live: bool,
    out: &Out,
) -> Result<Properties, CtlError> {
    let (mut seen, mut screen) = (0, live.then(|| out.screen()));
    loop {
        let mut watch = Watch { bus: &bus, app, id, screen: screen.as_mut(), now: Now::default(), shown: seen, seen };
        match watch.until_ended(&path).await {
            Ok(Some(properties)) => {
                let ended: Result<Outcome, _> = text(&properties, "Outcome").parse();
                if let Some(screen) = &mut screen {
                    screen.end(ended.is_ok_and(|outcome| outcome.exit_status() != 0));
                }
                return Ok(properties);
            }
            // deployd went away (it was restarted, or killed): the deployment goes on in its own unit.
            Ok(None) => {}
            Err(error) if bus.connection.is_closed() => return Err(error),
            Err(error) => {
                let bus = fdo::DBusProxy::new(&bus.connection).await?;
                let name = zbus::names::BusName::from(watch.bus.owner.as_ref());
                if bus.name_has_owner(name).await? {
                    return Err(error);
                }
            }
        }
        seen = watch.seen;
        bus = Bus::over(bus.connection.clone()).await?;
        path = bus.manager.get_deployment(app.as_str(), id.as_str()).await?;
    }
}

/// One deployd's telling of a deployment.
struct Watch<'a> {
    bus: &'a Bus,
    app: &'a AppName,
    id: &'a DeploymentId,
    /// None: nothing is told.
    screen: Option<&'a mut Screen<Stderr>>,
    now: Now,
    /// What is older was shown before a reconnection. Lines that journald reads at once have one time, and none of them
    /// is left out.
    shown: i64,
    /// After the last entry that was shown.
    seen: i64,
}

impl Watch<'_> {
    /// `None`: deployd has gone.
    async fn until_ended(&mut self, path: &OwnedObjectPath) -> Result<Option<Properties>, CtlError> {
        let bus = self.bus;
        let mut removed = bus.manager.receive_deployment_removed_with_args(&[(1, self.id.as_str())]).await?;
        let mut changes = bus.properties_proxy(path).await?.receive_properties_changed().await?;
        let gone = bus.gone();
        tokio::pin!(gone);
        let mut log = self.open().await;
        let mut held = Vec::new();
        let mut clock = tokio::time::interval(TICK);
        // Subscribed first, read then: an end in between is not missed.
        let mut properties = bus.properties(path, dbus::DEPLOYMENT).await?;
        self.far(&properties, log.is_none());
        while text(&properties, "Outcome").is_empty() {
            let ticks = self.screen.as_ref().is_some_and(|screen| screen.is_live());
            tokio::select! {
                signal = removed.next() => {
                    if signal.is_none() { return Ok(None) }
                    properties = bus.properties(path, dbus::DEPLOYMENT).await?;
                }
                change = changes.next() => {
                    let Some(change) = change else { return Ok(None) };
                    self.changed(&change, log.is_none());
                }
                line = next(&mut log, &mut held) => {
                    if self.line(line?) { log = None }
                }
                _ = clock.tick(), if ticks => {
                    if let Some(screen) = &mut self.screen { screen.redraw() }
                }
                ended = &mut gone => return ended.map(|()| None),
            }
        }
        let rest = async {
            while log.is_some() {
                if self.line(next(&mut log, &mut held).await?) {
                    log = None;
                }
            }
            Ok::<_, CtlError>(())
        };
        // Nothing depends on the last lines: when they do not come, the outcome is told without them.
        let _ = tokio::time::timeout(LAST_LINES, rest).await;
        Ok(Some(properties))
    }

    async fn open(&mut self) -> Option<Log> {
        let screen = self.screen.as_mut()?;
        let wanted = Wanted { deployment: Some(self.id), follow: true, ..Wanted::default() };
        match Log::open(self.bus, self.app, &wanted).await {
            Ok(log) => Some(log),
            Err(error) => {
                screen.say(&format!("(without live output: {})", printable(&error.to_string())));
                None
            }
        }
    }

    /// Shows a line. `true`: there is nothing more to come.
    fn line(&mut self, line: Option<String>) -> bool {
        let Some(line) = line else { return true };
        let Some(entry) = Entry::parse(&line) else { return false };
        if entry.time < self.shown {
            return false;
        }
        self.seen = entry.time + 1;
        if let Some(screen) = &mut self.screen {
            match entry.live() {
                Some(Live::Heading { text, step }) => screen.heading(&text, &step),
                Some(Live::Output { step, text }) => screen.output(&step, &text),
                None => {}
            }
        }
        entry.is_end()
    }

    fn changed(&mut self, change: &fdo::PropertiesChanged, alone: bool) {
        let Ok(args) = change.args() else { return };
        let own = |(name, value): (&&str, &zbus::Variant<'_>)| {
            Some(((*name).to_owned(), zbus::OwnedVariant::try_from(value.try_clone().ok()?).ok()?))
        };
        let changed: Properties = args.changed_properties.iter().filter_map(own).collect();
        self.far(&changed, alone);
    }

    /// How far it is, by the properties that are new. Without a log they are all that is told.
    fn far(&mut self, new: &Properties, alone: bool) {
        let Some(screen) = &mut self.screen else { return };
        let before = self.now.clone();
        if new.contains_key("Phase") {
            self.now.phase = text(new, "Phase");
        }
        if new.contains_key("Step") {
            self.now.step = text(new, "Step");
        }
        if new.contains_key("Fraction") {
            self.now.fraction = fraction(new, "Fraction");
        }
        if self.now.phase == "done" || self.now == before {
            return;
        }
        if alone && self.now.phase != before.phase {
            screen.heading(&heading(&self.now.phase), "");
        }
        if alone && self.now.step != before.step && !self.now.step.is_empty() {
            screen.output("", &self.now.step);
        }
        screen.set(self.now.clone());
    }
}

/// The log's next line; without a log never.
async fn next(log: &mut Option<Log>, held: &mut Vec<u8>) -> Result<Option<String>, CtlError> {
    match log {
        Some(log) => log.line(held).await,
        None => std::future::pending().await,
    }
}
