//! What a table is held to beside its columns: an engine that can be read, the order of its key, members that can be told, and a primary
//! key that the server made by itself.

use std::sync::Arc;

use lab::Mariadb;
use tailrace_contract::{ErrorKind, ProofReader, Rows, Source as _, TableReader};
use tailrace_row::TableSchema;

use super::{open, read, read_for_proof};
use crate::harness::{Database, server};

async fn schema(db: &Database, table: &str) -> Arc<TableSchema> {
    db.source().tables(&db.filter(&[table])).await.unwrap().remove(0)
}

async fn open_both(db: &Database, table: &str) -> (Box<dyn TableReader>, Box<dyn ProofReader>) {
    let (schema, reader) = open(db, table).await;
    (reader, db.source().open_proof(schema).await.unwrap())
}

/// Another engine would lock the table until the last row is taken.
#[tokio::test]
async fn tables_of_other_engines_are_not_read() {
    check_engines(Database::new("reader_engines").await, &["MyISAM", "MEMORY"]).await;
    let on_mariadb = Database::on(Mariadb::up("source").unwrap(), "reader_engines").await;
    check_engines(on_mariadb, &["Aria", "MyISAM"]).await;
}

async fn check_engines(mut db: Database, engines: &[&str]) {
    for engine in engines {
        db.run(&format!("CREATE TABLE t (id INT PRIMARY KEY) ENGINE = {engine}")).await;
        db.run("INSERT INTO t VALUES (1), (2)").await;
        let (source, schema) = (db.source(), schema(&db, "t").await);
        let refusals = [
            source.open_reader(Arc::clone(&schema)).await.err().unwrap(),
            source.open_proof(Arc::clone(&schema)).await.err().unwrap(),
        ];
        for error in &refusals {
            assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&db.table("t"))), "{error}");
            assert!(error.message().contains(&format!("engine is {engine}")), "{error}");
        }
        db.run(refusals[0].advice().unwrap()).await;
        let (mut reader, mut proof) = open_both(&db, "t").await;
        assert_eq!(read(&mut *reader, &schema, Rows::ALL).await.unwrap().len(), 2);
        // And when it changes under an open reader.
        db.run(&format!("ALTER TABLE t ENGINE = {engine}")).await;
        assert_eq!(reader.read(Rows::ALL).await.unwrap_err().kind(), ErrorKind::TableFailed);
        assert_eq!(proof.read(Rows::ALL).await.unwrap_err().kind(), ErrorKind::TableFailed);
        db.run("DROP TABLE t").await;
    }
}

/// Behind C come a and x by their bytes, but x alone where a and A are one letter: a chunk's end under one order is none under the other.
#[tokio::test]
async fn a_key_in_another_order_is_another_table() {
    check_orders(Database::new("reader_orders").await).await;
    check_orders(Database::on(Mariadb::up("source").unwrap(), "reader_orders").await).await;
}

async fn check_orders(mut db: Database) {
    db.run("CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, n INT, PRIMARY KEY (k, n))").await;
    db.run("INSERT INTO t VALUES ('B', 1), ('C', 1), ('a', 1), ('x', 1), ('x', 2)").await;
    for (change, expect) in [
        ("MODIFY k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", ["a", "B"]),
        ("DROP PRIMARY KEY, ADD PRIMARY KEY (k DESC, n)", ["x", "x"]),
        ("DROP PRIMARY KEY, ADD PRIMARY KEY (k DESC, n DESC)", ["x", "x"]),
    ] {
        let (mut reader, mut proof) = open_both(&db, "t").await;
        let bound = reader.bound(None, 2).await.unwrap();
        db.run(&format!("ALTER TABLE t {change}")).await;
        let rest = Rows::Range { after: bound.as_ref(), until: None };
        for error in [
            reader.read(rest).await.unwrap_err(),
            reader.bound(bound.as_ref(), 1).await.unwrap_err(),
            proof.read(rest).await.unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.table()),
                (ErrorKind::Transient, Some(&db.table("t"))),
                "{change}: {error}"
            );
        }
        let (schema, _) = open(&db, "t").await;
        let (mut reader, mut proof) = open_both(&db, "t").await;
        let until = reader.bound(None, 2).await.unwrap();
        let first = Rows::Range { after: None, until: until.as_ref() };
        let read = read(&mut *reader, &schema, first).await.unwrap();
        let proven = read_for_proof(&mut *proof, &schema, first).await.unwrap();
        let expect: Vec<Vec<u8>> = expect.iter().map(|text| [b"\x01", text.as_bytes()].concat()).collect();
        let keys: Vec<Vec<u8>> = proven.into_iter().map(|mut row| row.remove(0)).collect();
        assert_eq!((keys, read.len()), (expect, 2), "{change}");
    }
}

/// The dictionary says `enum('?','?')` before and after the members have changed places.
#[tokio::test]
async fn members_that_the_dictionary_does_not_show_are_not_read() {
    let mut db = Database::new("reader_members").await;
    for (number, declared) in ["ENUM('😀','😁')", "SET('a','😀')", "ENUM('sure','really?')"].iter().enumerate() {
        let table = format!("t{number}");
        db.run(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, e {declared})")).await;
        let mut stream = db.follow(&[&table]).await;
        db.run(&format!("INSERT INTO {table} VALUES (1, 1)")).await;
        stream.next().await.unwrap();
        // Neither the schema by the dictionary nor the one of the stream, which has the members whole.
        for schema in [schema(&db, &table).await, Arc::clone(&stream.batch.schemas()[0])] {
            let error = db.source().open_reader(schema).await.err().unwrap();
            assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&db.table(&table))), "{error}");
            assert!(error.message().contains("members of e"), "{error}");
        }
    }
}

/// A server that keeps such keys out of its dictionary has them in its binlog all the same.
#[tokio::test]
async fn a_primary_key_that_the_server_made_is_known() {
    let mut db = Database::on(server("source-check"), "reader_made_key").await;
    db.run("SET SESSION sql_generate_invisible_primary_key = ON").await;
    db.run("CREATE TABLE t (n INT)").await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t VALUES (5), (6)").await;
    stream.next().await.unwrap();
    db.run("SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF").await;
    let (schema, mut reader) = open(&db, "t").await;
    let mut proof = db.source().open_proof(Arc::clone(&schema)).await.unwrap();
    let found = read(&mut *reader, &schema, Rows::ALL).await.unwrap();
    let until = found.first().map(|(key, _)| key);
    let proven = read_for_proof(&mut *proof, &schema, Rows::Range { after: None, until }).await.unwrap();
    db.run("SET GLOBAL show_gipk_in_create_table_and_information_schema = ON").await;
    assert_eq!(schema, stream.batch.schemas()[0]);
    assert_eq!((found.len(), proven.len()), (2, 1));
}
