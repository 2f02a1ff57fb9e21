//! Tables that somebody else made: other target types that may take a column, columns in another order and more of them,
//! odd names, and columns of the source that a plain `SELECT *` does not show.

use anyhow::{Result, ensure};

use super::rules::Rule;
use super::tables::{Asked, Compared, mysql_name, postgres_name, wait_equal};
use super::{begin_apply, proven};
use crate::harness::{Scene, Servers};

/// A column whose target type is not the one that `tailrace schema` would choose.
struct HandRow {
    name: &'static str,
    declared: &'static str,
    target: &'static str,
    rule: Rule,
    /// See [`Asked::target_form`].
    target_form: &'static str,
    values: &'static [&'static str],
}

const fn hand(
    name: &'static str,
    [declared, target]: [&'static str; 2],
    rule: Rule,
    target_form: &'static str,
    values: &'static [&'static str],
) -> HandRow {
    HandRow { name, declared, target, rule, target_form, values }
}

const HAND_ROWS: &[HandRow] = &[
    hand("u8_boolean", ["TINYINT UNSIGNED", "boolean"], Rule::Whole, "$::int", &["0", "1"]),
    hand("i8_bigint", ["TINYINT", "bigint"], Rule::Whole, "$", &["-128", "127"]),
    hand("i16_numeric", ["SMALLINT", "numeric"], Rule::Decimal, "$", &["-32768", "32767", "0"]),
    hand("u32_integer", ["INT UNSIGNED", "integer"], Rule::Whole, "$", &["0", "2147483647"]),
    hand("i64_smallint", ["BIGINT", "smallint"], Rule::Whole, "$", &["-32768", "32767"]),
    hand("u64_bigint", ["BIGINT UNSIGNED", "bigint"], Rule::Whole, "$", &["0", "9223372036854775807"]),
    hand("u64_numeric", ["BIGINT UNSIGNED", "numeric(22,2)"], Rule::Decimal, "$", &["0", "18446744073709551615"]),
    hand("decimal_free", ["DECIMAL(20,4)", "numeric"], Rule::Decimal, "$", &["0", "-9999999999999999.9999", "1.1000"]),
    hand("decimal_wider", ["DECIMAL(10,2)", "numeric(20,6)"], Rule::Decimal, "$", &["99999999.99", "-0.01"]),
    hand("decimal_narrow", ["DECIMAL(10,2)", "numeric(5,2)"], Rule::Decimal, "$", &["999.99", "-999.99"]),
    hand(
        "float_double",
        ["FLOAT", "double precision"],
        Rule::Bits64,
        "$",
        &["0.1", "3.402823466e38", "1.4e-45", "-0e0"],
    ),
    hand("bit_boolean", ["BIT(1)", "boolean"], Rule::BitString(1), "$::int::bit(1)", &["b'0'", "b'1'"]),
    hand("bit_bigint", ["BIT(33)", "bigint"], Rule::BitString(33), "$::bit(33)", &["0", "8589934591", "4294967296"]),
    hand("bit_varying", ["BIT(10)", "bit varying"], Rule::BitString(10), "$", &["0", "1023", "513"]),
    hand("char_varchar", ["CHAR(10)", "varchar(10)"], Rule::Text, "$", &["''", "'éééééééééé'", "REPEAT('😀', 10)"]),
    hand("varchar_free", ["VARCHAR(60)", "varchar"], Rule::Text, "$", &["''", "' a '"]),
    hand("text_varchar", ["TEXT", "varchar(300)"], Rule::Text, "$", &["''", "REPEAT('😀', 300)", "REPEAT('x', 300)"]),
    hand("latin_varchar", ["VARCHAR(5) CHARACTER SET latin1", "varchar(5)"], Rule::Text, "$", &["'é€ÿÿÿ'", "''"]),
    hand("enum_varchar", ["ENUM('a','bb')", "varchar(2)"], Rule::Text, "$", &["'a'", "'bb'", "''"]),
    hand("set_varchar", ["SET('a','b')", "varchar(3)"], Rule::Text, "$", &["''", "'a,b'"]),
    hand(
        "json_jsonb",
        ["JSON", "jsonb"],
        Rule::Jsonb,
        "$",
        &["'{\"b\": [1.50, null], \"a\": \"é😀\"}'", "'[1e3]'", "'null'"],
    ),
    hand("json_text", ["JSON", "text"], Rule::Json, "$", &["'{\"b\": 1, \"a\": [1.0]}'", "'[]'"]),
    hand("time_time", ["TIME(6)", "time"], Rule::Time, "$", &["'00:00:00'", "'23:59:59.999999'", "'24:00:00'"]),
    hand("time_interval", ["TIME(3)", "interval"], Rule::Time, "$", &["'-838:59:58.999'", "'838:59:59'"]),
    hand("clock_finer", ["DATETIME(3)", "timestamp"], Rule::DayAndTime, "$", &["'2024-02-29 12:34:56.789'"]),
    hand("instant_finer", ["TIMESTAMP(3)", "timestamptz"], Rule::Instant, "$", &["'2024-02-29 12:34:56.789+00:00'"]),
    hand("year_integer", ["YEAR", "integer"], Rule::Whole, "$", &["0", "1901", "2155"]),
    hand("year_numeric", ["YEAR", "numeric(5)"], Rule::Whole, "$", &["2155"]),
];

