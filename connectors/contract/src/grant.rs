//! What an administrator must allow an account: the statement, and what it is for.

use serde::Serialize;

/// One statement of the least set that a configuration needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// The statement, without a semicolon, or the command of a shell.
    pub statement: String,
    /// What Tailrace does with it.
    pub reason: &'static str,
}
