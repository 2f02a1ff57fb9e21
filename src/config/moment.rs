//! A moment as RFC 3339 writes it: `2026-01-31T12:00:00.5Z`, `2026-01-31T13:00:00+01:00`.

use tailrace_row::{Date, DateTime};

/// Whether somebody meant a time. A file's name or GTIDs never look so.
pub(super) fn looks_like_one(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_date = bytes.len() > 10 && bytes[4] == b'-' && bytes[7] == b'-' && matches!(bytes[10], b'T' | b't' | b' ');
    has_date && bytes[..4].iter().all(u8::is_ascii_digit)
}

/// Microseconds since 1970.
pub(super) fn parse(text: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000;
    let date = Date { year: digits(text, 0, 4)?, month: digits(text, 5, 2)?, day: digits(text, 8, 2)? };
    let (hour, minute, second): (u8, u8, u8) = (digits(text, 11, 2)?, digits(text, 14, 2)?, digits(text, 17, 2)?);
    let separators = [text.get(4..5)?, text.get(7..8)?, text.get(13..14)?, text.get(16..17)?];
    if separators != ["-", "-", ":", ":"] || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(fraction) => fraction.split_at(fraction.find(|c: char| !c.is_ascii_digit())?),
        None => ("000000", rest),
    };
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let micros: u32 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let local = DateTime { date, hour, minute, second, micros }.micros_since_epoch()?;
    Some(local - i64::from(zone_minutes(zone)?) * 60 * SECOND)
}

/// How far the zone is ahead of UTC.
pub(super) fn zone_minutes(zone: &str) -> Option<i32> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (digits(zone, 1, 2)?, digits(zone, 4, 2)?);
    let is_zone = zone.len() == 6 && zone.get(3..4) == Some(":") && hours < 24 && minutes < 60;
    is_zone.then_some(sign * (hours * 60 + minutes))
}

fn digits<T: std::str::FromStr>(text: &str, at: usize, length: usize) -> Option<T> {
    let part = text.get(at..at + length)?;
    if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None }
}

/// The moment in UTC, as it is read again.
pub(crate) fn text(micros: i64) -> String {
    let Some(DateTime { date, hour, minute, second, micros }) = DateTime::from_micros_since_epoch(micros) else {
        return format!("{micros} µs since 1970");
    };
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z", date.year, date.month, date.day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_zone() {
        const NOON: i64 = 1_769_860_800_000_000;
        for (text, micros) in [
            ("2026-01-31T12:00:00Z", NOON),
            ("2026-01-31 12:00:00z", NOON),
            ("2026-01-31t13:30:00+01:30", NOON),
            ("2026-01-30T23:59:00-12:01", NOON),
            ("2026-01-31T12:00:00.000001Z", NOON + 1),
            ("2026-01-31T12:00:00.5+00:00", NOON + 500_000),
            ("2026-01-31T12:00:00.123456789Z", NOON + 123_456),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert!(looks_like_one(text), "{text}");
            assert_eq!(parse(text), Some(micros), "{text}");
            assert_eq!(parse(&super::text(micros)), Some(micros), "{text}");
        }
        for bad in [
            "2026-01-31T12:00:00",
            "2026-02-30T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:60:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.1234567890Z",
            "2026-01-31T12:00:00+1:00",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T+2:00:00Z",
            "2026-01-31T12:00:00 yesterday",
        ] {
            assert!(looks_like_one(bad) && parse(bad).is_none(), "{bad}");
        }
        for other in
            ["1000-10-10", "1000-10-10,1-1-1", "binlog.000012:4", "now", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1"]
        {
            assert!(!looks_like_one(other), "{other}");
        }
    }
}
