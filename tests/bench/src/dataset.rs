//! Two million rows of ten columns, about 290 bytes each in the binlog, inserted 5,000 a statement; and the table of the one
//! huge transaction.

use anyhow::{Context, Result};
use lab::Flavor;
use mysql_async::prelude::Queryable;

use crate::site::{NAME, Site};

/// Rows of one INSERT.
pub(crate) const STATEMENT_ROWS: u64 = 5_000;

const COLUMNS: &str = "id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(60) NOT NULL, amount DECIMAL(20,4) NOT NULL, \
     created DATETIME(6) NOT NULL, updated TIMESTAMP NOT NULL, doc JSON NOT NULL, bin VARBINARY(40) NOT NULL, \
     ratio DOUBLE NOT NULL, note TEXT NOT NULL";

/// The GTIDs before the rows, from which captures start.
pub(crate) async fn fill(site: &Site, rows: u64) -> Result<String> {
    let mut mysql = site.mysql().await?;
    mysql.query_drop(format!("USE {NAME}")).await?;
    mysql.query_drop(deep_recursion(site)).await?;
    mysql.query_drop(format!("CREATE TABLE seed ({COLUMNS})")).await?;
    mysql.query_drop(format!("CREATE TABLE rows_in ({COLUMNS})")).await?;
    mysql
        .query_drop(format!(
            "INSERT INTO seed WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < {STATEMENT_ROWS}) \
             SELECT i, i * 7919 % 1000003, CONCAT('customer ', i, ' of the north'), i * 1.2345, \
             '2026-01-01' + INTERVAL i SECOND + INTERVAL i MICROSECOND, '2026-01-01' + INTERVAL i SECOND, \
             JSON_OBJECT('k', i, 'tags', JSON_ARRAY('a', 'b'), 'note', 'short text'), \
             UNHEX(SHA2(i, 256)), i / 7, RPAD('', 60 + i % 20, 'lorem ipsum ') FROM k"
        ))
        .await?;
    let start = executed(site, &mut mysql).await?;
    for block in 0..rows / STATEMENT_ROWS {
        mysql
            .query_drop(format!(
                "INSERT INTO rows_in SELECT id + {}, n, name, amount, created, updated, doc, bin, ratio, note FROM seed",
                block * STATEMENT_ROWS
            ))
            .await?;
    }
    Ok(start)
}

/// The same rows once more, in a table of their own, compressed in the binlog; gives the GTIDs before them.
pub(crate) async fn fill_packed(site: &Site, rows: u64) -> Result<String> {
    let mut mysql = site.mysql().await?;
    mysql.query_drop(format!("USE {NAME}")).await?;
    mysql.query_drop(format!("CREATE TABLE packed ({COLUMNS})")).await?;
    let start = executed(site, &mut mysql).await?;
    set_compression(site, &mut mysql, true).await?;
    for block in 0..rows / STATEMENT_ROWS {
        mysql
            .query_drop(format!(
                "INSERT INTO packed SELECT id + {}, n, name, amount, created, updated, doc, bin, ratio, note FROM seed",
                block * STATEMENT_ROWS
            ))
            .await?;
    }
    set_compression(site, &mut mysql, false).await?;
    Ok(start)
}

/// Rows in transactions of their own; gives the GTIDs before them.
pub(crate) async fn fill_singles(site: &Site, rows: u64) -> Result<String> {
    let mut mysql = site.mysql().await?;
    mysql.query_drop(format!("USE {NAME}")).await?;
    mysql.query_drop(format!("CREATE TABLE singles ({COLUMNS})")).await?;
    let start = executed(site, &mut mysql).await?;
    mysql
        .query_drop(format!(
            "CREATE PROCEDURE fill_singles() BEGIN DECLARE i BIGINT DEFAULT 0; WHILE i < {rows} DO \
             INSERT INTO singles SELECT i, n, name, amount, created, updated, doc, bin, ratio, note FROM seed \
             WHERE id = 1 + i % {STATEMENT_ROWS}; SET i = i + 1; END WHILE; END"
        ))
        .await?;
    mysql.query_drop("CALL fill_singles()").await?;
    Ok(start)
}

/// MySQL compresses a session's transactions, MariaDB all long events.
async fn set_compression(site: &Site, mysql: &mut mysql_async::Conn, is_on: bool) -> Result<()> {
    let variable = match site.mysql.flavor() {
        Flavor::Mysql => "SESSION binlog_transaction_compression",
        Flavor::Mariadb | Flavor::Mariadb11 => "GLOBAL log_bin_compress",
    };
    Ok(mysql.query_drop(format!("SET {variable} = {}", u8::from(is_on))).await?)
}

/// One transaction of so many rows, compressed in the binlog or not.
pub(crate) async fn fill_huge(site: &Site, table: &str, rows: u64, is_compressed: bool) -> Result<String> {
    let mut mysql = site.mysql().await?;
    mysql.query_drop(format!("USE {NAME}")).await?;
    mysql.query_drop(deep_recursion(site)).await?;
    mysql
        .query_drop(format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(40) NOT NULL)"))
        .await?;
    let start = executed(site, &mut mysql).await?;
    set_compression(site, &mut mysql, is_compressed).await?;
    mysql
        .query_drop(format!(
            "INSERT INTO {table} WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < {rows}) \
             SELECT i, i % 1000, CONCAT('row ', i) FROM k"
        ))
        .await?;
    set_compression(site, &mut mysql, false).await?;
    Ok(start)
}

/// What the server has executed.
pub(crate) async fn executed(site: &Site, mysql: &mut mysql_async::Conn) -> Result<String> {
    let query = match site.mysql.flavor() {
        Flavor::Mysql => "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')",
        Flavor::Mariadb | Flavor::Mariadb11 => "SELECT @@GLOBAL.gtid_binlog_pos",
    };
    let set: Option<String> = mysql.query_first(query).await?;
    set.context("the server has GTIDs")
}

/// So that one statement can count to what is asked for.
pub(crate) fn deep_recursion(site: &Site) -> &'static str {
    match site.mysql.flavor() {
        Flavor::Mysql => "SET SESSION cte_max_recursion_depth = 10000000",
        Flavor::Mariadb | Flavor::Mariadb11 => "SET SESSION max_recursive_iterations = 10000000",
    }
}
