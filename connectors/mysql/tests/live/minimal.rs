//! Rows that come without the names of columns (`binlog_row_metadata=MINIMAL`), read far behind the statements that altered their tables.
//!
//! The oracle is the server's dictionary, asked when each row was written.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use tailrace_contract::{
    BatchEnd, BatchLimits, ChangeStream, Checkpoint, Error, ErrorKind, Source, StartAt, TableFilter,
};
use tailrace_mysql::MysqlSource;
use tailrace_row::{RecordBatch, RowImage, TableSchema};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    ddl::corpus::{CORPUS, Chapter, STRICT, Server, TABLES},
    harness::{Database, LIMITS},
};

static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone(name: &str) -> (MutexGuard<'static, ()>, Database) {
    let guard = ALONE.lock().await;
    let server = lab::Mysql::up_with("source-minimal", &["--binlog-row-metadata=MINIMAL"]).unwrap();
    let mut db = Database::on(server, name).await;
    db.run("SET GLOBAL binlog_row_metadata = MINIMAL").await;
    (guard, db)
}

/// A reader as the engine has one: what a transient error ended is opened again from the last mark.
struct Reader {
    source: MysqlSource,
    filter: Arc<TableFilter>,
    at: Checkpoint,
    /// Ends with every batch, as if it were killed.
    dies: bool,
    opened: usize,
    stream: Option<Box<dyn ChangeStream>>,
}

/// What was read of a row: its table's shape, its image before and behind.
type Seen = (Arc<TableSchema>, [Option<Vec<u8>>; 2]);

impl Reader {
    async fn new(db: &Database, tables: &[&str]) -> Self {
        let at = db.checkpoint(&StartAt::Now).await;
        Self { source: db.source(), filter: db.filter(tables), at, dies: false, opened: 0, stream: None }
    }

    /// Another one, from the same place on.
    fn again(&self, db: &Database) -> Self {
        let (filter, at) = (Arc::clone(&self.filter), self.at.clone());
        Self { source: db.source(), filter, at, dies: true, opened: 0, stream: None }
    }

    /// The next so many rows.
    async fn rows(&mut self, count: usize) -> Result<Vec<Seen>, Error> {
        let mut seen = Vec::new();
        let mut batch = RecordBatch::new();
        let mut idle = 0;
        while seen.len() < count {
            batch.clear();
            let end = match self.read(&mut batch).await {
                Ok(end) => end,
                Err(error) if error.kind() == ErrorKind::Transient && self.opened < 1000 => {
                    self.stream = None;
                    continue;
                }
                Err(error) => return Err(error),
            };
            idle = if matches!(end, BatchEnd::Idle(_)) { idle + 1 } else { 0 };
            assert!(idle < 40, "{} rows and not {count}", seen.len());
            for record in batch.records() {
                let bytes = |image: Option<RowImage<'_>>| image.map(|image| image.bytes().to_vec());
                let images = [bytes(batch.before(record)), bytes(batch.after(record))];
                seen.push((Arc::clone(batch.schema(record)), images));
            }
            assert!(!matches!(end, BatchEnd::MidTransaction { .. }), "rows of one transaction are few");
            self.at.mark = end.mark().clone();
            if self.dies {
                self.stream = None;
            }
        }
        Ok(seen)
    }

    async fn read(&mut self, batch: &mut RecordBatch) -> Result<BatchEnd, Error> {
        if self.stream.is_none() {
            self.opened += 1;
            self.stream = Some(self.source.open(&self.at, Arc::clone(&self.filter)).await?);
        }
        let records_max = if self.dies { 1 } else { LIMITS.records_max };
        let limits = BatchLimits { records_max, ..LIMITS };
        self.stream.as_mut().unwrap().read_batch(batch, limits).await
    }

