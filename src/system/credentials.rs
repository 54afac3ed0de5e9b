//! What PID 1 handed over to this process: `LoadCredential=` of its unit (systemd.exec(5)).

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

/// Where it is; none: nothing was handed over.
pub fn dir() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The credential of a name, so many bytes of it at most; none: nothing at all was handed over.
pub fn read(name: &str, largest: u64) -> Option<io::Result<Vec<u8>>> {
    let path = dir()?.join(name);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(largest).read_to_end(&mut bytes));
    Some(read.map(|_| bytes))
}
