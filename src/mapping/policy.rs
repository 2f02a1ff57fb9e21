//! What becomes of values that the target can't hold, told by column: for `tailrace check` and `tailrace schema`.
//!
//! Which values those are each target knows; here it is only said in words, with the line of the configuration that asks for
//! the policy, or would.

use serde::Serialize;
use tailrace_contract::{Policy, Sink, TableMapping, advise_policy};
use tailrace_row::TableSchema;

/// A column that needs a policy if such values occur, or has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnNote {
    /// The column.
    pub column: String,
    /// The values that the target does not hold.
    pub values: &'static str,
    /// What becomes of them: `reject`, `null`, `sentinel` or `text`.
    pub policy: &'static str,
    /// The line of the configuration that asks for the policy; where there is none, what would serve. Absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
}

impl std::fmt::Display for ColumnNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, values, policy, setting } = self;
        match *policy {
            "reject" => write!(f, "{column}: {values} stop the table")?,
            "null" => write!(f, "{column}: NULL is written for {values}")?,
            "text" => write!(f, "{column}: a text holds {values}")?,
            _ => write!(f, "{column}: the sentinel is written for {values}")?,
        }
        setting.iter().try_for_each(|setting| write!(f, "; {setting}"))
    }
}

/// The columns of a table that need a policy, or have one.
#[must_use]
pub fn notes(sink: &dyn Sink, schema: &TableSchema, mapping: &TableMapping) -> Vec<ColumnNote> {
    let unheld = sink.unheld(schema);
    let columns = schema.columns().iter().enumerate();
    let note = |(place, column): (usize, &tailrace_row::Column)| {
        let policy = mapping.policy(&column.name);
        let values = unheld.iter().find(|unheld| unheld.column == column.name).map(|unheld| unheld.values);
        let setting = match policy {
            Policy::Reject => advise_policy(schema.name(), column, schema.key().contains(&place)),
            Policy::Null | Policy::Sentinel(_) | Policy::Text => Some(policy.line(&column.name)),
        };
        let values = match (policy, values) {
            (_, Some(values)) => values,
            // Of a table with narrower types than those that we would give it.
            (Policy::Null | Policy::Sentinel(_) | Policy::Text, None) => "what the target's column does not hold",
            (Policy::Reject, None) => return None,
        };
        Some(ColumnNote { column: column.name.to_string(), values, policy: policy.name(), setting })
    };
    columns.filter_map(note).collect()
}
