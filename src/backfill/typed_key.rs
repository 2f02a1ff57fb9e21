//! Keys as an operator types them: `17`, `"a"`, `["a",17]`, or as the ledger has them: `[{"text":"a"},{"integer":17}]`.

use serde_json::Value as Typed;
use tailrace_contract::{Error, Result};
use tailrace_row::{ColumnType, Field, Key, TableSchema};

/// The key that was typed; refused, without quoting it, where it can't be one of the table.
pub(super) fn read(schema: &TableSchema, typed: &Typed) -> Result<Key> {
    let single = [typed.clone()];
    let parts: &[Typed] = match typed {
        Typed::Array(parts) => parts,
        _ => &single,
    };
    let columns: Vec<_> = schema.key().iter().map(|place| &schema.columns()[*place]).collect();
    if parts.len() != columns.len() {
        let names = columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
        let message = format!("the key of {} is ({names}), and {} values are given", schema.name(), parts.len());
        return Err(Error::refused(message).hint("write them as a JSON array, as in [\"a\", 17]"));
    }
    let tagged = parts.iter().zip(&columns).map(|(part, column)| {
        tag(&column.column_type, part).ok_or_else(|| {
            Error::refused(format!("what is given for the key column {} is no value of its type", column.name))
                .hint("numbers and texts are typed as they are, all others as `tailrace backfill chunks` prints them")
        })
    });
    let tagged = Typed::Array(tagged.collect::<Result<_>>()?);
    // The text of a parser's error may hold a part of the key.
    serde_json::from_value(tagged).map_err(|_| Error::refused(format!("a key of {} can't be read", schema.name())))
}

/// A part of the key with the kind of its value.
fn tag(column: &ColumnType, part: &Typed) -> Option<Typed> {
    let kind = kind(column)?;
    match part {
        Typed::Object(tagged) => {
            let (given, _) = tagged.iter().next().filter(|_| tagged.len() == 1)?;
            let fits = given == kind || (kind == "text" && given == "invalid_text");
            (fits && is_readable(part)).then(|| part.clone())
        }
        Typed::Number(_) if matches!(kind, "integer" | "unsigned" | "year") => {
            let tagged = serde_json::json!({ kind: part });
            (is_readable(&tagged) && is_in_range(column, part)).then_some(tagged)
        }
        Typed::String(_) if kind == "text" => Some(serde_json::json!({ kind: part })),
        Typed::Null | Typed::Bool(_) | Typed::Number(_) | Typed::String(_) | Typed::Array(_) => None,
    }
}

fn is_readable(tagged: &Typed) -> bool {
    let key = serde_json::from_value::<Key>(Typed::Array(vec![tagged.clone()]));
    key.is_ok_and(|key| !matches!(key.image().field(0), Field::Null | Field::Unchanged))
}

/// A number beyond the column's would mean another range than it says.
fn is_in_range(column: &ColumnType, part: &Typed) -> bool {
    let ColumnType::Integer { bits, unsigned } = *column else { return true };
    let Some(number) = part.as_i64().map(i128::from).or_else(|| part.as_u64().map(i128::from)) else { return false };
    let range = if unsigned { 0..1_i128 << bits } else { -(1_i128 << (bits - 1))..1_i128 << (bits - 1) };
    range.contains(&number)
}

/// How the ledger calls values of the column; none for what no key can have.
fn kind(column: &ColumnType) -> Option<&'static str> {
    Some(match column {
        ColumnType::Integer { unsigned: false, .. } => "integer",
        ColumnType::Integer { unsigned: true, .. } => "unsigned",
        ColumnType::Decimal { .. } => "decimal",
        ColumnType::Float => "float",
        ColumnType::Double => "double",
        ColumnType::Bit { .. } => "bit",
        ColumnType::Text { .. } => "text",
        ColumnType::Bytes { .. } => "bytes",
        ColumnType::Enum { .. } => "enum",
        ColumnType::Set { .. } => "set",
        ColumnType::Date => "date",
        ColumnType::Time { .. } => "time",
        ColumnType::DateTime { .. } => "date_time",
        ColumnType::Timestamp { .. } => "timestamp",
        ColumnType::Year => "year",
        ColumnType::Uuid => "uuid",
        ColumnType::Inet4 => "inet4",
        ColumnType::Inet6 => "inet6",
        ColumnType::Json | ColumnType::Geometry { .. } | ColumnType::Vector { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tailrace_row::{Charset, Column, TableName, TextForm};

    use super::*;

    fn schema(types: &[ColumnType]) -> TableSchema {
        let columns = types.iter().enumerate().map(|(place, column_type)| Column {
            name: format!("k{place}").into(),
            column_type: column_type.clone(),
            nullable: false,
        });
        let (columns, key) = (columns.collect::<Vec<_>>(), (0..types.len()).collect::<Vec<_>>());
        TableSchema::new(TableName::new("shop", "orders"), columns, key).unwrap()
    }

    /// The key in the ledger's words, or the refusal.
    fn check(types: &[ColumnType], typed: Typed, expect: &str) {
        let told = match read(&schema(types), &typed) {
            Ok(key) => serde_json::to_string(&key).unwrap(),
            Err(error) => error.to_string(),
        };
        assert!(told.contains(expect), "{typed} gave {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn keys_are_typed_as_people_type_them() {
        let int = ColumnType::Integer { bits: 32, unsigned: false };
        let big = ColumnType::Integer { bits: 64, unsigned: true };
        let text = ColumnType::Text { form: TextForm::Varying, bytes_max: 40, charset: Charset::Utf8mb4 };
        check(std::slice::from_ref(&int), json!(-5), r#"[{"integer":-5}]"#);
        check(std::slice::from_ref(&int), json!([7]), r#"[{"integer":7}]"#);
        check(std::slice::from_ref(&big), json!(u64::MAX), r#"[{"unsigned":18446744073709551615}]"#);
        check(std::slice::from_ref(&text), json!("a"), r#"[{"text":"a"}]"#);
        check(&[text.clone(), int.clone()], json!(["a", 1]), r#"[{"text":"a"},{"integer":1}]"#);
        check(&[ColumnType::Date], json!([{ "date": [2024, 2, 29] }]), r#"[{"date":[2024,2,29]}]"#);
        check(std::slice::from_ref(&int), json!("hunter2"), "no value of its type");
        check(std::slice::from_ref(&int), json!(1_u64 << 40), "no value of its type");
        check(std::slice::from_ref(&int), json!(1.5), "no value of its type");
        check(&[big], json!(-1), "no value of its type");
        check(std::slice::from_ref(&int), json!([{ "text": "hunter2" }]), "no value of its type");
        check(&[ColumnType::Date], json!("2024-02-29"), "as `tailrace backfill chunks` prints them");
        check(&[text, int], json!("hunter2"), "the key of shop.orders is (k0, k1), and 1 values are given");
    }
}