    /// What must end it.
    async fn refusal(&mut self) -> Error {
        let error = self.rows(1000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
        assert!(error.advice().is_some_and(|advice| advice.contains("FULL")), "{error}");
        error
    }
}

/// The table as the dictionary has it; none if it is away or can't be captured.
async fn told(db: &Database, table: &str) -> Option<Arc<TableSchema>> {
    db.source().tables(&db.filter(&[table])).await.ok()?.into_iter().next()
}

#[tokio::test]
async fn every_row_is_read_by_the_shape_of_its_time() {
    let (_guard, mut db) = alone("minimal_corpus").await;
    for chapter in CORPUS.iter().filter(|chapter| chapter.server != Server::Mariadb) {
        check_chapter(&mut db, chapter).await;
    }
}

/// The first statements of chapters that are read a second time, by a reader that dies with every row. The others add columns.
const DEADLY: [&str; 4] = [
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t MODIFY COLUMN a BIGINT",
    "ALTER TABLE t ENGINE=InnoDB",
    "CREATE TABLE w (id INT PRIMARY KEY)",
];

async fn check_chapter(db: &mut Database, chapter: &Chapter) {
    let name = db.name.clone();
    db.run_all(&[&format!("DROP DATABASE {name}"), &format!("CREATE DATABASE {name}"), &format!("USE {name}")]).await;
    db.run_all(&[&format!("SET sql_mode = '{STRICT}'")]).await;
    db.run_all(&TABLES).await;
    let mut reader = Reader::new(db, &["t", "v"]).await;
    db.run("INSERT INTO t VALUES (1, NULL, 'a', 1)").await;
    reader.rows(1).await.unwrap();
    reader.stream = None;
    let mut dying = reader.again(db);
    db.run(&format!("SET sql_mode = '{}'", chapter.sql_mode)).await;
    let mut expect = Vec::new();
    for (statement, _) in chapter.statements {
        // What becomes of these members depends on a charset that is said elsewhere, if at all.
        if statement.contains("'x '") || statement.contains("ENUM('ä'") {
            continue;
        }
        db.run(&statement.replace('$', &name)).await;
        // In both cases no row that is logged has a shape that a statement tells.
        if statement.contains("TEMPORARY") || statement.contains("CHARACTER SET binary") {
            continue;
        }
        let Some(schema) = told(db, "t").await else { continue };
        let inserted = db.conn.query_drop("INSERT IGNORE INTO t (id) VALUES (5)").await;
        if inserted.is_ok() && db.conn.affected_rows() == 1 {
            expect.push((*statement, Arc::clone(&schema)));
            db.run("DELETE FROM t WHERE id = 5").await;
            expect.extend((!statement.contains("BLACKHOLE")).then_some((*statement, schema)));
        }
    }
    assert!(expect.len() >= chapter.statements.len(), "{} rows of {:?}", expect.len(), chapter.statements[0]);
    let seen = reader.rows(expect.len()).await.unwrap();
    for ((statement, schema), (found, _)) in expect.iter().zip(&seen) {
        assert_eq!(found, schema, "behind {statement}");
    }
    if DEADLY.contains(&chapter.statements[0].0) {
        let again = dying.rows(expect.len()).await.unwrap();
        assert!(dying.opened >= expect.len() / 2, "it was opened {} times only", dying.opened);
        assert_eq!(again, seen, "read with a new stream for every row");
    }
}

/// Runs statements of which each that begins with INSERT INTO t writes a row, and gives the dictionary's shape of `t` at each of them.
async fn run_noting(db: &mut Database, statements: &[&str]) -> Vec<Arc<TableSchema>> {
    let mut expect = Vec::new();
    for statement in statements {
        if statement.starts_with("INSERT INTO t ") {
            expect.push(told(db, "t").await.unwrap());
        }
        db.run(statement).await;
    }
    expect
}

fn shapes(seen: &[Seen]) -> Vec<Arc<TableSchema>> {
    seen.iter().map(|(schema, _)| Arc::clone(schema)).collect()
}

#[tokio::test]
async fn tables_that_take_the_name_bring_their_shape() {
    let (_guard, mut db) = alone("minimal_swaps").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY, a INT, e ENUM('x','y'))", "CREATE TABLE other (id INT, c INT)"])
        .await;
    let mut reader = Reader::new(&db, &["t", "made"]).await;
    db.run("INSERT INTO t VALUES (1, 1, 'y')").await;
    reader.rows(1).await.unwrap();
    reader.stream = None;
    let mut dying = reader.again(&db);
    let expect = run_noting(
        &mut db,
        &[
            // gh-ost.
            "CREATE TABLE _t_gho LIKE t",
            "ALTER TABLE _t_gho DROP a, ADD x SET('p','q') FIRST",
            "INSERT INTO _t_gho SELECT NULL, id, e FROM t",
            "RENAME TABLE t TO _t_del, _t_gho TO t",
            "INSERT INTO t VALUES ('q', 2, 'x')",
            "DROP TABLE _t_del",
            // pt-online-schema-change.
            "CREATE TABLE _t_new (x SET('p','q'), id INT NOT NULL, e ENUM('x','y') NULL, PRIMARY KEY (id))",
            "ALTER TABLE _t_new CHANGE x z SET('p','q','r') AFTER id, MODIFY e ENUM('w','x','y')",
            "INSERT INTO _t_new SELECT id, x, e FROM t",
            "RENAME TABLE t TO _t_old, _t_new TO t",
            "INSERT INTO t VALUES (3, 'r', 'w')",
            "DROP TABLE _t_old",
            // Both names change in one statement, and back.
            "CREATE TABLE u (k BIGINT UNSIGNED PRIMARY KEY)",
            "RENAME TABLE t TO tmp, u TO t, tmp TO u",
            "INSERT INTO t VALUES (18446744073709551615)",
            "RENAME TABLE t TO tmp, u TO t, tmp TO u",
            "INSERT INTO t VALUES (4, 'p', 'x')",
            // The rows of a transaction in two phases stand before its second.
            "XA START 'minimal_swaps'",
            "INSERT INTO t VALUES (5, 'p', 'x')",
            "XA END 'minimal_swaps'",
            "XA PREPARE 'minimal_swaps'",
            "XA COMMIT 'minimal_swaps'",
            // Nobody knows whether it was made here, and there is no statement behind it: the dictionary tells.
            "DROP TABLE t",
            "CREATE TABLE IF NOT EXISTS t (one INT PRIMARY KEY, two ENUM('a','b'))",
            "INSERT INTO t VALUES (6, 'b')",
        ],
    )
    .await;
    let seen = reader.rows(expect.len()).await.unwrap();
    assert_eq!(shapes(&seen), expect);
    assert_eq!(dying.rows(expect.len()).await.unwrap(), seen, "read with a new stream for every row");
    assert!(dying.opened >= expect.len());

