//! The same types as MariaDB has them: its JSON is a text, its columns can be compressed, and it reads no time zone behind a
//! literal.

use tailrace_row::{Charset, ColumnType, TextForm};

use super::catalog::{Group, TypeRow, groups, row};
use super::rules::Rule;

/// All of them.
pub(super) fn groups_of_mariadb() -> Vec<Group> {
    let mut groups = groups();
    for row in groups.iter_mut().flat_map(|group| &mut group.rows) {
        adapt(row);
    }
    groups.push(Group { name: "compressed", rows: compressed() });
    groups
}

fn adapt(row: &mut TypeRow) {
    if row.declared.contains("utf8mb4_0900_ai_ci") {
        row.declared = "VARCHAR(60) COLLATE utf8mb4_uca1400_ai_ci";
    }
    match row.rule {
        Rule::Instant => {
            let in_utc = row.values.iter().filter_map(|value| value.strip_suffix("+00:00'"));
            row.values = in_utc.map(|value| &*format!("{value}'").leak()).collect::<Vec<&str>>().leak();
        }
        // As typed; what MySQL's functions make of other types is another thing here.
        Rule::Json => {
            row.shape = ColumnType::Text { form: TextForm::Large, bytes_max: 0, charset: Charset::Utf8mb4 };
            (row.rule, row.target) = (Rule::Text, "text");
            let literals = row.values.iter().copied().filter(|value| value.starts_with('\''));
            row.values = literals.collect::<Vec<&str>>().leak();
        }
        _ => {}
    }
}

/// Values short of what is worth compressing, and well above.
fn compressed() -> Vec<TypeRow> {
    use TextForm::{Large, Varying};
    let text = |name, form, charset, declared, values| {
        row(name, ColumnType::Text { form, bytes_max: 0, charset }, [declared, "text"], Rule::Text, values)
    };
    let bytes = |name, form, declared, values| {
        row(name, ColumnType::Bytes { form, bytes_max: 0 }, [declared, "bytea"], Rule::Bytes, values)
    };
    const TEXTS: &[&str] = &["'short'", "''", "REPEAT('é中😀x', 60)", "REPEAT(' ', 300)", "REPEAT('a', 100)", "'x'"];
    const LATIN: &[&str] = &["''", "REPEAT('é', 250)", "'é€ß ÿ'"];
    const BYTES: &[&str] = &["''", "0x00", "REPEAT(0x00FF, 120)", "REPEAT(0xC328EDA08080, 40)", "0x80"];
    const LARGE: &[&str] = &["''", "REPEAT(0xFF00, 40000)", "0x00", "REPEAT('abc', 99)"];
    vec![
        text("p_v", Varying, Charset::Utf8mb4, "VARCHAR(300) COMPRESSED", TEXTS),
        text("p_l", Varying, Charset::Latin1, "VARCHAR(255) COMPRESSED CHARACTER SET latin1", LATIN),
        text("p_t", Large, Charset::Utf8mb4, "TEXT COMPRESSED", TEXTS),
        bytes("p_vb", Varying, "VARBINARY(250) COMPRESSED", BYTES),
        bytes("p_b", Large, "BLOB COMPRESSED", BYTES),
        bytes("p_mb", Large, "MEDIUMBLOB COMPRESSED", LARGE),
    ]
}
