//! Topics that Debezium itself wrote: `tailrace apply` reads recorded ones (its snapshot, its stream, and its stream with the
//! settings that lose less), and PostgreSQL then holds what MySQL holds after the SQL that was recorded.
//!
//! The records are raw bytes of the real Debezium but for the database's name. Rows of which it lost a value (docs/debezium.md
//! says which; a test of the codec lists every one) are left out of both sides. One that must stop its table comes last.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::harness::{DRAIN_LIMIT, READY_LIMIT, Scene, wait_until};

const SQL: &str = include_str!("../../../connectors/kafka/testdata/debezium/mysql_types.sql");

/// Every table whose types are ours and that has a primary key, but for `t_default`: each of its rows has a zero date.
const TABLES: &[&str] = &[
    "t_int",
    "t_bit",
    "t_decimal",
    "t_float",
    "t_text",
    "t_binary",
    "t_enum_set",
    "t_date",
    "t_time",
    "t_datetime",
    "t_timestamp",
    "t_json",
    "t_pk_composite",
    "t_pk_types",
    "t_delete",
];

/// What one connector wrote, and how it was set.
struct Run {
    name: &'static str,
    records: &'static str,
    settings: &'static str,
    /// Rows that lose something more than in the runs before.
    lost: &'static [(&'static str, &'static [u32])],
}

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../connectors/kafka/testdata/debezium/", $name, ".tsv"))
    };
}

const RUNS: [Run; 3] = [
    Run {
        name: "snapshot",
        records: recorded!("mysql_plain_snapshot"),
        settings: "",
        lost: &[
            ("t_date", &[2, 3, 4, 5, 6, 7, 8, 9]),
            ("t_datetime", &[2, 3, 4, 6]),
            // Beside the ENUM's '': members with characters that MySQL's dictionary does not show.
            ("t_enum_set", &[3, 4, 5, 7]),
            ("t_timestamp", &[4]),
            ("t_delete", &[3]),
            // Six digits.
            ("t_float", &[1, 2, 3, 7, 8]),
            // PostgreSQL has no NUL in text.
            ("t_text", &[4]),
        ],
    },
    Run {
        name: "stream",
        records: recorded!("mysql_plain_stream"),
        settings: "boolean_true = \"one\"\n",
        // BOOLEAN, REAL, JSON in texts of Debezium's own.
        lost: &[("t_bit", &[4]), ("t_float", &[4, 6]), ("t_json", &[10, 11, 15, 17, 18])],
    },
    Run {
        name: "lossless",
        records: recorded!("mysql_alt_stream"),
        settings: "decimal_handling_mode = \"string\"\ndecimal_format = \"numeric\"\n\
                   bigint_unsigned_handling_mode = \"precise\"\nbinary_handling_mode = \"base64\"\n\
                   time_precision_mode = \"isostring\"\nboolean_true = \"one\"\n",
        // What `isostring` makes of TIME below zero and from a day on; rows whose later changes were not recorded.
        lost: &[("t_time", &[3, 4, 5, 6, 7, 8, 9, 10]), ("t_int", &[3, 4]), ("t_json", &[8])],
    },
];

#[test]
fn topics_of_debezium_are_applied() -> Result<()> {
    let scene = Scene::new("debezium_topics")?;
    let (_, tables) = SQL.split_once("USE inventory;").context("the SQL chooses its database")?;
    let (tables, _) = tables.split_once("-- 20. truncate").context("the SQL has a part 20")?;
    scene.source(&format!("SET sql_mode = '', time_zone = '+00:00';{tables}"))?;
    // The oracle compares digits, and ZEROFILL only prints more of them.
    scene.source("ALTER TABLE t_int MODIFY iz INT UNSIGNED; DELETE FROM t_pk_types WHERE de = 0")?;
    let mut lost = BTreeSet::new();
    let mut rows = 0;
    for run in &RUNS {
        for (table, ids) in run.lost {
            let list: Vec<String> = ids.iter().map(u32::to_string).collect();
            scene.source(&format!("DELETE FROM {table} WHERE id IN ({})", list.join(", ")))?;
            lost.extend(ids.iter().map(|id| (*table, format!("{{\"id\":{id}}}"))));
        }
        rows += apply(&scene, run, &lost)?;
    }
    ensure!(rows > 200, "only {rows} rows were compared");
    scene.finish()
}

