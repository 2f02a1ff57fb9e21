//! What SQLite and its drivers say, as the engine's kinds.
//!
//! SQLite's own messages name tables, columns and constraints, never values. A trigger's message is the operator's, and
//! functions may quote what they got: of those only the code goes on.

use std::path::Path;

use tailrace_contract::{Error, ErrorKind};

/// Why a statement failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The target refuses a row of the statement. The statement is undone, the transaction goes on or is undone.
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

/// What was refused, without any value.
#[derive(Debug, Clone)]
pub(crate) struct TableRefusal {
    /// The extended result code; 0 if SQLite saw no error.
    code: u32,
    /// SQLite's words, if they can't quote a row.
    message: Option<String>,
}

impl TableRefusal {
    /// Rows vanished on their way into the table, and SQLite calls that no error.
    pub(crate) fn swallowed(message: String) -> Self {
        Self { code: 0, message: Some(message) }
    }

    /// Whether two rows claim one unique value.
    pub(crate) fn is_unique_collision(&self) -> bool {
        matches!(self.code, code::PRIMARY_KEY | code::UNIQUE | code::ROWID)
    }
}

impl std::fmt::Display for TableRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (0, Some(message)) = (self.code, &self.message) {
            return f.write_str(message);
        }
        write!(f, "the target refused it: {} (SQLite code {})", meaning(self.code), self.code)?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

/// Result codes: the lower byte is the class, the rest tells more.
mod code {
    pub(super) const ERROR: u32 = 1;
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const NO_MEMORY: u32 = 7;
    pub(super) const READ_ONLY: u32 = 8;
    pub(super) const INTERRUPT: u32 = 9;
    pub(super) const IO: u32 = 10;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANT_OPEN: u32 = 14;
    pub(super) const PROTOCOL: u32 = 15;
    pub(super) const SCHEMA: u32 = 17;
    pub(super) const TOO_BIG: u32 = 18;
    pub(super) const CONSTRAINT: u32 = 19;
    pub(super) const MISMATCH: u32 = 20;
    pub(super) const NO_DATABASE: u32 = 26;

    pub(super) const CHECK: u32 = 275;
    pub(super) const FOREIGN_KEY: u32 = 787;
    pub(super) const NOT_NULL: u32 = 1299;
    pub(super) const PRIMARY_KEY: u32 = 1555;
    pub(super) const TRIGGER: u32 = 1811;
    pub(super) const UNIQUE: u32 = 2067;
    pub(super) const ROWID: u32 = 2579;
    pub(super) const DATA_TYPE: u32 = 3091;
}

fn class(code: u32) -> u32 {
    code & 0xff
}

fn meaning(code: u32) -> &'static str {
    match code {
        code::CHECK => "a check constraint does not hold",
        code::FOREIGN_KEY => "a foreign key points at no row, or a row is still pointed at",
        code::NOT_NULL => "NULL in a column that allows none",
        code::PRIMARY_KEY | code::UNIQUE | code::ROWID => "another row has the same unique value",
        code::TRIGGER => "a trigger raised an error",
        code::DATA_TYPE => "a value of a type that its column does not take",
        code::TOO_BIG => "a row exceeds the 1,000,000,000 bytes of SQLite",
        _ => match class(code) {
            code::CONSTRAINT => "a constraint does not hold",
            code::MISMATCH => "the key is no whole number",
            _ => "a function of the table's own failed",
        },
    }
}

/// Sorts an error of a statement that writes rows. `doing` is what failed, in words, like `writing rows`.
pub(crate) fn classify_rows(error: &rusqlite::Error, doing: &str, file: &Path) -> Failure {
    match read(error) {
        // Code 1 comes from expressions: those of triggers, checks and generated columns, since our own were prepared before.
        Some((code, message)) if is_about_rows(code) => {
            Failure::Table(TableRefusal { code, message: names_objects_only(code).then_some(message) })
        }
        Some(_) | None => Failure::Other(classify(error, doing, file)),
    }
}

/// Sorts an error of a statement without rows.
pub(crate) fn classify(error: &rusqlite::Error, doing: &str, file: &Path) -> Error {
    match read(error) {
        Some((code, message)) => judge(code, &message, doing, file),
        // A driver's decoding error may quote what it could not decode.
        None => Error::refused(format!("{doing}: the driver failed ({})", variant_name(error))),
    }
}

/// Sorts an error of the connection of proof.
pub(crate) fn classify_proof(error: sqlx::Error, doing: &str, file: &Path) -> Error {
    if let Some(answer) = error.as_database_error()
        && let Some(code) = answer.code().and_then(|code| code.parse().ok())
    {
        return judge(code, answer.message(), doing, file);
    }
    match error {
        sqlx::Error::Io(cause) => {
            Error::transient(format!("{doing}: the target's file {} can't be used", file.display())).caused_by(cause)
        }
        other => Error::refused(format!("{doing}: the driver failed ({})", variant_name(&other))),
    }
}

