//! The same types and values in a file of SQLite, and what only it holds: zero dates, days that don't exist, NUL in a text.

use anyhow::{Context, Result, ensure};
use tailrace_row::ColumnType;

use super::catalog::{Group, TypeRow, groups};
use super::rules::Rule;
use super::tables::{Asked, Compared, wait_equal};
use super::{LENIENT, check_by_log, check_embedded, columns_of, keyed_name, keys, proven};
use crate::harness::{Scene, TargetKind, Texts};

#[test]
fn every_value_of_every_type_arrives_in_a_file() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "every_type_file")?;
    check_by_log(&scene, &groups(), check_declared_types)?;
    scene.finish()
}

#[test]
fn every_value_of_every_type_arrives_in_a_file_embedded() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "every_type_file_embedded")?;
    check_embedded(&scene, &groups(), check_declared_types)?;
    scene.finish()
}

#[test]
fn what_other_targets_refuse_arrives_in_a_file() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "every_type_zeros")?;
    let columns =
        "day DATE NULL, clock DATETIME(3) NULL, instant TIMESTAMP(3) NULL, note TEXT NULL, document JSON NULL";
    scene.source(&format!("{LENIENT} CREATE TABLE zeros (id INT NOT NULL PRIMARY KEY, {columns})"))?;
    scene.source(&format!(
        "{LENIENT} CREATE TABLE zeros_key (id INT NOT NULL, day DATE, rev INT, PRIMARY KEY (day, id))"
    ))?;
    scene.make_target()?;
    let (_capture, _apply) = (scene.capture()?, scene.apply()?);
    let lenient = "SET sql_mode = 'ALLOW_INVALID_DATES';";
    let rows = [
        "1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', CONCAT('a', CHAR(0), 'b'), '\"\\\\u0000\"'",
        "2, '2024-00-00', '2024-02-00 23:59:59.999', '1970-01-01 00:00:01.5', '', '{}'",
        "3, '2024-02-31', '2023-02-29 12:00:00', '2038-01-19 03:14:07.999', CHAR(0), '\"a\\\\u0000\"'",
        "4, '9999-12-31', '0000-01-01 00:00:00', NULL, 'plain', 'null'",
    ];
    let insert = |row: &&str| format!("INSERT INTO zeros VALUES ({row});");
    scene.source(&format!("SET time_zone = '+00:00'; {lenient} {}", rows.iter().map(insert).collect::<String>()))?;
    let days = ["0000-00-00", "2024-00-00", "2024-02-31", "9999-12-31"];
    let insert = |(id, day): (usize, &&str)| format!("INSERT INTO zeros_key VALUES ({id}, '{day}', 0);");
    scene.source(&format!("{lenient} {}", days.iter().enumerate().map(insert).collect::<String>()))?;
    scene.source(&format!("{lenient} UPDATE zeros_key SET rev = 1; DELETE FROM zeros_key WHERE day = '2024-02-31'"))?;
    let text = |name: &str| Asked::plain(name, Rule::Text);
    let compared = [
        Compared {
            name: "zeros".into(),
            columns: vec![text("day"), text("clock"), text("note"), Asked::plain("document", Rule::Json)],
        },
        Compared { name: "zeros_key".into(), columns: vec![text("day"), Asked::plain("rev", Rule::Whole)] },
    ];
    wait_equal(&scene, "with what other targets refuse", &compared)?;
    proven::check_equal(&scene, "with what other targets refuse", &["zeros", "zeros_key"])?;
    let instants = scene.target_rows("SELECT instant FROM zeros ORDER BY id")?.concat();
    let expect = ["0000-00-00 00:00:00.000Z", "1970-01-01 00:00:01.500Z", "2038-01-19 03:14:07.999Z"];
    ensure!(instants.iter().flatten().eq(expect.iter()) && instants[3].is_none(), "{instants:?}");
    scene.finish()
}

/// The types that `tailrace schema --apply` chose, of the plain tables' columns and of the keys.
fn check_declared_types(scene: &Scene, groups: &[Group]) -> Result<()> {
    let query = "SELECT t.name, c.name, c.type, c.\"notnull\", t.strict FROM pragma_table_list AS t, \
                 pragma_table_xinfo(t.name, 'main') AS c WHERE t.schema = 'main'";
    let rows = scene.target_rows(query)?;
    let found = |table: &str, column: &str| -> Result<[String; 3]> {
        let is_it = |row: &&Texts| row[0].as_deref() == Some(table) && row[1].as_deref() == Some(column);
        let row = rows.iter().find(is_it).with_context(|| format!("the target has no {table}.{column}"))?;
        Ok([2, 3, 4].map(|place| row[place].clone().unwrap_or_default()))
    };
    for group in groups {
        for row in &group.rows {
            for (place, name) in columns_of(row).iter().enumerate() {
                let required = if place > 0 { "1" } else { "0" };
                let found = found(group.name, name)?;
                ensure!(found == [declared(row), required, "1"], "{} {name} became {found:?}", group.name);
            }
        }
        for row in keys(group) {
            let wanted = if row.rule == Rule::Bits64 { "TEXT" } else { declared(row) };
            let found = found(&keyed_name(group), row.name)?;
            ensure!(found == [wanted, "1", "1"], "the key {} {} became {found:?}", group.name, row.name);
        }
    }
    Ok(())
}

/// The type that holds all values of the source's.
fn declared(row: &TypeRow) -> &'static str {
    match row.rule {
        Rule::Whole if row.shape == (ColumnType::Integer { bits: 64, unsigned: true }) => "ANY",
        Rule::BitString(64) | Rule::Bits64 => "ANY",
        Rule::Whole | Rule::BitString(_) => "INTEGER",
        Rule::Bytes | Rule::Geometry | Rule::Vector => "BLOB",
        Rule::Decimal
        | Rule::Text
        | Rule::Day
        | Rule::Time
        | Rule::DayAndTime
        | Rule::Instant
        | Rule::Json
        | Rule::Jsonb
        | Rule::Address => "TEXT",
    }
}
