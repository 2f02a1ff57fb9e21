//! What `check`, the start and the first batch say of a table that can't take the rows: always the same, by name.

use sqlx::Connection as _;
use tailrace_contract::{ErrorKind, Problem, Severity, Sink as _, TableMapping, TargetTable, Tls, TlsMode};
use tailrace_postgres::PostgresSink;
use tailrace_row::{Charset, ColumnType, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, run, schema, settings, source};

const VARCHAR: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

fn codes(problems: &[Problem], severity: Severity) -> Vec<&str> {
    problems.iter().filter(|problem| problem.severity == severity).map(|problem| problem.code).collect()
}

/// Makes `shop.things` of these columns beside a source table (id BIGINT key, v of the type), and wants these problems.
/// What `check_table` calls an error must also be what stops the first batch.
async fn check(bench: &Bench, source_type: &ColumnType, columns: &str, errors: &[&str], warnings: &[&str]) {
    let schema = schema(&[("id", BIGINT), ("v", source_type.clone())], &[0]);
    bench.run("DROP SCHEMA IF EXISTS shop CASCADE").await;
    bench.create_as(columns).await;
    let problems = bench.sink.check_table(&schema, &bench.mapping()).await.unwrap();
    assert_eq!(codes(&problems, Severity::Error), errors, "{columns}: {problems:?}");
    assert_eq!(codes(&problems, Severity::Warning), warnings, "{columns}: {problems:?}");
    let mut changes = Changes::new(&schema);
    changes.upsert(&[Field::Value(Value::Integer(1)), Field::Null]);
    let Some(problem) = problems.iter().find(|problem| problem.severity == Severity::Error) else {
        let takes_null = !warnings.contains(&"target_column_not_null");
        assert_eq!(bench.apply(&changes).await.is_ok(), takes_null);
        return;
    };
    let error = bench.apply(&changes).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&source())), "{error}");
    assert!(error.to_string().contains(&problem.object) && error.to_string().contains(&problem.found), "{error}");
    // What is proposed mends it, where it can be mended by a statement (a column of a primary key can't become nullable).
    let mends: Vec<&String> = problems.iter().filter_map(|problem| problem.mend.as_ref()).collect();
    if mends.len() == errors.len() + warnings.len() && !columns.contains("PRIMARY KEY (") {
        for mend in mends {
            bench.run(mend).await;
        }
        assert_eq!(bench.sink.check_table(&schema, &bench.mapping()).await.unwrap(), [], "{columns} after the mending");
        bench.apply(&changes).await.unwrap();
    }
}

