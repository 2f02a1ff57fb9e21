//! Whether what a column holds are values of the type that it has at the source from now on.
//!
//! A statement that changes a column's type may change its values: the server cuts, rounds and converts as it casts. At the barrier the
//! target holds the values from before. Those that are values of the new type too, and of the same kind, are what the server made
//! of them; one that is not was changed. So nothing has to be known of the type before.

use tailrace_row::{Charset, ColumnType, TextForm};

use crate::target_type::TargetType;

/// What is true of a value of the column `c` that is none of the type; the error says why the two can't be compared.
pub(super) fn foreign(source: &ColumnType, held: TargetType) -> Result<Option<String>, &'static str> {
    const OTHER: &str = "the target has values of another kind there";
    let is_number =
        matches!(held, TargetType::SmallInt | TargetType::Integer | TargetType::BigInt | TargetType::Numeric { .. });
    Ok(match source {
        ColumnType::Integer { bits, unsigned } if is_number => {
            let (least, most) = bounds(*bits, *unsigned);
            Some(format!("c <> trunc(c::numeric) OR c < {least} OR c > {most}"))
        }
        ColumnType::Year if is_number => Some("c <> 0 AND (c <> trunc(c::numeric) OR c NOT BETWEEN 1901 AND 2155)".to_owned()),
        ColumnType::Decimal { precision, scale } if is_number => {
            Some(format!("c <> round(c::numeric, {scale}) OR abs(c) >= 1e{}::numeric", precision - scale))
        }
        ColumnType::Float if held == TargetType::Real => None,
        ColumnType::Double if matches!(held, TargetType::Real | TargetType::Double) => None,
        ColumnType::Text { form, bytes_max, charset } if held.is_text() => {
            Some(longer(*form, *bytes_max, *charset))
        }
        ColumnType::Enum { members } if held.is_text() => Some(format!("c <> ALL (ARRAY[{}]::text[])", texts(members))),
        ColumnType::Set { members } if held.is_text() => Some(not_of_set(members)),
        ColumnType::Bytes { form: TextForm::Fixed, bytes_max } if held == TargetType::Bytea => {
            Some(format!("octet_length(c) <> {bytes_max}"))
        }
        ColumnType::Bytes { bytes_max, .. } if held == TargetType::Bytea => Some(format!("octet_length(c) > {bytes_max}")),
        ColumnType::Date if held == TargetType::Date => None,
        ColumnType::Time { fraction } if matches!(held, TargetType::Interval { .. } | TargetType::Time { .. }) => {
            Some(format!("mod(extract(microseconds FROM c), {}) <> 0", tick(*fraction)))
        }
        ColumnType::DateTime { fraction } if matches!(held, TargetType::Timestamp { .. }) => {
            Some(format!("mod(extract(microseconds FROM c), {}) <> 0", tick(*fraction)))
        }
        ColumnType::Timestamp { fraction } if matches!(held, TargetType::TimestampTz { .. }) => {
            Some(format!("mod(extract(microseconds FROM c), {}) <> 0", tick(*fraction)))
        }
        ColumnType::Bit { length } if held == TargetType::Bit { length: (*length).into() } => None,
        ColumnType::Json if matches!(held, TargetType::Json | TargetType::Jsonb) => None,
        ColumnType::Vector { dimension } if held == TargetType::RealArray => {
            Some(format!("array_length(c, 1) > {dimension}"))
        }
        ColumnType::Uuid if held == TargetType::Uuid => None,
        ColumnType::Inet4 if held == TargetType::Inet => Some("family(c) <> 4".to_owned()),
        ColumnType::Inet6 if held == TargetType::Inet => Some("family(c) <> 6".to_owned()),
        ColumnType::Integer { .. }
        | ColumnType::Year
        | ColumnType::Decimal { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Text { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Bytes { .. }
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Bit { .. }
        | ColumnType::Json
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6
        // Bytes of another kind look the same.
        | ColumnType::Geometry { .. } => return Err(OTHER),
    })
}

/// Of a text.
fn longer(form: TextForm, bytes_max: u32, charset: Charset) -> String {
    let characters = bytes_max / charset.bytes_each_max();
    match form {
        TextForm::Fixed => format!("char_length(c) > {characters} OR right(c, 1) = ' '"),
        TextForm::Large if matches!(charset, Charset::Utf8mb4 | Charset::Utf8mb3) => {
            format!("octet_length(c) > {bytes_max}")
        }
        TextForm::Varying | TextForm::Large => format!("char_length(c) > {characters}"),
    }
}

/// Of a text that is not the members that it names, in their order.
fn not_of_set(members: &[Box<str>]) -> String {
    format!(
        "c <> coalesce((SELECT string_agg(m, ',' ORDER BY n) \
         FROM unnest(ARRAY[{}]::text[]) WITH ORDINALITY AS all_members (m, n) WHERE m = ANY (string_to_array(c, ','))), '')",
        texts(members)
    )
}

/// The type that the column gets to hold all of the new type; none if it stays, or does not become wider.
pub(super) fn wider(source: &ColumnType, held: TargetType) -> Option<TargetType> {
    let wanted = TargetType::holding(source);
    let is_wider = match held {
        TargetType::SmallInt | TargetType::Integer | TargetType::BigInt | TargetType::Numeric { limit: Some(_) } => {
            matches!(
                wanted,
                TargetType::SmallInt | TargetType::Integer | TargetType::BigInt | TargetType::Numeric { .. }
            )
        }
        TargetType::Real => wanted == TargetType::Double,
        TargetType::Varchar { .. } => wanted == TargetType::Text,
        TargetType::Timestamp { .. } => matches!(wanted, TargetType::Timestamp { .. }),
        TargetType::TimestampTz { .. } => matches!(wanted, TargetType::TimestampTz { .. }),
        TargetType::Interval { .. } => matches!(wanted, TargetType::Interval { .. }),
        TargetType::Boolean
        | TargetType::Numeric { limit: None }
        | TargetType::Double
        | TargetType::Bit { .. }
        | TargetType::VarBit { .. }
        | TargetType::Text
        | TargetType::Bytea
        | TargetType::Date
        | TargetType::Time { .. }
        | TargetType::Json
        | TargetType::Jsonb
        | TargetType::RealArray
        | TargetType::Uuid
        | TargetType::Inet => false,
    };
    is_wider.then_some(wanted)
}

fn bounds(bits: u8, unsigned: bool) -> (i128, i128) {
    match unsigned {
        true => (0, (1 << bits) - 1),
        false => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
    }
}

/// Microseconds of the last digit.
fn tick(fraction: u8) -> u32 {
    10_u32.pow(u32::from(6_u8.saturating_sub(fraction)))
}

fn texts(members: &[Box<str>]) -> String {
    members.iter().map(|member| quote_text(member)).collect::<Vec<_>>().join(", ")
}

/// A text literal, whatever `standard_conforming_strings` is.
pub(super) fn quote_text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
