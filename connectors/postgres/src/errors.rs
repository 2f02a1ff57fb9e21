//! What PostgreSQL and its driver say, as the engine's kinds.
//!
//! PostgreSQL quotes row values in messages and details ("Key (email)=(…) already exists"). So of an error about rows only
//! SQLSTATE and the names of constraint, column and table go on; the message only for classes that speak of objects.

use sqlx::postgres::PgDatabaseError;
use tailrace_contract::{Error, ErrorKind};

/// Why a statement failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The target refuses a row of the statement, or the table as it is now. The transaction is void, the session is not.
    Table(TableRefusal),
    /// Anything else.
    Other(Error),
}

/// Where no row was involved, so that a refusal names no table of ours.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Table(refusal) => Self::refused(refusal.to_string()),
            Failure::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What the server refused, without any value.
#[derive(Debug, Clone)]
pub(crate) struct TableRefusal {
    /// The five characters; empty if the server saw no error.
    pub(crate) sqlstate: String,
    /// Constraint or unique index.
    pub(crate) constraint: Option<String>,
    /// Column.
    pub(crate) column: Option<String>,
    /// The table that the server names: with a foreign key or a trigger not always the one that was written.
    pub(crate) table: Option<String>,
    /// The server's words, if they can't quote a row.
    pub(crate) message: Option<String>,
}

impl TableRefusal {
    /// Rows vanished on their way into the table, and the server calls that no error.
    pub(crate) fn swallowed(message: String) -> Self {
        Self { sqlstate: String::new(), constraint: None, column: None, table: None, message: Some(message) }
    }

    /// Whether it is a matter of the rows, which may be tried one by one, and not of the table's shape.
    pub(crate) fn is_about_rows(&self) -> bool {
        !self.sqlstate.starts_with("42")
    }

    /// Whether two rows claim one unique value.
    pub(crate) fn is_unique_collision(&self) -> bool {
        matches!(self.sqlstate.as_str(), "23505" | "23P01")
    }

    /// Whether another row, written earlier or later, may be what it collides with.
    pub(crate) fn is_collision(&self) -> bool {
        self.is_unique_collision() || self.sqlstate == "23503"
    }
}

impl std::fmt::Display for TableRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (true, Some(message)) = (self.sqlstate.is_empty(), &self.message) {
            return f.write_str(message);
        }
        write!(f, "the target refused it: {} (SQLSTATE {}", meaning(&self.sqlstate), self.sqlstate)?;
        for (word, name) in [("constraint", &self.constraint), ("column", &self.column), ("target table", &self.table)]
        {
            if let Some(name) = name {
                write!(f, ", {word} {name}")?;
            }
        }
        f.write_str(")")?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

fn meaning(sqlstate: &str) -> &'static str {
    match sqlstate {
        "22001" => "a text is too long for its column",
        "22003" => "a number is out of its column's range",
        "22P05" => "a character can't be held",
        "23502" => "NULL in a column that allows none",
        "23503" => "a foreign key points at no row, or a row is still pointed at",
        "23505" => "another row has the same unique value",
        "23514" => "a check constraint does not hold",
        "23P01" => "an exclusion constraint does not hold",
        "44000" => "a view's check option does not hold",
        _ => match sqlstate.get(..2) {
            Some("22") => "a value can't be held",
            Some("23") => "a constraint does not hold",
            Some("42") => "the table is not as it was",
            Some("54") => "a row exceeds a limit of PostgreSQL",
            Some("P0") => "a trigger raised an error",
            _ => "an error",
        },
    }
}

/// Sorts an error of the driver. `doing` is what failed, in words, like `writing offsets`.
pub(crate) fn classify(error: sqlx::Error, doing: &str) -> Failure {
    match error {
        sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => classify_answer(error, doing),
            None => Failure::Other(Error::refused(format!("{doing}: the server answered with an unknown error"))),
        },
        sqlx::Error::Io(cause) if is_distrust(&cause) => Failure::Other(unprotected(doing, cause)),
        sqlx::Error::Io(cause) => {
            Failure::Other(Error::transient(format!("{doing}: the connection to the target failed")).caused_by(cause))
        }
        sqlx::Error::Tls(cause) => Failure::Other(unprotected(doing, cause)),
        sqlx::Error::Configuration(cause) => {
            Failure::Other(Error::refused(format!("{doing}: the target's settings can't be used")).caused_by(cause))
        }
        // A driver's decoding error may quote what it could not decode.
        other => Failure::Other(Error::refused(format!("{doing}: the driver failed ({})", variant_name(&other)))),
    }
}

