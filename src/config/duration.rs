//! Time spans as systemd writes them (systemd.time(7)): `5min 30s`, `20s`, `1h`; a bare number is seconds. Pure.

use std::time::Duration;

const UNITS: [(&[&str], u64); 7] = [
    (&["us", "usec", "µs", "μs"], 1),
    (&["ms", "msec"], 1_000),
    (&["s", "sec", "second", "seconds"], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
];

/// Reads a time span. The error is a clause that says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if text.trim() == "infinity" {
        return Err("`infinity` is not a limit, and a deployment must always end".into());
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a time span is missing".into());
    }
    let mut micros = 0u64;
    while !rest.is_empty() {
        let (number, after) = take_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = take_while(after.trim_start(), char::is_alphabetic);
        let scale = match unit {
            "" => 1_000_000,
            _ => UNITS
                .iter()
                .find_map(|(names, scale)| names.contains(&unit).then_some(*scale))
                .ok_or_else(|| format!("{unit:?} is not a unit of time"))?,
        };
        let part = scaled(number, scale).ok_or_else(|| format!("{text:?} is not a time span"))?;
        micros = micros.checked_add(part).ok_or("the time span is too long")?;
        rest = after.trim_start();
    }
    Ok(Duration::from_micros(micros))
}

/// Writes a time span so that [`parse`] reads the same.
pub(super) fn format(span: Duration) -> String {
    let mut left = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".into();
    }
    let names = [("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
    let mut parts = Vec::new();
    for (name, scale) in names {
        let count = left / scale;
        left %= scale;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.join(" ")
}

fn take_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// `1.5` times `scale`, in whole microseconds; at most six digits after the point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 6 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let part = match fraction {
        "" => 0,
        digits => {
            let ten = 10u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
            digits.parse::<u64>().ok()?.checked_mul(scale)? / ten
        }
    };
    whole.checked_add(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_systemd_reads() {
        for (text, micros) in [
            ("20s", 20_000_000),
            ("20", 20_000_000),
            ("5min 30s", 330_000_000),
            ("5min30s", 330_000_000),
            ("1h", 3_600_000_000),
            ("200ms", 200_000),
            ("1.5 h", 5_400_000_000),
            (" 2 days ", 172_800_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_micros(micros), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for bad in
            ["", " ", "s", "-1s", "1x", "1..5s", "1.", "infinity", "10 10 fortnights", "99999999999999999w", "1y"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse("infinity").unwrap_err().contains("must always end"));
        assert!(parse("3 fortnights").unwrap_err().contains("\"fortnights\" is not a unit of time"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(micros in 0u64..=4_000_000_000_000) {
            let span = Duration::from_micros(micros);
            prop_assert_eq!(parse(&format(span)).unwrap(), span);
        }

        #[test]
        fn anything_else_is_an_error_not_a_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