fn judge(code: u32, message: &str, doing: &str, file: &Path) -> Error {
    let (kind, hint) = decide(code);
    let file = file.display();
    let answer = Error::new(kind, format!("{doing}: SQLite answered with code {code} for {file}: {message}"));
    match hint {
        Some(hint) => answer.hint(hint),
        None => answer,
    }
}

/// Sorts an error of the reader's own connection.
pub(crate) fn classify_reading(error: &rusqlite::Error, doing: &str) -> Error {
    let Some(answer) = error.sqlite_error() else {
        // What the driver says may quote a value.
        return Error::refused(format!("{doing}: the driver failed"));
    };
    let (kind, hint) = decide(answer.extended_code.cast_unsigned());
    let answer = Error::new(kind, format!("{doing}: SQLite answered with code {}: {answer}", answer.extended_code));
    match hint {
        Some(hint) => answer.hint(hint),
        None => answer,
    }
}

fn read(error: &rusqlite::Error) -> Option<(u32, String)> {
    let rusqlite::Error::SqliteFailure(answer, message) = error else { return None };
    Some((answer.extended_code.cast_unsigned(), message.clone().unwrap_or_else(|| answer.to_string())))
}

fn variant_name(error: &impl std::fmt::Debug) -> String {
    let debug = format!("{error:?}");
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn is_about_rows(code: u32) -> bool {
    matches!(class(code), code::ERROR | code::TOO_BIG | code::CONSTRAINT | code::MISMATCH)
}

fn names_objects_only(code: u32) -> bool {
    matches!(code, code::CHECK | code::NOT_NULL | code::PRIMARY_KEY | code::UNIQUE | code::ROWID | code::DATA_TYPE)
}

fn decide(code: u32) -> (ErrorKind, Option<&'static str>) {
    match class(code) {
        code::BUSY | code::LOCKED => {
            (ErrorKind::Transient, Some("another process holds the file's lock: end its transaction"))
        }
        code::NO_MEMORY | code::INTERRUPT | code::PROTOCOL | code::SCHEMA => (ErrorKind::Transient, None),
        code::IO => (
            ErrorKind::Transient,
            Some(
                "see whether the file's disk is full or a limit of its size is reached, and what the system's log says of it",
            ),
        ),
        code::FULL => {
            (ErrorKind::Transient, Some("free space on the file's disk: what could not be written is written then"))
        }
        code::READ_ONLY => {
            (ErrorKind::Refused, Some("let the account write the file and its folder, where SQLite keeps its log"))
        }
        code::CANT_OPEN => (
            ErrorKind::Refused,
            Some("the folder must exist, and the account may read and write the file and the folder"),
        ),
        code::CORRUPT => (ErrorKind::Refused, Some("the file is damaged: restore it, or let Tailrace fill a new one")),
        code::NO_DATABASE => (
            ErrorKind::Refused,
            Some("the file is no SQLite database (or an encrypted one): name another in target.url"),
        ),
        _ => (ErrorKind::Refused, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_kind() {
        for (code, expect) in [
            (5, ErrorKind::Transient),
            (261, ErrorKind::Transient),
            (517, ErrorKind::Transient),
            (6, ErrorKind::Transient),
            (10, ErrorKind::Transient),
            (778, ErrorKind::Transient),
            (13, ErrorKind::Transient),
            (7, ErrorKind::Transient),
            (8, ErrorKind::Refused),
            (1032, ErrorKind::Refused),
            (11, ErrorKind::Refused),
            (14, ErrorKind::Refused),
            (26, ErrorKind::Refused),
            (23, ErrorKind::Refused),
            (99, ErrorKind::Refused),
        ] {
            assert!(!is_about_rows(code), "{code}");
            assert_eq!(decide(code).0, expect, "{code}");
        }
    }

    #[test]
    fn rows_are_told_from_all_else_and_triggers_are_not_quoted() {
        for (code, is_collision, is_quoted) in
            [(2067, true, true), (1555, true, true), (1299, false, true), (1811, false, false), (1, false, false)]
        {
            assert!(is_about_rows(code), "{code}");
            assert_eq!(names_objects_only(code), is_quoted, "{code}");
            let refusal = TableRefusal { code, message: Some("UNIQUE constraint failed: things.email".into()) };
            assert_eq!(refusal.is_unique_collision(), is_collision, "{code}");
            assert!(refusal.to_string().contains("things.email"), "{refusal}");
        }
    }
}
