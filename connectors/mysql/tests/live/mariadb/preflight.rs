//! `check` on MariaDB: nothing on a good server, every problem that we can make, and the statement that mends it.

use std::collections::BTreeSet;

use tailrace_contract::{ErrorKind, Problem, Secret, Source, SourceSettings, StartAt, TableFilter, TablePattern};
use tailrace_mysql::MysqlSource;

use super::{alone, shared};
use crate::harness::{checkpoint, settings};

/// Without what other tests have prepared meanwhile on the same server.
async fn check(settings: SourceSettings, filter: &TableFilter) -> Vec<Problem> {
    let mut problems = MysqlSource::new(settings).unwrap().check(filter).await.unwrap();
    problems.retain(|problem| problem.code != "xa_prepared");
    problems
}

#[tokio::test]
async fn prepared_transactions_that_stand_open_are_named() {
    let mut db = shared("maria_check_xa").await;
    db.run_all(&["XA START 'maria_check_xa','branch',7", "XA END 'maria_check_xa','branch',7"]).await;
    db.run("XA PREPARE 'maria_check_xa','branch',7").await;
    let problems = MysqlSource::new(settings(&db.server)).unwrap().check(&db.filter(&[])).await.unwrap();
    let problem = problems.iter().find(|problem| problem.code == "xa_prepared").expect("one stands open");
    db.run("XA ROLLBACK 'maria_check_xa','branch',7").await;
    assert!(problem.found.contains("'maria_check_xa','branch',7"), "{problem:?}");
}

#[tokio::test]
async fn a_good_mariadb_has_no_problem_also_while_it_is_captured() {
    let mut db = shared("maria_check_good").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let settings = settings(&db.server);
    assert_eq!(check(settings.clone(), &db.filter(&["t"])).await, []);
    let source = MysqlSource::new(settings.clone()).unwrap();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let _stream = source.open(&from, db.filter(&["t"])).await.unwrap();
    assert_eq!(check(settings, &db.filter(&["t"])).await, []);
}

#[tokio::test]
async fn spoiled_settings_of_mariadb_are_found_and_mended() {
    let (_guard, mut db) = alone("maria_check_settings").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let settings = settings(&db.server);
    let spoiled = [
        ("binlog_format", "'MIXED'"),
        ("binlog_row_image", "'MINIMAL'"),
        ("binlog_row_metadata", "'MINIMAL'"),
        ("gtid_strict_mode", "OFF"),
        ("binlog_checksum", "'NONE'"),
        ("sync_binlog", "0"),
        ("innodb_flush_log_at_trx_commit", "2"),
    ];
    for (variable, value) in spoiled {
        db.run(&format!("SET GLOBAL {variable} = {value}")).await;
    }
    let problems = check(settings.clone(), &db.filter(&["t"])).await;
    let codes: BTreeSet<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, spoiled.iter().map(|(variable, _)| *variable).collect());
    for problem in &problems {
        db.run(problem.mend.as_deref().unwrap()).await;
    }
    assert_eq!(check(settings, &db.filter(&["t"])).await, []);
}

#[tokio::test]
async fn privileges_that_mariadb_wants_are_named() {
    let mut db = shared("maria_check_account").await;
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "CREATE OR REPLACE USER check_nothing IDENTIFIED BY 'x'",
        "GRANT SELECT ON maria_check_account.* TO check_nothing",
    ])
    .await;
    let mut settings = settings(&db.server);
    settings.endpoint.user = "check_nothing".into();
    settings.endpoint.password = Some(Secret::new("x".to_owned()));
    let problems = check(settings.clone(), &db.filter(&["t"])).await;
    let mends: BTreeSet<&str> = problems.iter().filter_map(|problem| problem.mend.as_deref()).collect();
    let expected =
        ["GRANT BINLOG MONITOR ON *.* TO 'check_nothing'@'%'", "GRANT REPLICATION SLAVE ON *.* TO 'check_nothing'@'%'"];
    assert_eq!(mends, expected.into(), "{problems:?}");
    for mend in expected {
        db.run(mend).await;
    }
    assert_eq!(check(settings, &db.filter(&["t"])).await, []);
}

/// What this version can't carry exactly has a name, in the dictionary and in the stream.
#[tokio::test]
async fn tables_of_mariadb_that_are_not_supported_are_named() {
    let mut db = shared("maria_check_tables").await;
    let cases = [
        ("keyless", "(id INT)", "primary key", "VALUES (1)"),
        ("history", "(id INT PRIMARY KEY) WITH SYSTEM VERSIONING", "SYSTEM VERSIONED", ""),
    ];
    for (table, columns, _, _) in cases {
        db.run(&format!("CREATE TABLE {table} {columns}")).await;
    }
    db.run("CREATE SEQUENCE counter").await;
    let filter = TableFilter { patterns: vec![TablePattern::Database("maria_check_tables".into())] };
    let problems = check(settings(&db.server), &filter).await;
    for (table, words) in cases.iter().map(|(table, _, words, _)| (*table, *words)).chain([("counter", "SEQUENCE")]) {
        let object = format!("table maria_check_tables.{table}");
        let problem = problems.iter().find(|problem| problem.object == object).unwrap_or_else(|| panic!("{table}"));
        assert!(problem.found.contains(words), "{problem:?}");
    }
    assert_eq!(problems.len(), cases.len() + 1, "{problems:?}");
    for (table, _, words, values) in cases.iter().filter(|(_, _, _, values)| !values.is_empty()) {
        let mut stream = db.follow(&[table]).await;
        db.run(&format!("INSERT INTO {table} {values}")).await;
        let error = stream.error().await;
        assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn times_in_the_form_of_mariadb_5_3_are_named() {
    let (_guard, mut db) = alone("maria_check_times").await;
    let columns =
        ["odd DATETIME", "odd DATETIME(3)", "odd TIME", "odd TIME(2)", "odd TIMESTAMP NULL", "odd TIMESTAMP(6) NULL"];
    db.run("SET GLOBAL mysql56_temporal_format = OFF").await;
    for (number, column) in columns.iter().enumerate() {
        db.run(&format!("CREATE TABLE t{number} (id INT PRIMARY KEY, {column})")).await;
    }
    db.run("SET GLOBAL mysql56_temporal_format = ON").await;
    for (number, column) in columns.iter().enumerate() {
        let table = format!("t{number}");
        let (_, word) = column.split_once(' ').unwrap();
        let word = word.split_once(' ').map_or(word, |(word, _)| word);
        let problems = check(settings(&db.server), &db.filter(&[&table])).await;
        assert!(
            problems.len() == 1 && problems[0].found.contains(&format!("column odd has type {word} ")),
            "{problems:?}"
        );
        let mut stream = db.follow(&[&table]).await;
        db.run(&format!("INSERT INTO {table} VALUES (1, NOW())")).await;
        let error = stream.error().await;
        assert!(error.kind() == ErrorKind::TableFailed && error.to_string().contains("MariaDB 5.3"), "{error}");
        db.run(&format!("ALTER TABLE {table} FORCE")).await;
        assert_eq!(check(settings(&db.server), &db.filter(&[&table])).await, []);
    }
}
