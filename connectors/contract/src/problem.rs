//! What a check found wrong: what was found, what is needed, the statement that mends it.

use serde::Serialize;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Tailrace can run, but the operator should know.
    Warning,
    /// Tailrace refuses to start.
    Error,
}

/// One finding of a connector's `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable name for programs, like `binlog_row_metadata`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The object: a server variable, a table, a topic.
    pub object: String,
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: String,
    /// The statement or command that mends it, if there is one.
    pub mend: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: found {}, needed {}", self.object, self.found, self.needed)?;
        match &self.mend {
            Some(mend) => write!(f, "; to mend it: {mend}"),
            None => Ok(()),
        }
    }
}
