//! Dates and times as text: Debezium's ISO form of TIMESTAMP, and MySQL's own form, in which the header `tailrace.exact`
//! keeps what Debezium's fields can't hold.
//!
//! Parsers take exactly what the writers write and nothing else; they never panic.

use tailrace_row::{Date, DateTime};

/// Appends `2024-02-29T12:34:56.789Z` with exactly `fraction` digits. The caller has made sure that no more are needed.
pub(super) fn write_zoned(out: &mut Vec<u8>, clock: DateTime, fraction: u8) {
    write_date(out, clock.date);
    out.push(b'T');
    write_time_of_day(out, clock);
    if fraction > 0 {
        write_fraction(out, clock.micros, fraction);
    }
    out.push(b'Z');
}

/// Reads `2024-02-29T12:34:56Z` with or without a fraction of up to six digits.
pub(super) fn parse_zoned(text: &str) -> Option<DateTime> {
    let bytes = text.strip_suffix('Z')?.as_bytes();
    let (date, time) = (parse_date_bytes(bytes.get(..10)?)?, bytes.get(11..)?);
    if bytes[10] != b'T' || !date.is_real() {
        return None;
    }
    parse_time_of_day(date, time)
}

/// Appends MySQL's `2024-00-00`.
pub(super) fn write_date(out: &mut Vec<u8>, date: Date) {
    write_digits(out, u32::from(date.year), 4);
    out.push(b'-');
    write_digits(out, u32::from(date.month), 2);
    out.push(b'-');
    write_digits(out, u32::from(date.day), 2);
}

/// Reads MySQL's `2024-00-00`.
pub(super) fn parse_date(text: &str) -> Option<Date> {
    parse_date_bytes(text.as_bytes())
}

/// Appends MySQL's `2024-00-00 01:02:03.000004`, the fraction left out if it is zero.
pub(super) fn write_clock(out: &mut Vec<u8>, clock: DateTime) {
    write_date(out, clock.date);
    out.push(b' ');
    write_time_of_day(out, clock);
    if clock.micros > 0 {
        write_fraction(out, clock.micros, 6);
    }
}

/// Reads what [`write_clock`] writes.
pub(super) fn parse_clock(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let (date, time) = (parse_date_bytes(bytes.get(..10)?)?, bytes.get(11..)?);
    if bytes[10] != b' ' {
        return None;
    }
    parse_time_of_day(date, time)
}

fn write_time_of_day(out: &mut Vec<u8>, clock: DateTime) {
    write_digits(out, u32::from(clock.hour), 2);
    out.push(b':');
    write_digits(out, u32::from(clock.minute), 2);
    out.push(b':');
    write_digits(out, u32::from(clock.second), 2);
}

fn write_fraction(out: &mut Vec<u8>, micros: u32, digits: u8) {
    debug_assert!((1..=6).contains(&digits));
    out.push(b'.');
    write_digits(out, micros / 10_u32.pow(6 - u32::from(digits)), usize::from(digits));
}

fn write_digits(out: &mut Vec<u8>, number: u32, width: usize) {
    let mut text = [b'0'; 6];
    let mut rest = number;
    for place in text[..width].iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).expect("invariant: a digit");
        rest /= 10;
    }
    debug_assert_eq!(rest, 0, "the number has more digits than its field");
    out.extend_from_slice(&text[..width]);
}

fn parse_date_bytes(bytes: &[u8]) -> Option<Date> {
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = bytes else { return None };
    if year.len() != 4 {
        return None;
    }
    let year = u16::try_from(number(year)?).ok()?;
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    (month <= 12 && day <= 31).then_some(Date { year, month, day })
}

fn parse_time_of_day(date: Date, bytes: &[u8]) -> Option<DateTime> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = bytes else { return None };
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => {
            number(digits)? * 10_u32.pow(6 - u32::try_from(digits.len()).ok()?)
        }
        _ => return None,
    };
    (hour < 24 && minute < 60 && second < 60).then_some(DateTime { date, hour, minute, second, micros })
}

fn two(tens: u8, ones: u8) -> Option<u8> {
    u8::try_from(number(&[tens, ones])?).ok()
}

fn number(digits: &[u8]) -> Option<u32> {
    debug_assert!(digits.len() <= 6);
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoned(micros: i64, fraction: u8) -> String {
        let mut out = Vec::new();
        write_zoned(&mut out, DateTime::from_micros_since_epoch(micros).unwrap(), fraction);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_have_exactly_their_fraction() {
        assert_eq!(zoned(1_709_210_096_000_000, 0), "2024-02-29T12:34:56Z");
        assert_eq!(zoned(1_709_210_096_700_000, 1), "2024-02-29T12:34:56.7Z");
        assert_eq!(zoned(1_704_067_200_100_000, 3), "2024-01-01T00:00:00.100Z");
        assert_eq!(zoned(1_000_001, 6), "1970-01-01T00:00:01.000001Z");
        for micros in [0, 1, 999_999, 253_402_300_799_999_999, -1] {
            assert_eq!(parse_zoned(&zoned(micros, 6)).unwrap().micros_since_epoch(), Some(micros));
        }
    }

    #[test]
    fn clocks_and_dates_that_do_not_exist_return() {
        for text in ["0000-00-00 00:00:00", "2024-00-00 01:02:03.000004", "9999-12-31 23:59:59.999999"] {
            let mut out = Vec::new();
            write_clock(&mut out, parse_clock(text).unwrap());
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        write_date(&mut out, parse_date("2024-02-31").unwrap());
        assert_eq!(out, b"2024-02-31");
    }

    #[test]
    fn other_text_is_no_date() {
        for bad in [
            "",
            "Z",
            "2024-02-29",
            "2024-02-29 12:34:56Z",
            "2024-02-29T12:34Z",
            "2024-02-29T12:34:56",
            "2024-02-29T24:00:00Z",
            "2024-02-29T12:34:56.Z",
            "2024-02-29T12:34:56.1234567Z",
            "2024-02-30T00:00:00Z",
            "2024-2-29T12:34:56Z",
            "20é4-02-29T12:34:56Z",
            "2024-02-29T12:34:56+00:00",
            "é024-02-29T12:34:56Z",
        ] {
            assert_eq!(parse_zoned(bad), None, "{bad}");
            assert_eq!(parse_clock(bad), None, "{bad}");
        }
        for bad in ["", "2024-13-01", "2024-01-32", "2024-1-1", "24-01-01", "2024-01-01 ", "02024-01-01"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }
}
