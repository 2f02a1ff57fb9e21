//! Times for people and programs: UTC, as ISO 8601 writes it.

use tailrace_row::DateTime;

/// Microseconds since 1970 as `2026-01-31T12:00:00.000001Z`; fractions only where there are any.
pub(super) fn time_text(micros: i64) -> String {
    let Some(DateTime { date, hour, minute, second, micros }) = DateTime::from_micros_since_epoch(micros) else {
        return format!("{micros} µs since 1970");
    };
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    let (year, month, day) = (date.year, date.month, date.day);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
        assert_eq!(time_text(i64::MAX), format!("{} µs since 1970", i64::MAX));
    }
}
