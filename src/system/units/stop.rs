//! How a unit is started and stopped, as PID 1 has it: files, drop-ins and `systemctl edit` put together.

use std::{sync::Arc, time::Duration};

use super::{UnitError, Units, answer::answer, link::Link, load};
use crate::model::UnitName;

/// A service's command lines, and how it is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// `KillSignal=`, a number.
    pub signal: i32,
    /// `KillMode=`.
    pub mode: String,
    /// `TimeoutStopSec=`; none: infinity.
    pub timeout: Option<Duration>,
    /// `ExecStart=`: program and arguments of each.
    pub exec: Vec<Vec<String>>,
}

impl Units {
    /// How a service is started and stopped.
    pub async fn stop_settings(&self, unit: &UnitName) -> Result<Stop, UnitError> {
        self.ask(|link| read(link, unit)).await
    }
}

async fn read(link: Arc<Link>, unit: &UnitName) -> Result<Stop, UnitError> {
    let path = load(&link, unit).await?;
    let read = async {
        let service = link.service(&path).await?;
        let (signal, mode, timeout, exec) = tokio::try_join!(
            service.kill_signal(),
            service.kill_mode(),
            service.timeout_stop_usec(),
            service.exec_start()
        )?;
        let timeout = (timeout != u64::MAX).then(|| Duration::from_micros(timeout));
        // The program's path is the first word of its own arguments too, unless it was given another name.
        let exec = exec.into_iter().map(|command| with_program(command.0, command.1)).collect();
        Ok(Stop { signal, mode, timeout, exec })
    };
    answer(&format!("tell how {unit} is stopped"), read).await
}

fn with_program(program: String, mut arguments: Vec<String>) -> Vec<String> {
    match arguments.first_mut() {
        Some(first) => *first = program,
        None => arguments.push(program),
    }
    arguments
}