#[tokio::test]
async fn columns_that_fit_and_columns_that_do_not() {
    let bench = Bench::new("column_checks").await;
    let ok = "id bigint PRIMARY KEY";
    for (source_type, column, errors, warnings) in [
        (VARCHAR, "v text", &[][..], &[][..]),
        (VARCHAR, "v varchar(100)", &[], &[]),
        (VARCHAR, "v varchar(99)", &[], &["target_column_narrow"]),
        (VARCHAR, "v text, extra text, more text NOT NULL DEFAULT ''", &[], &[]),
        (VARCHAR, "v text NOT NULL", &[], &["target_column_not_null"]),
        (VARCHAR, "v text, extra text NOT NULL", &["target_column_extra"], &[]),
        (VARCHAR, "w text", &["target_column_missing"], &[]),
        (VARCHAR, "v char(100)", &["target_column_type"], &[]),
        (VARCHAR, "v bytea", &["target_column_type"], &[]),
        (VARCHAR, "v text[]", &["target_column_type"], &[]),
        (VARCHAR, "v text GENERATED ALWAYS AS ('x') STORED", &["target_column_generated"], &[]),
        (BIGINT, "v bigint GENERATED ALWAYS AS IDENTITY", &["target_column_generated"], &["target_column_not_null"]),
        (BIGINT, "v integer", &[], &["target_column_narrow"]),
        (BIGINT, "v double precision", &["target_column_type"], &[]),
        (ColumnType::Double, "v real", &["target_column_type"], &[]),
        (ColumnType::Decimal { precision: 10, scale: 4 }, "v numeric(20,3)", &["target_column_type"], &[]),
        (ColumnType::Decimal { precision: 10, scale: 4 }, "v numeric(20,5)", &[], &[]),
        (ColumnType::Decimal { precision: 10, scale: 4 }, "v numeric(9,4)", &[], &["target_column_narrow"]),
        (ColumnType::Decimal { precision: 10, scale: 4 }, "v double precision", &["target_column_type"], &[]),
        (ColumnType::DateTime { fraction: 6 }, "v timestamp(3)", &["target_column_type"], &[]),
        (ColumnType::DateTime { fraction: 3 }, "v timestamp(3)", &[], &[]),
        (ColumnType::DateTime { fraction: 0 }, "v timestamptz", &["target_column_type"], &[]),
        (ColumnType::Timestamp { fraction: 0 }, "v timestamp", &["target_column_type"], &[]),
        (ColumnType::Time { fraction: 0 }, "v interval day to second", &["target_column_type"], &[]),
        (ColumnType::Time { fraction: 0 }, "v time", &[], &["target_column_narrow"]),
        (ColumnType::Json, "v jsonb", &[], &["target_column_narrow"]),
        (ColumnType::Bit { length: 8 }, "v bit(7)", &["target_column_type"], &[]),
        (ColumnType::Bit { length: 8 }, "v boolean", &["target_column_type"], &[]),
        (ColumnType::Date, "v timestamp", &["target_column_type"], &[]),
    ] {
        check(&bench, &source_type, &format!("{ok}, {column}"), errors, warnings).await;
    }
}

#[tokio::test]
async fn keys_that_fit_and_keys_that_do_not() {
    let bench = Bench::new("key_checks").await;
    for (columns, errors) in [
        ("id bigint UNIQUE, v text", &[][..]),
        ("id bigint, v text, PRIMARY KEY (id, v)", &["target_key_missing"]),
        ("id bigint, v text", &["target_key_missing"]),
        ("id bigint, v text, UNIQUE (id) DEFERRABLE", &["target_key_deferrable"]),
        ("id bigint PRIMARY KEY, v text, UNIQUE (id) DEFERRABLE", &["target_key_deferrable"]),
        ("id bigint, v text, EXCLUDE USING btree (id WITH =)", &["target_key_missing"]),
    ] {
        let warnings: &[&str] = match columns {
            _ if columns.contains("PRIMARY KEY (id, v)") => &["target_column_not_null"],
            _ if columns.contains("EXCLUDE") => &["target_unique_index"],
            _ => &[],
        };
        check(&bench, &VARCHAR, columns, errors, warnings).await;
    }
    bench.run("DROP SCHEMA shop CASCADE; CREATE SCHEMA shop").await;
    bench.run("CREATE COLLATION shop.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)").await;
    let by_text = schema(&[("id", VARCHAR), ("v", BIGINT)], &[0]);
    for (columns, index) in [
        ("id text COLLATE shop.ci PRIMARY KEY, v bigint", None),
        ("id text, v bigint", Some("CREATE UNIQUE INDEX ON shop.things (id COLLATE shop.ci)")),
    ] {
        bench.run(&format!("DROP TABLE IF EXISTS shop.things; CREATE TABLE shop.things ({columns})")).await;
        if let Some(index) = index {
            bench.run(index).await;
        }
        let problems = bench.sink.check_table(&by_text, &bench.mapping()).await.unwrap();
        assert!(codes(&problems, Severity::Error).contains(&"target_key_collation"), "{problems:?}");
        let mut changes = Changes::new(&by_text);
        changes.upsert(&[Field::Value(Value::Text("a")), Field::Null]);
        assert_eq!(bench.apply(&changes).await.unwrap_err().kind(), ErrorKind::TableFailed);
    }
    let keyless = schema(&[("id", BIGINT)], &[]);
    assert!(bench.sink.create_statements(&keyless, &bench.mapping()).is_err());
    let problems = bench.sink.check_table(&keyless, &bench.mapping()).await.unwrap();
    assert!(codes(&problems, Severity::Error).contains(&"source_key_missing"), "{problems:?}");
}

