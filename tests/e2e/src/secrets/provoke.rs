//! Failures whose natural words quote values: PostgreSQL's DETAIL, CONTEXT and messages of triggers, broken connections with
//! rows on the way, records that can't be read, statements, logins.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::process::Tailrace;

use super::Said;
use super::planted::{BYTES, CLOCK, DECIMAL, KEY, LITERAL, NUMBER, RECORD, TEXT, WRONG_PASSWORD};
use crate::bad_input::{Raw, has_stopped_tables, produce};
use crate::harness::{DRAIN_LIMIT, MYSQL_PASSWORD, POSTGRES_PASSWORD, READY_LIMIT, Scene, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Tables that stop, and what makes the target refuse them; `$` is the table.
const REFUSALS: &[(&str, &str)] = &[
    ("too_long", "ALTER TABLE $ ALTER COLUMN value TYPE varchar(5)"),
    ("number_too_large", "ALTER TABLE $ ALTER COLUMN number TYPE integer"),
    ("decimal_too_large", "ALTER TABLE $ ALTER COLUMN amount TYPE numeric(10,6)"),
    ("unique_violated", "ALTER TABLE $ ADD UNIQUE (value)"),
    ("check_violated", "ALTER TABLE $ ADD CHECK (value = 'x')"),
    ("null_violated", "ALTER TABLE $ ALTER COLUMN nothing SET NOT NULL"),
    ("reference_violated", "CREATE TABLE others (value text PRIMARY KEY); ALTER TABLE $ ADD FOREIGN KEY (value) REFERENCES others"),
    ("excluded", "ALTER TABLE $ ADD EXCLUDE (value WITH =)"),
    (
        "no_partition",
        "DROP TABLE $; CREATE TABLE $ (id text COLLATE \"C\" PRIMARY KEY, value text, number bigint, amount numeric(20,6), at timestamp(6),
           bytes bytea, document json, nothing int) PARTITION BY RANGE (id); CREATE TABLE a_part PARTITION OF $ FOR VALUES FROM ('a') TO ('b')",
    ),
    ("generated_fails", "ALTER TABLE $ ADD COLUMN broken int GENERATED ALWAYS AS (value::int) STORED"),
    (
        "trigger_raises",
        "CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           RAISE EXCEPTION 'row % is bad', NEW USING DETAIL = NEW.value, HINT = NEW.id; END $f$;
         CREATE TRIGGER raises BEFORE INSERT ON $ FOR EACH ROW EXECUTE FUNCTION raises()",
    ),
    (
        "trigger_fails",
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           EXECUTE 'SELECT ''' || NEW.value || '''::int'; RETURN NEW; END $f$;
         CREATE TRIGGER fails AFTER INSERT ON $ FOR EACH ROW EXECUTE FUNCTION fails()",
    ),
    (
        "trigger_misspells",
        "CREATE FUNCTION misspells() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           EXECUTE format('SELECT * FROM %I', NEW.value); RETURN NEW; END $f$;
         CREATE TRIGGER misspells AFTER INSERT ON $ FOR EACH ROW EXECUTE FUNCTION misspells()",
    ),
];

/// Tables whose rows no target holds.
const UNHOLDABLE: &[(&str, &str)] = &[
    ("zero_clock", "at = '0000-00-00'"),
    ("nul_in_text", "value = CONCAT(value, CHAR(0))"),
    ("surrogate", "value = _ucs2 0x0070006C0061006E007400650064002D0074006500780074D800"),
];

/// All of them stop.
const REFUSED_COUNT: usize = REFUSALS.len() + UNHOLDABLE.len();

/// Tables into whose topics somebody writes.
const DAMAGED: &[&str] = &["garbage", "truncated", "wrong_type"];

/// Tables of which the log can't follow a change.
const UNFOLLOWABLE: &[(&str, &str)] = &[
    ("statement_format", "SET binlog_format = STATEMENT; UPDATE $ SET value = '@' WHERE id <> '@'"),
    ("partial_image", "SET binlog_row_image = MINIMAL; UPDATE $ SET id = CONCAT(id, '@')"),
    (
        "partial_document",
        "SET binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON; UPDATE $ SET document = JSON_SET(document, '$$.a', '@')",
    ),
    ("too_large", "UPDATE $ SET document = JSON_QUOTE(REPEAT('@', 300000))"),
];

const COLUMNS: &str =
    "id VARCHAR(80) PRIMARY KEY, value VARCHAR(200), number BIGINT, amount DECIMAL(20,6), at DATETIME(6),
    bytes VARBINARY(80), document JSON, nothing INT";

/// The good table is written to all the time.
const GOOD: &str = "good";

/// Makes all tables on both sides.
pub(super) fn make_tables(scene: &Scene) -> Result<()> {
    let refused = REFUSALS.iter().chain(UNHOLDABLE).map(|(table, _)| *table);
    for table in refused.chain(DAMAGED.iter().copied()).chain([GOOD, "noticed"]) {
        scene.source(&format!("CREATE TABLE {table} ({COLUMNS})"))?;
    }
    scene.make_target()?;
    for (table, statement) in REFUSALS {
        scene.target(&statement.replace("$f$", "\u{0}").replace('$', table).replace('\u{0}', "$f$"))?;
    }
    // What succeeds may speak as well.
    scene.target(
        "CREATE FUNCTION notices() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           RAISE NOTICE 'saw %', NEW; RAISE WARNING 'saw %', NEW; RETURN NEW; END $f$;
         CREATE TRIGGER notices BEFORE INSERT ON noticed FOR EACH ROW EXECUTE FUNCTION notices()",
    )
}

fn insert(scene: &Scene, table: &str, number: u32) -> Result<()> {
    scene.source(&format!(
        "INSERT INTO {table} VALUES ('{KEY}-{number}', '{TEXT}', {NUMBER}, {DECIMAL}, '{CLOCK}', '{BYTES}', '{{\"a\": \"{TEXT}\"}}', NULL)"
    ))
}

fn wait_good(scene: &Scene, count: i64) -> Result<()> {
    let query = format!("SELECT count(*) FROM {GOOD}");
    wait_until("the good table arrives", DRAIN_LIMIT, || Ok(scene.target_number(&query)? == count))
}

/// Every way in which the target refuses a row.
pub(super) fn refused_rows(scene: &Scene, apply: &Tailrace) -> Result<()> {
    // Twice, so that unique values collide and a key is updated.
    for number in [1, 2] {
        for table in REFUSALS.iter().map(|(table, _)| *table).chain(["noticed", GOOD]) {
            insert(scene, table, number)?;
        }
    }
    for (table, change) in UNHOLDABLE {
        insert(scene, table, 1)?;
        scene.source(&format!("SET sql_mode = ''; UPDATE {table} SET {change}"))?;
    }
    for table in DAMAGED {
        insert(scene, table, 1)?;
    }
    wait_good(scene, 2)?;
    wait_until("every refused table has stopped", DRAIN_LIMIT, || Ok(has_stopped_tables(apply, REFUSED_COUNT)))
}

/// Servers that die while rows are on their way.
pub(super) fn server_restarts(scene: &Scene, apply: &Tailrace, said: &Said) -> Result<()> {
    wait_until("apply has met the refused rows again", DRAIN_LIMIT, || Ok(has_stopped_tables(apply, REFUSED_COUNT)))?;
    scene.servers.postgres.kill()?;
    insert(scene, GOOD, 3)?;
    wait_until("apply waits for the target", LIMIT, || Ok(apply.health()?.body.contains("waiting")))?;
    said.keep_served(scene, "target-away")?;
    scene.servers.postgres.start()?;
    wait_good(scene, 3)?;
    scene.servers.kafka.kill()?;
    insert(scene, GOOD, 4)?;
    scene.servers.kafka.start()?;
    wait_good(scene, 4)?;
    insert(scene, GOOD, 5)?;
    scene.servers.mysql.kill()?;
    scene.servers.mysql.start()?;
    insert(scene, GOOD, 6)?;
    wait_good(scene, 6)
}

/// Records of somebody else, with values in every part.
pub(super) fn damaged_records(scene: &Scene) -> Result<()> {
    for table in DAMAGED {
        let mut raw = Raw::first(scene, &scene.topic(table))?;
        match *table {
            "garbage" => {
                let headers = vec![(RECORD.to_owned(), RECORD.into())];
                raw = Raw { key: RECORD.into(), value: RECORD.into(), headers };
            }
            "truncated" => raw.value.truncate(raw.value.len() / 2),
            _ => raw = raw.replaced(&format!("\"number\":{NUMBER}"), &format!("\"number\":\"{RECORD}\"")),
        }
        produce(scene, &scene.topic(table), &raw)?;
        insert(scene, table, 2)?;
    }
    insert(scene, GOOD, 7)?;
    wait_good(scene, 7)?;
    let log = scene.folder().join("apply.log");
    wait_until("every damaged record is met", DRAIN_LIMIT, || {
        let text = std::fs::read_to_string(&log)?;
        Ok(DAMAGED.iter().all(|table| text.contains(&format!("{}[", scene.topic(table)))))
    })
}

/// Each with a capture and topics of its own.
pub(super) fn unfollowable_changes(scene: &Scene) -> Result<()> {
    let whole = scene.config();
    for (table, change) in UNFOLLOWABLE {
        scene.source(&format!("CREATE TABLE {table} ({COLUMNS})"))?;
        let name = format!("{}-{}", scene.prefix, table.replace('_', "-"));
        let config = whole
            .replace(&format!("prefix = \"{}\"", scene.prefix), &format!("prefix = \"{name}\""))
            .replace(&format!("{}.*", scene.database), &format!("{}.{table}", scene.database));
        scene.write_config(&config)?;
        let format = if table.len() % 2 == 0 { "json" } else { "human" };
        let mut capture = scene.launch(&["capture", "--log-level", "trace", "--log-format", format])?.spawn()?;
        capture.wait_ready(READY_LIMIT)?;
        insert(scene, table, 1)?;
        let change = change.replace("$$", "\u{0}").replace('$', table).replace('\u{0}', "$").replace('@', LITERAL);
        scene.source(&change)?;
        let status = capture.wait_exit(LIMIT)?;
        ensure!(!status.success(), "{table}: capture ended with {status}");
    }
    scene.write_config(&whole)
}

/// Logins with a password that is wrong, on each server.
pub(super) fn wrong_passwords(scene: &Scene, said: &Said) -> Result<()> {
    for (command, variable) in [("capture", MYSQL_PASSWORD), ("apply", POSTGRES_PASSWORD)] {
        let launch = scene.launch(&[command, "--log-level", "trace"])?.variable(variable, WRONG_PASSWORD);
        let finished = launch.run(LIMIT)?;
        ensure!(finished.code == Some(1), "{command} with a wrong password: {finished:?}");
        said.keep(&format!("{command}-wrong-password"), &finished)?;
    }
    // The broker knows no logins: the client must give up, or wait without a word of the password.
    let whole = scene.config();
    let addresses = scene.addresses();
    let with_login = whole
        .replace(&format!("kafka://{}", addresses.kafka), &format!("kafka://{KEY}@{}", addresses.kafka))
        .replace("prefix = ", "sasl = \"SCRAM-SHA-256\"\npassword = { env = \"E2E_KAFKA_PASSWORD\" }\nprefix = ");
    scene.write_config(&with_login)?;
    let launch = scene.launch(&["apply", "--log-level", "trace"])?.variable("E2E_KAFKA_PASSWORD", WRONG_PASSWORD);
    let mut apply = launch.spawn()?;
    // The client tries for half a minute before it gives up.
    wait_until("the login at Kafka has failed", 3 * LIMIT, || {
        Ok(!apply.is_running() || apply.health().is_ok_and(|answer| answer.body.contains("waiting")))
    })?;
    ensure!(!apply.log_text().contains("has 1 problem"), "the configuration was refused: {}", apply.log_text());
    if let Ok(answer) = apply.health() {
        said.keep_text("kafka-login", &answer.body)?;
    }
    scene.write_config(&whole)?;
    // A password where none may stand.
    scene.write_config(&whole.replace("mysql://tailrace@", &format!("mysql://tailrace:{WRONG_PASSWORD}@")))?;
    let finished = scene.launch(&["capture", "--log-level", "trace"])?.run(LIMIT)?;
    ensure!(finished.code == Some(2), "a password in a URL: {finished:?}");
    said.keep("password-in-url", &finished)?;
    scene.write_config(&whole)
}
