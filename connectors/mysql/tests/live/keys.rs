//! Tables without a primary key: which unique key identifies their rows, and which statements it outlives. The oracle of the choice is the
//! server: what it logs, and by what its storage engine orders the rows of a new table.

use lab::Mariadb;
use mysql_async::prelude::Queryable;
use tailrace_contract::{BatchEnd, Checkpoint, Error, ErrorKind, Mark, Source, StartAt, TableAct};
use tailrace_row::{Epoch, TableSchema};

use crate::harness::{Database, LIMITS, Stream};

async fn mysql(name: &str) -> Database {
    Database::new(name).await
}

async fn mariadb(name: &str) -> Database {
    Database::on(Mariadb::up_with("source", &[]).unwrap(), &format!("maria_{name}")).await
}

fn at(mark: &Mark) -> Checkpoint {
    Checkpoint { epoch: Epoch(3), mark: mark.clone(), split: None }
}

fn key(schema: &TableSchema) -> String {
    schema.key().iter().map(|place| &*schema.columns()[*place].name).collect::<Vec<_>>().join(",")
}

/// What comes next, told in a word: the key of rows, a reason to wait, or an error; and the mark behind it.
async fn next(stream: &mut Stream) -> (String, Option<Mark>) {
    stream.batch.clear();
    for _ in 0..40 {
        match stream.inner.read_batch(&mut stream.batch, LIMITS).await {
            Ok(BatchEnd::SchemaChange { mark, change }) => {
                let waits = change
                    .acts
                    .iter()
                    .any(|act| matches!(act, TableAct::Other { reason, .. } if reason.contains("key")));
                return (if waits { "waits" } else { "follows" }.to_owned(), Some(mark));
            }
            Ok(BatchEnd::Idle(_)) => {}
            Ok(end) => return (key(&stream.batch.schemas()[0]), Some(end.mark().clone())),
            Err(error) => return (shown(&error), None),
        }
    }
    panic!("nothing came");
}

fn shown(error: &Error) -> String {
    format!("{:?}: {error}", error.kind())
}

/// The key by the dictionary; none if it tells none.
async fn told(db: &Database, table: &str) -> String {
    match db.source().tables(&db.filter(&[table])).await {
        Ok(tables) => key(&tables[0]),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
            assert!(error.advice().unwrap().contains("UNIQUE"), "{error:?}");
            "none".to_owned()
        }
    }
}

/// The columns by which InnoDB orders the rows.
async fn clustered(db: &mut Database, table: &str) -> String {
    let (indexes, tables) = match db.server.flavor().scheme() {
        "mysql" => ("INNODB_INDEXES", "INNODB_TABLES"),
        _ => ("INNODB_SYS_INDEXES", "INNODB_SYS_TABLES"),
    };
    let sql = format!(
        "SELECT i.NAME FROM information_schema.{indexes} i JOIN information_schema.{tables} t USING (TABLE_ID) \
         WHERE t.NAME = '{}/{table}' AND i.TYPE IN (1, 3)",
        db.name
    );
    let index = db.text(&sql).await;
    if index == "GEN_CLUST_INDEX" {
        return "none".to_owned();
    }
    let sql = format!(
        "SELECT COLUMN_NAME FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{table}' AND INDEX_NAME = '{index}' ORDER BY SEQ_IN_INDEX",
        db.name
    );
    db.conn.query::<String, _>(sql).await.unwrap().join(",")
}

const TABLES: &[(&str, &str)] = &[
    ("a INT, b INT NOT NULL", "none"),
    ("a INT, UNIQUE (a)", "none"),
    ("a VARCHAR(50) NOT NULL, UNIQUE (a(10))", "none"),
    ("a INT NOT NULL, b INT NOT NULL, KEY (a), UNIQUE v (b), UNIQUE u (a)", "b"),
    ("a INT, b INT NOT NULL, c INT NOT NULL, UNIQUE u (a), UNIQUE v (c, b)", "c,b"),
    ("a INT NOT NULL, b INT AS (a + 1) VIRTUAL, UNIQUE u (b), UNIQUE v (a)", "a"),
    ("a VARCHAR(50) NOT NULL, b INT NOT NULL, UNIQUE u (a(10)), UNIQUE v (b)", "b"),
    ("a INT NOT NULL, b INT NOT NULL, UNIQUE u (a, b), UNIQUE v (a)", "a,b"),
    ("a INT NOT NULL, b INT, c INT NOT NULL, UNIQUE u (a, b), UNIQUE v (c)", "c"),
];

