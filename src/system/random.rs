//! Random bytes of the kernel, as text.

use std::{fs::File, io::Read};

/// Hexadecimal digits of so many random bytes.
pub fn digits(bytes: usize) -> std::io::Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut buffer)?;
    Ok(hex::encode(buffer))
}
