//! Files that can't be written, locks of others, and what is set on every connection.

use std::time::Duration;

use sqlx::Executor as _;
use tailrace_contract::{ErrorKind, Sink as _};
use tailrace_row::{Charset, ColumnType, Field, TextForm, Value};
use tailrace_sqlite::SqliteSink;

use crate::bench::{BIGINT, Bench, Changes, schema, settings};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

fn one_row() -> (std::sync::Arc<tailrace_row::TableSchema>, Changes) {
    let schema = schema(&[("id", BIGINT), ("v", TEXT)], &[0]);
    let mut changes = Changes::new(&schema);
    changes.upsert(&[Field::Value(Value::Integer(1)), Field::Value(Value::Text("a"))]);
    (schema, changes)
}

#[tokio::test]
async fn files_that_are_no_database_are_refused() {
    let bench = Bench::new();
    let file = bench.folder.path().join("other.db");
    std::fs::write(&file, "this is no database, but long enough to be taken for one".repeat(100)).unwrap();
    let sink = SqliteSink::new(settings(file.to_str().unwrap())).unwrap();
    let error = sink.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("no SQLite database"), "{error}");
    let nowhere = bench.folder.path().join("none/target.db");
    let error = SqliteSink::new(settings(nowhere.to_str().unwrap())).unwrap().prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("the folder must exist"), "{error}");
    let error = bench.sink.claim("log", &[]).await.unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

/// SQLite replaces U+FFFE and U+FFFF in a file of UTF-16.
#[tokio::test]
async fn files_of_another_encoding_are_refused() {
    let bench = Bench::new();
    bench.run("PRAGMA encoding = 'UTF-16'; CREATE TABLE other (a)").await;
    let error = bench.sink.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("UTF-16le"), "{error}");
}

#[tokio::test]
async fn an_older_format_is_raised_and_a_newer_one_is_refused() {
    let bench = Bench::new();
    bench.sink.prepare().await.unwrap();
    bench.run("DROP TABLE tailrace_barriers; DROP TABLE tailrace_ledger; UPDATE tailrace_format SET version = 1").await;
    assert_eq!(bench.sink.meetings("kit").await.unwrap(), [], "the first format has no barriers");
    assert_eq!(bench.sink.ledger("kit").await.unwrap(), [], "nor a ledger");
    bench.sink.forget("kit").await.unwrap();
    bench.sink.prepare().await.unwrap();
    assert_eq!(bench.ask("SELECT version FROM tailrace_format").await, ["3"]);
    assert_eq!(bench.sink.ledger("kit").await.unwrap(), []);
    bench.run("UPDATE tailrace_format SET version = 99").await;
    let error = bench.sink.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("format 99"), "{error}");
}

