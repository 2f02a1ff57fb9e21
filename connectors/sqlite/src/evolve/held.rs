//! Whether what a column holds are values of the type that it has at the source from now on.
//!
//! A statement that changes a column's type may change its values: the server cuts, rounds and converts as it casts. At the barrier the
//! target holds the values from before. Those that are values of the new type too are what the server made of them; one that is not
//! was changed. So nothing has to be known of the type before, but where values of two types look alike here and differ there.

use tailrace_row::{Charset, ColumnType, TextForm};

/// What is true of a value of the column `c` that is none of the type; none where that can't be told.
pub(super) fn foreign(source: &ColumnType) -> Option<String> {
    Some(match source {
        ColumnType::Integer { bits: 64, unsigned: false } => "typeof(c) <> 'integer'".to_owned(),
        // From 2^63 on they are digits.
        ColumnType::Integer { bits: 64, unsigned: true } => {
            "typeof(c) NOT IN ('integer', 'text') OR typeof(c) = 'integer' AND c < 0".to_owned()
        }
        ColumnType::Integer { bits, unsigned } => {
            let (least, most) = match unsigned {
                true => (0, (1_i64 << bits) - 1),
                false => (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1),
            };
            format!("typeof(c) <> 'integer' OR c NOT BETWEEN {least} AND {most}")
        }
        ColumnType::Year => "typeof(c) <> 'integer' OR c <> 0 AND c NOT BETWEEN 1901 AND 2155".to_owned(),
        ColumnType::Decimal { precision, scale } => {
            let whole = "CASE instr(c, '.') WHEN 0 THEN c ELSE substr(c, 1, instr(c, '.') - 1) END";
            format!(
                "typeof(c) <> 'text' OR c = '' OR c GLOB '*[^-0-9.]*' OR ltrim(c, '-') GLOB '0[0-9]*' OR \
                 c GLOB '-*' AND ltrim(c, '-0.') = '' OR {} > {scale} OR length(ltrim({whole}, '-0')) > {}",
                behind("c"),
                precision - scale
            )
        }
        ColumnType::Double => "typeof(c) <> 'real'".to_owned(),
        ColumnType::Text { form, bytes_max, charset } => {
            let characters = bytes_max / charset.bytes_each_max();
            let size = match form {
                TextForm::Fixed => format!("length(c) > {characters} OR c GLOB '* '"),
                TextForm::Large if matches!(charset, Charset::Utf8mb4 | Charset::Utf8mb3) => {
                    format!("length(CAST(c AS BLOB)) > {bytes_max}")
                }
                TextForm::Varying | TextForm::Large => format!("length(c) > {characters}"),
            };
            // An instant is printed in another zone there.
            format!("typeof(c) <> 'text' OR c GLOB '????-??-?? ??:??:??*Z' OR {size}")
        }
        ColumnType::Enum { members } => format!("typeof(c) <> 'text' OR c NOT IN ({})", texts(members)),
        ColumnType::Set { members } => {
            let chosen = |member: &str| {
                let member = member.replace('\'', "''");
                format!("iif(instr(',' || c || ',', ',{member},') > 0, ',{member}', '')")
            };
            let chosen: Vec<String> = members.iter().map(|member| chosen(member)).collect();
            format!("typeof(c) <> 'text' OR substr({}, 2) <> c", chosen.join(" || "))
        }
        ColumnType::Bytes { form: TextForm::Fixed, bytes_max } => {
            format!("typeof(c) <> 'blob' OR length(c) <> {bytes_max}")
        }
        ColumnType::Bytes { bytes_max, .. } => format!("typeof(c) <> 'blob' OR length(c) > {bytes_max}"),
        ColumnType::Date => "c NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'".to_owned(),
        ColumnType::DateTime { fraction } => format!("c NOT GLOB '????-??-?? ??:??:??{}'", digits(*fraction)),
        ColumnType::Timestamp { fraction } => format!("c NOT GLOB '????-??-?? ??:??:??{}Z'", digits(*fraction)),
        ColumnType::Time { fraction } => {
            let clock = format!("[0-9][0-9]:[0-9][0-9]:[0-9][0-9]{}", digits(*fraction));
            format!("ltrim(c, '-') NOT GLOB '{clock}' AND ltrim(c, '-') NOT GLOB '[0-9]{clock}'")
        }
        ColumnType::Bit { length } if *length < 63 => {
            format!("typeof(c) <> 'integer' OR c NOT BETWEEN 0 AND {}", (1_i64 << length) - 1)
        }
        ColumnType::Uuid => "length(c) <> 36 OR c <> lower(c)".to_owned(),
        // They look like what they may have been before.
        ColumnType::Bit { .. }
        | ColumnType::Float
        | ColumnType::Json
        | ColumnType::Geometry { .. }
        | ColumnType::Vector { .. }
        | ColumnType::Inet4
        | ColumnType::Inet6 => return None,
    })
}

/// Whether digits are missing behind the point.
pub(super) fn is_short(column: &str, scale: u8) -> String {
    format!("{column} IS NOT NULL AND {} < {scale}", behind(column))
}

/// The number with all its digits behind the point.
pub(super) fn filled_up(column: &str, scale: u8) -> String {
    let zeros = "0".repeat(scale.into());
    format!("{column} || iif(instr({column}, '.') = 0, '.', '') || substr('{zeros}', 1, {scale} - {})", behind(column))
}

/// Digits behind the point.
fn behind(column: &str) -> String {
    format!("iif(instr({column}, '.') = 0, 0, length({column}) - instr({column}, '.'))")
}

fn digits(fraction: u8) -> String {
    if fraction == 0 { String::new() } else { format!(".{}", "[0-9]".repeat(fraction.into())) }
}

fn texts(members: &[Box<str>]) -> String {
    members.iter().map(|member| format!("'{}'", member.replace('\'', "''"))).collect::<Vec<_>>().join(", ")
}
