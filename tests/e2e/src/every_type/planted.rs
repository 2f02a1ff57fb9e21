//! The smallest difference that each type can have, planted in the target by SQL: `proof` must name its row and its column, and
//! no other. One table says what is planted for which type, by a match that a new type does not pass without its line.
//!
//! Each difference has a row of its own beside the matrix's; the types of a table share the rows.

use anyhow::{Context, Result, ensure};
use tailrace_contract::{CanonicalForm, CanonicalWriter, Era, Rows};
use tailrace_row::{Charset, ColumnType, GeometryKind, Key, TextForm, Value};

use super::catalog::{Group, TypeRow};
use super::proven::{Finding, Findings, Proof, shown};
use super::tables::{mysql_name, postgres_name};
use super::{LENIENT, columns_of, insert_row};
use crate::harness::{DRAIN_LIMIT, Scene, TargetKind, wait_until};

/// Behind all rows of the matrix.
const FIRST_ID: usize = 1000;

/// A value of the source, and what the target is made to hold in its place.
struct Planted {
    /// A literal of the source's.
    value: String,
    /// An expression of the target's; `$` is the column.
    target: String,
    /// Another spelling of the same value is no difference.
    is_difference: bool,
}

fn planted(value: impl Into<String>, target: impl Into<String>) -> Planted {
    Planted { value: value.into(), target: target.into(), is_difference: true }
}

/// What is planted in a column of the type. The first is the smallest step of the type; NULL comes for all.
#[expect(clippy::too_many_lines, reason = "a table of types reads best in one piece")]
fn differences(row: &TypeRow, kind: TargetKind) -> Vec<Planted> {
    let on = |postgres: &str, sqlite: &str| match kind {
        TargetKind::Postgres => postgres.to_owned(),
        TargetKind::Sqlite => sqlite.to_owned(),
    };
    let digit = "substr($, 1, length($) - 1) || CASE substr($, -1) WHEN '9' THEN '8' ELSE '9' END";
    let mut found = match &row.shape {
        ColumnType::Integer { bits: 64, unsigned: true } => vec![
            planted("18446744073709551615", on("$ - 1", "'18446744073709551614'")),
            planted("9223372036854775807", on("$ + 1", "'9223372036854775808'")),
        ],
        ColumnType::Integer { bits: 64, unsigned: false } => {
            vec![planted("9007199254740993", "$ - 1"), planted("-9223372036854775808", "$ + 1")]
        }
        ColumnType::Integer { .. } => vec![planted("1", "$ + 1"), planted("0", "$ + 1")],
        ColumnType::Year => vec![planted("2024", "$ + 1"), planted("0", "1901")],
        ColumnType::Decimal { scale, .. } => vec![
            // All digits nine.
            planted(row.values[1], on(&format!("$ - 1e-{scale}"), digit)),
            planted(row.values[1], on("-$", "'-' || $")),
        ],
        ColumnType::Float => {
            let next = f32::from_bits(0.1_f32.to_bits() + 1);
            let bit = f64::from_bits(f64::from(0.1_f32).to_bits() + 1);
            with_zeros(row, vec![planted("0.1", on(&format!("'{next:?}'::real"), &format!("{bit:?}")))])
        }
        ColumnType::Double => {
            let next = f64::from_bits(0.1_f64.to_bits() + 1);
            with_zeros(row, vec![planted("0.1", format!("{next:?}"))])
        }
        ColumnType::Bit { length } => {
            let width = usize::from(*length);
            vec![planted("b'0'", on(&format!("B'{:0width$b}'", 1), "1")), planted("1", on("~ $", "0"))]
        }
        ColumnType::Text { charset, .. } => text_differences(row, *charset, kind),
        ColumnType::Bytes { form, .. } => byte_differences(*form, kind),
        ColumnType::Enum { .. } | ColumnType::Set { .. } => vec![planted(row.values[0], "$ || ' '")],
        ColumnType::Date => vec![planted(row.values[0], on("$ + 1", digit))],
        ColumnType::Time { fraction } => vec![
            planted("'12:34:56.789123'", on(&step(*fraction), digit)),
            planted("'-00:00:01'", on("-$", "substr($, 2)")),
            planted("'24:00:00'", on("interval '1 day'", "'1 day'")),
        ],
        ColumnType::DateTime { fraction } => {
            vec![planted("'2024-02-29 12:34:56.123456'", on(&step(*fraction), digit))]
        }
        ColumnType::Timestamp { fraction } => {
            let before_zone =
                "substr($, 1, length($) - 2) || CASE substr($, -2, 1) WHEN '9' THEN '8' ELSE '9' END || 'Z'";
            vec![
                planted(row.values[0], on(&step(*fraction), before_zone)),
                planted(row.values[0], on("$ + interval '1 hour'", "rtrim($, 'Z')")),
            ]
        }
        ColumnType::Json => json_differences(kind),
        ColumnType::Geometry { kind: GeometryKind::Geometry | GeometryKind::Point } => {
            geometry_differences("ST_GeomFromText('POINT(1 2)')", kind)
        }
        // The first has no reference system.
        ColumnType::Geometry { .. } => geometry_differences(row.values[0], kind),
        ColumnType::Vector { .. } => vec![
            planted("STRING_TO_VECTOR('[1]')", on("'{1.0000001}'::real[]", "x'0100803F'")),
            planted("STRING_TO_VECTOR('[1]')", on("'{1,0}'::real[]", "x'0000803F00000000'")),
        ],
        ColumnType::Uuid => vec![planted(
            "'f47ac10b-58cc-4372-a567-0e02b2c3d479'",
            on("'f47ac10b-58cc-4372-a567-0e02b2c3d478'::uuid", "'f47ac10b-58cc-4372-a567-0e02b2c3d478'"),
        )],
        ColumnType::Inet4 => vec![
            planted("'192.168.0.1'", on("$ + 1", "'192.168.0.2'")),
            planted("'192.168.0.1'", on("'192.168.0.1/24'::inet", "'192.168.0.1/24'")),
        ],
        ColumnType::Inet6 => vec![
            planted("'::1'", on("$ + 1", "'::2'")),
            planted("'::ffff:1.2.3.4'", on("'1.2.3.4'::inet", "'1.2.3.4'")),
        ],
    };
    found.push(planted(row.values[0], "NULL"));
    found
}