    // It comes with its rows, and is packed with them. A reader that knows nothing finds the statement in there too, and so knows that the
    // dictionary's shape begins behind the next one.
    let mut late = Reader::new(&db, &["made"]).await;
    db.run_all(&["INSERT INTO other VALUES (1, 2)", "SET binlog_transaction_compression = ON"]).await;
    db.run("CREATE TABLE made (PRIMARY KEY (id)) AS SELECT id, c, 'é' AS s FROM other").await;
    let mut expect = vec![told(&db, "made").await.unwrap()];
    db.run_all(&[
        "SET binlog_transaction_compression = OFF",
        "ALTER TABLE made ADD z INT FIRST, CHANGE s t VARCHAR(9)",
    ])
    .await;
    db.run("INSERT INTO made VALUES (1, 2, 3, 'x')").await;
    expect.push(told(&db, "made").await.unwrap());
    for reader in [&mut reader, &mut dying, &mut late] {
        assert_eq!(shapes(&reader.rows(2).await.unwrap()), expect);
    }
}

#[tokio::test]
async fn a_shape_that_is_not_known_is_refused_by_name() {
    let (_guard, mut db) = alone("minimal_refusals").await;
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
        "CREATE TABLE q (id INT PRIMARY KEY, e ENUM('really?'))",
    ])
    .await;
    let mut early = Reader::new(&db, &["t"]).await;
    let mut known = Reader::new(&db, &["t"]).await;
    db.run("INSERT INTO t VALUES (1, 1)").await;
    known.rows(1).await.unwrap();
    known.stream = None;
    // A statement that finds the table is no change of it: as long as nothing else comes the dictionary holds for what lies before.
    db.run_all(&["CREATE TABLE IF NOT EXISTS t (other INT PRIMARY KEY)", "ALTER TABLE t ADD INDEX (a)"]).await;
    early.rows(1).await.unwrap();

    // The same names and types, in another order: nothing but the statement tells.
    let mut early = Reader { stream: None, ..Reader::new(&db, &["t"]).await };
    db.run_all(&["INSERT INTO t VALUES (2, 20)", "ALTER TABLE t MODIFY a INT FIRST", "INSERT INTO t VALUES (30, 3)"])
        .await;
    let late = Reader::new(&db, &["t"]).await;
    let error = early.refusal().await;
    assert_eq!(error.table(), Some(&db.table("t")), "{error}");
    assert!(error.message().contains("binlog_row_metadata=MINIMAL"), "{error}");
    let seen = known.rows(2).await.unwrap();
    assert_eq!(seen[0].0.key(), [0]);
    assert_eq!(seen[1].0, told(&db, "t").await.unwrap());
    assert_eq!(seen[1].0.key(), [1]);

    // Altered twice by statements of which the first is not understood.
    db.run_all(&["ALTER TABLE t CONVERT TO CHARACTER SET binary", "INSERT INTO t VALUES (40, 4)"]).await;
    let mut between = known.again(&db);
    assert_eq!(between.rows(1).await.unwrap()[0].0, told(&db, "t").await.unwrap(), "the dictionary tells");
    db.run_all(&["ALTER TABLE t ADD b INT FIRST", "INSERT INTO t VALUES (NULL, 50, 5)"]).await;
    known.refusal().await;
    assert_eq!(between.rows(1).await.unwrap()[0].0, told(&db, "t").await.unwrap(), "it is known from before");
    let mut late = Reader { at: between.at.clone(), ..late };
    db.run("INSERT INTO t VALUES (NULL, 60, 6)").await;
    late.rows(1).await.unwrap();

    // The server puts a question mark for what a charset does not have: the statement is not believed, and the dictionary not either.
    let mut lossy = known.again(&db);
    lossy.at = db.checkpoint(&StartAt::Now).await;
    db.run_all(&["ALTER TABLE t ADD l ENUM('a','€') CHARSET latin2", "INSERT INTO t VALUES (NULL, 70, 7, 1)"]).await;
    lossy.refusal().await;
    db.run("ALTER TABLE t DROP l").await;

    // The dictionary shows a question mark for what it can't show, so one may stand for anything.
    let mut doubtful = Reader::new(&db, &["q"]).await;
    db.run("INSERT INTO q VALUES (1, 1)").await;
    let error = doubtful.refusal().await;
    assert!(error.message().contains("column e"), "{error}");
    let mut told_by_statement = Reader::new(&db, &["q"]).await;
    db.run_all(&["DROP TABLE q", "CREATE TABLE q (id INT PRIMARY KEY, e ENUM('really?', '😀'))"]).await;
    db.run("INSERT INTO q VALUES (1, 2)").await;
    let error = told_by_statement.refusal().await;
    assert!(
        error.message().contains("column e"),
        "the dictionary was asked, because the table was there before: {error}"
    );
}

