//! The kernel's socket tables (sock_diag over netlink): what waits in the accept queue of a listening unix socket.
//! Anything that is not understood is told as unknown, never guessed.

use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::Duration,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::process::Seen;

// linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h, net/tcp_states.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_UNIX: u8 = 1;
const LISTEN: u8 = 10;
const SHOW_NAME: u32 = 0x1;
const SHOW_RQLEN: u32 = 0x10;
const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_RQLEN: u16 = 4;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// The kernel fills at most this much at a time (`netlink_dump`, net/netlink/af_netlink.c).
const BUFFER: usize = 32 * 1024;
/// The kernel answers at once; this ends a wait for an answer that was dropped.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a table that changed while it was read is read again.
const TRIES: u32 = 5;

/// How many connections wait to be accepted at the listening unix socket bound to `path`.
///
/// Unknown when netlink cannot be asked or answers with an error, and when no listening socket of that path is seen:
/// in a network namespace of its own a process sees no sockets at all, and "no socket" must not read as "empty queue".
/// Several listening sockets of that path (one of them bound after the other's file was removed) count together.
pub fn accept_queue(path: &Path) -> Seen<u32> {
    for _ in 0..TRIES {
        match dump(path) {
            Ok(Table { interrupted: true, .. }) => {}
            Ok(Table { found: 0, .. }) => {
                return Seen::Unknown(format!(
                    "no listening socket {} is visible from this network namespace",
                    path.display()
                ));
            }
            Ok(table) => return Seen::Known(table.waiting),
            Err(why) => return Seen::Unknown(format!("cannot read the kernel's unix sockets: {why}")),
        }
    }
    Seen::Unknown("the kernel's table of unix sockets changed at each of 5 readings".into())
}

/// What was read of the table so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Listening sockets of the path.
    found: usize,
    /// Connections in their accept queues.
    waiting: u32,
    /// The table changed while it was read.
    interrupted: bool,
    /// The kernel has told all.
    done: bool,
}

fn dump(path: &Path) -> Result<Table, String> {
    let io = |error: Errno| io::Error::from(error).to_string();
    let socket = open().map_err(io)?;
    let request = request();
    let sent = retry_on_intr(|| send(&socket, &request, SendFlags::empty())).map_err(io)?;
    if sent != request.len() {
        return Err("the request was cut".into());
    }
    let mut table = Table::default();
    let mut buffer = vec![0u8; BUFFER];
    while !table.done {
        let (_, length) = retry_on_intr(|| recv(&socket, &mut buffer[..], RecvFlags::TRUNC)).map_err(io)?;
        let datagram = buffer.get(..length).ok_or("an answer was longer than its buffer")?;
        read(datagram, path, &mut table)?;
    }
    Ok(table)
}

fn open() -> Result<OwnedFd, Errno> {
    let protocol = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))?;
    Ok(socket)
}

/// `struct nlmsghdr` and `struct unix_diag_req`: every listening unix socket with its name and queue.
fn request() -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend(40u32.to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    out.extend([0; 8]); // sequence number and port: one request on a socket of its own
    out.extend([AF_UNIX, 0, 0, 0]);
    out.extend((1u32 << LISTEN).to_ne_bytes());
    out.extend(0u32.to_ne_bytes()); // any inode
    out.extend((SHOW_NAME | SHOW_RQLEN).to_ne_bytes());
    out.extend([0; 8]); // cookie
    out
}

