//! `cargo x up` and `cargo x down`: the servers named `main`, and how to reach them.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use lab::{ADMIN_PASSWORD, Kafka, Mariadb, Mysql, Postgres, Server, TAILRACE_PASSWORD, say};

pub(crate) fn up(arguments: &[String]) -> Result<ExitCode> {
    refuse(arguments)?;
    let (mysql, kafka, postgres) = start()?;
    let mariadb = timed(|| Mariadb::up("main"))?;
    let (mysql_port, mariadb_port, postgres_port) = (mysql.port()?, mariadb.port()?, postgres.port()?);
    say(&format!(
        "
MySQL       {}   users root, tailrace
            mariadb -h127.0.0.1 -P{mysql_port} -uroot -p{ADMIN_PASSWORD}
MariaDB     {}   users root, tailrace
            mariadb -h127.0.0.1 -P{mariadb_port} -uroot -p{ADMIN_PASSWORD}
Kafka       {}
            {}
PostgreSQL  {}   users postgres, tailrace; database shop
            PGPASSWORD={TAILRACE_PASSWORD} psql -h 127.0.0.1 -p {postgres_port} -U tailrace shop

passwords: {ADMIN_PASSWORD} (root, postgres), {TAILRACE_PASSWORD} (tailrace)
`cargo x down` removes them.",
        mysql.address()?,
        mariadb.address()?,
        kafka.address()?,
        kafka.console_consumer("TOPIC")?,
        postgres.address()?
    ));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn down(arguments: &[String]) -> Result<ExitCode> {
    refuse(arguments)?;
    let removed = lab::server::remove_all()?;
    say(&match removed.as_slice() {
        [] => "no server of the laboratory is there".to_owned(),
        some => format!("removed {}", some.join(", ")),
    });
    Ok(ExitCode::SUCCESS)
}

/// The servers that everything needs, named `main`, each reported with the time that it took.
pub(crate) fn start() -> Result<(Mysql, Kafka, Postgres)> {
    let mysql = timed(|| Mysql::up("main"))?;
    let kafka = timed(|| Kafka::up("main"))?;
    let postgres = timed(|| Postgres::up("main"))?;
    Ok((mysql, kafka, postgres))
}

fn timed<S: std::ops::Deref<Target = Server>>(up: impl FnOnce() -> Result<S>) -> Result<S> {
    let begin = Instant::now();
    let server = up()?;
    say(&format!("{:<14} {}   ready in {:.1} s", server.label(), server.address()?, begin.elapsed().as_secs_f64()));
    Ok(server)
}

fn refuse(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        Some(word) => bail!("no option {word:?}"),
        None => Ok(()),
    }
}
