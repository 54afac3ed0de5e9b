//! Sizes as systemd writes them: `512M`, `2G`, to the base of 1024; a bare number is bytes. Pure.

const UNITS: [(char, u64); 4] = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30), ('T', 1 << 40)];

/// Reads a size. None: it is none.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, scale) = match UNITS.iter().find(|(unit, _)| text.ends_with(*unit)) {
        Some((unit, scale)) => (text.strip_suffix(*unit)?, *scale),
        None => (text, 1),
    };
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    number.checked_mul(scale)
}

/// A size as it could have been written.
pub(super) fn format(bytes: u64) -> String {
    let whole = UNITS.iter().rev().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale));
    whole.map_or_else(|| bytes.to_string(), |(unit, scale)| format!("{}{unit}", bytes / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("512M", 512 << 20), ("2G", 2 << 30), ("1536M", 1536 << 20), ("1", 1), ("3K", 3072)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
            assert_eq!(format(bytes), text);
        }
        for bad in ["", "M", "-1", "1.5G", "1g", "2 GB", "99999999999T", "+1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
