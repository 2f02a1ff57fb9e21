//! Days and times as MySQL prints them.

use tailrace_row::{Date, DateTime, Time, Timestamp};

use super::TooFine;

/// How many digits of a second are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraction {
    /// So many.
    Digits(u8),
    /// Up to the last that is not 0.
    Needed,
}

/// `2024-02-29`, and `0000-00-00`.
pub fn write_date(date: Date, out: &mut String) {
    write_digits(date.year.into(), 4, out);
    out.push('-');
    write_digits(date.month.into(), 2, out);
    out.push('-');
    write_digits(date.day.into(), 2, out);
}

/// `-838:59:59.000000`.
pub fn write_time(time: Time, fraction: Fraction, out: &mut String) -> Result<(), TooFine> {
    if time.micros < 0 {
        out.push('-');
    }
    let micros = time.micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    write_of_day(seconds / 3600, seconds / 60 % 60, seconds % 60, out);
    write_fraction(micros % 1_000_000, fraction, out)
}

/// `2024-02-29 23:59:59.123456`.
pub fn write_date_time(moment: DateTime, fraction: Fraction, out: &mut String) -> Result<(), TooFine> {
    write_date(moment.date, out);
    out.push(' ');
    write_of_day(moment.hour.into(), moment.minute.into(), moment.second.into(), out);
    write_fraction(moment.micros.into(), fraction, out)
}

/// The clock of an instant in UTC; the zero timestamp's is all zeros. None if its year has more than four digits.
#[must_use]
pub fn of_timestamp(instant: Timestamp) -> Option<DateTime> {
    match instant {
        Timestamp::Zero => Some(DateTime::default()),
        Timestamp::Micros(micros) => DateTime::from_micros_since_epoch(micros),
    }
}

fn write_of_day(hours: u64, minutes: u64, seconds: u64, out: &mut String) {
    write_digits(hours, if hours < 100 { 2 } else { 3 }, out);
    out.push(':');
    write_digits(minutes, 2, out);
    out.push(':');
    write_digits(seconds, 2, out);
}

fn write_fraction(micros: u64, fraction: Fraction, out: &mut String) -> Result<(), TooFine> {
    let digits = match fraction {
        Fraction::Digits(digits) => u32::from(digits.min(6)),
        Fraction::Needed => (0..=6).find(|digits| micros.is_multiple_of(10_u64.pow(6 - digits))).unwrap_or(6),
    };
    let tick = 10_u64.pow(6 - digits);
    if !micros.is_multiple_of(tick) {
        return Err(TooFine);
    }
    if digits > 0 {
        out.push('.');
        write_digits(micros / tick, digits, out);
    }
    Ok(())
}

fn write_digits(number: u64, width: u32, out: &mut String) {
    for place in (0..width).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        out.push(char::from(b'0' + u8::try_from(digit).expect("invariant: a digit")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(micros: i64, fraction: Fraction) -> Result<String, TooFine> {
        let mut text = String::new();
        write_time(Time { micros }, fraction, &mut text).map(|()| text)
    }

    #[test]
    fn times_print_as_mysql_does() {
        const HOUR: i64 = 3_600_000_000;
        for (micros, fraction, expect) in [
            (0, 0, "00:00:00"),
            (-500_000, 1, "-00:00:00.5"),
            (-500_000, 6, "-00:00:00.500000"),
            (839 * HOUR - 1_000_000, 0, "838:59:59"),
            (1 - 839 * HOUR, 6, "-838:59:59.999999"),
            (99 * HOUR, 3, "99:00:00.000"),
            (100 * HOUR, 0, "100:00:00"),
        ] {
            assert_eq!(time(micros, Fraction::Digits(fraction)).unwrap(), expect);
        }
        assert_eq!(time(500_000, Fraction::Digits(0)), Err(TooFine));
    }

    #[test]
    fn a_key_has_one_form() {
        for (micros, expect) in
            [(0, "00:00:00"), (500_000, "00:00:00.5"), (1, "00:00:00.000001"), (120_000, "00:00:00.12")]
        {
            assert_eq!(time(micros, Fraction::Needed).unwrap(), expect);
        }
    }

    #[test]
    fn days_need_not_exist() {
        let mut text = String::new();
        write_date(Date { year: 2024, month: 2, day: 31 }, &mut text);
        write_date_time(DateTime::default(), Fraction::Digits(2), &mut text).unwrap();
        assert_eq!(text, "2024-02-310000-00-00 00:00:00.00");
    }
}
