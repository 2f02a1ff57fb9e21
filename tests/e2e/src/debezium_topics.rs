//! Topics that Debezium itself wrote: `tailrace apply` reads recorded ones (its snapshot, its stream with schemas, and its stream
//! with the settings that lose less), and PostgreSQL then holds what MySQL or MariaDB holds after the SQL that was recorded.
//!
//! The records are raw bytes of the real Debezium but for the database's name; of those with schemas one of each table was
//! recorded, and its schema part stands in all of the table's. Rows of which it lost a value (docs/debezium.md
//! says which; a test of the codec lists every one) are left out of both sides. One that must stop its table comes last.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::Value;

use crate::harness::{DRAIN_LIMIT, READY_LIMIT, Scene, Servers, wait_until};

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
    /// Records of each table with their schemas, in which those above are wrapped: every record of a connector has the same.
    schemas: Option<&'static str>,
    settings: &'static str,
    /// Rows that lose something more than in the runs before.
    lost: &'static [(&'static str, &'static [u32])],
}

macro_rules! include_sql {
    ($server:literal) => {
        include_str!(concat!("../../../connectors/kafka/testdata/debezium/", $server, "_types.sql"))
    };
}

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../connectors/kafka/testdata/debezium/", $name, ".tsv"))
    };
}

/// What is lost in MySQL's and in MariaDB's snapshot.
const LOST: &[(&str, &[u32])] = &[
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
];

const OF_MYSQL: &[Run] = &[
    Run {
        name: "snapshot",
        records: recorded!("mysql_plain_snapshot"),
        schemas: None,
        settings: "schemaless_records = \"unaltered\"\nzero_dates = \"epoch\"\n",
        lost: LOST,
    },
    Run {
        name: "stream",
        records: recorded!("mysql_plain_stream"),
        schemas: Some(recorded!("mysql_schema_stream")),
        settings: "schemaless_records = \"unaltered\"\nboolean_true = \"one\"\nzero_dates = \"epoch\"\n",
        // BOOLEAN, JSON in texts of Debezium's own.
        lost: &[("t_bit", &[4]), ("t_json", &[10, 11, 15, 17, 18])],
    },
    Run {
        name: "lossless",
        records: recorded!("mysql_alt_stream"),
        schemas: None,
        settings: "schemaless_records = \"unaltered\"\ndecimal_handling_mode = \"string\"\ndecimal_format = \"numeric\"\n\
                   bigint_unsigned_handling_mode = \"precise\"\nbinary_handling_mode = \"base64\"\n\
                   time_precision_mode = \"isostring\"\nboolean_true = \"one\"\n",
        // What `isostring` makes of TIME below zero and from a day on; REAL; the epoch, since it may be a zero date; rows whose
        // later changes were not recorded.
        lost: &[
            ("t_time", &[3, 4, 5, 6, 7, 8, 9, 10]),
            ("t_float", &[4, 6]),
            ("t_date", &[13]),
            ("t_datetime", &[9]),
            ("t_int", &[3, 4]),
            ("t_json", &[8]),
        ],
    },
];

const OF_MARIADB: &[Run] = &[
    Run {
        name: "snapshot",
        records: recorded!("mariadb_plain_snapshot"),
        schemas: None,
        settings: "schemaless_records = \"unaltered\"\nzero_dates = \"epoch\"\n",
        lost: LOST,
    },
    Run {
        name: "stream",
        records: recorded!("mariadb_plain_stream"),
        schemas: Some(recorded!("mariadb_schema_stream")),
        settings: "schemaless_records = \"unaltered\"\nboolean_true = \"one\"\n",
        lost: &[("t_bit", &[4]), ("t_uuid", &[1, 6]), ("t_date", &[13]), ("t_datetime", &[9])],
    },
];

/// The schema part shows that REAL was narrowed, which refuses all of the table.
const NARROWED: &str = "t_float";

#[test]
fn topics_of_debezium_are_applied() -> Result<()> {
    check(Scene::new("debezium_topics")?, TABLES, include_sql!("mysql"), OF_MYSQL)
}

#[test]
fn topics_of_debezium_for_mariadb_are_applied() -> Result<()> {
    let scene = Scene::on("debezium_topics_mariadb", Servers::shared_mariadb()?)?;
    check(scene, &[TABLES, &["t_uuid"]].concat(), include_sql!("mariadb"), OF_MARIADB)
}

