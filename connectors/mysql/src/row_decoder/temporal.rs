//! Dates and times as the binlog packs them.
//!
//! Fractions take one byte per two digits. What the server can't have stored is malformed: a wrong field would otherwise
//! become a wrong value.

use tailrace_row::{Date, DateTime, Time, Timestamp};

use crate::protocol::{Cursor, Malformed};

/// Bytes of a fraction of 0 to 6 digits.
#[inline]
pub(crate) fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits.div_ceil(2))
}

/// DATE: 15 bits year, 4 bits month, 5 bits day.
#[inline]
pub(crate) fn date(cursor: &mut Cursor<'_>) -> Result<Date, Malformed> {
    checked_date(cursor.u24()?)
}

/// DATETIME: 40 bits (sign, year * 13 + month, day, hour, minute, second), then the fraction.
#[inline]
pub(crate) fn date_time(cursor: &mut Cursor<'_>, digits: u8) -> Result<DateTime, Malformed> {
    let packed = cursor.big_endian(5)?;
    let micros = fraction(cursor, digits)?;
    // The sign is always positive.
    if packed >> 39 != 1 {
        return Err(Malformed::new("DATETIME"));
    }
    unpack_date_time(packed & 0x7f_ffff_ffff, micros).ok_or(Malformed::new("DATETIME"))
}

/// TIMESTAMP: seconds since 1970, then the fraction. Both zero is the zero date; MariaDB takes instants within second 0.
#[inline]
pub(crate) fn timestamp(cursor: &mut Cursor<'_>, digits: u8) -> Result<Timestamp, Malformed> {
    let seconds = cursor.array().map(u32::from_be_bytes)?;
    let micros = fraction(cursor, digits)?;
    match (seconds, micros) {
        (0, 0) => Ok(Timestamp::Zero),
        (_, _) => Ok(Timestamp::Micros(i64::from(seconds) * 1_000_000 + i64::from(micros))),
    }
}

/// TIME: a signed number of hours, minutes, seconds and fraction whose bytes are read as one, moved up by half its range.
#[inline]
pub(crate) fn time(cursor: &mut Cursor<'_>, digits: u8) -> Result<Time, Malformed> {
    let fraction_bytes = fraction_bytes(digits);
    let bytes = 3 + fraction_bytes;
    let offset = cursor.big_endian(bytes)?;
    let half = 1u64 << (8 * bytes - 1);
    let magnitude = offset.abs_diff(half);
    let fraction = magnitude & ((1 << (8 * fraction_bytes)) - 1);
    let micros = scaled(fraction, digits).ok_or(Malformed::new("TIME"))?;
    let micros = unpack_time(magnitude >> (8 * fraction_bytes), micros).ok_or(Malformed::new("TIME"))?;
    Ok(Time { micros: if offset < half { -micros } else { micros } })
}

/// YEAR: 0, or years since 1900.
#[inline]
pub(crate) fn year(cursor: &mut Cursor<'_>) -> Result<u16, Malformed> {
    Ok(match cursor.u8()? {
        0 => 0,
        since => 1900 + u16::from(since),
    })
}

/// The packed form of DATETIME without its sign: `(((year * 13 + month) * 32 + day) * 32 + hour) * 64 …`.
#[expect(clippy::cast_possible_truncation, reason = "each field is masked to its bits")]
#[inline]
pub(crate) fn unpack_date_time(packed: u64, micros: u32) -> Option<DateTime> {
    let (days, clock) = (packed >> 17, packed & 0x1_ffff);
    let months = days >> 5;
    let date = Date { year: (months / 13) as u16, month: (months % 13) as u8, day: (days & 31) as u8 };
    let (hour, minute, second) = ((clock >> 12) as u8, (clock >> 6 & 63) as u8, (clock & 63) as u8);
    let is_possible = months / 13 <= 9999 && hour < 24 && minute < 60 && second < 60 && micros < 1_000_000;
    is_possible.then_some(DateTime { date, hour, minute, second, micros })
}

/// Hours, minutes and seconds as TIME packs them, with the fraction: all as microseconds.
#[inline]
pub(crate) fn unpack_time(packed: u64, micros: u32) -> Option<i64> {
    let (hours, minutes, seconds) = (packed >> 12, packed >> 6 & 63, packed & 63);
    let is_possible = hours <= 838 && minutes < 60 && seconds < 60 && micros < 1_000_000;
    let seconds = i64::try_from(hours * 3600 + minutes * 60 + seconds).ok()?;
    is_possible.then(|| seconds * 1_000_000 + i64::from(micros))
}

#[expect(clippy::cast_possible_truncation, reason = "each field is masked to its bits")]
#[inline]
fn checked_date(packed: u32) -> Result<Date, Malformed> {
    let date = Date { year: (packed >> 9) as u16, month: (packed >> 5 & 15) as u8, day: (packed & 31) as u8 };
    if date.year <= 9999 && date.month <= 12 { Ok(date) } else { Err(Malformed::new("DATE")) }
}

#[inline]
fn fraction(cursor: &mut Cursor<'_>, digits: u8) -> Result<u32, Malformed> {
    let fraction = cursor.big_endian(fraction_bytes(digits))?;
    scaled(fraction, digits).ok_or(Malformed::new("fraction of a second"))
}

/// A stored fraction in microseconds; an odd number of digits is stored with one more.
#[inline]
fn scaled(fraction: u64, digits: u8) -> Option<u32> {
    let unit = match digits {
        0 => return (fraction == 0).then_some(0),
        1 | 2 => 10_000,
        3 | 4 => 100,
        5 | 6 => 1,
        7.. => return None,
    };
    u32::try_from(fraction * unit).ok().filter(|micros| *micros < 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(digits: u8, bytes: &[u8], micros: i64) {
        assert_eq!(time(&mut Cursor::new(bytes), digits), Ok(Time { micros }), "{bytes:x?}");
    }

    #[test]
    fn times_below_zero_borrow_from_the_seconds() {
        check_time(0, &[0x80, 0, 1], 1_000_000);
        check_time(0, &[0x7f, 0xff, 0xff], -1_000_000);
        check_time(2, &[0x7f, 0xff, 0xfe, 0xf6], -1_100_000);
        check_time(2, &[0x7f, 0xff, 0xff, 0xf6], -100_000);
        check_time(6, &[0x80, 0, 0, 0, 0, 1], 1);
        check_time(6, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], -1);
    }

    #[test]
    fn what_the_server_can_not_store_is_malformed() {
        assert!(date(&mut Cursor::new(&[0xff, 0xff, 0xff])).is_err());
        assert!(date_time(&mut Cursor::new(&[0xff; 5]), 0).is_err());
        assert!(date_time(&mut Cursor::new(&[0; 5]), 0).is_err(), "a negative one");
        assert!(timestamp(&mut Cursor::new(&[0, 0, 0, 1, 0xff]), 2).is_err(), "a fraction of 255 hundredths");
        let half = timestamp(&mut Cursor::new(&[0, 0, 0, 0, 50]), 2);
        assert_eq!(half.ok(), Some(Timestamp::Micros(500_000)), "half of second 0 is no zero date");
        assert!(time(&mut Cursor::new(&[0xff, 0xff, 0xff]), 0).is_err());
    }
}
