//! `deployctl logs`, and the reading of a log's descriptor for others.

use std::{collections::HashMap, os::fd::OwnedFd};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe::Receiver,
};
use zbus::Variant;

use super::{args::Logs, bus::Bus, check::DENIED, entry::Entry, error::CtlError, out::Out};
use crate::model::{AppName, DeploymentId};

/// The longest line that is shown, in bytes; the rest of a longer one is passed over.
const LONGEST: usize = 256 * 1024;

/// Which log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Of one deployment only.
    pub deployment: Option<&'a DeploymentId>,
    /// With the lines of the app's services.
    pub services: bool,
    /// Go on with what comes.
    pub follow: bool,
    /// So many of the past.
    pub lines: Option<u32>,
}

/// A log that is being read.
pub struct Log(BufReader<Receiver>);

impl Log {
    /// Opens it on the bus.
    pub async fn open(bus: &Bus, app: &AppName, wanted: &Wanted<'_>) -> Result<Self, CtlError> {
        let mut options = HashMap::from([("follow", Variant::from(wanted.follow))]);
        if wanted.services {
            options.insert("services", Variant::from(true));
        }
        if let Some(lines) = wanted.lines {
            options.insert("lines", Variant::from(lines));
        }
        if let Some(id) = wanted.deployment {
            options.insert("deployment", Variant::from(id.as_str()));
        }
        let fd = bus.manager.open_log(app.as_str(), &options).await?;
        let pipe = Receiver::from_owned_fd(OwnedFd::from(fd));
        let pipe = pipe.map_err(|e| CtlError::Local(format!("the log is no pipe: {e}")))?;
        Ok(Self(BufReader::with_capacity(64 * 1024, pipe)))
    }

    /// The next line; `None`: the end. May be dropped between two lines and called again.
    pub async fn line(&mut self, held: &mut Vec<u8>) -> Result<Option<String>, CtlError> {
        loop {
            let (used, whole) = {
                let ready = self.0.fill_buf().await;
                let ready = ready.map_err(|e| CtlError::Local(format!("cannot read the log: {e}")))?;
                if ready.is_empty() {
                    return Ok(None);
                }
                let end = ready.iter().position(|b| *b == b'\n');
                let part = &ready[..end.unwrap_or(ready.len())];
                let room = LONGEST.saturating_sub(held.len());
                held.extend_from_slice(&part[..part.len().min(room)]);
                (part.len() + usize::from(end.is_some()), end.is_some())
            };
            self.0.consume(used);
            if whole {
                let line = String::from_utf8_lossy(held).into_owned();
                held.clear();
                return Ok(Some(line));
            }
        }
    }
}

/// Shows a log until it ends, or for ever.
pub async fn run(bus: &Bus, wanted: &Logs, out: &Out) -> Result<u8, CtlError> {
    let Logs { app, deployment, services, follow, lines } = wanted;
    let which = Wanted { deployment: deployment.as_ref(), services: *services, follow: *follow, lines: *lines };
    let mut log = match Log::open(bus, app, &which).await {
        Err(error) if *services && error.status() == DENIED => {
            let without = Log::open(bus, app, &Wanted { services: false, ..which }).await?;
            out.note("(without what the app's services say: that is org.deployd1.read-service-logs)");
            without
        }
        opened => opened?,
    };
    let mut held = Vec::new();
    // Of a deployment's time there are other deployments' words too.
    let other = |entry: &Entry| deployment.as_ref().is_some_and(|id| !["", id.as_str()].contains(&&*entry.deployment));
    while let Some(line) = log.line(&mut held).await? {
        match Entry::parse(&line).filter(|entry| !other(entry)) {
            // journald's own JSON is stable and has no raw control characters.
            Some(_) if out.is_json() => out.line(&line)?,
            Some(entry) => out.line(&entry.logged())?,
            None => {}
        }
    }
    Ok(0)
}
