//! What the process that holds a slot says: to the engine that began it, to the journal and to PID 1.

use std::{
    cell::RefCell,
    io::{self, Write},
};

use crate::{model::printable, system::notify, worker::fleet_order::FleetSays};

/// What is waited for, told when it changes.
#[derive(Default)]
pub struct Telling(RefCell<String>);

impl Telling {
    /// What for.
    pub fn waits(&self, why: String) {
        if *self.0.borrow() == why {
            return;
        }
        notify::status(&why);
        tracing::info!("{}", printable(&why));
        say(&FleetSays::Waits(why.clone()));
        *self.0.borrow_mut() = why;
    }
}

/// It cannot be done. Gives the exit status.
pub fn failed(why: String) -> u8 {
    tracing::error!("{}", printable(&why));
    say(&FleetSays::Failed(why));
    0
}

/// To the engine that began it; when that is gone, to nobody.
pub fn say(what: &FleetSays) {
    let Ok(mut line) = serde_json::to_vec(what) else { return };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
