//! Values that the target can't hold stop their table, by table, column and place; the other tables go on; after the target
//! or the row is mended a restart goes on from where the table stopped, and everything ends equal.
//!
//! All cases share one capture and one apply. Each has a table of its own with one good row, then the bad one, then a good
//! one again, which must wait behind it.

use anyhow::{Context, Result, ensure};

use super::rules::Rule;
use super::tables::{Asked, Compared, mysql_name, postgres_name, wait_equal};
use super::{LENIENT, begin_apply};
use crate::bad_input::has_stopped_tables;
use crate::harness::{DRAIN_LIMIT, PARTITIONS, READY_LIMIT, Scene, wait_until};

/// The column that must be named; like no other word.
const COLUMN: &str = "refused_column";

/// How the table is brought to go on.
enum Mend {
    /// A wider type: `ALTER TABLE … ALTER COLUMN …`.
    Column(&'static str),
    /// Another change of the target: `$` is the table.
    Target(&'static str),
    /// The row itself gets this value in the source, for no type of PostgreSQL holds the old one.
    Row(&'static str),
}

struct Case {
    name: &'static str,
    /// Types in MySQL and in PostgreSQL.
    types: [&'static str; 2],
    /// Values that PostgreSQL holds and does not hold.
    values: [&'static str; 2],
    rule: Rule,
    mend: Mend,
}

const fn case(name: &'static str, types: [&'static str; 2], values: [&'static str; 2], rule: Rule, mend: Mend) -> Case {
    Case { name, types, values, rule, mend }
}

const CASES: &[Case] = &[
    case("zero_date", ["DATE", "date"], ["'2024-02-29'", "'0000-00-00'"], Rule::Day, Mend::Row("'2024-03-01'")),
    case(
        "zero_clock",
        ["DATETIME(6)", "timestamp(6)"],
        ["'2024-02-29'", "'0000-00-00'"],
        Rule::DayAndTime,
        Mend::Row("NULL"),
    ),
    case("zero_instant", ["TIMESTAMP NULL", "timestamptz(0)"], ["'2024-02-29'", "0"], Rule::Instant, Mend::Row("NULL")),
    case("month_zero", ["DATE", "date"], ["'2024-02-29'", "'2024-00-00'"], Rule::Day, Mend::Row("NULL")),
    case(
        "day_zero",
        ["DATETIME", "timestamp"],
        ["'2024-02-29'", "'2024-02-00 10:00:00'"],
        Rule::DayAndTime,
        Mend::Row("NULL"),
    ),
    case("no_such_day", ["DATE", "date"], ["'2024-02-29'", "'2024-02-31'"], Rule::Day, Mend::Row("'2024-03-02'")),
    case(
        "no_leap_day",
        ["DATETIME", "timestamp"],
        ["'2024-02-29'", "'2023-02-29 00:00:00'"],
        Rule::DayAndTime,
        Mend::Row("NULL"),
    ),
    case(
        "nul_in_varchar",
        ["VARCHAR(20)", "text"],
        ["'a'", "CONCAT('a', CHAR(0), 'b')"],
        Rule::Text,
        Mend::Row("'ab'"),
    ),
    case("nul_in_text", ["TEXT CHARACTER SET latin1", "text"], ["'a'", "CHAR(0)"], Rule::Text, Mend::Row("''")),
    case("surrogate", ["VARCHAR(20)", "text"], ["'a'", "_ucs2 0x0061D8000062"], Rule::Text, Mend::Row("'a?b'")),
    // Bytes that the server itself shows as a question mark.
    case(
        "unassigned_gbk",
        ["VARCHAR(20) CHARACTER SET gbk", "text"],
        ["_gbk 0xD6D0", "_gbk 0xFEA0"],
        Rule::Text,
        Mend::Row("'中'"),
    ),
    case(
        "surrogate_utf8mb3",
        ["TEXT CHARACTER SET utf8mb3", "text"],
        ["'a'", "_ucs2 0xD800"],
        Rule::Text,
        Mend::Row("''"),
    ),
    case(
        "nul_in_jsonb",
        ["JSON", "jsonb"],
        ["'1'", r#"'["a\\u0000b"]'"#],
        Rule::Json,
        Mend::Column("TYPE json USING $::json"),
    ),
    case(
        "time_above_a_day",
        ["TIME", "time(0)"],
        ["'24:00:00'", "'838:59:59'"],
        Rule::Time,
        Mend::Column("TYPE interval USING $::interval"),
    ),
    case(
        "time_below_zero",
        ["TIME(6)", "time"],
        ["'00:00:00'", "'-00:00:00.000001'"],
        Rule::Time,
        Mend::Column("TYPE interval USING $::interval"),
    ),
    case(
        "above_bigint",
        ["BIGINT UNSIGNED", "bigint"],
        ["9223372036854775807", "9223372036854775808"],
        Rule::Whole,
        Mend::Column("TYPE numeric(20)"),
    ),
    case(
        "above_integer",
        ["INT UNSIGNED", "integer"],
        ["2147483647", "2147483648"],
        Rule::Whole,
        Mend::Column("TYPE bigint"),
    ),
    case("below_smallint", ["INT", "smallint"], ["-32768", "-32769"], Rule::Whole, Mend::Column("TYPE integer")),
    case("no_boolean", ["TINYINT", "boolean"], ["1", "2"], Rule::Whole, Mend::Column("TYPE smallint USING $::int")),
    case(
        "above_numeric",
        ["DECIMAL(10,2)", "numeric(5,2)"],
        ["999.99", "1000.00"],
        Rule::Decimal,
        Mend::Column("TYPE numeric(10,2)"),
    ),
    case(
        "above_digits",
        ["BIGINT", "numeric(18)"],
        ["-999999999999999999", "1000000000000000000"],
        Rule::Whole,
        Mend::Column("TYPE numeric"),
    ),
    case("too_long", ["VARCHAR(20)", "varchar(3)"], ["'ééé'", "'é   '"], Rule::Text, Mend::Column("TYPE varchar(20)")),
    case("label_too_long", ["ENUM('a','abc')", "varchar(2)"], ["'a'", "'abc'"], Rule::Text, Mend::Column("TYPE text")),
    case("two_empty_labels", ["ENUM('a','')", "text"], ["'a'", "'no member'"], Rule::Text, Mend::Row("'a'")),
    case("null_value", ["INT", "integer NOT NULL"], ["1", "NULL"], Rule::Whole, Mend::Column("DROP NOT NULL")),
    case(
        "scale_cut",
        ["DECIMAL(10,2)", "numeric(10,1)"],
        ["1.0", "1.11"],
        Rule::Decimal,
        Mend::Column("TYPE numeric(10,2)"),
    ),
    case(
        "fraction_cut",
        ["DATETIME(3)", "timestamp(1)"],
        ["'2024-02-29'", "'2024-02-29 10:00:00.125'"],
        Rule::DayAndTime,
        Mend::Column("TYPE timestamp(3)"),
    ),
    case("other_meaning", ["VARCHAR(20)", "integer"], ["'1'", "'2'"], Rule::Text, Mend::Column("TYPE text")),
    case(
        "check_violated",
        ["INT", "integer CHECK (refused_column < 10)"],
        ["9", "10"],
        Rule::Whole,
        Mend::Target("ALTER TABLE $ DROP CONSTRAINT check_violated_refused_column_check"),
    ),
    case(
        "unique_violated",
        ["INT", "integer UNIQUE"],
        ["1", "1"],
        Rule::Whole,
        Mend::Target("ALTER TABLE $ DROP CONSTRAINT unique_violated_refused_column_key"),
    ),
];

/// Cases whose target type is refused as such, before the first value: not even the good row may be written.
const TYPE_CASES: &[&str] = &["scale_cut", "fraction_cut", "other_meaning"];

/// Cases that no policy lets through, beside those of the types.
const WITHOUT_POLICY: &[&str] = &["null_value", "check_violated", "unique_violated"];

/// Cases in which PostgreSQL refuses a row without naming a column, only a constraint.
const CONSTRAINT_CASES: &[(&str, &str)] = &[
    ("check_violated", "check_violated_refused_column_check"),
    ("unique_violated", "unique_violated_refused_column_key"),
];

#[test]
fn what_the_target_can_not_hold_stops_its_table() -> Result<()> {
    let scene = Scene::new("refused")?;
    make_tables(&scene)?;
    let capture = scene.capture()?;
    let mut apply = begin_apply(&scene, &one_partition(&scene.config()))?;

    insert(&scene, 1, |case| case.values[0])?;
    scene.source("INSERT INTO bystander VALUES (1, 'before')")?;
    let (typed, valued): (Vec<&Case>, Vec<&Case>) = CASES.iter().partition(|case| TYPE_CASES.contains(&case.name));
    wait_equal(&scene, "before the bad values", &valued.iter().map(|case| compared(case)).collect::<Vec<_>>())?;
    insert(&scene, 2, |case| case.values[1])?;
    insert(&scene, 3, |case| if case.name == "unique_violated" { "3" } else { case.values[0] })?;
    scene.source("INSERT INTO bystander VALUES (2, 'while the others stand')")?;
    wait_until("every case stops its table", DRAIN_LIMIT, || Ok(has_stopped_tables(&apply, CASES.len())))?;
    wait_equal(&scene, "of the bystander", &[bystander()])?;
    for case in CASES {
        let rows = scene.target_number(&format!("SELECT count(*) FROM {}", case.name))?;
        let expected = i64::from(!typed.iter().any(|typed| typed.name == case.name));
        ensure!(rows == expected, "{}: {rows} rows, though the bad one stops the table", case.name);
    }
    let health = apply.health()?;
    ensure!(health.status == 503 && health.body.contains("degraded"), "/healthz: {health:?}");
    apply.terminate()?;
    let status = apply.wait_exit(READY_LIMIT)?;
    ensure!(status.code() == Some(4), "apply with stopped tables ended with {status}");
    for case in CASES {
        check_place(&scene, case, &apply.log_text()).context(case.name)?;
    }

    check_end_without_bystander(&scene)?;
    mend(&scene)?;
    let mut apply = scene.apply()?;
    let all: Vec<Compared> = CASES.iter().map(compared).chain([bystander()]).collect();
    wait_equal(&scene, "after mending", &all)?;
    apply.terminate()?;
    let status = apply.wait_exit(READY_LIMIT)?;
    ensure!(status.code() == Some(0), "apply of mended tables ended with {status}");
    drop(capture);
    scene.finish()
}

/// Source and target tables, and one partition each: what comes behind a bad row can't overtake it.
fn make_tables(scene: &Scene) -> Result<()> {
    scene.write_config(&one_partition(&scene.config()))?;
    scene.source("CREATE TABLE bystander (id INT PRIMARY KEY, note VARCHAR(40))")?;
    scene.make_target()?;
    for case in CASES {
        let [source, target] = case.types;
        scene.source(&format!("{LENIENT} CREATE TABLE {} (id INT PRIMARY KEY, {COLUMN} {source})", case.name))?;
        scene.target(&format!("CREATE TABLE {} (id integer PRIMARY KEY, {COLUMN} {target})", case.name))?;
    }
    Ok(())
}

fn one_partition(config: &str) -> String {
    config.replace(&format!("partitions = {PARTITIONS}"), "partitions = 1")
}

fn insert(scene: &Scene, id: u32, value: impl Fn(&Case) -> &'static str) -> Result<()> {
    for case in CASES {
        let (name, value) = (case.name, value(case));
        scene.source(&format!("SET sql_mode = 'ALLOW_INVALID_DATES'; INSERT INTO {name} VALUES ({id}, {value})"))?;
    }
    Ok(())
}

fn compared(case: &Case) -> Compared {
    Compared {
        name: case.name.to_owned(),
        columns: vec![Asked { target_form: form(case), ..Asked::plain(COLUMN, case.rule) }],
    }
}

/// Before it is mended a column has another type; good values are the same in both.
fn form(case: &Case) -> &'static str {
    match case.name {
        "no_boolean" => "CASE $::text WHEN 't' THEN '1' WHEN 'true' THEN '1' ELSE $::text END",
        _ => "$",
    }
}

fn bystander() -> Compared {
    Compared { name: "bystander".to_owned(), columns: vec![Asked::plain("note", Rule::Text)] }
}

/// Where the record lies at which a table must stop.
fn bad_offset(scene: &Scene, case: &Case) -> Result<i64> {
    let id = if TYPE_CASES.contains(&case.name) { "\"id\":1" } else { "\"id\":2" };
    let mut first = None;
    scene.read_topic(&scene.topic(case.name), |record| {
        let is_it = String::from_utf8_lossy(record.key.unwrap_or_default()).contains(id);
        first = first.or(is_it.then_some(record.offset));
        Ok(())
    })?;
    first.with_context(|| format!("{}: the topic lacks the bad record", case.name))
}

/// One line for each case names table, column (or constraint) and the record's place in the log; the target's offset is not
/// behind that record.
fn check_place(scene: &Scene, case: &Case, log: &str) -> Result<()> {
    let table = format!("{}.{}", scene.database, case.name);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&table) && line.contains("ERROR")).collect();
    let constraint = CONSTRAINT_CASES.iter().find(|(name, _)| *name == case.name);
    let named = constraint.map_or(COLUMN, |(_, constraint)| constraint);
    ensure!(lines.iter().any(|line| line.contains(named)), "no error names {named}: {lines:#?}");
    let advice = format!("columns.{COLUMN}.on_unholdable = \"null\"");
    let has_policy = !TYPE_CASES.contains(&case.name) && !WITHOUT_POLICY.contains(&case.name);
    let is_advised = lines.iter().any(|line| line.contains(&advice));
    ensure!(is_advised == has_policy, "{advice} is said: {is_advised}: {lines:#?}");
    let offset = bad_offset(scene, case)?;
    if !TYPE_CASES.contains(&case.name) {
        let place = format!("offset {offset}");
        ensure!(lines.iter().any(|line| line.contains(&place)), "no error names the place {place}: {lines:#?}");
    }
    let query = format!("SELECT coalesce(max(next_offset), 0) FROM tailrace.offsets WHERE \"table\" = '{}'", case.name);
    let stored = scene.target_number(&query)?;
    ensure!(stored <= offset, "the offset {stored} moved behind the bad record at {offset}");
    Ok(())
}

/// With nothing but stopped tables apply ends by itself, with the same exit code.
fn check_end_without_bystander(scene: &Scene) -> Result<()> {
    let config = std::fs::read_to_string(scene.config_file())?;
    let rules: String =
        CASES.iter().map(|case| format!("[[table]]\nsource = \"{}.{}\"\n", scene.database, case.name)).collect();
    let whole = format!("[[table]]\nsource = \"{}.*\"\n", scene.database);
    scene.write_config(&config.replace(&whole, &rules))?;
    let finished = scene.command(&["apply"])?;
    ensure!(finished.code == Some(4), "apply with nothing but stopped tables: {finished:?}");
    scene.write_config(&config)
}

fn mend(scene: &Scene) -> Result<()> {
    for case in CASES {
        let name = case.name;
        let column = postgres_name(COLUMN);
        match case.mend {
            Mend::Column(change) => {
                let change = change.replace('$', &column);
                scene.target(&format!("ALTER TABLE {name} ALTER COLUMN {column} {change}"))?;
            }
            Mend::Target(statement) => scene.target(&statement.replace('$', name))?,
            Mend::Row(value) => {
                let column = mysql_name(COLUMN);
                scene.source(&format!("{LENIENT} UPDATE {name} SET {column} = {value} WHERE id = 2"))?;
            }
        }
    }
    Ok(())
}
