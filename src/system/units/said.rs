//! What a service says of itself (`STATUS=`, sd_notify(3)), awaited by signal.

use std::time::Duration;

use super::{UnitError, Units, link::Event, load, next_for};
use crate::model::UnitName;

/// How the waiting for a service's word ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It said what was awaited.
    Said,
    /// It is not running, or it said something else until the limit: its state and its last words.
    Not {
        /// `active`, `failed`, `activating`, …
        active: String,
        /// What it last said; the service's own words.
        said: String,
    },
}

impl Units {
    /// What a service last said of itself; empty: nothing since its start.
    pub async fn said(&self, unit: &UnitName) -> Result<String, UnitError> {
        self.ask(|link| async move { link.status_text(&load(&link, unit).await?).await }).await
    }

    /// Waits until a running service says one of `wanted`, at most `limit`. One that is not running is not waited for.
    pub async fn await_word(&self, unit: &UnitName, wanted: &[&str], limit: Duration) -> Result<Word, UnitError> {
        match tokio::time::timeout(limit, self.word(unit, wanted)).await {
            Ok(word) => word,
            Err(_) => {
                let (status, said) = (self.status(unit).await?, self.said(unit).await?);
                Ok(Word::Not { active: status.active, said })
            }
        }
    }

    async fn word(&self, unit: &UnitName, wanted: &[&str]) -> Result<Word, UnitError> {
        loop {
            let link = self.link().await?;
            let mut events = link.listen();
            let begin = async {
                let path = load(&link, unit).await?;
                let changes = link.changes(&path).await?;
                Ok((path, changes))
            };
            let (path, changes) = match begin.await {
                Ok(begun) => begun,
                Err(error) => {
                    self.again(&link, error).await?;
                    continue;
                }
            };
            loop {
                let read = async { Ok((link.status(&path).await?, link.status_text(&path).await?)) };
                let (status, said) = match read.await {
                    Ok(read) => read,
                    Err(error) => {
                        self.again(&link, error).await?;
                        break;
                    }
                };
                match status.active.as_str() {
                    "active" | "reloading" if wanted.contains(&said.as_str()) => return Ok(Word::Said),
                    "active" | "reloading" | "activating" => {}
                    _ => return Ok(Word::Not { active: status.active, said }),
                }
                tokio::select! {
                    () = changes.next() => {}
                    event = next_for(&mut events, unit) => match event {
                        Some(Event::Removed { .. }) => {}
                        Some(Event::Reloaded) => link.renew().await?,
                        Some(Event::Lost) | None => break,
                    },
                }
            }
        }
    }
}
