//! One value of a column, borrowed from wherever it lies.
//!
//! What MySQL can hold and other systems can't (zero dates, TIME beyond a day, bytes that are no text) has a form here, so
//! that nothing is lost before a sink decides. Values are exact: no float stands in for a decimal, no instant for a wall clock.

/// A value that is present and not NULL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Any signed integer column.
    Integer(i64),
    /// Any unsigned integer column.
    Unsigned(u64),
    /// FLOAT, all 32 bits of it.
    Float(f32),
    /// DOUBLE, all 64 bits of it.
    Double(f64),
    /// DECIMAL, digit for digit.
    Decimal(Decimal<'a>),
    /// BIT(n): the n bits as a number.
    Bit(u64),
    /// CHAR, VARCHAR, TEXT as Unicode, whatever the charset of the column.
    Text(&'a str),
    /// Bytes in a text column that its charset does not allow. Never shown as text; a sink that can't hold them refuses.
    InvalidText(&'a [u8]),
    /// BINARY (padded to its length), VARBINARY, BLOB.
    Bytes(&'a [u8]),
    /// ENUM: 1 is the first member, 0 the error value that MySQL prints as ''.
    Enum(u16),
    /// SET: bit 0 is the first member.
    Set(u64),
    /// DATE.
    Date(Date),
    /// TIME.
    Time(Time),
    /// DATETIME: a wall clock without a zone.
    DateTime(DateTime),
    /// TIMESTAMP: an instant.
    Timestamp(Timestamp),
    /// YEAR: 0 or 1901 to 2155.
    Year(u16),
    /// JSON as the text that the server prints.
    Json(&'a str),
    /// A geometry.
    Geometry {
        /// Number of its spatial reference system, 0 for none.
        srid: u32,
        /// Well-known binary as the server stores it; empty where the server stored no geometry at all (outside of its strict
        /// mode it does so as the default of a column that is NOT NULL).
        wkb: &'a [u8],
    },
    /// VECTOR: little-endian numbers of 32 bits, as FLOAT.
    Vector(&'a [u8]),
    /// UUID: its 32 hex digits in the order in which they are written.
    Uuid([u8; 16]),
    /// INET4 in the network's order.
    Inet4([u8; 4]),
    /// INET6 in the network's order.
    Inet6([u8; 16]),
}

/// A decimal number: an unscaled integer and the scale of its column.
///
/// `unscaled` is big-endian two's complement in the fewest bytes (never empty), the form of Java's `BigInteger.toByteArray`:
/// equal numbers of one scale have equal bytes. MySQL's 65 digits take up to 28 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<'a> {
    /// The number without its decimal point.
    pub unscaled: &'a [u8],
    /// Digits behind the decimal point.
    pub scale: u8,
}

/// A calendar day as MySQL stores it: month and day may be zero, and 31 February may occur (ALLOW_INVALID_DATES).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

impl Date {
    /// Whether the day exists in the (proleptic Gregorian) calendar. The year 0 exists there and in MySQL's `0000-01-01`.
    #[must_use]
    pub fn is_real(self) -> bool {
        (1..=12).contains(&self.month) && self.day >= 1 && self.day <= days_of_month(self.year, self.month)
    }

    /// Days since 1970-01-01, if the day exists.
    #[must_use]
    pub fn days_since_epoch(self) -> Option<i32> {
        self.is_real().then(|| civil_days(i32::from(self.year), i32::from(self.month), i32::from(self.day)))
    }

    /// The day that lies `days` after 1970-01-01, if its year is 0 to 9999.
    #[must_use]
    pub fn from_days_since_epoch(days: i32) -> Option<Self> {
        // Howard Hinnant's civil_from_days: years begin in March, eras are 400 years.
        let shifted = i64::from(days) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        if !(0..=9999).contains(&year) {
            return None;
        }
        Some(Self { year: u16::try_from(year).ok()?, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? })
    }
}

fn days_of_month(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        0 | 13.. => 0,
    }
}

fn civil_days(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A signed duration in microseconds, up to ±838:59:59.999999. The column's type tells how many fraction digits it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Microseconds, negative below zero.
    pub micros: i64,
}

/// A wall clock: a day, which may be no real one, and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DateTime {
    /// The day.
    pub date: Date,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub micros: u32,
}

impl DateTime {
    /// Microseconds since 1970-01-01 00:00:00 on the same clock, if the day exists.
    #[must_use]
    pub fn micros_since_epoch(self) -> Option<i64> {
        let days = i64::from(self.date.days_since_epoch()?);
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        Some((days * 86_400 + seconds) * 1_000_000 + i64::from(self.micros))
    }

    /// The wall clock `micros` after 1970-01-01 00:00:00, if its year is 0 to 9999.
    #[must_use]
    pub fn from_micros_since_epoch(micros: i64) -> Option<Self> {
        let seconds = micros.div_euclid(1_000_000);
        let date = Date::from_days_since_epoch(i32::try_from(seconds.div_euclid(86_400)).ok()?)?;
        let of_day = seconds.rem_euclid(86_400);
        Some(Self {
            date,
            hour: u8::try_from(of_day / 3600).ok()?,
            minute: u8::try_from(of_day / 60 % 60).ok()?,
            second: u8::try_from(of_day % 60).ok()?,
            micros: u32::try_from(micros.rem_euclid(1_000_000)).ok()?,
        })
    }
}

/// An instant, or MySQL's `0000-00-00 00:00:00`, which TIMESTAMP stores as second 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timestamp {
    /// The zero date: not 1970, but no instant at all.
    Zero,
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    Micros(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_over_all_of_mysqls_calendar() {
        let first = Date { year: 0, month: 1, day: 1 }.days_since_epoch().unwrap();
        let last = Date { year: 9999, month: 12, day: 31 }.days_since_epoch().unwrap();
        assert_eq!(
            (first, last),
            (-719_528, 2_932_896),
            "as PostgreSQL counts: date '0001-01-01 BC' and '9999-12-31' - '1970-01-01'"
        );
        let mut previous = Date::default();
        for days in first..=last {
            let date = Date::from_days_since_epoch(days).unwrap();
            assert!(date > previous && date.is_real());
            assert_eq!(date.days_since_epoch(), Some(days));
            previous = date;
        }
        assert_eq!(Date::from_days_since_epoch(first - 1), None);
        assert_eq!(Date::from_days_since_epoch(last + 1), None);
    }

    #[test]
    fn days_that_do_not_exist_have_no_number() {
        for (year, month, day) in
            [(0, 0, 0), (2024, 0, 0), (2024, 5, 0), (2024, 2, 30), (2023, 2, 29), (1900, 2, 29), (2024, 13, 1)]
        {
            assert_eq!(Date { year, month, day }.days_since_epoch(), None, "{year}-{month}-{day}");
        }
        assert!(Date { year: 2000, month: 2, day: 29 }.is_real());
    }

    #[test]
    fn wall_clocks_return() {
        for micros in [0, -1, 253_402_300_799_999_999, -62_167_219_200_000_000, 1_700_000_000_123_456] {
            assert_eq!(DateTime::from_micros_since_epoch(micros).unwrap().micros_since_epoch(), Some(micros));
        }
    }
}
