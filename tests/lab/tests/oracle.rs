//! The writer and the oracle, with real servers: a shop written at full speed and copied by hand is found equal; each value
//! spoiled afterwards is found, and nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::oracle::{self, Comparison, Kind, Pair};
use lab::writer::{self, Change, Pulse, Settings, Table, Writer};
use lab::{Mysql, Postgres};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const SHOP: &str = "lab_oracle";

/// Types of the copy by hand, in the order of the source's columns.
const TARGETS: [(&str, &str); 7] = [
    ("customers", "numeric(20) text text numeric(14,2) integer text date timestamp(6) timestamptz(6) text"),
    ("products", "text text numeric(12,4) float8 real jsonb bytea smallint time(3) bit(12)"),
    ("stock", "text text integer bigint timestamp"),
    ("orders", "numeric(20) numeric(20) text numeric(20,4) timestamp(6) timestamptz(3) json text"),
    ("order_items", "numeric(20) integer text smallint numeric(12,4)"),
    ("payments", "bytea numeric(20) numeric(20,4) text bytea timestamp(3)"),
    ("pulses", "bigint timestamp(6)"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_equal_and_each_spoiled_value_is_found() -> Result<()> {
    let (mysql, postgres) = (Mysql::up("main")?, Postgres::up("main")?);
    write_shop(&mysql.admin_url()?).await?;
    let mut source = writer::connect(&mysql.admin_url()?, Some(SHOP)).await?;
    let mut admin = PgConnection::connect(&postgres.admin_url("postgres")?).await?;
    let drop_database = format!("DROP DATABASE IF EXISTS {SHOP} WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(drop_database.as_str())).execute(&mut admin).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {SHOP} OWNER tailrace"))).execute(&mut admin).await?;
    let mut target = PgConnection::connect(&postgres.owner_url(SHOP)?).await?;
    copy_shop(&mut source, &mut target).await?;

    for (table, _) in TARGETS {
        let found = compare(&mut source, &mut target, table).await?;
        assert_eq!(found.differences, 0, "{table}: {:?}", found.examples.first());
        assert!(found.source_rows > 0 && found.source_rows == found.target_rows, "{table}: {found:?}");
    }
    for (table, spoil, columns) in SPOILERS {
        let schema = format!("SET search_path = {SHOP}");
        sqlx::raw_sql(AssertSqlSafe(format!("{schema}; BEGIN; {spoil}"))).execute(&mut target).await.context(*spoil)?;
        let found = compare(&mut source, &mut target, table).await?;
        assert_eq!(found.differences, 1, "{spoil}: {:?}", found.examples);
        assert_eq!(spoiled_columns(&found), *columns, "{spoil}");
        sqlx::raw_sql("ROLLBACK").execute(&mut target).await?;
    }
    sqlx::raw_sql(AssertSqlSafe(drop_database)).execute(&mut admin).await?;
    source.query_drop(format!("DROP DATABASE {SHOP}")).await?;
    source.disconnect().await?;
    Ok(())
}

/// What is broken in the target, in one row, and the columns that must be named; none for a row too much or too few.
const SPOILERS: &[(&str, &str, &[&str])] = &[
    ("customers", "DELETE FROM customers WHERE id = (SELECT max(id) FROM customers)", &[]),
    (
        "customers",
        "INSERT INTO customers SELECT 18446744073709551615, email, name, balance, points, tags, born, created, updated, note FROM customers LIMIT 1",
        &[],
    ),
    (
        "customers",
        "UPDATE customers SET balance = balance + 0.01 WHERE id = (SELECT min(id) FROM customers)",
        &["balance"],
    ),
    (
        "customers",
        "UPDATE customers SET note = '' WHERE id = (SELECT min(id) FROM customers WHERE note IS NULL)",
        &["note"],
    ),
    (
        "customers",
        "UPDATE customers SET updated = updated + interval '1 microsecond', created = created - interval '1 microsecond' WHERE id = (SELECT min(id) FROM customers)",
        &["created", "updated"],
    ),
    (
        "products",
        "UPDATE products SET weight = 1e20 + 16384 WHERE sku = (SELECT min(sku) FROM products WHERE weight = 1e20)",
        &["weight"],
    ),
    (
        "products",
        "UPDATE products SET ratio = 1.1000001::real WHERE sku = (SELECT min(sku) FROM products WHERE ratio = 1.1::real)",
        &["ratio"],
    ),
    (
        "products",
        "UPDATE products SET attributes = NULL WHERE sku = (SELECT min(sku) FROM products WHERE attributes = 'null')",
        &["attributes"],
    ),
    (
        "products",
        "UPDATE products SET flags = ~flags, made = made + 1 WHERE sku = (SELECT min(sku) FROM products WHERE made < 2100)",
        &["made", "flags"],
    ),
    (
        "products",
        "UPDATE products SET opens = opens + interval '1 millisecond' WHERE sku = (SELECT min(sku) FROM products WHERE opens < '23:00')",
        &["opens"],
    ),
    (
        "products",
        "UPDATE products SET picture = picture || '\\x00' WHERE sku = (SELECT min(sku) FROM products WHERE picture IS NOT NULL)",
        &["picture"],
    ),
    ("products", "UPDATE products SET title = title || ' ' WHERE sku = (SELECT min(sku) FROM products)", &["title"]),
    (
        "stock",
        "UPDATE stock SET on_hand = on_hand + 1 WHERE (warehouse, sku) = (SELECT warehouse, sku FROM stock LIMIT 1)",
        &["on_hand"],
    ),
    (
        "orders",
        "UPDATE orders SET address = replace(address::text, 'city', 'City')::json WHERE id = (SELECT min(id) FROM orders)",
        &["address"],
    ),
    (
        "orders",
        "UPDATE orders SET memo = 'deja vu' WHERE id = (SELECT min(id) FROM orders WHERE memo = 'déjà vu')",
        &["memo"],
    ),
    (
        "order_items",
        "DELETE FROM order_items WHERE (order_id, line) = (SELECT order_id, line FROM order_items LIMIT 1)",
        &[],
    ),
    ("payments", "UPDATE payments SET method = '' WHERE id = (SELECT id FROM payments LIMIT 1)", &["method"]),
];