/// Applies the records of one run into a schema of its own; returns the number of rows that are equal.
fn apply(scene: &Scene, run: &Run, lost: &BTreeSet<(&str, String)>) -> Result<u64> {
    let prefix = format!("{}-{}", scene.prefix, run.name);
    let config = scene.config().replace(&scene.prefix, &prefix);
    let (before, rules) = config.split_once("[[table]]").context("the configuration names tables")?;
    ensure!(rules.contains(".*"), "all tables of the database: {rules}");
    let rules = TABLES.iter().map(|table| {
        format!("[[table]]\nsource = \"{}.{table}\"\ntarget = \"{}.{table}\"\n", scene.database, run.name)
    });
    let rules: String = rules.collect();
    scene.write_config(&format!("{before}[log.debezium]\n{}\n{rules}", run.settings))?;
    let made = scene.command(&["schema", "--apply"])?;
    ensure!(made.code == Some(0), "tailrace schema --apply: {made:?}");
    let refused = scene.command(&["capture"])?;
    ensure!(refused.code == Some(2) || refused.code == Some(1), "capture must refuse Debezium's log: {refused:?}");

    for table in TABLES {
        scene.make_topic(&format!("{prefix}.{}.{table}", scene.database), 1, &[])?;
    }
    let producer = producer(scene)?;
    let mut last = BTreeMap::new();
    let mut count = 0;
    for line in run.records.lines() {
        let [table, key, _, value] = line.split('\t').collect::<Vec<_>>()[..] else {
            anyhow::bail!("four parts: {line}")
        };
        let is_lost = lost.contains(&(table, key.to_owned())) || key.contains("\"bt\":\"AA==\"");
        if !TABLES.contains(&table) || is_lost {
            continue;
        }
        produce(scene, &producer, &prefix, [table, key, value])?;
        count += 1;
        last.insert((table, key), value);
    }
    producer.flush(READY_LIMIT).context("writing the records")?;
    if run.name != "snapshot" {
        set_revisions(scene, &last)?;
    }

    let mut process = scene.launch(&["apply"])?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    let applied = format!("SELECT coalesce(sum(next_offset), 0)::bigint FROM tailrace.offsets WHERE log = '{prefix}'");
    wait_until("every record is applied", DRAIN_LIMIT, || {
        let log = process.log_text();
        ensure!(process.is_running() && !log.contains("the table stops"), "{log}");
        Ok(scene.target_number(&applied)? == count)
    })?;
    let (mut rows, mut differences) = (0, Vec::new());
    for table in TABLES {
        let found = scene.compare_in(table, run.name)?;
        differences.extend(found.examples.iter().take(5).map(|example| format!("{table}: {example}")));
        rows += found.source_rows;
    }
    ensure!(differences.is_empty(), "{} differs: {}", run.name, differences.join("\n"));
    if run.name == "lossless" {
        check_stop(scene, run, &prefix, &producer, &process)?;
    }
    process.terminate()?;
    process.wait_exit(READY_LIMIT)?;
    Ok(rows)
}

/// Not every update was recorded: `rev` becomes what the last recorded one says.
fn set_revisions(scene: &Scene, last: &BTreeMap<(&str, &str), &str>) -> Result<()> {
    let is_updated = |value: &str| value.rsplit("\"after\":").next().is_some_and(|after| after.contains("\"rev\":1"));
    let mut updated = BTreeMap::<&str, Vec<&str>>::new();
    for ((table, key), value) in last {
        let ids = updated.entry(table).or_insert_with(|| vec!["0"]);
        // All rows of a table without an id were recorded alike.
        let id = key.strip_prefix("{\"id\":").and_then(|rest| rest.strip_suffix('}')).unwrap_or("id");
        if is_updated(value) {
            ids.push(id);
        }
    }
    for (table, ids) in updated.iter().filter(|(table, _)| **table != "t_delete") {
        let condition = match ids.contains(&"id") {
            true => "1".to_owned(),
            false if table.starts_with("t_pk") => "0".to_owned(),
            false => format!("id IN ({})", ids.join(", ")),
        };
        // TIMESTAMPs keep their values.
        scene.source(&format!("SET time_zone = '+00:00'; UPDATE {table} SET rev = ({condition})"))?;
    }
    Ok(())
}

/// A value that may have been two stops its table by name, and no other.
fn check_stop(
    scene: &Scene,
    run: &Run,
    prefix: &str,
    producer: &ThreadedProducer<DefaultProducerContext>,
    process: &Tailrace,
) -> Result<()> {
    let line = run.records.lines().find(|line| line.starts_with("t_enum_set\t{\"id\":3}\t"));
    let parts: Vec<&str> = line.context("the row with the ENUM's index 0")?.split('\t').collect();
    produce(scene, producer, prefix, [parts[0], parts[1], parts[3]])?;
    producer.flush(READY_LIMIT)?;
    wait_until("the table stops", DRAIN_LIMIT, || {
        let log = process.log_text();
        Ok(log.contains("column eo has a text that may be two values of its type") && log.contains("the others go on"))
    })
}

fn producer(scene: &Scene) -> Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.servers.kafka.address()?).set("acks", "all");
    config.create().context("making a producer")
}

/// An empty value is a tombstone.
fn produce(
    scene: &Scene,
    producer: &ThreadedProducer<DefaultProducerContext>,
    prefix: &str,
    [table, key, value]: [&str; 3],
) -> Result<()> {
    let topic = format!("{prefix}.{}.{table}", scene.database);
    let value = value.replace("\"db\":\"inventory\"", &format!("\"db\":\"{}\"", scene.database));
    let mut record = BaseRecord::to(&topic).key(key);
    if !value.is_empty() {
        record = record.payload(&value);
    }
    producer.send(record).map_err(|(error, _)| error).with_context(|| format!("writing to {topic}"))
}
