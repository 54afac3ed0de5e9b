//! The host's mechanisms, each behind one small interface: systemd's units, the notify socket, the journal, rooted
//! directories, the kernel's socket tables, processes. Knows nothing of deployments.

pub mod credentials;
pub mod journal;
pub mod notify;
pub mod ports;
pub mod process;
pub mod random;
mod sock_diag;
pub mod sockets;
pub mod tree;
pub mod units;
pub mod uses;

/// The beginning of `text`, at most `longest` bytes of whole characters.
fn beginning(text: &str, longest: usize) -> &str {
    let cut = (0..=longest.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.split_at(cut.unwrap_or(0)).0
}