fn spoiled_columns(found: &Comparison) -> Vec<&str> {
    let columns = found.examples.iter().flat_map(|difference| match &difference.kind {
        Kind::Different(columns) => columns.iter().map(|(name, _, _)| name.as_str()).collect(),
        Kind::Missing | Kind::Extra => Vec::new(),
    });
    columns.collect()
}

async fn compare(source: &mut Conn, target: &mut PgConnection, table: &str) -> Result<Comparison> {
    oracle::compare(source, target, &Pair::same(SHOP, table)).await
}

/// Every table has every kind of change afterwards.
async fn write_shop(url: &str) -> Result<()> {
    writer::create_shop(url, SHOP).await?;
    let settings = Settings { url: url.to_owned(), database: SHOP.to_owned(), connections: 6, rate: 20_000, seed: 1 };
    let writer = Writer::start(&settings).await?;
    let mut pulse = Pulse::start(url, SHOP, writer.tally()).await?;
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < end {
        pulse.beat().await?;
    }
    let tally = writer.stop().await?;
    lab::say(&format!("{} transactions in 3 s, {} rolled back", tally.transactions(), tally.rollbacks()));
    for table in Table::ALL {
        let counts = Change::ALL.map(|change| tally.count(table, change));
        ensure!(counts.iter().all(|count| *count > 0), "{}: {counts:?}", table.name());
    }
    Ok(())
}

/// By hand: MySQL's text into PostgreSQL's types.
async fn copy_shop(source: &mut Conn, target: &mut PgConnection) -> Result<()> {
    let schema = format!("CREATE SCHEMA {SHOP}; SET timezone = 'UTC'");
    sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *target).await?;
    for (table, types) in TARGETS {
        let types: Vec<&str> = types.split(' ').collect();
        let sql = format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = '{SHOP}' AND table_name = '{table}' ORDER BY ordinal_position"
        );
        let names: Vec<String> = source.query(sql).await?;
        ensure!(names.len() == types.len(), "{table}: {names:?} {types:?}");
        let columns: Vec<String> = names.iter().zip(&types).map(|(name, kind)| format!("{name} {kind}")).collect();
        let create = format!("CREATE TABLE {SHOP}.{table} ({})", columns.join(", "));
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *target).await?;
        copy_table(source, target, table, &names, &types).await.with_context(|| format!("copying {table}"))?;
    }
    Ok(())
}

async fn copy_table(
    source: &mut Conn,
    target: &mut PgConnection,
    table: &str,
    names: &[String],
    types: &[&str],
) -> Result<()> {
    let printed: Vec<String> = names
        .iter()
        .zip(types)
        .map(|(name, kind)| match *kind {
            "bytea" => format!("CONCAT('\\\\x', HEX({name}))"),
            "bit(12)" => format!("LPAD(BIN({name} + 0), 12, '0')"),
            "real" | "float8" => format!("CAST(CAST({name} AS DOUBLE) AS CHAR)"),
            "text" => format!("CONVERT({name} USING utf8mb4)"),
            _ => format!("CAST({name} AS CHAR)"),
        })
        .collect();
    source.query_drop("SET time_zone = '+00:00'").await?;
    let rows: Vec<mysql_async::Row> =
        source.query(format!("SELECT {} FROM {SHOP}.{table}", printed.join(", "))).await?;
    let casts: Vec<String> =
        types.iter().enumerate().map(|(index, kind)| format!("unnest(${}::text[])::{kind}", index + 1)).collect();
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); names.len()];
    for mut row in rows {
        for (index, column) in columns.iter_mut().enumerate() {
            let bytes: Option<Vec<u8>> = row.take(index).flatten();
            let text = bytes.map(String::from_utf8).transpose()?;
            column.push(text);
        }
    }
    let insert = format!("INSERT INTO {SHOP}.{table} SELECT {}", casts.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(insert));
    for column in columns {
        query = query.bind(column);
    }
    query.execute(target).await?;
    Ok(())
}
