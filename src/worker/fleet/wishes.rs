//! What the process that holds a slot is told by signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::worker::fleet_order as order;

/// What it is told by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing was activated.
    GiveBack,
    /// The release is confirmed.
    Confirmed,
    /// This host went back from the release.
    WentBack,
    /// The host goes down, or somebody ends it.
    End,
}

/// The signals, listened for.
pub struct Wishes {
    give_back: Signal,
    confirmed: Signal,
    went_back: Signal,
    end: Signal,
}

impl Wishes {
    /// From now on.
    pub fn listen() -> io::Result<Self> {
        let of = |signal: rustix::process::Signal| SignalKind::from_raw(signal.as_raw());
        Ok(Self {
            give_back: signal(of(order::GIVE_BACK))?,
            confirmed: signal(of(order::CONFIRMED))?,
            went_back: signal(of(order::WENT_BACK))?,
            end: signal(SignalKind::terminate())?,
        })
    }

    /// Of several that came at once the gravest.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.went_back.recv() => Wish::WentBack,
            _ = self.confirmed.recv() => Wish::Confirmed,
            _ = self.give_back.recv() => Wish::GiveBack,
            _ = self.end.recv() => Wish::End,
        }
    }

    /// Whatever else is wished meanwhile: only the end ends it.
    pub async fn ended(&mut self) {
        while self.next().await != Wish::End {}
    }
}