fn check(scene: Scene, tables: &[&str], sql: &str, runs: &[Run]) -> Result<()> {
    let (_, statements) = sql.split_once("USE inventory;").context("the SQL chooses its database")?;
    let (statements, _) = statements.split_once("-- 20. truncate").context("the SQL has a part 20")?;
    scene.source(&format!("SET sql_mode = '', time_zone = '+00:00';{statements}"))?;
    // The oracle compares digits, and ZEROFILL only prints more of them.
    scene.source("ALTER TABLE t_int MODIFY iz INT UNSIGNED; DELETE FROM t_pk_types WHERE de = 0")?;
    let mut lost = BTreeSet::new();
    let mut rows = 0;
    for run in runs {
        for (table, ids) in run.lost {
            let list: Vec<String> = ids.iter().map(u32::to_string).collect();
            scene.source(&format!("DELETE FROM {table} WHERE id IN ({})", list.join(", ")))?;
            lost.extend(ids.iter().map(|id| (*table, format!("{{\"id\":{id}}}"))));
        }
        let is_carried = |table: &&str| run.schemas.is_none() || *table != NARROWED;
        let tables: Vec<&str> = tables.iter().copied().filter(is_carried).collect();
        rows += Applied { scene: &scene, run, tables }.check(&lost)?;
    }
    ensure!(rows > 150, "only {rows} rows were compared");
    scene.finish()
}

/// The records of one run, and a schema of their own in the target.
struct Applied<'a> {
    scene: &'a Scene,
    run: &'a Run,
    tables: Vec<&'a str>,
}