/// The sign of a zero, where the source has one (MariaDB has none) and its column too: rounding to its digits takes it away.
fn with_zeros(row: &TypeRow, mut found: Vec<Planted>) -> Vec<Planted> {
    let has_sign = row.values.contains(&"-0e0");
    if has_sign && !row.declared.contains("UNSIGNED") && !row.declared.contains(',') {
        found.push(planted("-0e0", "0.0"));
    }
    found
}

/// The last digit that the type has.
fn step(fraction: u8) -> String {
    format!("$ + interval '1 microsecond' * {}", 10_u32.pow(6 - u32::from(fraction)))
}

fn text_differences(row: &TypeRow, charset: Charset, kind: TargetKind) -> Vec<Planted> {
    // MariaDB's takes documents only.
    if row.declared == "JSON" {
        return vec![planted("'[1]'", "'[1] '"), planted("'[1.0]'", "'[1]'"), planted("NULL", "'null'")];
    }
    let accent = match kind {
        TargetKind::Postgres => "'e' || chr(769)",
        TargetKind::Sqlite => "'e' || char(769)",
    };
    let mut found = vec![
        planted("'a'", "'a '"),
        planted("'a'", "'A'"),
        planted("''", "NULL"),
        planted("NULL", "''"),
        planted("'?'", "'\u{fffd}'"),
    ];
    found.push(match charset {
        Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Latin1 => planted("'é'", accent),
        // Not all of the others have such a letter.
        _ => planted("'e'", "'é'"),
    });
    found
}

fn byte_differences(form: TextForm, kind: TargetKind) -> Vec<Planted> {
    let (bit, longer, empty) = match kind {
        TargetKind::Postgres => {
            ("set_byte($, length($) - 1, get_byte($, length($) - 1) # 1)", r"$ || '\x00'::bytea", r"'\x'::bytea")
        }
        TargetKind::Sqlite => (
            "unhex(substr(hex($), 1, 2 * length($) - 1) || \
             CASE substr(hex($), -1) WHEN '0' THEN '1' WHEN 'F' THEN 'E' ELSE '0' END)",
            "CAST($ || x'00' AS BLOB)",
            "x''",
        ),
    };
    let mut found = vec![planted("0xFF", bit), planted("0x00", longer), planted("NULL", empty)];
    if form != TextForm::Fixed {
        found.push(planted("''", "NULL"));
    }
    found
}