/// The key that the server logs.
async fn logged(db: &mut Database, table: &str, columns: usize) -> String {
    let mut stream = db.follow(&[table]).await;
    db.run(&format!("INSERT INTO {table} VALUES ({})", vec!["DEFAULT(a)"; columns].join(","))).await;
    next(&mut stream).await.0
}

async fn check_choice(mut db: Database) {
    for (number, (columns, expect)) in TABLES.iter().enumerate() {
        let table = format!("t{number}");
        db.run(&format!("CREATE TABLE {table} ({columns})")).await;
        assert_eq!((&*told(&db, &table).await, &*clustered(&mut db, &table).await), (*expect, *expect), "{columns}");
    }
    db.run("CREATE TABLE late (a INT DEFAULT 1, b INT, c INT NOT NULL, UNIQUE u (a), UNIQUE v (b))").await;
    for change in
        ["MODIFY b INT NOT NULL", "MODIFY a INT NOT NULL DEFAULT 2", "ADD UNIQUE w (c)", "DROP KEY v", "DROP KEY u"]
    {
        db.run("DELETE FROM late").await;
        db.run(&format!("ALTER TABLE late {change}")).await;
        let mut expect = logged(&mut db, "late", 3).await;
        if expect.starts_with("TableFailed") {
            assert_eq!(db.server.flavor().scheme(), "mariadb", "{change}: {expect}");
            expect = "none".to_owned();
        }
        assert_eq!(told(&db, "late").await, expect, "{change}");
    }
}

#[tokio::test]
async fn the_key_that_is_chosen_is_that_by_which_mysql_orders_rows() {
    check_choice(mysql("keys_choice").await).await;
}

#[tokio::test]
async fn the_key_that_is_chosen_is_that_by_which_mariadb_orders_rows() {
    check_choice(mariadb("keys_choice").await).await;
}

const TABLE: &str = "(a INT NOT NULL, b INT NOT NULL, c INT NULL, d INT NOT NULL, e INT, \
                     UNIQUE u (b), UNIQUE v (a), UNIQUE w (c), KEY k (e))";

/// Statements, and whether the table waits at them (or what else becomes of it), and its key behind them.
const STATEMENTS: &[(&str, &str, &str)] = &[
    ("DROP INDEX k ON t", "", "b"),
    ("CREATE INDEX k2 ON t (d)", "", "b"),
    ("ALTER TABLE t ADD x INT", "follows", "b"),
    ("ALTER TABLE t MODIFY e BIGINT NOT NULL", "follows", "b"),
    ("ALTER TABLE t DROP e", "follows", "b"),
    ("DROP INDEX v ON t", "", "b"),
    ("ALTER TABLE t ENGINE = InnoDB", "", "b"),
    ("DROP INDEX u ON t", "waits", "a"),
    ("ALTER TABLE t DROP KEY u", "waits", "a"),
    ("ALTER TABLE t DROP KEY u, ADD UNIQUE u (d)", "waits", "a"),
    ("ALTER TABLE t MODIFY b INT NULL", "waits", "a"),
    ("ALTER TABLE t MODIFY b BIGINT NOT NULL", "waits", "b"),
    ("ALTER TABLE t RENAME COLUMN b TO bb", "waits", "bb"),
    ("ALTER TABLE t RENAME INDEX u TO uu", "waits", "b"),
    ("ALTER TABLE t MODIFY c INT NOT NULL", "waits", "b"),
    ("CREATE UNIQUE INDEX x ON t (d)", "waits", "b"),
    ("ALTER TABLE t ADD PRIMARY KEY (d)", "waits", "d"),
];