#[test]
fn other_types_orders_and_extra_columns_serve() -> Result<()> {
    let scene = Scene::new("by_hand")?;
    let declared = |row: &HandRow| format!("{} {} NULL", mysql_name(row.name), row.declared);
    let columns: Vec<String> = HAND_ROWS.iter().map(declared).collect();
    scene.source(&format!("CREATE TABLE by_hand (id INT PRIMARY KEY, {})", columns.join(", ")))?;
    let made = |row: &HandRow| format!("{} {}", postgres_name(row.name), row.target);
    // The other way round, the key last, and columns that the source lacks.
    let columns: Vec<String> = HAND_ROWS.iter().rev().map(made).collect();
    scene.target(&format!(
        "CREATE SCHEMA \"{}\"; CREATE TABLE by_hand (extra text, counted int NOT NULL DEFAULT 7, {}, id bigint PRIMARY KEY)",
        scene.database,
        columns.join(", ")
    ))?;
    let asked = |row: &HandRow| Asked { target_form: row.target_form, ..Asked::plain(row.name, row.rule) };
    let compared = [Compared { name: "by_hand".to_owned(), columns: HAND_ROWS.iter().map(asked).collect() }];
    // Records with their schema hold the same values in another wrapping.
    let config = scene.config().replace("[log]", "[log]\nschemas = true");
    scene.write_config(&config)?;
    let capture = scene.capture()?;
    ensure!(!capture.log_text().contains("GAP"), "a new log has no gap: {}", capture.log_text());
    let _apply = begin_apply(&scene, &config)?;
    let rows = HAND_ROWS.iter().map(|row| row.values.len() + 1).max().unwrap_or(0);
    let value = |row: &HandRow, place: usize| row.values.get(place % (row.values.len() + 1)).copied().unwrap_or("NULL");
    let inserts = (0..rows).map(|id| {
        let values: Vec<&str> = HAND_ROWS.iter().map(|row| value(row, id)).collect();
        format!("INSERT INTO by_hand VALUES ({id}, {});\n", values.join(", "))
    });
    scene.source(&format!("SET sql_mode = ''; BEGIN; {} COMMIT", inserts.collect::<String>()))?;
    wait_equal(&scene, "after INSERT", &compared)?;
    proven::check_equal(&scene, "after INSERT", &["by_hand"])?;
    // What stands in columns that the source lacks is not ours to change.
    scene.target("UPDATE by_hand SET extra = 'kept', counted = 8")?;
    let updates = (0..rows).map(|id| {
        let set = HAND_ROWS.iter().map(|row| format!("{} = {}", mysql_name(row.name), value(row, id + 1)));
        format!("UPDATE by_hand SET {} WHERE id = {id};\n", set.collect::<Vec<_>>().join(", "))
    });
    scene.source(&format!("SET sql_mode = ''; BEGIN; {} COMMIT", updates.collect::<String>()))?;
    wait_equal(&scene, "after UPDATE", &compared)?;
    proven::check_equal(&scene, "after UPDATE", &["by_hand"])?;
    let kept = scene.target_number("SELECT count(*) FROM by_hand WHERE extra = 'kept' AND counted = 8")?;
    assert_eq!(usize::try_from(kept)?, rows, "an upsert must leave columns that the source lacks as they are");
    scene.source("DELETE FROM by_hand WHERE id % 2 = 0")?;
    wait_equal(&scene, "after DELETE", &compared)?;
    proven::check_equal(&scene, "after DELETE", &["by_hand"])?;
    scene.finish()
}

/// Names that somebody quotes wrongly sooner or later.
const ODD_TABLES: &[&str] = &[
    "select",
    "excluded",
    "UPPER",
    "upper",
    "od\"d ta'ble.na`me %s {0} ;--",
    "таблица",
    "a,b",
    "1digit",
    "$dollar",
    "back\\slash",
];
const ODD_COLUMNS: &[&str] = &[
    "select",
    "UPPER",
    "Lower",
    "dot.col",
    "sp ace",
    "ünï",
    "日本",
    "1digit",
    "q\"uo'te",
    "do$lar",
    "back`tick",
    "a,b",
    "back\\slash",
    "%s",
    "{}",
    "?",
    "$1",
    ":name",
    "--",
    ";",
    "(x)",
    "excluded",
    "t",
    "d",
    "c0",
    "k0",
    "new",
    "tailrace",
];