#[tokio::test]
async fn the_setting_is_changed_while_it_is_followed() {
    const FULL: &str = "SET GLOBAL binlog_row_metadata = FULL";
    const MINIMAL: &str = "SET GLOBAL binlog_row_metadata = MINIMAL";
    const ROW: &str = "INSERT INTO t (id, e, s, d, n, u, g, b, j, l) VALUES (@id := @id + 1, 'ü', 'b,a', 1.50, -1, 1, \
                       POINT(1, 2), b'101', '{}', 'é')";
    let (_guard, mut db) = alone("minimal_switch").await;
    db.run_all(&[
        "SET @id = 0",
        "CREATE TABLE t (id INT UNSIGNED, e ENUM('x','ü') CHARSET latin1, s SET('a','b'), d DECIMAL(9,2), n TINYINT, u TINYINT UNSIGNED, \
         g POINT, b BIT(9), j JSON, w VECTOR(2), l VARCHAR(10) CHARSET latin2, v INT AS (id + 1) VIRTUAL, PRIMARY KEY (l(3), id))",
    ])
    .await;
    let mut reader = Reader::new(&db, &["t"]).await;
    db.run(&ROW.replace("@id := @id + 1", "0")).await;
    reader.rows(1).await.unwrap();
    let mut dying = reader.again(&db);
    let alter = "ALTER TABLE t MODIFY n TINYINT AFTER u, RENAME COLUMN d TO d2, MODIFY e ENUM('y','ü') CHARSET utf8mb4";
    let back = "ALTER TABLE t MODIFY n TINYINT AFTER d, RENAME COLUMN d2 TO d, MODIFY e ENUM('x ','ü') CHARSET utf8mb3";
    let row = |id: u32| ROW.replace("@id := @id + 1", &id.to_string()).replace("INSERT INTO t (", "INSERT INTO t  (");
    let altered = |id: u32| row(id).replace(" d,", " d2,");
    let statements = [
        row(1),
        FULL.to_owned(),
        row(2),
        alter.to_owned(),
        altered(3),
        MINIMAL.to_owned(),
        altered(4),
        back.to_owned(),
        row(5),
        FULL.to_owned(),
        row(6),
        MINIMAL.to_owned(),
        alter.to_owned(),
        altered(7),
        FULL.to_owned(),
        altered(8),
    ];
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let expect = run_noting(&mut db, &statements).await;
    assert_eq!(expect.len(), 8);
    let seen = reader.rows(8).await.unwrap();
    assert_eq!(shapes(&seen), expect);
    assert_eq!(dying.rows(8).await.unwrap(), seen, "read with a new stream for every row");
    let values = |at: usize| seen[at].1[1].as_ref().unwrap()[40..].to_vec();
    assert!(seen[0].1[1].as_ref().unwrap().len() > 60);
    // Rows of one shape differ in nothing but the number that each of them has.
    let differences = |one: Vec<u8>, other: Vec<u8>| one.iter().zip(&other).filter(|(one, other)| one != other).count();
    assert!(differences(values(0), values(1)) <= 2 && differences(values(2), values(3)) <= 2);
    // Nothing is remembered where names come with the rows.
    let remembers = |reader: &Reader| reader.at.mark.position.witness().unwrap().contains("\"t\"");
    assert!(!remembers(&reader), "{:?}", reader.at.mark.position.witness());
    db.run_all(&[MINIMAL, &altered(9)]).await;
    reader.rows(1).await.unwrap();
    assert!(remembers(&reader), "{:?}", reader.at.mark.position.witness());
}