async fn insert(db: &mut Database, number: u32) {
    let columns: Vec<String> = db
        .conn
        .query(format!(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = 't'",
            db.name
        ))
        .await
        .unwrap();
    let values = vec![number.to_string(); columns.len()];
    db.run(&format!("INSERT INTO t ({}) VALUES ({})", columns.join(","), values.join(","))).await;
}

async fn check_statement(db: &mut Database, (statement, fate, behind): (&str, &str, &str)) {
    db.run("DROP TABLE IF EXISTS t").await;
    db.run(&format!("CREATE TABLE t {TABLE}")).await;
    let start = db.checkpoint(&StartAt::Now).await;
    let mut stream = db.follow_from(&start, &["t"]).await.unwrap();
    insert(db, 1).await;
    let (before, mark) = next(&mut stream).await;
    assert_eq!(before, "b", "{statement}");
    let known = mark.unwrap();
    insert(db, 2).await;
    db.run(statement).await;
    insert(db, 3).await;

    // A stream that was there, one that goes on from a position that knows the key, and one that knows nothing.
    let restarted = db.follow_from(&at(&known), &["t"]).await.unwrap();
    for mut stream in [stream, restarted] {
        assert_eq!(next(&mut stream).await.0, "b", "{statement}");
        if fate.is_empty() && stream.batch.len() == 2 {
            continue;
        }
        if !fate.is_empty() {
            assert_eq!(next(&mut stream).await.0, fate, "{statement}");
        }
        assert_eq!(next(&mut stream).await.0, behind, "{statement}");
    }
    let mut unknowing = db.follow_from(&start, &["t"]).await.unwrap();
    assert_eq!(next(&mut unknowing).await.0, "b", "{statement}");
    // What is not a column that comes may change the key, for all that is known.
    if statement.contains("DROP") || !fate.is_empty() && !statement.contains("ADD x") {
        assert_eq!(next(&mut unknowing).await.0, "waits", "{statement}");
    }
}

async fn check_statements(mut db: Database) {
    for case in STATEMENTS {
        check_statement(&mut db, *case).await;
    }
}

#[tokio::test]
async fn a_key_of_mysql_outlives_what_does_not_touch_it() {
    check_statements(mysql("keys_statements").await).await;
}

#[tokio::test]
async fn a_key_of_mariadb_outlives_what_does_not_touch_it() {
    check_statements(mariadb("keys_statements").await).await;
}

async fn check_odd(mut db: Database) {
    db.run(&format!("CREATE TABLE t {TABLE}")).await;
    db.run("CREATE TABLE copy (a INT NOT NULL, b INT NOT NULL, c INT NULL, d INT NOT NULL, e INT, UNIQUE x (d))").await;
    let mut stream = db.follow(&["t"]).await;
    insert(&mut db, 1).await;
    assert_eq!(next(&mut stream).await.0, "b");
    // A session that logs a part of each row logs this key.
    db.run_all(&["SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET a = 7, e = 8", "DELETE FROM t"]).await;
    assert_eq!(next(&mut stream).await.0, "b");
    while stream.batch.len() < 2 {
        stream.inner.read_batch(&mut stream.batch, LIMITS).await.unwrap();
    }
    db.run("SET SESSION binlog_row_image = FULL").await;
    db.run("RENAME TABLE t TO old, copy TO t").await;
    insert(&mut db, 2).await;
    assert_eq!(next(&mut stream).await.0, "waits");
    assert_eq!(next(&mut stream).await.0, "d");
    // What the binlog does not have.
    db.run_all(&["SET SESSION sql_log_bin = 0", "ALTER TABLE t ADD PRIMARY KEY (a)", "SET SESSION sql_log_bin = 1"])
        .await;
    insert(&mut db, 3).await;
    let (found, _) = next(&mut stream).await;
    assert!(found.starts_with("TableFailed") && found.contains("no statement in the binlog made that"), "{found}");
}

#[tokio::test]
async fn a_table_of_mysql_that_gets_another_key_unseen_stops() {
    check_odd(mysql("keys_odd").await).await;
}

#[tokio::test]
async fn a_table_of_mariadb_that_gets_another_key_unseen_stops() {
    check_odd(mariadb("keys_odd").await).await;
}