#[tokio::test]
async fn check_finds_everything_at_once() {
    let bench = Bench::new("everything_at_once").await;
    let clean = bench.sink.check(&[]).await.unwrap();
    assert_eq!(clean, [], "an empty database that we own is fine");
    let mut admin = bench.admin_sql().await;
    run(
        &mut admin,
        "CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO tailrace;
         CREATE TABLE shop.parents (id bigint PRIMARY KEY);
         CREATE TABLE shop.things (id bigint REFERENCES shop.parents);
         ALTER TABLE shop.things ENABLE ROW LEVEL SECURITY;
         CREATE RULE nothing AS ON DELETE TO shop.things DO INSTEAD NOTHING;
         CREATE FUNCTION shop.trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
         CREATE TRIGGER watcher BEFORE INSERT ON shop.things FOR EACH ROW EXECUTE FUNCTION shop.trigger();
         CREATE VIEW shop.view AS SELECT 1 AS id;
         REVOKE TEMPORARY ON DATABASE everything_at_once FROM PUBLIC;
         ALTER DATABASE everything_at_once OWNER TO postgres;",
    )
    .await;
    let mapping = |table: &str| TableMapping::new(source(), TargetTable { schema: "shop".into(), table: table.into() });
    let problems = bench.sink.check(&[mapping("things"), mapping("none"), mapping("view")]).await.unwrap();
    let errors = codes(&problems, Severity::Error);
    for code in [
        "target_own_schema",
        "target_table_missing",
        "target_privilege",
        "target_row_security",
        "target_rules",
        "target_key_missing",
        "target_no_table",
    ] {
        assert!(errors.contains(&code), "{code} in {problems:?}");
    }
    let warnings = codes(&problems, Severity::Warning);
    for code in ["target_temporary", "target_triggers", "target_foreign_keys"] {
        assert!(warnings.contains(&code), "{code} in {problems:?}");
    }
    let error = bench.sink.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("GRANT CREATE ON DATABASE"), "{error}");
}

#[tokio::test]
async fn login_problems_are_told_apart() {
    let bench = Bench::new("login_problems").await;
    let secret = "not-the-secret";
    let find = async |change: &dyn Fn(&mut tailrace_contract::TargetSettings)| {
        let mut settings = settings(&bench.server, &bench.database);
        change(&mut settings);
        let sink = PostgresSink::new(settings).unwrap();
        let problem = sink.check(&[]).await.unwrap().remove(0);
        let error = sink.prepare().await.unwrap_err();
        assert!(!format!("{problem} {error} {error:?}").contains(secret), "{problem} {error:?}");
        (problem.code, error.kind(), problem.found)
    };
    let password = |settings: &mut tailrace_contract::TargetSettings| {
        settings.endpoint.password = Some(tailrace_contract::Secret::new(secret.into()));
    };
    let (code, kind, found) = find(&password).await;
    assert_eq!((code, kind), ("target_login", ErrorKind::Refused), "{found}");
    assert!(found.contains("28P01"), "{found}");
    let (code, kind, found) = find(&|settings| settings.endpoint.database = "no_such_database".into()).await;
    assert_eq!((code, kind), ("target_login", ErrorKind::Refused), "{found}");
    let (code, kind, found) = find(&|settings| settings.endpoint.port = 1).await;
    assert_eq!((code, kind), ("target_unreachable", ErrorKind::Transient), "{found}");
    // The laboratory's server has no TLS: nothing is sent in plain text instead.
    for mode in [TlsMode::Required, TlsMode::VerifyFull] {
        let tls = Tls { mode, ..Tls::default() };
        let (code, kind, found) = find(&|settings| settings.endpoint.tls = tls.clone()).await;
        assert_eq!((code, kind), ("target_login", ErrorKind::Refused), "{found}");
        assert!(found.contains("does not support TLS"), "{found}");
    }
}

