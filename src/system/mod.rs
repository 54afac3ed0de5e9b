//! The host's mechanisms, each behind one small interface: systemd's units, the notify socket, the journal, rooted
//! directories, the kernel's socket tables, processes. Knows nothing of deployments.

pub mod journal;
pub mod notify;
pub mod process;
pub mod sockets;
pub mod tree;
pub mod units;