#[test]
fn odd_names_are_only_names() -> Result<()> {
    let scene = Scene::new("odd_names")?;
    let mut compared = Vec::new();
    for table in ODD_TABLES {
        let columns: Vec<String> = ODD_COLUMNS.iter().map(|name| format!("{} INT", mysql_name(name))).collect();
        scene.source(&format!(
            "CREATE TABLE {} (`ke\"y.` VARCHAR(20) NOT NULL, id INT NOT NULL, {}, PRIMARY KEY (id, `ke\"y.`))",
            mysql_name(table),
            columns.join(", ")
        ))?;
        let mut columns: Vec<Asked> = ODD_COLUMNS.iter().map(|name| Asked::plain(name, Rule::Whole)).collect();
        columns.push(Asked::plain("ke\"y.", Rule::Text));
        compared.push(Compared { name: (*table).to_owned(), columns });
    }
    scene.make_target()?;
    let _capture = scene.capture()?;
    let _apply = begin_apply(&scene, &scene.config())?;
    let numbers: Vec<String> = (0..ODD_COLUMNS.len()).map(|number| number.to_string()).collect();
    for table in ODD_TABLES {
        let (table, numbers) = (mysql_name(table), numbers.join(", "));
        scene.source(&format!(
            "INSERT INTO {table} VALUES ('a', 1, {numbers}), ('b', 2, {numbers}), ('c', 3, {numbers});
             UPDATE {table} SET `select` = 100, `ke\"y.` = 'moved' WHERE id = 1;
             UPDATE {table} SET `q\"uo'te` = 200 WHERE id = 2; DELETE FROM {table} WHERE id = 3"
        ))?;
    }
    wait_equal(&scene, "with odd names", &compared)?;
    scene.finish()
}

#[test]
fn generated_and_invisible_columns_and_other_schemas_serve() -> Result<()> {
    check_generated(Scene::new("generated")?)
}

#[test]
fn generated_and_invisible_columns_of_mariadb_serve() -> Result<()> {
    check_generated(Scene::on("generated_mariadb", Servers::shared_mariadb()?)?)
}

fn check_generated(scene: Scene) -> Result<()> {
    scene.source(
        "CREATE TABLE made (id INT PRIMARY KEY, a INT, kept INT GENERATED ALWAYS AS (a * 2) STORED,
           computed VARCHAR(20) GENERATED ALWAYS AS (CONCAT('v', a)) VIRTUAL, after_it VARCHAR(10), hidden INT INVISIBLE DEFAULT 7);
         CREATE TABLE plain (id INT NOT NULL PRIMARY KEY, a INT)",
    )?;
    // The table that is named goes where it is told, the other where its rule says.
    let database = &scene.database;
    let whole = format!("[[table]]\nsource = \"{database}.*\"\n");
    let named = format!(
        "[[table]]\nsource = \"{database}.made\"\ntarget = '{}.{}'\n[[table]]\nsource = \"{database}.plain\"\n",
        postgres_name("odd.schema \" x"),
        postgres_name("o.dd")
    );
    let config = scene.config().replace(&whole, &named);
    scene.write_config(&config)?;
    scene.make_target()?;
    scene.target(&format!(
        "CREATE VIEW made AS SELECT * FROM {}.{}",
        postgres_name("odd.schema \" x"),
        postgres_name("o.dd")
    ))?;
    let _capture = scene.capture()?;
    let _apply = begin_apply(&scene, &config)?;
    scene.source(
        "INSERT INTO made (id, a, after_it) VALUES (1, 21, 'x'), (2, NULL, NULL), (3, 5, 'z');
         INSERT INTO made (id, a, after_it, hidden) VALUES (4, 1, 'y', 99);
         UPDATE made SET a = a + 1, hidden = NULL WHERE id = 1; DELETE FROM made WHERE id = 3;
         INSERT INTO plain VALUES (1, 1), (2, 2); UPDATE plain SET id = 10 WHERE id = 1; DELETE FROM plain WHERE id = 2",
    )?;
    let made = ["a", "kept", "hidden"].map(|name| Asked::plain(name, Rule::Whole));
    let made = made.into_iter().chain(["computed", "after_it"].map(|name| Asked::plain(name, Rule::Text)));
    let compared = [
        Compared { name: "made".to_owned(), columns: made.collect() },
        Compared { name: "plain".to_owned(), columns: vec![Asked::plain("a", Rule::Whole)] },
    ];
    wait_equal(&scene, "with generated columns", &compared)?;
    scene.finish()
}