#[tokio::test]
async fn own_tables_are_made_by_two_at_once_and_a_newer_format_is_refused() {
    let bench = Bench::new("own_tables").await;
    let other = PostgresSink::new(settings(&bench.server, &bench.database)).unwrap();
    let all = tokio::join!(bench.sink.prepare(), other.prepare(), bench.sink.prepare(), other.prepare());
    for result in [all.0, all.1, all.2, all.3] {
        result.unwrap();
    }
    assert_eq!(bench.ask("SELECT version FROM tailrace.format").await, ["4"]);
    bench.run("DROP TABLE tailrace.streams, tailrace.barriers, tailrace.ledger").await;
    bench.run("UPDATE tailrace.format SET version = 1").await;
    assert_eq!(bench.sink.stream_progress("kit").await.unwrap(), None, "the first format has no streams");
    assert_eq!(bench.sink.meetings("kit").await.unwrap(), [], "nor any barriers");
    assert_eq!(bench.sink.ledger("kit").await.unwrap(), [], "nor a ledger");
    bench.sink.forget("kit").await.unwrap();
    bench.sink.prepare().await.unwrap();
    assert_eq!(bench.ask("SELECT version FROM tailrace.format").await, ["4"]);
    assert_eq!(bench.sink.ledger("kit").await.unwrap(), []);
    assert_eq!(bench.sink.meetings("kit").await.unwrap(), []);
    assert_eq!(bench.sink.claim_stream("kit").await.unwrap().saves, 0);
    bench.run("UPDATE tailrace.format SET version = 7").await;
    let error = bench.sink.prepare().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("format 7"), "{error}");
    let problems = bench.sink.check(&[]).await.unwrap();
    assert_eq!(codes(&problems, Severity::Error), ["target_own_tables"]);
}

/// An account that owns nothing but the grants it needs can apply; a missing one is named.
#[tokio::test]
async fn an_account_with_the_least_privileges() {
    let bench = Bench::new("least_privileges").await;
    let mut admin = bench.admin_sql().await;
    run(&mut admin, "ALTER DATABASE least_privileges OWNER TO postgres").await;
    run(
        &mut admin,
        "CREATE SCHEMA tailrace AUTHORIZATION tailrace; CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO tailrace;
         CREATE TABLE shop.things (id bigint PRIMARY KEY, v text);
         GRANT SELECT, INSERT, UPDATE, DELETE ON shop.things TO tailrace",
    )
    .await;
    bench.sink.prepare().await.unwrap();
    assert_eq!(bench.sink.check(&[bench.mapping()]).await.unwrap(), []);
    let schema = schema(&[("id", BIGINT), ("v", VARCHAR)], &[0]);
    let mut changes = Changes::new(&schema);
    for id in 0..2_500 {
        changes.upsert(&[Field::Value(Value::Integer(id)), Field::Null]);
    }
    changes.delete(&[Field::Value(Value::Integer(-1)), Field::Null]);
    bench.apply(&changes).await.unwrap();
    run(&mut admin, "REVOKE TEMPORARY ON DATABASE least_privileges FROM PUBLIC").await;
    bench.apply(&changes).await.unwrap();
    run(&mut admin, "REVOKE UPDATE ON shop.things FROM tailrace").await;
    let error = bench.apply(&changes).await.unwrap_err();
    assert!(error.to_string().contains("privilege"), "{error}");
    admin.close().await.unwrap();
}
