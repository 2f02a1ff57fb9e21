//! What becomes of values that the target can't hold, told by column: for `tailrace check` and `tailrace schema`.
//!
//! Which values those are each target knows; here it is only said in words, with the line of the configuration that asks for
//! the policy, or would.

use serde::Serialize;
use tailrace_contract::{Policy, Sink, TableMapping, advise_policy};
use tailrace_row::{Column, TableSchema};

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
    /// The same with COLUMN for the name: what serves all columns that a person is told of together.
    #[serde(skip)]
    pub setting_of_any: Option<String>,
}

impl std::fmt::Display for ColumnNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, values, policy, setting, .. } = self;
        match *policy {
            "reject" => write!(f, "{column}: {values} stop the table")?,
            "null" => write!(f, "{column}: NULL is written for {values}")?,
            "text" => write!(f, "{column}: a text holds {values}")?,
            _ => write!(f, "{column}: the sentinel is written for {values}")?,
        }
        setting.iter().try_for_each(|setting| write!(f, "; {setting}"))
    }
}

/// What a person reads: columns without a policy that have the same values and the same way out stand in one line.
#[must_use]
pub fn lines(notes: &[ColumnNote]) -> Vec<String> {
    let of = |note: &ColumnNote| (note.values, note.setting_of_any.clone());
    let mut lines = Vec::new();
    for (place, note) in notes.iter().enumerate() {
        let is_like = |other: &&ColumnNote| other.policy == REJECT && of(other) == of(note);
        if note.policy != REJECT {
            lines.push(note.to_string());
        } else if !notes[..place].iter().any(|other| is_like(&other)) {
            let alike: Vec<&ColumnNote> = notes[place..].iter().filter(is_like).collect();
            lines.push(if let [one] = alike[..] { one.to_string() } else { together(&alike) });
        }
    }
    lines
}

fn together(alike: &[&ColumnNote]) -> String {
    let names: Vec<&str> = alike.iter().map(|note| &*note.column).collect();
    let first = alike[0];
    let column = names.join(", ");
    ColumnNote { column, setting: first.setting_of_any.clone(), ..first.clone() }.to_string()
}

const REJECT: &str = "reject";

/// The columns of a table that need a policy, or have one.
#[must_use]
pub fn notes(sink: &dyn Sink, schema: &TableSchema, mapping: &TableMapping) -> Vec<ColumnNote> {
    let unheld = sink.unheld(schema);
    let columns = schema.columns().iter().enumerate();
    let note = |(place, column): (usize, &Column)| {
        let policy = mapping.policy(&column.name);
        let values = unheld.iter().find(|unheld| unheld.column == column.name).map(|unheld| unheld.values);
        let advice = |column: &Column| advise_policy(schema.name(), column, schema.key().contains(&place));
        let (setting, setting_of_any) = match policy {
            Policy::Reject => (advice(column), advice(&Column { name: "COLUMN".into(), ..column.clone() })),
            Policy::Null | Policy::Sentinel(_) | Policy::Text => (Some(policy.line(&column.name)), None),
        };
        let values = match (policy, values) {
            (_, Some(values)) => values,
            // Of a table with narrower types than those that we would give it.
            (Policy::Null | Policy::Sentinel(_) | Policy::Text, None) => "what the target's column does not hold",
            (Policy::Reject, None) => return None,
        };
        Some(ColumnNote { column: column.name.to_string(), values, policy: policy.name(), setting, setting_of_any })
    };
    columns.filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(column: &str, values: &'static str, policy: &'static str) -> ColumnNote {
        let setting = |name: &str| Some(format!("columns.{name}.on_unholdable = \"null\""));
        ColumnNote {
            column: column.into(),
            values,
            policy,
            setting: setting(column),
            setting_of_any: setting("COLUMN"),
        }
    }

    #[test]
    fn columns_with_the_same_way_out_are_told_together() {
        let notes = [
            note("a", "NUL", "reject"),
            note("day", "zero dates", "reject"),
            note("b", "NUL", "reject"),
            note("c", "NUL", "null"),
            ColumnNote { setting_of_any: None, ..note("key", "NUL", "reject") },
        ];
        let expect = [
            "a, b: NUL stop the table; columns.COLUMN.on_unholdable = \"null\"",
            "day: zero dates stop the table; columns.day.on_unholdable = \"null\"",
            "c: NULL is written for NUL; columns.c.on_unholdable = \"null\"",
            "key: NUL stop the table; columns.key.on_unholdable = \"null\"",
        ];
        assert_eq!(lines(&notes), expect);
    }
}
