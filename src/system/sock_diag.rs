//! The kernel's socket tables over netlink (sock_diag(7)): one dump, its messages taken apart. What a socket's
//! description says is for the families to read. Anything that is not understood is an error, never an empty table.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

// linux/netlink.h, linux/sock_diag.h.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// The kernel fills at most this much at a time (`netlink_dump`, net/netlink/af_netlink.c).
const BUFFER: usize = 32 * 1024;
/// The kernel answers at once; this ends a wait for an answer that was dropped.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a table that changed while it was read is read again.
pub(super) const TRIES: u32 = 5;

/// How far a dump was read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// The table changed while it was read.
    pub interrupted: bool,
    /// The kernel has told all.
    pub done: bool,
}

/// What is done with each socket's description.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), String>;

/// Asks for a table (the body is a `struct *_diag_req`) and gives each socket's description to `each`. Whether the
/// table changed meanwhile is told with it: then what was read counts for nothing.
pub(super) fn dump(body: &[u8], each: Each<'_>) -> Result<Progress, String> {
    let io = |error: Errno| io::Error::from(error).to_string();
    let socket = open().map_err(io)?;
    let request = request(body);
    let sent = retry_on_intr(|| send(&socket, &request, SendFlags::empty())).map_err(io)?;
    if sent != request.len() {
        return Err("the request was cut".into());
    }
    let mut progress = Progress::default();
    let mut buffer = vec![0u8; BUFFER];
    while !progress.done {
        let (_, length) = retry_on_intr(|| recv(&socket, &mut buffer[..], RecvFlags::TRUNC)).map_err(io)?;
        let datagram = buffer.get(..length).ok_or("an answer was longer than its buffer")?;
        read(datagram, &mut progress, each)?;
    }
    Ok(progress)
}

fn open() -> Result<OwnedFd, Errno> {
    let protocol = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))?;
    Ok(socket)
}

fn request(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend(length.to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    out.extend([0; 8]); // sequence number and port: one request on a socket of its own
    out.extend(body);
    out
}

/// Reads one datagram of messages.
pub(super) fn read(mut datagram: &[u8], progress: &mut Progress, each: Each<'_>) -> Result<(), String> {
    const CUT: &str = "an answer was cut";
    if datagram.is_empty() {
        return Err(CUT.into());
    }
    while !datagram.is_empty() && !progress.done {
        let length = u32_at(datagram, 0).ok_or(CUT)? as usize;
        let (kind, flags) = (u16_at(datagram, 4).ok_or(CUT)?, u16_at(datagram, 6).ok_or(CUT)?);
        let body = datagram.get(HEADER..length).ok_or(CUT)?;
        progress.interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match kind {
            // Both carry an error number, negative or 0.
            NLMSG_ERROR | NLMSG_DONE => {
                match u32_at(body, 0).map(u32::cast_signed) {
                    Some(0) => {}
                    None if kind == NLMSG_DONE => {}
                    None => return Err(CUT.into()),
                    Some(error) => return Err(io::Error::from_raw_os_error(error.saturating_neg()).to_string()),
                }
                if kind == NLMSG_ERROR {
                    return Err("an acknowledgement came instead of an answer".into());
                }
                progress.done = true;
            }
            SOCK_DIAG_BY_FAMILY => each(body)?,
            other => return Err(format!("a message of unknown type {other} came")),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}
