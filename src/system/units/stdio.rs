//! A transient service that is spoken to: pipes to its standard input and from its standard output.

use std::{io, os::fd::OwnedFd};

use tokio::net::unix::pipe::{Receiver, Sender, pipe};

/// Both pipes.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub orders: Sender,
    /// What it writes.
    pub answers: Receiver,
    /// Its own ends: [`super::Transient::stdio`].
    pub its: (OwnedFd, OwnedFd),
}

impl Pipes {
    /// Makes them.
    pub fn make() -> io::Result<Self> {
        let (orders, input) = pipe()?;
        let (output, answers) = pipe()?;
        Ok(Self { orders, answers, its: (input.into_blocking_fd()?, output.into_blocking_fd()?) })
    }
}
