//! What a statement's words mean depends on the server and on the session.

use crate::events::QueryEvent;

/// The server's flavor and the session's modes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) is_mariadb: bool,
    sql_mode: u64,
    /// Whether a TIMESTAMP may be NULL like any other column; none if the server does not say.
    pub(super) has_plain_timestamps: Option<bool>,
    /// Seconds that the session's clock is ahead of UTC; none if it is told otherwise than by an offset.
    pub(super) ahead_seconds: Option<i64>,
}

impl Dialect {
    pub(super) fn of(query: &QueryEvent<'_>, is_mariadb: bool) -> Self {
        Self {
            is_mariadb,
            sql_mode: query.sql_mode,
            has_plain_timestamps: query.has_plain_timestamps,
            ahead_seconds: query.time_zone.and_then(ahead_seconds),
        }
    }

    /// REAL_AS_FLOAT.
    pub(super) fn is_real_float(&self) -> bool {
        self.sql_mode & 1 != 0
    }

    /// Values that do not fit are errors: STRICT_TRANS_TABLES or STRICT_ALL_TABLES.
    pub(super) fn is_strict(&self) -> bool {
        self.sql_mode & (1 << 21 | 1 << 22) != 0
    }

    /// MariaDB's modes ORACLE, where DATE has a time of day, and MAXDB, where TIMESTAMP is DATETIME.
    pub(super) fn has_other_types(&self) -> bool {
        self.is_mariadb && self.sql_mode & (1 << 9 | 1 << 12) != 0
    }

    /// MariaDB's mode EMPTY_STRING_IS_NULL.
    pub(super) fn is_empty_null(&self) -> bool {
        self.is_mariadb && self.sql_mode & 1 << 31 != 0
    }
}

/// `+05:30`, or UTC.
fn ahead_seconds(zone: &[u8]) -> Option<i64> {
    let zone = std::str::from_utf8(zone).ok()?;
    if zone.eq_ignore_ascii_case("UTC") {
        return Some(0);
    }
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| (0..60).contains(number));
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}
