//! `check` finds every problem that we can make, and nothing on a good server.

use std::collections::BTreeSet;

use tailrace_contract::{Problem, Secret, Severity, Source, SourceSettings, StartAt, TableFilter, TablePattern};
use tailrace_mysql::MysqlSource;

use crate::harness::{Database, checkpoint, server, settings};

async fn check(settings: SourceSettings, filter: &TableFilter) -> Vec<Problem> {
    MysqlSource::new(settings).unwrap().check(filter).await.unwrap()
}

fn codes(problems: &[Problem]) -> BTreeSet<&'static str> {
    problems.iter().map(|problem| problem.code).collect()
}

#[tokio::test]
async fn a_good_source_has_no_problem_also_while_it_is_captured() {
    let mut db = Database::new("check_good").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let settings = settings(&db.server);
    assert_eq!(check(settings.clone(), &db.filter(&["t"])).await, []);
    let source = MysqlSource::new(settings.clone()).unwrap();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let _stream = source.open(&from, db.filter(&["t"])).await.unwrap();
    assert_eq!(check(settings, &db.filter(&["t"])).await, []);
}

/// Each setting is spoiled, found, and mended by the statement that the problem names.
#[tokio::test]
async fn spoiled_settings_are_found_and_mended() {
    let mut db = Database::on(server("source-check"), "check_settings").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let settings = settings(&db.server);
    let spoiled = [
        ("binlog_format", "'MIXED'"),
        ("binlog_row_image", "'MINIMAL'"),
        ("binlog_row_metadata", "'MINIMAL'"),
        ("binlog_row_value_options", "'PARTIAL_JSON'"),
        ("binlog_checksum", "'NONE'"),
        ("sync_binlog", "0"),
        ("innodb_flush_log_at_trx_commit", "2"),
    ];
    for (variable, value) in spoiled {
        db.run(&format!("SET GLOBAL {variable} = {value}")).await;
    }
    let problems = check(settings.clone(), &db.filter(&["t"])).await;
    assert_eq!(codes(&problems), spoiled.iter().map(|(variable, _)| *variable).collect());
    for problem in &problems {
        db.run(problem.mend.as_deref().unwrap()).await;
    }
    assert_eq!(check(settings, &db.filter(&["t"])).await, []);
}

#[tokio::test]
async fn servers_without_binlog_or_gtids_are_found() {
    let without =
        lab::Mysql::up_with("source-nolog", &["--skip-log-bin", "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"])
            .unwrap();
    let mut db = Database::on(without, "check_nolog").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let problems = check(settings(&db.server), &db.filter(&["t"])).await;
    assert!(codes(&problems).is_superset(&["log_bin", "gtid_mode"].into()), "{problems:?}");
    let error = db.source().position(&StartAt::Now).await.unwrap_err();
    assert!(error.to_string().contains("no binlog"), "{error}");
}

#[tokio::test]
async fn tables_that_can_not_be_captured_are_found_all_at_once() {
    let mut db = Database::new("check_tables").await;
    db.run_all(&[
        "CREATE TABLE good (id INT PRIMARY KEY)",
        "CREATE TABLE keyless (id INT)",
        "CREATE TABLE nullable (id INT NULL, UNIQUE (id))",
        "CREATE TABLE locked (id INT PRIMARY KEY) ENGINE = MyISAM",
        "CREATE VIEW seen AS SELECT * FROM good",
    ])
    .await;
    let filter = TableFilter {
        patterns: vec![
            TablePattern::Database(db.name.as_str().into()),
            TablePattern::Table(db.table("missing")),
            TablePattern::Table(db.table("seen")),
            TablePattern::Database("check_no_such_database".into()),
        ],
    };
    let problems = check(settings(&db.server), &filter).await;
    let objects: BTreeSet<(&str, &str)> = problems.iter().map(|problem| (problem.code, &*problem.object)).collect();
    let expected = [
        ("table_unsupported", "table check_tables.keyless"),
        ("table_unsupported", "table check_tables.nullable"),
        ("table_engine", "table check_tables.locked"),
        ("table_missing", "table check_no_such_database.*"),
        ("table_missing", "table check_tables.missing"),
        ("table_missing", "table check_tables.seen"),
    ];
    // What a whole database's pattern covers is not missing as long as it has tables at all.
    assert_eq!(objects, expected.into());
    let keyless = problems.iter().find(|problem| problem.object.ends_with("keyless")).unwrap();
    assert!(keyless.mend.as_deref().unwrap().contains("PRIMARY KEY"), "{keyless}");
    let locked = problems.iter().find(|problem| problem.object.ends_with("locked")).unwrap();
    assert_eq!(locked.severity, Severity::Warning, "its changes are captured: {locked}");
}

#[tokio::test]
async fn missing_privileges_and_a_taken_server_id_are_found() {
    let mut db = Database::new("check_rights").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    db.run_all(&["DROP USER IF EXISTS check_poor", "CREATE USER check_poor IDENTIFIED BY 'x'"]).await;
    let mut poor = settings(&db.server);
    poor.endpoint.user = "check_poor".into();
    poor.endpoint.password = Some(Secret::new("x".to_owned()));
    let problems = check(poor.clone(), &db.filter(&["t"])).await;
    let needed: Vec<&str> = problems.iter().filter(|p| p.code == "privilege").map(|p| &*p.needed).collect();
    let wanted = ["REPLICATION SLAVE", "REPLICATION CLIENT", "SELECT"].map(|name| format!("the privilege {name}"));
    assert_eq!(needed, wanted, "{problems:?}");
    assert!(!codes(&problems).contains("table_missing"), "what may not be seen is not missing: {problems:?}");
    db.run("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO check_poor").await;
    db.run("GRANT SELECT ON check_rights.t TO check_poor").await;
    assert_eq!(check(poor, &db.filter(&["t"])).await, [], "the least privileges suffice");
    let mut same = settings(&db.server);
    same.server_id = 1;
    let problems = check(same.clone(), &db.filter(&["t"])).await;
    assert_eq!(codes(&problems), ["server_id"].into());
    let source = MysqlSource::new(same).unwrap();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let error = source.open(&from, db.filter(&["t"])).await.err().unwrap();
    assert!(error.to_string().contains("server_id"), "{error}");
}

#[tokio::test]
async fn questions_about_tables_are_answered() {
    let mut db = Database::new("check_questions").await;
    db.run_all(&[
        "CREATE TABLE b (id INT PRIMARY KEY, c INT)",
        "CREATE TABLE `a``x` (z INT, y INT, PRIMARY KEY (y, z))",
    ])
    .await;
    let source = db.source();
    let tables = source.tables(&db.filter(&["b", "a`x", "none"])).await.unwrap();
    let named: Vec<(&str, &[usize])> = tables.iter().map(|table| (&*table.name().table, table.key())).collect();
    assert_eq!(named, [("a`x", &[1, 0][..]), ("b", &[0])]);
    assert!(!source.has_rows(&db.table("a`x")).await.unwrap());
    db.run("INSERT INTO `a``x` VALUES (1, 2)").await;
    assert!(source.has_rows(&db.table("a`x")).await.unwrap());
    assert!(source.has_rows(&db.table("none")).await.is_err());
    let uuid = db.text("SELECT @@server_uuid").await;
    assert_eq!(source.identity().await.unwrap(), format!("mysql:{uuid}"));
}