fn json_differences(kind: TargetKind) -> Vec<Planted> {
    const DOCUMENT: &str = r#"'[1.0, true, "é", null, {"a": 1, "b": 2}]'"#;
    let document = |text: &str| match kind {
        TargetKind::Postgres => format!("'{text}'::json"),
        TargetKind::Sqlite => format!("'{text}'"),
    };
    let differing = [
        r#"[1.10, true, "é", null, {"a": 1, "b": 2}]"#,
        r#"["1.0", true, "é", null, {"a": 1, "b": 2}]"#,
        r#"[1.0, 1, "é", null, {"a": 1, "b": 2}]"#,
        "[1.0, true, \"e\u{301}\", null, {\"a\": 1, \"b\": 2}]",
        r#"[1.0, true, "é", {"a": 1, "b": 2}]"#,
        r#"[1.0, true, "é", "null", {"a": 1, "b": 2}]"#,
        r#"[true, 1.0, "é", null, {"a": 1, "b": 2}]"#,
        r#"[1.0, true, "é", null, {"a": 1, "B": 2}]"#,
        r#"[1.0, true, "é", null, {"a": 1, "b": 2, "c": null}]"#,
        r#"[1.0, true, "é", null, {"a": 2, "b": 1}]"#,
    ];
    let mut found: Vec<Planted> = differing.iter().map(|text| planted(DOCUMENT, document(text))).collect();
    found.push(planted("'null'", "NULL"));
    found.push(planted("NULL", document("null")));
    let same = r#"[1,true, "\u00e9",null,{"b":2.0e0,"a":0,"a":1}]"#;
    found.push(Planted { is_difference: false, ..planted(DOCUMENT, document(same)) });
    found
}

/// The lowest bit of the last coordinate, and a reference system where there is none.
fn geometry_differences(value: &str, kind: TargetKind) -> Vec<Planted> {
    let (bit, system) = match kind {
        TargetKind::Postgres => (
            "set_byte($, length($) - 8, get_byte($, length($) - 8) # 1)",
            r"substring($ FROM 1 FOR 4) || '\x20e6100000'::bytea || substring($ FROM 6)",
        ),
        TargetKind::Sqlite => (
            "unhex(substr(hex($), 1, 2 * length($) - 15) || \
             CASE substr(hex($), 2 * length($) - 14, 1) WHEN '0' THEN '1' ELSE '0' END || \
             substr(hex($), 2 * length($) - 13))",
            "unhex(substr(hex($), 1, 8) || '20E6100000' || substr(hex($), 11))",
        ),
    };
    vec![planted(value, bit), planted(value, system)]
}

/// Plants all of them and looks for them. Tailrace must be applying.
pub(super) fn check(scene: &Scene, groups: &[Group]) -> Result<()> {
    let mut count = 0;
    for group in groups {
        let by_type: Vec<Vec<Planted>> = group.rows.iter().map(|row| differences(row, scene.target_kind)).collect();
        scene.source(&format!("{LENIENT} BEGIN; {} COMMIT", insert(group, &by_type)))?;
        let proof = Proof::of(scene)?;
        wait_until(&format!("equal rows to plant differences in, of {}", group.name), DRAIN_LIMIT, || {
            Ok(proof.compare(group.name, Rows::ALL)?.is_empty())
        })?;
        let (statements, expected) = plant(group, &by_type)?;
        scene.target(&statements)?;
        let found = proof.compare(group.name, Rows::ALL)?;
        ensure!(found == expected, "{}: proof finds {:?}, not {:?}", group.name, shown(&found), shown(&expected));
        count += by_type.iter().flatten().filter(|planted| planted.is_difference).count();
    }
    println!("{count} planted differences, each found with its column");
    check_rows(scene, groups[0].name)
}