/// While another process writes, a batch is transient, and later it goes through by the same writer.
#[tokio::test]
async fn another_s_lock_passes() {
    let bench = Bench::new();
    let (schema, changes) = one_row();
    bench.create(&schema).await;
    let mut settings = settings(bench.folder.path().join("target.db").to_str().unwrap());
    settings.statement_timeout = Duration::from_millis(50);
    let sink = SqliteSink::new(settings).unwrap();
    let mut writer = sink.open_writer("test").await.unwrap();
    let mut other = bench.sql().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let error = changes.apply(&bench, &mut *writer, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    other.execute("ROLLBACK").await.unwrap();
    changes.apply(&bench, &mut *writer, &[]).await.unwrap();
    assert_eq!(bench.ask("SELECT * FROM things").await, ["1|a"]);
}

/// A file that is replaced while it is open is written no more: its commits would succeed, and nobody would find them.
#[tokio::test]
async fn a_replaced_file_is_noticed() {
    let bench = Bench::new();
    let (schema, changes) = one_row();
    bench.create(&schema).await;
    let mut writer = bench.writer().await;
    changes.apply(&bench, &mut *writer, &[]).await.unwrap();
    let file = bench.folder.path().join("target.db");
    std::fs::rename(&file, bench.folder.path().join("moved.db")).unwrap();
    for suffix in ["-wal", "-shm"] {
        let beside = bench.folder.path().join(format!("target.db{suffix}"));
        std::fs::rename(&beside, bench.folder.path().join(format!("moved.db{suffix}"))).unwrap();
    }
    let error = changes.apply(&bench, &mut *writer, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("was replaced"), "{error}");
    bench.create(&schema).await;
    let mut again = bench.writer().await;
    changes.apply(&bench, &mut *again, &[]).await.unwrap();
    assert_eq!(bench.ask("SELECT * FROM things").await, ["1|a"]);
}

/// A table that is altered between two batches is judged anew, in the transaction that writes it.
#[tokio::test]
async fn an_altered_table_is_seen() {
    let bench = Bench::new();
    let (schema, changes) = one_row();
    bench.create(&schema).await;
    let mut writer = bench.writer().await;
    changes.apply(&bench, &mut *writer, &[]).await.unwrap();
    bench.run("DROP TABLE things; CREATE TABLE things (id INTEGER PRIMARY KEY, v NUMERIC)").await;
    let error = changes.apply(&bench, &mut *writer, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    assert!(error.to_string().contains("main.things.v"), "{error}");
    bench.run("DROP TABLE things; CREATE TABLE things (id INTEGER PRIMARY KEY, v TEXT, w TEXT)").await;
    changes.apply(&bench, &mut *writer, &[]).await.unwrap();
    assert_eq!(bench.ask("SELECT id, v, w FROM things").await, ["1|a|∅"]);
}

/// A trigger that swallows a row, one that raises an error, and one that rolls everything back: the row is named, its value
/// is not, and nothing is left.
#[tokio::test]
async fn triggers_swallow_nothing_in_silence() {
    for act in ["RAISE(IGNORE)", "RAISE(ABORT, new.v)", "RAISE(ROLLBACK, 'undone')"] {
        let bench = Bench::new();
        let (_, changes) = one_row();
        bench
            .create_as(&format!(
                "(id INTEGER PRIMARY KEY, v TEXT);
                 CREATE TRIGGER t BEFORE INSERT ON things BEGIN SELECT {act}; END"
            ))
            .await;
        let from = bench.claim().await;
        let error = bench.apply(&changes).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TableFailed | ErrorKind::Refused), "{act}: {error}");
        assert_eq!(bench.ask("SELECT count(*) FROM things").await, ["0"], "{act}");
        assert_eq!(bench.claim().await.next_offset, from.next_offset, "{act}");
    }
}

/// Rows that are handed over already when a trigger rolls everything back are not written: they would be on their own.
#[tokio::test]
async fn nothing_is_written_after_a_trigger_has_rolled_back() {
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("v", TEXT)], &[0]);
    let long = "x".repeat(400);
    let mut changes = Changes::new(&schema);
    for id in 0..2_000 {
        changes.upsert(&[Field::Value(Value::Integer(id)), Field::Value(Value::Text(&long))]);
    }
    bench
        .create_as(
            "(id INTEGER PRIMARY KEY, v TEXT);
             CREATE TRIGGER t BEFORE INSERT ON things WHEN new.id = 7 BEGIN SELECT RAISE(ROLLBACK, 'undone'); END",
        )
        .await;
    bench.apply(&changes).await.unwrap_err();
    assert_eq!(bench.ask("SELECT count(*) FROM things").await, ["0"]);
    bench.run("DROP TRIGGER t").await;
    bench.apply(&changes).await.unwrap();
    assert_eq!(bench.ask("SELECT count(*), sum(length(v)) FROM things").await, ["2000|800000"]);
}

/// Rows come as the source has them: no foreign key keeps one out, no cascade takes one away.
#[tokio::test]
async fn foreign_keys_are_the_source_s_business() {
    let bench = Bench::new();
    let (schema, changes) = one_row();
    bench
        .create_as(
            "(id INTEGER PRIMARY KEY, v TEXT REFERENCES parent (v) ON DELETE CASCADE);
             CREATE TABLE parent (v TEXT PRIMARY KEY);
             CREATE TABLE child (id INTEGER REFERENCES things (id) ON DELETE CASCADE);
             INSERT INTO child VALUES (1)",
        )
        .await;
    bench.apply(&changes).await.unwrap();
    let mut changes = Changes::new(&schema);
    changes.delete(&[Field::Value(Value::Integer(1)), Field::Null]);
    assert_eq!(bench.apply(&changes).await.unwrap().deleted, 1);
    assert_eq!(bench.ask("SELECT count(*) FROM child").await, ["1"]);
}

#[tokio::test]
async fn the_file_has_a_write_ahead_log() {
    let bench = Bench::new();
    bench.run("CREATE TABLE other (a)").await;
    bench.sink.prepare().await.unwrap();
    assert_eq!(bench.ask("PRAGMA journal_mode").await, ["wal"]);
}
