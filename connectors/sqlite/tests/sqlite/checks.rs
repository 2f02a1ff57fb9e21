//! What the checks find before the first row: tables that would change values, keys that would join rows, names.

use tailrace_contract::{ErrorKind, Severity, Sink as _, TableMapping, TargetTable};
use tailrace_row::{Charset, ColumnType, TextForm};

use crate::bench::{BIGINT, Bench, schema, settings, source};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

/// The codes of what is wrong with a table for rows `(id BIGINT, v)`, the key first; warnings behind a `~`.
async fn check(definition: &str, source: ColumnType, expect: &str) {
    let bench = Bench::new();
    bench.create_as(definition).await;
    let problems = bench.check(&schema(&[("id", BIGINT), ("v", source)], &[0])).await;
    let code = |severity| if severity == Severity::Error { "" } else { "~" };
    let found: Vec<String> =
        problems.iter().map(|problem| format!("{}{}", code(problem.severity), problem.code)).collect();
    assert_eq!(found.join(" "), expect, "{definition}: {problems:?}");
}

#[tokio::test]
async fn columns_that_would_change_values_are_found() {
    let decimal = ColumnType::Decimal { precision: 9, scale: 2 };
    let unsigned = ColumnType::Integer { bits: 64, unsigned: true };
    let bytes = ColumnType::Bytes { form: TextForm::Varying, bytes_max: 9 };
    for (declared, source, expect) in [
        ("TEXT", decimal.clone(), ""),
        ("DECIMAL(9,2)", decimal.clone(), "target_column_type"),
        ("REAL", decimal.clone(), "target_column_type"),
        ("ANY", decimal, "target_column_type"),
        ("STRING", TEXT, "target_column_type"),
        ("VARCHAR(3)", TEXT, ""),
        ("JSON", ColumnType::Json, "target_column_type"),
        ("DATETIME", ColumnType::DateTime { fraction: 6 }, ""),
        ("INTEGER", unsigned, "~target_column_narrow"),
        ("DOUBLE", ColumnType::Double, "~target_column_narrow"),
        ("NUMERIC", ColumnType::Double, "target_column_type"),
        ("REAL", BIGINT, "target_column_type"),
        ("TEXT", bytes.clone(), "target_column_type"),
        ("BLOB", bytes, ""),
        ("TEXT AS (id) STORED", TEXT, "target_column_generated"),
        ("TEXT NOT NULL", TEXT, "~target_column_not_null"),
    ] {
        check(&format!("(id INTEGER PRIMARY KEY, v {declared})"), source, expect).await;
    }
    check("(id INTEGER PRIMARY KEY, v BLOB) STRICT", TEXT, "target_column_type").await;
    check("(id INTEGER PRIMARY KEY)", TEXT, "target_column_missing").await;
    check("(id INTEGER PRIMARY KEY, v TEXT, w TEXT NOT NULL)", TEXT, "target_column_extra").await;
    check("(ID INTEGER PRIMARY KEY, V TEXT, w TEXT NOT NULL DEFAULT '')", TEXT, "").await;
}

#[tokio::test]
async fn keys_that_would_join_rows_are_found() {
    for (definition, expect) in [
        ("(id INTEGER, v TEXT)", "target_key_missing"),
        ("(id INTEGER, v TEXT, UNIQUE (id, v))", "target_key_missing"),
        ("(id INTEGER, v TEXT); CREATE UNIQUE INDEX i ON things (id) WHERE id > 0", "target_key_missing"),
        ("(id INTEGER, v TEXT); CREATE UNIQUE INDEX i ON things (abs(id))", "target_key_missing"),
        ("(id INTEGER UNIQUE, v TEXT)", ""),
        ("(id INTEGER PRIMARY KEY DESC, v TEXT)", ""),
        ("(id TEXT COLLATE NOCASE PRIMARY KEY, v TEXT)", "target_key_collation"),
        ("(id TEXT PRIMARY KEY, v TEXT, UNIQUE (id COLLATE RTRIM))", "target_key_collation"),
        ("(id INTEGER PRIMARY KEY, v TEXT REFERENCES other (x))", "~target_foreign_keys"),
        (
            "(id INTEGER PRIMARY KEY, v TEXT); CREATE TRIGGER t AFTER INSERT ON things BEGIN SELECT 1; END",
            "~target_triggers",
        ),
    ] {
        check(definition, TEXT, expect).await;
    }
    let bench = Bench::new();
    bench.create_as("(k REAL PRIMARY KEY)").await;
    let problems = bench.check(&schema(&[("k", ColumnType::Double)], &[0])).await;
    assert_eq!(problems[0].code, "target_column_type", "{problems:?}");
}

#[tokio::test]
async fn names_that_can_t_be_are_refused() {
    let bench = Bench::new();
    bench.sink.prepare().await.unwrap();
    let schema = schema(&[("id", BIGINT)], &[0]);
    for (schema_name, table) in [("shop", "orders"), ("main", "sqlite_x"), ("main", "Tailrace_Offsets")] {
        let target = TargetTable { schema: schema_name.into(), table: table.into() };
        let mapping = TableMapping::new(source(), target);
        let error = bench.sink.create_table(&schema, &mapping).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
        assert!(error.to_string().contains(table), "{error}");
        for problems in [
            bench.sink.check_table(&schema, &mapping).await.unwrap(),
            bench.sink.check(std::slice::from_ref(&mapping)).await.unwrap(),
        ] {
            assert!(problems.iter().any(|problem| problem.code == "target_table_name"), "{problems:?}");
        }
    }
}

/// Checks leave no trace, also where there is no file yet.
#[tokio::test]
async fn a_check_makes_nothing() {
    let bench = Bench::new();
    let mapping = bench.mapping();
    let schema = schema(&[("id", BIGINT)], &[0]);
    let problems = bench.sink.check(std::slice::from_ref(&mapping)).await.unwrap();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["target_table_missing"]);
    assert_eq!(bench.check(&schema).await[0].code, "target_table_missing");
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 0);
    bench.run("CREATE TABLE other (a)").await;
    bench.sink.check(&[mapping]).await.unwrap();
    assert_eq!(bench.ask("PRAGMA journal_mode").await, ["delete"]);
    let nowhere = bench.folder.path().join("none/target.db");
    let sink = tailrace_sqlite::SqliteSink::new(settings(nowhere.to_str().unwrap())).unwrap();
    let problems = sink.check(&[]).await.unwrap();
    assert!(problems[0].found.contains("does not exist") && problems[0].mend.is_some(), "{problems:?}");
}