/// One row for each difference of the type that has most; the others have a plain value there.
fn insert(group: &Group, by_type: &[Vec<Planted>]) -> String {
    let rows = by_type.iter().map(Vec::len).max().unwrap_or(0);
    let insert = |place: usize| {
        let names = group.rows.iter().flat_map(|row| columns_of(row).into_iter().take(2)).map(|name| mysql_name(&name));
        let values = group.rows.iter().zip(by_type).flat_map(|(row, planted)| {
            let value = planted.get(place).map_or(row.values[0], |planted| planted.value.as_str());
            [value, row.values[0]]
        });
        insert_row(group.name, names.collect(), values.collect(), FIRST_ID + place)
    };
    (0..rows).map(insert).collect()
}

fn plant(group: &Group, by_type: &[Vec<Planted>]) -> Result<(String, Findings)> {
    let (mut statements, mut expected) = (String::new(), Findings::new());
    let rows = by_type.iter().map(Vec::len).max().unwrap_or(0);
    for place in 0..rows {
        let (mut set, mut columns) = (Vec::new(), Vec::new());
        for (row, planted) in group.rows.iter().zip(by_type) {
            let Some(planted) = planted.get(place) else { continue };
            let name = postgres_name(row.name);
            set.push(format!("{name} = {}", planted.target.replace('$', &name)));
            if planted.is_difference {
                columns.push(row.name.to_owned());
            }
        }
        let (table, id) = (postgres_name(group.name), FIRST_ID + place);
        statements.push_str(&format!("UPDATE {table} SET {} WHERE id = {id};\n", set.join(", ")));
        if !columns.is_empty() {
            expected.insert(canonical_key(id)?, Finding::Columns(columns));
        }
    }
    Ok((statements, expected))
}

/// Rows of one side alone, by ranges and by keys.
fn check_rows(scene: &Scene, table: &str) -> Result<()> {
    let name = postgres_name(table);
    let (lost, moved, invented) = (FIRST_ID, FIRST_ID + 1, 5000);
    scene.target(&format!(
        "DELETE FROM {name} WHERE id = {lost}; UPDATE {name} SET id = {invented} WHERE id = {moved}"
    ))?;
    let proof = Proof::of(scene)?;
    let key = id_key;
    let only = |findings: Findings| -> Vec<(Vec<Vec<u8>>, Finding)> {
        findings.into_iter().filter(|(_, finding)| !matches!(finding, Finding::Columns(_))).collect()
    };
    let check = |rows: Rows<'_>, expected: &[(usize, Finding)]| -> Result<()> {
        let found = only(proof.compare(table, rows)?);
        let mut expected = expected
            .iter()
            .map(|(id, finding)| Ok((canonical_key(*id)?, finding.clone())))
            .collect::<Result<Vec<_>>>()?;
        expected.sort();
        ensure!(found == expected, "{rows:?}: {found:?}");
        Ok(())
    };
    let [before, first, second, last] = [key(lost - 1)?, key(lost)?, key(moved)?, key(invented)?];
    let (missing, also_missing, extra) =
        ((lost, Finding::Missing), (moved, Finding::Missing), (invented, Finding::Extra));
    check(Rows::ALL, &[missing.clone(), also_missing.clone(), extra.clone()])?;
    let range = |after, until| Rows::Range { after, until };
    check(range(Some(&before), Some(&first)), std::slice::from_ref(&missing))?;
    check(range(Some(&first), Some(&second)), std::slice::from_ref(&also_missing))?;
    check(range(Some(&second), None), std::slice::from_ref(&extra))?;
    check(range(None, Some(&before)), &[])?;
    check(range(Some(&last), None), &[])?;
    check(Rows::Keys(&[key(0)?, last.clone(), key(77_777)?, first.clone()]), &[missing, extra])?;
    check(Rows::Keys(&[second]), &[also_missing])?;
    check(Rows::Keys(&[]), &[])
}

fn id_key(id: usize) -> Result<Key> {
    let id = i64::try_from(id)?;
    Key::write(1, |writer| {
        writer.value(Value::Integer(id));
        Ok(())
    })
}

fn canonical_key(id: usize) -> Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    let written =
        CanonicalWriter::default().value(CanonicalForm::Number, id.to_string().as_bytes(), Era::Common, &mut bytes);
    written.ok().context("a number")?;
    Ok(vec![bytes])
}