/// Reads one datagram of messages into `table`.
fn read(mut datagram: &[u8], path: &Path, table: &mut Table) -> Result<(), String> {
    const CUT: &str = "an answer was cut";
    if datagram.is_empty() {
        return Err(CUT.into());
    }
    while !datagram.is_empty() && !table.done {
        let length = u32_at(datagram, 0).ok_or(CUT)? as usize;
        let (kind, flags) = (u16_at(datagram, 4).ok_or(CUT)?, u16_at(datagram, 6).ok_or(CUT)?);
        let body = datagram.get(HEADER..length).ok_or(CUT)?;
        table.interrupted |= flags & NLM_F_DUMP_INTR != 0;
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
                table.done = true;
            }
            SOCK_DIAG_BY_FAMILY => socket(body, path, table)?,
            other => return Err(format!("a message of unknown type {other} came")),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// Reads one `struct unix_diag_msg` with its attributes.
fn socket(body: &[u8], path: &Path, table: &mut Table) -> Result<(), String> {
    const CUT: &str = "a socket's description was cut";
    if body.len() < MESSAGE || body[0] != AF_UNIX {
        return Err(CUT.into());
    }
    if body[2] != LISTEN {
        return Ok(());
    }
    let (mut name, mut queue) = (None, None);
    let mut rest = &body[MESSAGE..];
    while !rest.is_empty() {
        let (length, kind) = (u16_at(rest, 0).ok_or(CUT)? as usize, u16_at(rest, 2).ok_or(CUT)?);
        let value = rest.get(4..length).ok_or(CUT)?;
        match kind {
            ATTRIBUTE_NAME => name = Some(value),
            ATTRIBUTE_RQLEN => queue = Some(u32_at(value, 0).ok_or(CUT)?),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // The kernel counts the NUL that ends sun_path; an abstract name begins with one and is never a path.
    let name = name.map(|name| name.strip_suffix(b"\0").unwrap_or(name));
    if name == Some(path.as_os_str().as_bytes()) {
        table.found += 1;
        table.waiting = table.waiting.saturating_add(queue.ok_or("a socket came without its queue")?);
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::{UnixListener, UnixStream},
        process::Command,
    };

    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::from(((HEADER + body.len()) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend([0; 8]);
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn listening(name: &[u8], queue: u32) -> Vec<u8> {
        let mut body = vec![AF_UNIX, 1, LISTEN, 0];
        body.resize(MESSAGE, 0);
        body.extend((4 + name.len() as u16).to_ne_bytes());
        body.extend(ATTRIBUTE_NAME.to_ne_bytes());
        body.extend(name);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(12u16.to_ne_bytes());
        body.extend(ATTRIBUTE_RQLEN.to_ne_bytes());
        body.extend(queue.to_ne_bytes());
        body.extend([0; 4]);
        message(SOCK_DIAG_BY_FAMILY, 0, &body)
    }

    fn table(datagram: &[u8]) -> Result<Table, String> {
        let mut table = Table::default();
        read(datagram, Path::new("/run/a.sock"), &mut table).map(|()| table)
    }

    #[test]
    fn counts_connections_that_nobody_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fpm.sock");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(accept_queue(&path), Seen::Known(0));
        let clients: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_eq!(accept_queue(&path), Seen::Known(3));
        let accepted = listener.accept().unwrap();
        assert_eq!(accept_queue(&path), Seen::Known(2));
        drop((clients, accepted));
    }

    #[test]
    fn an_old_listener_of_the_same_path_counts_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fpm.sock");
        let old = UnixListener::bind(&path).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = UnixListener::bind(&path).unwrap();
        assert_eq!(accept_queue(&path), Seen::Known(1));
        drop(old);
        assert_eq!(accept_queue(&path), Seen::Known(0));
        drop((new, waiting));
    }

    #[test]
    fn no_listener_is_unknown_and_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nobody.sock");
        assert!(matches!(accept_queue(&path), Seen::Unknown(why) if why.contains("no listening socket")));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(accept_queue(&path), Seen::Unknown(_)), "bound once, closed since");
    }

    /// The negative control: from another network namespace a full queue must not look empty. Runs itself there.
    #[test]
    fn another_network_namespace_sees_nothing() {
        const PATH: &str = "DEPLOYD_TEST_ACCEPT_QUEUE";
        if let Some(path) = std::env::var_os(PATH) {
            let seen = accept_queue(Path::new(&path));
            assert!(matches!(&seen, Seen::Unknown(why) if why.contains("no listening socket")), "{seen:?}");
            return;
        }
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a network namespace needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fpm.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let inside = Command::new("unshare")
            .args(["--net", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "system::sockets::tests::another_network_namespace_sees_nothing"])
            .env(PATH, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stdout);
        assert!(inside.status.success() && said.contains("1 passed"), "{said}");
        assert_eq!(accept_queue(&path), Seen::Known(1));
        drop((listener, client));
    }

    #[test]
    fn errors_and_what_is_not_understood_are_never_a_number() {
        let refused = message(NLMSG_ERROR, 0, &(-1i32).to_ne_bytes());
        assert_eq!(table(&refused).unwrap_err(), io::Error::from_raw_os_error(1).to_string());
        assert!(table(&message(99, 0, &[])).is_err());
        assert!(table(&[]).is_err());
        let whole = listening(b"/run/a.sock\0", 2);
        assert_eq!(table(&whole).unwrap(), Table { found: 1, waiting: 2, ..Table::default() });
        assert!(table(&whole[..whole.len() - 1]).is_err());
        assert!(table(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4])).unwrap().interrupted);
        assert_eq!(table(&listening(b"/run/a.sock2\0", 2)).unwrap().found, 0);
        assert_eq!(table(&listening(b"\0/run/a.sock", 2)).unwrap().found, 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = table(&bytes);
            let _ = table(&message(SOCK_DIAG_BY_FAMILY, 0, &bytes));
        }
    }
}
