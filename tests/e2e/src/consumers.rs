//! A consumer of the topics that is not ours: Debezium's own JDBC sink, run by Kafka Connect, writes what it reads into a table
//! of its own, and PostgreSQL prints the same rows from it as from the table that Tailrace writes.
//!
//! It writes every value of every type in `every_type::in_sink`. Kafka's console consumer reads the topics in `flow`.

use anyhow::{Result, ensure};
use lab::{Connect, TAILRACE_PASSWORD};

use crate::harness::{DRAIN_LIMIT, Scene, free_port, wait_until};

const TABLE: &str = "
CREATE TABLE offers (
  id INT PRIMARY KEY, name VARCHAR(40), price DECIMAL(12,2), weight DOUBLE, ratio FLOAT, big BIGINT, is_new TINYINT(1),
  day DATE, at_time DATETIME(6), stamp TIMESTAMP(6) NULL, blob_of VARBINARY(20), extra JSON, kind ENUM('a','b'))";

/// Every kind of change, NULLs, limits of types, a key that moves and one that comes back.
const CHANGES: &str = "
INSERT INTO offers VALUES
  (1, 'apple', 1.50, 0.25, 1.5, 9223372036854775807, 1, '2024-02-29', '2024-02-29 23:59:59.999999',
   '2024-02-29 12:00:00.000001', X'00ff10', '{\"a\": [1, null]}', 'a'),
  (2, 'Ünïcode 🍎 ''quoted''', -9999999999.99, -1e300, -0.5, -9223372036854775808, 0, '1000-01-01',
   '1000-01-01 00:00:00', '1970-01-02 00:00:00', X'', '\"text\"', 'b'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, '', 0, 0, 0, 0, 0, '9999-12-31', '9999-12-31 23:59:59', '2038-01-18 00:00:00', X'61', '{}', 'a'),
  (5, 'goes', 1, 1, 1, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL),
  (6, 'moves', 1, 1, 1, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL),
  (7, 'returns', 1, 1, 1, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL);
START TRANSACTION;
UPDATE offers SET price = 2.75, name = NULL WHERE id = 1;
UPDATE offers SET name = 'filled', price = 3.33, extra = '[]' WHERE id = 3;
DELETE FROM offers WHERE id IN (5, 7);
UPDATE offers SET id = 60 WHERE id = 6;
COMMIT;
INSERT INTO offers (id, name) VALUES (7, 'returned');
INSERT INTO offers (id, name) VALUES (100, 'last')";

#[test]
fn debeziums_jdbc_sink_writes_the_same_rows() -> Result<()> {
    let scene = Scene::new("consumers")?;
    scene.write_config(&scene.config().replace("prefix = ", "schemas = true\nprefix = "))?;
    scene.source(TABLE)?;
    scene.make_target()?;
    scene.target(&format!("CREATE TABLE public.theirs (LIKE {}.offers INCLUDING ALL)", scene.database))?;
    let (capture, apply) = (scene.capture()?, scene.apply()?);
    scene.source(CHANGES)?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 7, "the source's rows are in our table");

    let servers = &scene.servers;
    let connector = jdbc_sink(&scene, &scene.prefix, &[&scene.topic("offers")])?;
    let table = [("schema.evolution", "none"), ("collection.name.format", "public.theirs")];
    let connector: Vec<_> = connector.into_iter().chain(table.map(|(key, value)| (key, value.to_owned()))).collect();
    let mut connect = Connect::start(&servers.kafka, scene.folder(), free_port()?, &[&connector])?;
    wait_until("the sink has written what we have", DRAIN_LIMIT, || {
        connect.check(&scene.prefix)?;
        Ok(rows(&scene, "public.theirs")? == rows(&scene, &format!("{}.offers", scene.database))?)
    })
    .map_err(|error| error.context(difference(&scene)))?;
    // It goes on: what changes while it runs arrives too.
    scene.source("UPDATE offers SET price = 0.01 WHERE id = 4; DELETE FROM offers WHERE id = 100")?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 6, "the deleted row is gone from our table");
    wait_until("the sink has followed", DRAIN_LIMIT, || {
        connect.check(&scene.prefix)?;
        Ok(rows(&scene, "public.theirs")? == rows(&scene, &format!("{}.offers", scene.database))?)
    })
    .map_err(|error| error.context(difference(&scene)))?;
    drop((connect, capture, apply));
    scene.finish()
}

/// Properties of Debezium's JDBC sink, from these topics into the scene's database in PostgreSQL.
pub(crate) fn jdbc_sink(scene: &Scene, name: &str, topics: &[&str]) -> Result<Vec<(&'static str, String)>> {
    let url = format!("jdbc:postgresql://{}/{}", scene.servers.postgres.address()?, scene.database);
    let fixed = [
        ("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector"),
        ("tasks.max", "1"),
        ("connection.username", "tailrace"),
        ("connection.password", TAILRACE_PASSWORD),
        ("connection.pool.min_size", "1"),
        ("connection.pool.max_size", "2"),
        ("connection.pool.acquire_increment", "1"),
        ("insert.mode", "upsert"),
        ("delete.enabled", "true"),
        ("primary.key.mode", "record_key"),
        ("header.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("consumer.override.auto.offset.reset", "earliest"),
    ];
    let own = [("name", name.to_owned()), ("topics", topics.join(",")), ("connection.url", url)];
    Ok(fixed.map(|(key, value)| (key, value.to_owned())).into_iter().chain(own).collect())
}

/// All rows of a table of the target, in PostgreSQL's own printing.
fn rows(scene: &Scene, table: &str) -> Result<Vec<Option<String>>> {
    let rows = scene.target_rows(&format!("SELECT t::text FROM {table} t ORDER BY id"))?;
    Ok(rows.into_iter().flatten().collect())
}

fn difference(scene: &Scene) -> String {
    let ours = rows(scene, &format!("{}.offers", scene.database));
    format!("ours: {ours:#?}\ntheirs: {:#?}", rows(scene, "public.theirs"))
}
