//! What other programs may leave in our topics and tables: garbage, truncated and foreign records, documents of a newer
//! version. The table stops at the record, by topic, partition and offset; nothing behind it is applied; the other tables go
//! on; when the record has been passed over by hand, everything arrives.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::{ensure_failed, has_stopped_tables, record_count};
use crate::harness::{DRAIN_LIMIT, PARTITIONS, READY_LIMIT, Scene, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A record as it lies in a topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Raw {
    /// The first record of a topic.
    pub(crate) fn first(scene: &Scene, topic: &str) -> Result<Raw> {
        let mut first = None;
        scene.read_topic(topic, |record| {
            let header = |name: &&str| Some(((*name).to_owned(), record.header(name)?.as_bytes().to_vec()));
            first.get_or_insert_with(|| Raw {
                key: record.key.unwrap_or_default().to_vec(),
                value: record.value.unwrap_or_default().to_vec(),
                headers: HEADERS.iter().filter_map(header).collect(),
            });
            Ok(())
        })?;
        first.with_context(|| format!("{topic} has no record"))
    }

    /// The same with a part of its value replaced, once.
    pub(crate) fn replaced(self, from: &str, to: &str) -> Raw {
        let text = String::from_utf8_lossy(&self.value).into_owned();
        assert!(text.contains(from), "a record has {from}: {text}");
        Raw { value: text.replacen(from, to, 1).into_bytes(), ..self }
    }

    fn with_header(mut self, name: &str, value: &str) -> Raw {
        let header = self.headers.iter_mut().find(|(known, _)| known == name);
        header.unwrap_or_else(|| panic!("a record has the header {name}")).1 = value.as_bytes().to_vec();
        self
    }
}

/// The headers that our own records have.
const HEADERS: &[&str] = &["tailrace.sequence", "tailrace.schema"];

struct Case {
    name: &'static str,
    /// Makes the bad record out of a good one.
    damage: fn(Raw) -> Raw,
}

const CASES: &[Case] = &[
    Case {
        name: "garbage",
        damage: |_| Raw { key: b"k".to_vec(), value: b"\x00\xff garbage".to_vec(), headers: Vec::new() },
    },
    Case { name: "garbage_value", damage: |raw| Raw { value: b"\xff\xfe\x00".to_vec(), ..raw } },
    Case { name: "empty_value", damage: |raw| Raw { value: Vec::new(), ..raw } },
    Case { name: "truncated", damage: |raw| Raw { value: raw.value[..raw.value.len() / 2].to_vec(), ..raw } },
    Case { name: "last_byte_gone", damage: |raw| Raw { value: raw.value[..raw.value.len() - 1].to_vec(), ..raw } },
    Case { name: "more_behind", damage: |raw| Raw { value: [&raw.value[..], b"{}"].concat(), ..raw } },
    Case { name: "other_json", damage: |raw| Raw { value: b"{\"id\":2,\"note\":\"x\"}".to_vec(), ..raw } },
    Case { name: "unknown_operation", damage: |raw| raw.replaced("\"op\":\"c\"", "\"op\":\"z\"") },
    Case { name: "wrong_operation", damage: |raw| raw.replaced("\"op\":\"c\"", "\"op\":\"d\"") },
    Case { name: "column_missing", damage: |raw| raw.replaced("\"note\":\"good\"", "\"nota\":\"good\"") },
    Case { name: "column_of_other_type", damage: |raw| raw.replaced("\"note\":\"good\"", "\"note\":17") },
    Case { name: "number_too_large", damage: |raw| raw.replaced("\"id\":1,", "\"id\":99999999999,") },
    Case { name: "no_headers", damage: |raw| Raw { headers: Vec::new(), ..raw } },
    Case { name: "unknown_schema", damage: |raw| raw.with_header("tailrace.schema", "0123456789abcdef") },
    Case { name: "bad_schema_name", damage: |raw| raw.with_header("tailrace.schema", "?") },
    Case { name: "bad_sequence", damage: |raw| raw.with_header("tailrace.sequence", "1-2-3") },
];

#[test]
fn damaged_records_stop_their_table_at_their_place() -> Result<()> {
    let scene = Scene::new("damaged")?;
    scene.write_config(&scene.config().replace(&format!("partitions = {PARTITIONS}"), "partitions = 1"))?;
    let tables: Vec<&str> = CASES.iter().map(|case| case.name).chain(["bystander"]).collect();
    for table in &tables {
        scene.source(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, note VARCHAR(20))"))?;
    }
    scene.make_target()?;
    let _capture = scene.capture()?;
    insert(&scene, &tables, 1)?;
    let mut apply = scene.apply()?;
    wait_rows(&scene, &tables, 1)?;
    let mut bad = Vec::new();
    for case in CASES {
        let topic = scene.topic(case.name);
        let good = Raw::first(&scene, &topic)?;
        bad.push(produce(&scene, &topic, &(case.damage)(good))?);
    }
    insert(&scene, &tables, 2)?;
    wait_until("every damaged table has stopped", DRAIN_LIMIT, || Ok(has_stopped_tables(&apply, CASES.len())))?;
    wait_rows(&scene, &["bystander"], 2)?;
    let log = apply.log_text();
    for (case, offset) in CASES.iter().zip(&bad) {
        let place = format!("{}[0]@{offset}", scene.topic(case.name));
        ensure!(
            log.lines().any(|line| line.contains("ERROR") && line.contains(&place)),
            "no error names {place}: {log}"
        );
        check_stands(&scene, case.name, *offset)?;
    }
    apply.terminate()?;
    ensure!(apply.wait_exit(READY_LIMIT)?.code() == Some(4), "stopped tables give exit code 4");

    // The operator's way on, as the comment of the table says it.
    for (case, offset) in CASES.iter().zip(&bad) {
        check_stands(&scene, case.name, *offset)?;
        let next = offset + 1;
        scene.target(&format!("UPDATE tailrace.offsets SET next_offset = {next} WHERE \"table\" = '{}'", case.name))?;
    }
    let _apply = scene.apply()?;
    wait_rows(&scene, &tables, 2)?;
    scene.finish()
}

fn insert(scene: &Scene, tables: &[&str], id: u32) -> Result<()> {
    tables.iter().try_for_each(|table| scene.source(&format!("INSERT INTO {table} VALUES ({id}, 'good')")))
}

fn wait_rows(scene: &Scene, tables: &[&str], count: i64) -> Result<()> {
    for table in tables {
        let query = format!("SELECT count(*) FROM {table} WHERE note = 'good'");
        wait_until(&format!("{table} has {count} rows"), DRAIN_LIMIT, || Ok(scene.target_number(&query)? == count))?;
    }
    Ok(())
}

/// Nothing but the good row, and an offset that is not behind the bad record.
fn check_stands(scene: &Scene, table: &str, bad: i64) -> Result<()> {
    let rows = scene.target_number(&format!("SELECT count(*) FROM {table}"))?;
    ensure!(rows == 1, "{table} has {rows} rows");
    let stored =
        scene.target_number(&format!("SELECT next_offset FROM tailrace.offsets WHERE \"table\" = '{table}'"))?;
    ensure!(stored <= bad, "the offset of {table} moved to {stored}, behind the bad record at {bad}");
    Ok(())
}

#[test]
fn documents_of_a_newer_version_are_refused_by_name() -> Result<()> {
    let scene = Scene::new("newer")?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(20))")?;
    scene.make_target()?;
    {
        let _capture = scene.capture()?;
        insert(&scene, &["t"], 1)?;
        let _apply = scene.apply()?;
        wait_rows(&scene, &["t"], 1)?;
    }
    scene.target("UPDATE tailrace.format SET version = 99")?;
    ensure_failed(&scene.launch(&["apply"])?.run(LIMIT)?, 1, &["format 99", "newer"])?;
    scene.target("UPDATE tailrace.format SET version = 2")?;

    let checkpoints = format!("{}.checkpoint", scene.prefix);
    for (value, words) in [
        (r#"{"format":99,"owner":"someone","else":true}"#, "format 99"),
        ("garbage", "can't be read"),
        (r#"{"format":1}"#, "can't be read"),
    ] {
        let offset = produce(
            &scene,
            &checkpoints,
            &Raw { key: b"capture".to_vec(), value: value.as_bytes().to_vec(), headers: Vec::new() },
        )?;
        let place = format!("{checkpoints}[0]@{offset}");
        ensure_failed(&scene.launch(&["capture"])?.run(LIMIT)?, 1, &[words, &place])?;
    }
    let schemas = format!("{}.schemas", scene.prefix);
    let known = Raw::first(&scene, &schemas)?;
    let offset = produce(&scene, &schemas, &Raw { value: br#"{"format":99}"#.to_vec(), ..known })?;
    scene.target("UPDATE tailrace.offsets SET next_offset = NULL, sequence = NULL; DELETE FROM t")?;
    let finished = scene.launch(&["apply"])?.run(LIMIT)?;
    ensure!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    ensure!(finished.stderr.contains("format 99"), "{schemas}[0]@{offset}: {}", finished.stderr);
    ensure!(
        record_count(&scene, &scene.topic("t"))? == 1 && scene.target_number("SELECT count(*) FROM t")? == 0,
        "nothing is applied"
    );
    scene.finish()
}

/// Writes a record as some other program would; returns its offset.
pub(crate) fn produce(scene: &Scene, topic: &str, raw: &Raw) -> Result<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.servers.kafka.address()?).set("acks", "all").set("linger.ms", "0");
    let producer: BaseProducer = config.create().context("making a producer")?;
    let headers = raw
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let record = BaseRecord::to(topic).key(&raw.key).payload(&raw.value).headers(headers).partition(0);
    producer.send(record).map_err(|(error, _)| error).with_context(|| format!("writing to {topic}"))?;
    producer.flush(LIMIT).with_context(|| format!("writing to {topic}"))?;
    let mut last = None;
    scene.read_topic(topic, |record| {
        if record.value.unwrap_or_default() == raw.value {
            last = Some(record.offset);
        }
        Ok(())
    })?;
    last.with_context(|| format!("the record written to {topic} is not there"))
}