/// A server whose certificate we don't accept, or that does not accept ours: TLS reports it like a broken connection, but
/// trying again would not help.
fn is_distrust(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

fn unprotected(doing: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::refused(format!("{doing}: no protected connection to the target"))
        .caused_by(cause)
        .hint("check tls.mode and tls.ca, and that the server offers TLS with a certificate for this host name")
}

fn variant_name(error: &sqlx::Error) -> String {
    let debug = format!("{error:?}");
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn classify_answer(error: &PgDatabaseError, doing: &str) -> Failure {
    let sqlstate = error.code();
    if is_about_table(sqlstate) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        return Failure::Table(TableRefusal {
            sqlstate: sqlstate.to_owned(),
            constraint: owned(error.constraint()),
            column: owned(error.column()),
            table: owned(error.table()),
            // With a context the words may come from a trigger's own SQL, which may have row values in it.
            message: (sqlstate.starts_with("42") && error.r#where().is_none()).then(|| error.message().to_owned()),
        });
    }
    let (kind, hint) = decide(sqlstate);
    let mut message = format!("{doing}: the target answered with SQLSTATE {sqlstate}");
    if names_objects_only(sqlstate) {
        message = format!("{message}: {}", error.message());
    }
    let answer = Error::new(kind, message);
    Failure::Other(match hint {
        Some(hint) => answer.hint(hint),
        None => answer,
    })
}

/// Data exceptions, constraints, a view's check option, limits, triggers; and a table that is not there any more or not as
/// it was when the statement was made.
fn is_about_table(sqlstate: &str) -> bool {
    match sqlstate {
        "42501" | "42601" => false,
        _ => matches!(sqlstate.get(..2), Some("22" | "23" | "42" | "44" | "54" | "P0")) || sqlstate == "40002",
    }
}

fn decide(sqlstate: &str) -> (ErrorKind, Option<&'static str>) {
    match sqlstate {
        "57014" => (ErrorKind::Transient, Some("the statement took longer than target.statement_timeout")),
        "55P03" | "25P03" | "25P04" => (ErrorKind::Transient, None),
        "25006" => (ErrorKind::Transient, Some("the server is read-only: point the target's URL at the primary")),
        "28P01" | "28000" => {
            (ErrorKind::Refused, Some("check the account and the password, and the server's pg_hba.conf"))
        }
        "3D000" => (ErrorKind::Refused, Some("create the database, or correct the target's URL")),
        "42501" => {
            (ErrorKind::Refused, Some("grant the account what the message names; `tailrace check` lists it all"))
        }
        _ => match sqlstate.get(..2) {
            Some("08" | "40" | "53" | "57") => (ErrorKind::Transient, None),
            _ => (ErrorKind::Refused, None),
        },
    }
}

fn names_objects_only(sqlstate: &str) -> bool {
    sqlstate == "42501"
        || matches!(sqlstate.get(..2), Some("08" | "28" | "3D" | "3F" | "40" | "53" | "55" | "57" | "58"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_kind() {
        for (sqlstate, expect) in [
            ("08006", ErrorKind::Transient),
            ("57P01", ErrorKind::Transient),
            ("57P03", ErrorKind::Transient),
            ("57014", ErrorKind::Transient),
            ("53300", ErrorKind::Transient),
            ("53100", ErrorKind::Transient),
            ("40001", ErrorKind::Transient),
            ("40P01", ErrorKind::Transient),
            ("55P03", ErrorKind::Transient),
            ("25006", ErrorKind::Transient),
            ("28P01", ErrorKind::Refused),
            ("3D000", ErrorKind::Refused),
            ("42501", ErrorKind::Refused),
            ("42601", ErrorKind::Refused),
            ("XX000", ErrorKind::Refused),
            ("0A000", ErrorKind::Refused),
        ] {
            assert!(!is_about_table(sqlstate), "{sqlstate}");
            assert_eq!(decide(sqlstate).0, expect, "{sqlstate}");
        }
    }

    #[test]
    fn rows_and_tables_are_told_apart() {
        for (sqlstate, is_about_rows) in
            [("22001", true), ("23505", true), ("54000", true), ("P0001", true), ("42P01", false), ("42703", false)]
        {
            assert!(is_about_table(sqlstate), "{sqlstate}");
            let refusal = TableRefusal {
                sqlstate: sqlstate.into(),
                constraint: None,
                column: Some("total".into()),
                table: None,
                message: None,
            };
            assert_eq!(refusal.is_about_rows(), is_about_rows, "{sqlstate}");
            assert!(refusal.to_string().contains("column total"), "{refusal}");
        }
    }
}
