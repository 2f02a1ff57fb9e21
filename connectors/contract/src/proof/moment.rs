//! Days, times of day and durations, as ISO 8601 and all databases spell them. Days need not exist: `0000-00-00` and
//! `2024-02-31` are values of MySQL's. An instant is its clock in UTC.

use super::number::is_digits;

/// Which way years are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// As usual; the year before 1 is 0, as in MySQL.
    Common,
    /// The year before 1 is 1.
    BeforeChrist,
}

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Appends year, month and day of `YYYY-MM-DD`.
pub(super) fn write_day(text: &[u8], era: Era, out: &mut Vec<u8>) -> Option<()> {
    let month_at = text.iter().position(|byte| *byte == b'-')?;
    let (year, rest) = text.split_at(month_at);
    let [b'-', m1, m2, b'-', d1, d2] = rest else { return None };
    if !(4..=6).contains(&year.len()) {
        return None;
    }
    let (year, month, day) = (parse(year)?, parse(&[*m1, *m2])?, parse(&[*d1, *d2])?);
    if month > 12 || day > 31 {
        return None;
    }
    let year = match era {
        Era::Common => year,
        Era::BeforeChrist => 1 - year,
    };
    out.extend_from_slice(&i32::try_from(year).ok()?.to_be_bytes());
    out.extend([u8::try_from(month).ok()?, u8::try_from(day).ok()?]);
    Some(())
}

/// Appends the day and the microseconds of `YYYY-MM-DD HH:MM:SS[.f…]`.
pub(super) fn write_clock(text: &[u8], era: Era, out: &mut Vec<u8>) -> Option<()> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    write_day(&text[..blank], era, out)?;
    let micros = micros(&text[blank + 1..])?;
    if micros >= MICROS_PER_DAY {
        return None;
    }
    out.extend_from_slice(&micros.to_be_bytes());
    Some(())
}

/// Appends the microseconds of `[-]H…:MM:SS[.f…]`.
pub(super) fn write_duration(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let micros = match text {
        [b'-', rest @ ..] => -micros(rest)?,
        rest => micros(rest)?,
    };
    out.extend_from_slice(&micros.to_be_bytes());
    Some(())
}

fn micros(text: &[u8]) -> Option<i64> {
    let (clock, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], fraction_micros(&text[at + 1..])?),
        None => (text, 0),
    };
    let (hours, rest) = clock.split_at(clock.iter().position(|byte| *byte == b':')?);
    let [b':', m1, m2, b':', s1, s2] = rest else { return None };
    if !(2..=4).contains(&hours.len()) {
        return None;
    }
    let (hours, minutes, seconds) = (parse(hours)?, parse(&[*m1, *m2])?, parse(&[*s1, *s2])?);
    let is_clock = minutes < 60 && seconds < 60;
    is_clock.then(|| ((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND + fraction)
}

/// What is finer than a microsecond must be zeros.
fn fraction_micros(digits: &[u8]) -> Option<i64> {
    if !is_digits(digits) || digits.iter().skip(6).any(|digit| *digit != b'0') {
        return None;
    }
    Some((0..6).fold(0, |sum, place| sum * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'))))
}

fn parse(digits: &[u8]) -> Option<i64> {
    is_digits(digits).then(|| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(text: &str, era: Era) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        write_clock(text.as_bytes(), era, &mut out).map(|()| out)
    }

    fn duration(text: &str) -> Option<i64> {
        let mut out = Vec::new();
        write_duration(text.as_bytes(), &mut out)?;
        Some(i64::from_be_bytes(out.try_into().ok()?))
    }

    #[test]
    fn clocks_align_fractions_and_eras() {
        let common = |text| clock(text, Era::Common);
        assert_eq!(common("2024-02-29 12:34:56.100000"), common("2024-02-29 12:34:56.1"));
        assert_ne!(common("2024-02-29 12:34:56.000001"), common("2024-02-29 12:34:56"));
        assert_eq!(common("0000-01-01 00:00:00"), clock("0001-01-01 00:00:00", Era::BeforeChrist));
        assert_ne!(common("0000-00-00 00:00:00"), common("0000-01-01 00:00:00"));
        assert!(common("2024-02-31 00:00:00").is_some() && common("2024-00-00 23:59:59.999999").is_some());
        for text in [
            "2024-02-29",
            "2024-13-01 00:00:00",
            "2024-02-29 24:00:00",
            "2024-02-29T00:00:00",
            "24-02-29 00:00:00",
            "2024-02-29 00:00",
            "2024-02-29 00:00:00.1234567",
            "infinity",
            "2024-02-29 00:00:60",
            "2024-2-29 00:00:00",
        ] {
            assert_eq!(common(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_microseconds() {
        for (text, expect) in [
            ("00:00:00", 0),
            ("-00:00:00", 0),
            ("-00:00:00.5", -500_000),
            ("838:59:59.999999", 3_020_399_999_999),
            ("-838:59:59", -3_020_399_000_000),
            ("24:00:00.0000000", MICROS_PER_DAY),
        ] {
            assert_eq!(duration(text), Some(expect), "{text}");
        }
        for text in ["1 day", "1 day 02:00:00", "1:2:3", "00:60:00", "--00:00:00", "00:00:00.", "12:00"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
