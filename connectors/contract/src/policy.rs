//! Column policies: what becomes of a value that the target's column can't hold.
//!
//! The configuration asks for one by column; without, such a value stops its table. A policy counts only where a value can't be
//! held (a zero date, NUL in a text, a number out of range, bytes that are no text …). What is wrong with a record itself (a
//! column that was not sent, a value of another type than its schema says, NULL where none is allowed) stops the table
//! whatever the policy. A policy is a function of the value alone: the same record applied again gives the same row.

use tailrace_row::{Column, TableName};

use crate::print::has_print;

mod literal;

pub use literal::Literal;

/// What becomes of a value that the target's column can't hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// It stops the table.
    #[default]
    Reject,
    /// NULL is written.
    Null,
    /// This value is written, typed as MySQL prints values of the column.
    Sentinel(Box<str>),
    /// The column is a text of the target, and holds every value as [`crate::print`] says.
    Text,
}

/// The key of the configuration that asks for a policy.
pub const POLICY_KEY: &str = "on_unholdable";

impl Policy {
    /// Its name, as in the configuration and in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Null => "null",
            Self::Sentinel(_) => "sentinel",
            Self::Text => "text",
        }
    }

    /// The line of the configuration that asks for it, as it stands in the table's section.
    #[must_use]
    pub fn line(&self, column: &str) -> String {
        let value = match self {
            Self::Sentinel(literal) => format!("{{ sentinel = {} }}", in_quotes(literal)),
            Self::Reject | Self::Null | Self::Text => format!("\"{}\"", self.name()),
        };
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let name =
            if !column.is_empty() && column.bytes().all(is_bare) { column.to_owned() } else { in_quotes(column) };
        format!("columns.{name}.{POLICY_KEY} = {value}")
    }
}

/// What a person can do about a value that stopped its table because the column can't hold it; none if no policy serves.
#[must_use]
pub fn advise_policy(table: &TableName, column: &Column, is_key: bool) -> Option<String> {
    let (text, has_print) = (Policy::Text, has_print(&column.column_type));
    let line = match (is_key, has_print) {
        (true, false) => return None,
        (true, true) => text.line(&column.name),
        (false, _) => Policy::Null.line(&column.name),
    };
    let others = match (is_key, has_print) {
        (true, _) => "",
        (false, true) => ", or \"text\", or { sentinel = \"…\" },",
        (false, false) => ", or { sentinel = \"…\" },",
    };
    Some(format!("{line}{others} in the [[table]] of {table} lets such values through"))
}

/// Text as TOML has it in double quotes.
fn in_quotes(text: &str) -> String {
    // JSON's escapes are TOML's; only this character need not be escaped there.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// How often a policy was used for a column in one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyUse {
    /// The source's table.
    pub table: TableName,
    /// The column.
    pub column: Box<str>,
    /// [`Policy::name`].
    pub policy: &'static str,
    /// Values that were written otherwise than the source has them, or that only the text holds.
    pub count: u64,
}

/// A column that may have values which the target can't hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheld {
    /// The column.
    pub column: Box<str>,
    /// Which values.
    pub values: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_configuration() {
        for (column, policy, expect) in [
            ("shipped", Policy::Null, "columns.shipped.on_unholdable = \"null\""),
            ("a b", Policy::Text, "columns.\"a b\".on_unholdable = \"text\""),
            ("größe\"", Policy::Reject, "columns.\"größe\\\"\".on_unholdable = \"reject\""),
            ("x", Policy::Sentinel("a\"b".into()), "columns.x.on_unholdable = { sentinel = \"a\\\"b\" }"),
        ] {
            assert_eq!(policy.line(column), expect);
        }
    }
}
