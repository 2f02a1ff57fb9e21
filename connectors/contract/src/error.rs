//! One error type for all connectors: its kind is the decision that the engine takes.
//!
//! A connector maps what its driver says to a kind in one file, `errors.rs`; what it doesn't know is [`ErrorKind::Refused`].
//! A message is a lower-case fragment that names what failed, on which object, at which position. It never holds a row
//! value, a key or a secret: the cause goes into `source`, and a connector must not hand on a driver's text that quotes rows.

use tailrace_row::TableName;

/// The result of every call.
pub type Result<T> = std::result::Result<T, Error>;

/// What the engine does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// May pass by itself: tried again with backoff, for ever and visibly.
    Transient,
    /// An operator must act; the hint says how. Everything stops.
    Refused,
    /// The log no longer holds what comes after our position. Everything stops; nothing may be skipped.
    PositionLost,
    /// One table can't go on; the others do.
    TableFailed,
    /// Bytes that contradict themselves. Everything stops.
    Corrupt,
    /// Another process owns what we were writing. This process ends and must not be restarted by a supervisor.
    Fenced,
    /// We were asked to stop.
    Cancelled,
}

impl ErrorKind {
    /// The kind as metrics and logs name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Refused => "refused",
            Self::PositionLost => "position_lost",
            Self::TableFailed => "table_failed",
            Self::Corrupt => "corrupt",
            Self::Fenced => "fenced",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What failed, on which object, at which position, and what to do.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    message: String,
    table: Option<TableName>,
    position: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is a lower-case fragment.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Parts { kind, message, table: None, position: None, hint: None, source: None }))
    }

    /// [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// [`ErrorKind::PositionLost`].
    pub fn position_lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PositionLost, message)
    }

    /// [`ErrorKind::TableFailed`] for `table`.
    pub fn table_failed(table: TableName, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TableFailed, message).on_table(table)
    }

    /// [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// [`ErrorKind::Fenced`].
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// [`ErrorKind::Cancelled`].
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "asked to stop")
    }

    /// Names the table.
    #[must_use]
    pub fn on_table(mut self, table: TableName) -> Self {
        self.0.table = Some(table);
        self
    }

    /// Names the place in the source or the log.
    #[must_use]
    pub fn at(mut self, position: impl std::fmt::Display) -> Self {
        self.0.position = Some(position.to_string());
        self
    }

    /// Says what a person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the cause. Its text must not quote rows or secrets.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts what was being done before the message: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl std::fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// The decision.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The table, if one is named.
    #[must_use]
    pub fn table(&self) -> Option<&TableName> {
        self.0.table.as_ref()
    }

    /// The message without table, position, hint and cause.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The cause, for a connector that looks into its own errors.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }

    /// What a person can do.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// Message, table and position in one line, then the causes, then the hint.
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(table) = &self.0.table {
            write!(f, " (table {table})")?;
        }
        if let Some(position) = &self.0.position {
            write!(f, " at {position}")?;
        }
        let mut cause: Option<&dyn std::error::Error> =
            self.0.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The causes are part of the text: `source` gives none, so that reporters don't print them twice.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_table_position_cause_and_hint() {
        let cause = std::io::Error::other("connection reset");
        let error = Error::table_failed(TableName::new("shop", "orders"), "the target has no column total")
            .at("shop.orders[3]@17")
            .hint("add the column, then start apply again")
            .caused_by(cause);
        assert_eq!(
            error.context("preparing").to_string(),
            "preparing: the target has no column total (table shop.orders) at shop.orders[3]@17: connection reset; \
             add the column, then start apply again"
        );
    }
}
