//! A file that a caller hands over: judged by its descriptor alone, which is neither read nor waited for.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

use super::Error;

/// The largest archive, in bytes (32 GiB, the largest file that a worker may write).
const LARGEST: i64 = 32 << 30;

/// The descriptor of a regular file that can be read and still has a name.
pub fn regular(file: OwnedFd) -> Result<OwnedFd, Error> {
    let wrong = |why: &str| Err(Error::InvalidArgs(format!("the file that was handed over {why}")));
    let unknown = |error: rustix::io::Errno| {
        Error::InvalidArgs(format!("the file that was handed over cannot be looked at: {error}"))
    };
    let stat = fstat(&file).map_err(unknown)?;
    let flags = fcntl_getfl(&file).map_err(unknown)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return wrong("is no regular file: write the archive to one first");
    }
    if flags.contains(OFlags::PATH) || flags & OFlags::RWMODE == OFlags::WRONLY {
        return wrong("is not open for reading");
    }
    match (stat.st_nlink, stat.st_size) {
        (0, _) => wrong("was deleted"),
        (_, 0) => wrong("is empty"),
        (_, size) if size > LARGEST => wrong("is larger than 32 GiB"),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{CWD, Mode, openat};

    use super::*;

    /// DB-10: what is no archive is refused, and nobody waits.
    #[test]
    fn only_a_regular_file_that_can_be_read_and_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        std::fs::File::create(&path).unwrap().write_all(b"x").unwrap();
        let open = |flags: OFlags| openat(CWD, &path, flags, Mode::empty()).unwrap();
        assert!(regular(open(OFlags::RDONLY)).is_ok());
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RWXU).unwrap();
        let sparse = dir.path().join("sparse");
        std::fs::File::create(&sparse).unwrap().set_len(33 << 30).unwrap();
        let at = |path: &std::path::Path, flags| openat(CWD, path, flags, Mode::empty()).unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let deleted = open(OFlags::RDONLY);
        let cases = [
            (at(&fifo, OFlags::RDONLY | OFlags::NONBLOCK), "no regular file"),
            (socket.into(), "no regular file"),
            (at(dir.path(), OFlags::RDONLY), "no regular file"),
            (at("/dev/zero".as_ref(), OFlags::RDONLY), "no regular file"),
            (open(OFlags::WRONLY), "not open for reading"),
            (open(OFlags::PATH), "not open for reading"),
            (at("/proc/self/status".as_ref(), OFlags::RDONLY), "is empty"),
            (at(&sparse, OFlags::RDONLY), "larger than 32 GiB"),
        ];
        for (file, why) in cases {
            assert!(regular(file).unwrap_err().text().contains(why), "{why}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(regular(deleted).unwrap_err().text().contains("was deleted"));
    }
}