impl Applied<'_> {
    /// Returns the number of rows that are equal.
    fn check(&self, lost: &BTreeSet<(&str, String)>) -> Result<u64> {
        let Applied { scene, run, tables } = self;
        self.make_target()?;
        let producer = producer(scene)?;
        let count = self.write(&producer, lost)?;
        self.check_status_before(count)?;

        let mut process = scene.launch(&["apply"])?.spawn()?;
        process.wait_ready(READY_LIMIT)?;
        let prefix = self.prefix();
        let applied =
            format!("SELECT coalesce(sum(next_offset), 0)::bigint FROM tailrace.offsets WHERE log = '{prefix}'");
        wait_until("every record is applied", DRAIN_LIMIT, || {
            let log = process.log_text();
            ensure!(process.is_running() && !log.contains("the table stops"), "{log}");
            Ok(scene.target_number(&applied)? == count)
        })?;
        let (mut rows, mut differences) = (0, Vec::new());
        for table in tables {
            let found = scene.compare_in(table, run.name)?;
            differences.extend(found.examples.iter().take(5).map(|example| format!("{table}: {example}")));
            rows += found.source_rows;
        }
        ensure!(differences.is_empty(), "{} differs: {}", run.name, differences.join("\n"));
        self.check_status_after()?;
        if run.name == "lossless" {
            self.check_stops(&producer, &process)?;
        }
        process.terminate()?;
        process.wait_exit(READY_LIMIT)?;
        Ok(rows)
    }

    fn prefix(&self) -> String {
        format!("{}-{}", self.scene.prefix, self.run.name)
    }

    fn make_target(&self) -> Result<()> {
        let Applied { scene, run, tables } = self;
        let config = scene.config().replace(&scene.prefix, &self.prefix());
        let (before, rules) = config.split_once("[[table]]").context("the configuration names tables")?;
        ensure!(rules.contains(".*"), "all tables of the database: {rules}");
        let rules = tables.iter().map(|table| {
            format!("[[table]]\nsource = \"{}.{table}\"\ntarget = \"{}.{table}\"\n", scene.database, run.name)
        });
        let rules: String = rules.collect();
        scene.write_config(&format!("{before}[log.debezium]\n{}\n{rules}", run.settings))?;
        let made = scene.command(&["schema", "--apply"])?;
        ensure!(made.code == Some(0), "tailrace schema --apply: {made:?}");
        let refused = scene.command(&["capture"])?;
        ensure!(refused.code == Some(2) || refused.code == Some(1), "capture must refuse Debezium's log: {refused:?}");
        Ok(())
    }

    /// Writes the records as Debezium would; returns how many there are.
    fn write(
        &self,
        producer: &ThreadedProducer<DefaultProducerContext>,
        lost: &BTreeSet<(&str, String)>,
    ) -> Result<i64> {
        let Applied { scene, run, tables } = self;
        for table in tables {
            scene.make_topic(&format!("{}.{}.{table}", self.prefix(), scene.database), 1, &[])?;
        }
        let mut last = BTreeMap::new();
        let mut count = 0;
        for line in run.records.lines() {
            let [table, key, _, value] = line.split('\t').collect::<Vec<_>>()[..] else {
                anyhow::bail!("four parts: {line}")
            };
            let is_lost = lost.contains(&(table, key.to_owned())) || key.contains("\"bt\":\"AA==\"");
            if !tables.contains(&table) || is_lost {
                continue;
            }
            self.produce(producer, [table, key, value])?;
            count += 1;
            last.insert((table, key), value);
        }
        producer.flush(READY_LIMIT).context("writing the records")?;
        if run.name != "snapshot" {
            set_revisions(scene, &last)?;
        }
        Ok(count)
    }

    /// An empty value is a tombstone, which has no schema.
    fn produce(
        &self,
        producer: &ThreadedProducer<DefaultProducerContext>,
        [table, key, value]: [&str; 3],
    ) -> Result<()> {
        let topic = format!("{}.{}.{table}", self.prefix(), self.scene.database);
        let [key_schema, value_schema] = self.schemas_of(table)?;
        let key = wrapped(key_schema, key.to_owned());
        let database = format!("\"db\":\"{}\"", self.scene.database);
        let value = wrapped(value_schema, value.replace("\"db\":\"inventory\"", &database));
        let mut record = BaseRecord::to(&topic).key(&key);
        if !value.is_empty() {
            record = record.payload(&value);
        }
        producer.send(record).map_err(|(error, _)| error).with_context(|| format!("writing to {topic}"))
    }

    /// Of a table's keys and values, up to where the payload begins.
    fn schemas_of(&self, table: &str) -> Result<[Option<&'static str>; 2]> {
        let Some(recorded) = self.run.schemas else { return Ok([None, None]) };
        let of_table = |line: &&str| line.split('\t').next() == Some(table) && line.ends_with('}');
        let line = recorded.lines().find(of_table).with_context(|| format!("no schema of {table}"))?;
        let parts: Vec<&str> = line.split('\t').collect();
        let schema = |part: &'static str| {
            let at = part.find(PAYLOAD).with_context(|| format!("no payload: {part}"))?;
            anyhow::Ok(Some(&part[..at + PAYLOAD.len()]))
        };
        Ok([schema(parts[1])?, schema(parts[3])?])
    }

    /// Before anything was applied: the tables and what lies behind come from the source and the log.
    fn check_status_before(&self, count: i64) -> Result<()> {
        let status = self.status()?;
        let states = status["tables"].as_array().context("tables")?.iter().map(|table| &table["state"]);
        ensure!(
            states.clone().count() == self.tables.len() && states.clone().all(|state| state == "empty"),
            "{status:#}"
        );
        ensure!(status["lag"]["apply_offsets"] == count && status["capture"].is_null(), "{status:#}");
        let hints = status["hints"].as_array().context("hints")?;
        ensure!(
            hints.len() == 1 && hints[0].as_str().is_some_and(|hint| hint.starts_with("apply is not")),
            "{status:#}"
        );
        Ok(())
    }

    /// Apply runs, stands at the ends of the log, and is known by its tables.
    fn check_status_after(&self) -> Result<()> {
        wait_until("apply is seen at the ends of the log", READY_LIMIT, || {
            let status = self.status()?;
            let lag = &status["lag"];
            Ok(status["state"] == "running" && lag["apply_offsets"] == 0 && lag["apply_seconds"] == 0.0)
        })?;
        let status = self.status()?;
        let is_applied = |table: &Value| table["state"] == "applied";
        let tables = status["tables"].as_array().context("tables")?;
        ensure!(tables.len() == self.tables.len() && tables.iter().all(is_applied), "{status:#}");
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        let finished = self.scene.command(&["status", "--format", "json"])?;
        serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished:?}"))
    }

    /// A value that may have been two stops its table by name, and no other.
    fn check_stops(&self, producer: &ThreadedProducer<DefaultProducerContext>, process: &Tailrace) -> Result<()> {
        for (row, words) in [
            ("t_enum_set\t{\"id\":3}\t", "column eo has a text that may be two values of its type"),
            ("t_date\t{\"id\":13}\t", "column dn is 1970-01-01, which Debezium writes for zero dates too"),
            ("t_datetime\t{\"id\":9}\t", "column dn0 is 1970-01-01, which Debezium writes for zero dates too"),
        ] {
            let line =
                self.run.records.lines().find(|line| line.starts_with(row)).context("a row that was left out")?;
            let parts: Vec<&str> = line.split('\t').collect();
            self.produce(producer, [parts[0], parts[1], parts[3]])?;
            producer.flush(READY_LIMIT)?;
            wait_until("the table stops", DRAIN_LIMIT, || {
                let log = process.log_text();
                Ok(log.contains(words) && log.contains("the others go on"))
            })?;
        }
        Ok(())
    }
}

const PAYLOAD: &str = ",\"payload\":";

fn wrapped(schema: Option<&str>, json: String) -> String {
    match schema {
        Some(schema) if !json.is_empty() => format!("{schema}{json}}}"),
        Some(_) | None => json,
    }
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

fn producer(scene: &Scene) -> Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.servers.kafka.address()?).set("acks", "all");
    config.create().context("making a producer")
}
