//! Every policy on every value that needs one: what is written is what the manual says, each use is counted, and a replay or a
//! restart writes the same.
//!
//! A case has a column for each policy in one wide table; `made` gets its target from `tailrace schema`, `by_hand` has narrower
//! columns than that. Rows 1 and 3 hold good values, which must arrive untouched, rows 2 and 4 bad ones.

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;

use super::{LENIENT, end};
use crate::harness::{PARTITIONS, READY_LIMIT, Scene, TargetKind, Texts};

/// Rows with a bad value in every column.
const BAD_ROWS: u32 = 2;
const USES: &str = "tailrace_apply_policy_uses_total";

struct Case {
    name: &'static str,
    /// In the source, and in the target where `schema` does not choose it.
    types: [&'static str; 2],
    /// A good value and a bad one.
    values: [&'static str; 2],
    /// The good one as the target prints it, in its own type and as a text.
    good: [&'static str; 2],
    /// As it is typed, and as the target prints it.
    sentinel: [&'static str; 2],
    text: Option<Text>,
    /// The bad value as the target prints it, if it holds it: then no policy is used.
    held: Option<&'static str>,
}

/// The bad value under the policy `text`.
#[derive(Clone, Copy)]
struct Text {
    print: &'static str,
    /// No column of another type would hold it either, where `schema` chooses the type.
    is_use: bool,
}

const fn case(
    name: &'static str,
    types: [&'static str; 2],
    values: [&'static str; 2],
    good: [&'static str; 2],
    sentinel: [&'static str; 2],
) -> Case {
    Case { name, types, values, good, sentinel, text: None, held: None }
}

impl Case {
    const fn text(self, print: &'static str) -> Case {
        Case { text: Some(Text { print, is_use: true }), ..self }
    }

    const fn plain_text(self, print: &'static str) -> Case {
        Case { text: Some(Text { print, is_use: false }), ..self }
    }

    const fn held(self, print: &'static str) -> Case {
        Case { text: Some(Text { print, is_use: false }), held: Some(print), ..self }
    }

    fn table(&self) -> &'static str {
        if self.types[1].is_empty() { "made" } else { "by_hand" }
    }

    fn columns(&self) -> Vec<Column<'_>> {
        let column = |policy| Column { case: self, policy };
        let text = self.text.map(|_| column("text"));
        [column("null"), column("sentinel")].into_iter().chain(text).collect()
    }
}

const DAY: [&str; 2] = ["2024-02-29"; 2];
const SURROGATE: Case =
    case("surrogate", ["VARCHAR(20)", ""], ["'a'", "_ucs2 0x0061D8000062"], ["a"; 2], ["?"; 2]).text("\\x61eda08062");
const EMPTY_LABELS: Case =
    case("two_empty_labels", ["ENUM('a','')", ""], ["'a'", "'no member'"], ["a"; 2], ["none"; 2]);

const POSTGRES: &[Case] = &[
    case("zero_date", ["DATE", ""], ["'2024-02-29'", "'0000-00-00'"], DAY, ["1970-01-01"; 2]).text("0000-00-00"),
    case(
        "zero_clock",
        ["DATETIME(6)", ""],
        ["'2024-02-29'", "'0000-00-00'"],
        ["2024-02-29 00:00:00", "2024-02-29 00:00:00.000000"],
        ["1970-01-01 00:00:00.5"; 2],
    )
    .text("0000-00-00 00:00:00.000000"),
    case(
        "zero_instant",
        ["TIMESTAMP NULL", ""],
        ["'2024-02-29'", "0"],
        ["2024-02-29 00:00:00", "2024-02-29 00:00:00Z"],
        ["1970-01-01 00:00:01Z", "1970-01-01 00:00:01"],
    )
    .text("0000-00-00 00:00:00Z"),
    case("month_zero", ["DATE", ""], ["'2024-02-29'", "'2024-00-00'"], DAY, ["0001-01-01"; 2]).text("2024-00-00"),
    case(
        "day_zero",
        ["DATETIME", ""],
        ["'2024-02-29'", "'2024-02-00 10:00:00'"],
        ["2024-02-29 00:00:00"; 2],
        ["9999-12-31 23:59:59"; 2],
    )
    .text("2024-02-00 10:00:00"),
    case("no_such_day", ["DATE", ""], ["'2024-02-29'", "'2024-02-31'"], DAY, ["2024-02-29"; 2]).text("2024-02-31"),
    case(
        "no_leap_day",
        ["DATETIME", ""],
        ["'2024-02-29'", "'2023-02-29'"],
        ["2024-02-29 00:00:00"; 2],
        ["2023-02-28 00:00:00"; 2],
    )
    .text("2023-02-29 00:00:00"),
    case("nul_in_varchar", ["VARCHAR(20)", ""], ["'a'", "CONCAT('ä', CHAR(0), 'b')"], ["a"; 2], ["?"; 2])
        .text("\\uc3a40062"),
    case("nul_in_text", ["TEXT CHARACTER SET latin1", ""], ["'\\\\\\\\x'", "CHAR(0)"], ["\\\\x"; 2], [""; 2])
        .text("\\u00"),
    SURROGATE,
    case("surrogate_utf8mb3", ["TEXT CHARACTER SET utf8mb3", ""], ["'a'", "_ucs2 0xD800"], ["a"; 2], ["a"; 2])
        .text("\\xeda080"),
    EMPTY_LABELS,
    case("nul_in_jsonb", ["JSON", "jsonb"], ["'1'", r#"'["a\\u0000b"]'"#], ["1"; 2], ["{}"; 2])
        .plain_text(r#"["a\u0000b"]"#),
    case("above_a_day", ["TIME", "time(0)"], ["'24:00:00'", "'838:59:59'"], ["24:00:00"; 2], ["23:59:59"; 2])
        .plain_text("838:59:59"),
    case(
        "below_zero",
        ["TIME(6)", "time"],
        ["'00:00:00'", "'-00:00:00.000001'"],
        ["00:00:00", "00:00:00.000000"],
        ["00:00:00"; 2],
    )
    .plain_text("-00:00:00.000001"),
    case(
        "above_bigint",
        ["BIGINT UNSIGNED", "bigint"],
        ["9223372036854775807", "9223372036854775808"],
        ["9223372036854775807"; 2],
        ["0"; 2],
    )
    .plain_text("9223372036854775808"),
    case("above_integer", ["INT UNSIGNED", "integer"], ["7", "2147483648"], ["7"; 2], ["2147483647"; 2])
        .plain_text("2147483648"),
    case("below_smallint", ["INT", "smallint"], ["-32768", "-32769"], ["-32768"; 2], ["-1"; 2]).plain_text("-32769"),
    case("no_boolean", ["TINYINT", "boolean"], ["1", "2"], ["true", "1"], ["0", "false"]).plain_text("2"),
    case("above_numeric", ["DECIMAL(10,2)", "numeric(5,2)"], ["1.1", "1000"], ["1.10"; 2], ["-999.99"; 2])
        .plain_text("1000.00"),
    case("above_digits", ["BIGINT", "numeric(18)"], ["-1", "1000000000000000000"], ["-1"; 2], ["0"; 2])
        .plain_text("1000000000000000000"),
    case("too_long", ["VARCHAR(20)", "varchar(3)"], ["'ééé'", "'é   '"], ["ééé"; 2], ["-"; 2]).plain_text("é   "),
    case("label_too_long", ["ENUM('a','abc')", "varchar(2)"], ["'a'", "'abc'"], ["a"; 2], ["??"; 2]),
];

const SQLITE: &[Case] = &[
    SURROGATE,
    EMPTY_LABELS,
    case("zero_date", ["DATE", ""], ["'2024-02-29'", "'0000-00-00'"], DAY, ["1970-01-01"; 2]).held("0000-00-00"),
    case("nul_in_varchar", ["VARCHAR(20)", ""], ["'a'", "CONCAT('a', CHAR(0), 'b')"], ["a"; 2], ["?"; 2]).held("a\0b"),
    case(
        "above_bigint",
        ["BIGINT UNSIGNED", "INTEGER"],
        ["7", "9223372036854775808"],
        ["7"; 2],
        ["9223372036854775807"; 2],
    )
    .plain_text("9223372036854775808"),
    case("bits", ["BIT(64)", "INTEGER"], ["7", "0x8000000000000000"], ["7"; 2], ["0"; 2]),
    case("negative_zero", ["DOUBLE", "REAL"], ["0.5", "-0e0"], ["0.5"; 2], ["-1.5"; 2]),
];

/// One column of a case.
struct Column<'c> {
    case: &'c Case,
    policy: &'static str,
}

impl Column<'_> {
    fn name(&self) -> String {
        format!("{}_{}", self.case.name, self.policy)
    }

    fn line(&self) -> String {
        let value = match self.policy {
            "sentinel" => format!("{{ sentinel = {:?} }}", self.case.sentinel[0]),
            word => format!("{word:?}"),
        };
        format!("columns.{}.on_unholdable = {value}\n", self.name())
    }

    /// Its type in a table that is made by hand.
    fn target_type(&self) -> &str {
        if self.policy == "text" { "text" } else { self.case.types[1] }
    }

    /// What the target is asked for.
    fn asked(&self, kind: TargetKind) -> String {
        let name = self.name();
        match kind {
            TargetKind::Sqlite => name,
            TargetKind::Postgres if self.case.name == "zero_instant" && self.policy != "text" => {
                format!("({name} AT TIME ZONE 'UTC')::text")
            }
            TargetKind::Postgres => format!("{name}::text"),
        }
    }

    fn good(&self) -> Option<String> {
        Some(self.case.good[usize::from(self.policy == "text")].to_owned())
    }

    fn bad(&self) -> Option<String> {
        match (self.policy, self.case.held, self.case.text) {
            ("text", _, Some(text)) => Some(text.print.to_owned()),
            (_, Some(held), _) => Some(held.to_owned()),
            ("sentinel", None, _) => Some(self.case.sentinel[1].to_owned()),
            _ => None,
        }
    }

    fn uses(&self) -> u32 {
        let is_use = match (self.policy, self.case.text) {
            ("text", Some(text)) => text.is_use,
            _ => self.case.held.is_none(),
        };
        if is_use { BAD_ROWS } else { 0 }
    }
}

#[test]
fn policies_write_what_they_say() -> Result<()> {
    let scene = Scene::new("policies")?;
    let (capture, mut apply) = check_by_log(&scene, POSTGRES)?;
    check_words(&scene)?;
    // From the beginning of the log, over rows that somebody spoiled meanwhile.
    end(&mut apply)?;
    scene.target("UPDATE made SET zero_date_null = '2000-01-01', zero_date_text = '' WHERE id IN (2, 3)")?;
    scene.target("UPDATE tailrace.offsets SET next_offset = 0, sequence = NULL")?;
    let mut again = scene.apply()?;
    scene.wait_drained()?;
    check_all(&scene, POSTGRES, &again).context("applied again")?;
    end(&mut again)?;
    drop(capture);
    scene.finish()
}

#[test]
fn policies_write_what_they_say_embedded() -> Result<()> {
    check_embedded(Scene::new("policies_embedded")?, POSTGRES)
}

#[test]
fn policies_write_what_they_say_in_a_file() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "policies_file")?;
    let (capture, apply) = check_by_log(&scene, SQLITE)?;
    drop((capture, apply));
    scene.finish()
}

#[test]
fn policies_write_what_they_say_in_a_file_embedded() -> Result<()> {
    check_embedded(Scene::to(TargetKind::Sqlite, "policies_file_embedded")?, SQLITE)
}

fn check_by_log(scene: &Scene, cases: &[Case]) -> Result<(Tailrace, Tailrace)> {
    let one_partition = scene.config().replace(&format!("partitions = {PARTITIONS}"), "partitions = 1");
    make_tables(scene, cases, &one_partition)?;
    let (capture, apply) = (scene.capture()?, scene.apply()?);
    change(scene, cases)?;
    check_all(scene, cases, &apply)?;
    Ok((capture, apply))
}

fn check_embedded(scene: Scene, cases: &[Case]) -> Result<()> {
    make_tables(&scene, cases, &scene.embedded_config())?;
    let mut process = scene.launch(&["run"])?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    change(&scene, cases)?;
    check_all(&scene, cases, &process)?;
    end(&mut process)?;
    scene.finish()
}

fn of_table<'c>(cases: &'c [Case], table: &str) -> Vec<Column<'c>> {
    cases.iter().filter(|case| case.table() == table).flat_map(Case::columns).collect()
}

/// The configuration with all policies, the tables in the source, and those in the target by `schema`; one is made anew by hand.
fn make_tables(scene: &Scene, cases: &[Case], config: &str) -> Result<()> {
    let mut config = config.to_owned();
    for table in ["made", "by_hand"] {
        let columns = of_table(cases, table);
        let lines: String = columns.iter().map(Column::line).collect();
        config.push_str(&format!("\n[[table]]\nsource = \"{}.{table}\"\nbackfill = \"off\"\n{lines}", scene.database));
        let source: Vec<String> =
            columns.iter().map(|column| format!("{} {}", column.name(), column.case.types[0])).collect();
        scene.source(&format!("{LENIENT} CREATE TABLE {table} (id INT PRIMARY KEY, {})", source.join(", ")))?;
    }
    // A required column takes NULL where the policy asks for it; a key is a text.
    scene.source("CREATE TABLE keyed (day DATE, id INT, paid DATE NOT NULL, note INT, PRIMARY KEY (day, id))")?;
    config.push_str(&format!(
        "\n[[table]]\nsource = \"{}.keyed\"\nbackfill = \"off\"\ncolumns.day.on_unholdable = \"text\"\ncolumns.paid.on_unholdable = \"null\"\n",
        scene.database
    ));
    scene.write_config(&config)?;
    scene.make_target()?;
    let columns = of_table(cases, "by_hand");
    let narrow: Vec<String> =
        columns.iter().map(|column| format!("{} {}", column.name(), column.target_type())).collect();
    let strict = if scene.target_kind == TargetKind::Sqlite { "STRICT" } else { "" };
    let create = format!("CREATE TABLE by_hand (id integer PRIMARY KEY, {}) {strict}", narrow.join(", "));
    scene.target(&format!("DROP TABLE by_hand; {create}"))
}

fn change(scene: &Scene, cases: &[Case]) -> Result<()> {
    const MODE: &str = "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00';";
    for table in ["made", "by_hand"] {
        let columns = of_table(cases, table);
        for id in 1..=4 {
            let values: Vec<&str> = columns.iter().map(|column| column.case.values[(id + 1) % 2]).collect();
            scene.source(&format!("{MODE} INSERT INTO {table} VALUES ({id}, {})", values.join(", ")))?;
        }
    }
    for statement in [
        "INSERT INTO keyed VALUES ('0000-00-00', 1, '0000-00-00', 0), ('2024-02-31', 2, '2024-02-31', 0), \
         ('2024-02-29', 3, '2024-02-29', 0)",
        "UPDATE keyed SET note = 1",
        "DELETE FROM keyed WHERE day = '2024-02-31'",
        "UPDATE keyed SET day = '2024-00-00' WHERE id = 3",
    ] {
        scene.source(&format!("{MODE} {statement}"))?;
    }
    scene.wait_drained()
}

/// All rows are as documented, and each use is counted once for each row.
fn check_all(scene: &Scene, cases: &[Case], process: &Tailrace) -> Result<()> {
    let metrics = process.metrics()?;
    for table in ["made", "by_hand"] {
        let columns = of_table(cases, table);
        let asked: Vec<String> = columns.iter().map(|column| column.asked(scene.target_kind)).collect();
        let rows = scene.target_rows(&format!("SELECT {} FROM {table} ORDER BY id", asked.join(", ")))?;
        ensure!(rows.len() == 4, "{table} has {} rows", rows.len());
        for (place, column) in columns.iter().enumerate() {
            let found: Texts = rows.iter().map(|row| row[place].clone()).collect();
            let wanted = [column.good(), column.bad(), column.good(), column.bad()];
            ensure!(found == wanted, "{}: {found:?} is not {wanted:?}", column.name());
            let labels = format!("column=\"{}\",policy=\"{}\"", column.name(), column.policy);
            let uses = metrics.labelled(USES, &labels).unwrap_or(0.0);
            ensure!(uses == f64::from(column.uses()), "{labels}: {uses} uses are counted, not {}", column.uses());
        }
    }
    let form = if scene.target_kind == TargetKind::Postgres { "paid::text" } else { "paid" };
    let keyed = scene.target_rows(&format!("SELECT day, id, {form}, note FROM keyed ORDER BY id"))?;
    let text = |text: &str| Some(text.to_owned());
    let paid = if scene.target_kind == TargetKind::Postgres { None } else { text("0000-00-00") };
    let wanted = [
        vec![text("0000-00-00"), text("1"), paid, text("1")],
        vec![text("2024-00-00"), text("3"), text("2024-02-29"), text("1")],
    ];
    ensure!(keyed == wanted, "the keyed table holds {keyed:?}");
    Ok(())
}

/// `schema`, `check` and `status` tell of the policies.
fn check_words(scene: &Scene) -> Result<()> {
    let says = |arguments: &[&str], wanted: &[&str]| -> Result<()> {
        let finished = scene.launch(arguments)?.run(READY_LIMIT)?;
        ensure!(finished.code == Some(0), "{arguments:?}: {finished:?}");
        let missing: Vec<_> = wanted.iter().filter(|wanted| !finished.stdout.contains(**wanted)).collect();
        ensure!(missing.is_empty(), "{arguments:?} does not say {missing:?}: {}", finished.stdout);
        Ok(())
    };
    let null = "columns.zero_date_null.on_unholdable = \"null\"";
    let sentinel = "columns.zero_date_sentinel.on_unholdable = { sentinel = \"1970-01-01\" }";
    let note = |line: &str| format!("NULL is written for zero dates and days that do not exist; {line}");
    says(
        &["schema"],
        &[&format!("-- zero_date_null: {}", note(null)), sentinel, "\"day\" text COLLATE \"C\" NOT NULL"],
    )?;
    says(
        &["check"],
        &["usable: 0 errors", &note(null), sentinel, "above_bigint_text: a text holds what the target's"],
    )?;
    says(&["status"], &[&format!("zero_date_null: the policy null was used for {BAD_ROWS} values")])
}
