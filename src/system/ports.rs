//! The kernel's table of TCP sockets: who listens on a port of this host, and which connections of it are open.
//! Anything that is not understood is told as unknown, never guessed.

use super::{
    process::Seen,
    sock_diag::{self, TRIES, u32_at},
};

// net/tcp_states.h, linux/inet_diag.h.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
const RQUEUE: usize = 56;
const INODE: usize = 68;

/// The sockets of one local port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    /// The inodes of the sockets that listen, as `/proc/PID/fd` names them.
    pub listeners: Vec<u32>,
    /// Connections that nobody has accepted yet.
    pub waiting: u32,
    /// Connections whose server side has not been closed, accepted or not.
    pub open: u32,
}

/// The sockets of a local port, of any address. Unknown when netlink cannot be asked, or answers with an error.
pub fn port(port: u16) -> Seen<Port> {
    for _ in 0..TRIES {
        match dump(port) {
            Ok(Some(found)) => return Seen::Known(found),
            Ok(None) => {}
            Err(why) => return Seen::Unknown(format!("cannot read the kernel's TCP sockets: {why}")),
        }
    }
    Seen::Unknown("the kernel's table of TCP sockets changed at each of 5 readings".into())
}

/// Both families: a socket of `[::]` takes connections of either. None: the table changed meanwhile.
fn dump(port: u16) -> Result<Option<Port>, String> {
    let mut found = Port::default();
    for family in [AF_INET, AF_INET6] {
        let progress = sock_diag::dump(&request(family, port), &mut |body| socket(body, port, &mut found))?;
        if progress.interrupted {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// `struct inet_diag_req_v2`: the sockets of the port in the states that count.
fn request(family: u8, port: u16) -> Vec<u8> {
    let states = [ESTABLISHED, SYN_RECV, CLOSE_WAIT, LISTEN].into_iter().fold(0u32, |all, state| all | 1 << state);
    let mut out = Vec::with_capacity(56);
    out.extend([family, TCP, 0, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(port.to_be_bytes());
    out.extend([0; 46]); // any address, any peer
    out
}

/// Reads one `struct inet_diag_msg`.
fn socket(body: &[u8], port: u16, found: &mut Port) -> Result<(), String> {
    const CUT: &str = "a socket's description was cut";
    if body.len() < MESSAGE {
        return Err(CUT.into());
    }
    let local = u16::from_be_bytes([body[4], body[5]]);
    if local != port {
        return Ok(());
    }
    if body[1] == LISTEN {
        found.waiting = found.waiting.saturating_add(u32_at(body, RQUEUE).ok_or(CUT)?);
        found.listeners.push(u32_at(body, INODE).ok_or(CUT)?);
    } else {
        found.open += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn seen(number: u16) -> Port {
        match port(number) {
            Seen::Known(port) => port,
            Seen::Unknown(why) => panic!("{why}"),
        }
    }

    #[test]
    fn counts_what_waits_and_what_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let before = seen(number);
        assert_eq!((before.listeners.len(), before.waiting, before.open), (1, 0, 0));
        let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", number)).unwrap()).collect();
        // A busy kernel ends the handshakes a moment after `connect` has returned.
        let comes_to = |wanted| {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while (seen(number).waiting, seen(number).open) != wanted {
                assert!(std::time::Instant::now() < until, "{:?}, not {wanted:?}", seen(number));
                std::thread::yield_now();
            }
        };
        comes_to((3, 3));
        let (accepted, _) = listener.accept().unwrap();
        comes_to((2, 3));
        // The client has gone, the server has not closed yet: it may still be at work for it.
        drop(clients);
        assert_eq!(seen(number).open, 3);
        drop((accepted, listener));
        assert_eq!(seen(number), Port::default());
    }

    #[test]
    fn a_listener_of_either_family_is_seen() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        assert_eq!(seen(listener.local_addr().unwrap().port()).listeners.len(), 1);
    }

    #[test]
    fn what_is_cut_is_never_a_number() {
        let mut found = Port::default();
        assert!(socket(&[0; MESSAGE - 1], 80, &mut found).is_err());
    }
}
