//! Records the binlogs anew that are damaged: runs the statements of `recordings/NAME.sql` on a fresh server and copies the file.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::{Mariadb, Mysql, say};
use mysql_async::prelude::Queryable;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let mysql = Mysql::fresh("recorded", &["--binlog-row-value-options=PARTIAL_JSON"])?;
    record(&folder, "mysql", &mysql)?;
    mysql.remove()?;
    let mariadb = Mariadb::fresh("recordedmaria", &["--log-bin-compress=ON", "--log-bin-compress-min-len=100"])?;
    record(&folder, "mariadb", &mariadb)?;
    mariadb.remove()
}

fn record(folder: &Path, name: &str, server: &Mysql) -> Result<()> {
    let script = fs::read_to_string(folder.join(format!("{name}.sql"))).with_context(|| format!("{name}.sql"))?;
    let file = tokio::runtime::Runtime::new()?.block_on(run(server, &script))?;
    let binlog = fs::read(server.data().join(&file)).with_context(|| file.clone())?;
    ensure!(binlog.len() < 256 << 10, "{file} has {} bytes: too many to keep", binlog.len());
    fs::write(folder.join(format!("{name}.binlog")), &binlog)?;
    say(&format!("{name}: {} bytes", binlog.len()));
    Ok(())
}

/// Runs the statements, each of which ends a line with `;`, into a file of their own; gives its name.
async fn run(server: &Mysql, script: &str) -> Result<String> {
    let mut connection = mysql_async::Conn::new(mysql_async::Opts::from_url(&server.admin_url()?)?).await?;
    connection.query_drop("FLUSH BINARY LOGS").await?;
    let statements = script.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        connection.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    let files: Vec<mysql_async::Row> = connection.query("SHOW BINARY LOGS").await?;
    let last = files.last().and_then(|row| row.get::<String, _>(0)).context("the server has no binlog")?;
    connection.query_drop("FLUSH BINARY LOGS").await?;
    connection.disconnect().await?;
    Ok(last)
}
