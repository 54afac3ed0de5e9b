//! The kernel's table of unix sockets: what waits in the accept queue of a listening unix socket, found by its file: a
//! name can be bound elsewhere too, in another mount namespace or before a rename. Anything that is not understood is
//! told as unknown, never guessed.

use std::{io, path::Path};

use rustix::fs::{lstat, major, minor};

use super::{
    process::Seen,
    sock_diag::{self, TRIES, u16_at, u32_at},
};

// linux/unix_diag.h, net/tcp_states.h.
const AF_UNIX: u8 = 1;
const LISTEN: u8 = 10;
const SHOW_VFS: u32 = 0x2;
const SHOW_RQLEN: u32 = 0x10;
const ATTRIBUTE_VFS: u16 = 1;
const ATTRIBUTE_RQLEN: u16 = 4;
/// `struct unix_diag_msg`.
const MESSAGE: usize = 16;

/// How many connections wait to be accepted at the listening unix socket bound to `path`.
///
/// Unknown when netlink cannot be asked or answers with an error, and when no listening socket of that path is seen:
/// in a network namespace of its own a process sees no sockets at all, and "no socket" must not read as "empty queue".
pub fn accept_queue(path: &Path) -> Seen<u32> {
    let file = match SocketFile::at(path) {
        Ok(file) => file,
        Err(error) => return Seen::Unknown(format!("no listening socket is there: {}: {error}", path.display())),
    };
    for _ in 0..TRIES {
        let mut table = Table::default();
        match sock_diag::dump(&request(), &mut |body| socket(body, file, &mut table)) {
            Ok(progress) if progress.interrupted => {}
            Ok(_) if table.found == 0 => {
                return Seen::Unknown(format!(
                    "no listening socket {} is visible from this network namespace",
                    path.display()
                ));
            }
            Ok(_) => return Seen::Known(table.waiting),
            Err(why) => return Seen::Unknown(format!("cannot read the kernel's unix sockets: {why}")),
        }
    }
    Seen::Unknown("the kernel's table of unix sockets changed at each of 5 readings".into())
}

/// A socket's file as `struct unix_diag_vfs` (linux/unix_diag.h) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketFile {
    /// The lower half of its number.
    inode: u32,
    /// As the kernel encodes it (`MKDEV`, linux/kdev_t.h), not as stat(2) tells it.
    device: u32,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let stat = lstat(path)?;
        #[allow(clippy::cast_possible_truncation)] // as the kernel cuts it
        let inode = stat.st_ino as u32;
        Ok(Self { inode, device: (major(stat.st_dev) << 20) | (minor(stat.st_dev) & 0xf_ffff) })
    }
}

/// What was read of the table so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Listening sockets of the file.
    found: usize,
    /// Connections in their accept queues.
    waiting: u32,
}

/// `struct unix_diag_req`: every listening unix socket with its file and queue.
fn request() -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend([AF_UNIX, 0, 0, 0]);
    out.extend((1u32 << LISTEN).to_ne_bytes());
    out.extend(0u32.to_ne_bytes()); // any inode
    out.extend((SHOW_VFS | SHOW_RQLEN).to_ne_bytes());
    out.extend([0; 8]); // cookie
    out
}

/// Reads one `struct unix_diag_msg` with its attributes.
fn socket(body: &[u8], file: SocketFile, table: &mut Table) -> Result<(), String> {
    const CUT: &str = "a socket's description was cut";
    if body.len() < MESSAGE || body[0] != AF_UNIX {
        return Err(CUT.into());
    }
    if body[2] != LISTEN {
        return Ok(());
    }
    let (mut bound, mut queue) = (None, None);
    let mut rest = &body[MESSAGE..];
    while !rest.is_empty() {
        let (length, kind) = (u16_at(rest, 0).ok_or(CUT)? as usize, u16_at(rest, 2).ok_or(CUT)?);
        let value = rest.get(4..length).ok_or(CUT)?;
        match kind {
            ATTRIBUTE_VFS => {
                let (inode, device) = (u32_at(value, 0).ok_or(CUT)?, u32_at(value, 4).ok_or(CUT)?);
                bound = Some(SocketFile { inode, device });
            }
            ATTRIBUTE_RQLEN => queue = Some(u32_at(value, 0).ok_or(CUT)?),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // An abstract socket has no file.
    if bound == Some(file) {
        table.found += 1;
        table.waiting = table.waiting.saturating_add(queue.ok_or("a socket came without its queue")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        os::unix::net::{UnixListener, UnixStream},
        process::Command,
    };

    use proptest::prelude::*;

    use super::{
        super::sock_diag::{HEADER, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Progress, SOCK_DIAG_BY_FAMILY, read},
        *,
    };

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::from(((HEADER + body.len()) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend([0; 8]);
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    const FILE: SocketFile = SocketFile { inode: 7, device: 0x10_0002 };

    fn listening(file: SocketFile, queue: u32) -> Vec<u8> {
        let mut body = vec![AF_UNIX, 1, LISTEN, 0];
        body.resize(MESSAGE, 0);
        body.extend(12u16.to_ne_bytes());
        body.extend(ATTRIBUTE_VFS.to_ne_bytes());
        body.extend(file.inode.to_ne_bytes());
        body.extend(file.device.to_ne_bytes());
        body.extend(12u16.to_ne_bytes());
        body.extend(ATTRIBUTE_RQLEN.to_ne_bytes());
        body.extend(queue.to_ne_bytes());
        body.extend([0; 4]);
        message(SOCK_DIAG_BY_FAMILY, 0, &body)
    }

    fn table(datagram: &[u8]) -> Result<Table, String> {
        let (mut table, mut progress) = (Table::default(), Progress::default());
        read(datagram, &mut progress, &mut |body| socket(body, FILE, &mut table)).map(|()| table)
    }

    fn progress(datagram: &[u8]) -> Progress {
        let mut progress = Progress::default();
        read(datagram, &mut progress, &mut |_| Ok(())).unwrap();
        progress
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

    /// Whoever bound the same name elsewhere could keep a slot from being drained, or have it taken for empty.
    #[test]
    fn a_namesake_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("fpm.sock"), dir.path().join("moved.sock"));
        let first = UnixListener::bind(&path).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        assert_eq!(accept_queue(&path), Seen::Known(0), "the name of both");
        assert_eq!(accept_queue(&moved), Seen::Known(1), "the name of neither");
        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&moved, &link).unwrap();
        assert!(matches!(accept_queue(&link), Seen::Unknown(_)), "no link is followed");
        drop((first, second, waiting));
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
        let whole = listening(FILE, 2);
        assert_eq!(table(&whole).unwrap(), Table { found: 1, waiting: 2 });
        assert!(table(&whole[..whole.len() - 1]).is_err());
        assert!(progress(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4])).interrupted);
        assert_eq!(table(&listening(SocketFile { inode: 8, ..FILE }, 2)).unwrap().found, 0);
        assert_eq!(table(&listening(SocketFile { device: 8, ..FILE }, 2)).unwrap().found, 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = table(&bytes);
            let _ = table(&message(SOCK_DIAG_BY_FAMILY, 0, &bytes));
        }
    }
}
