//! The laboratory's servers themselves: an instance survives a kill with its port and data, a second `up` finds it, removal
//! leaves nothing. With real servers; a server that can't be had fails the test.

use anyhow::{Context, Result};
use lab::{Kafka, Mariadb, Mariadb11, Mysql, Postgres, Server};

/// The life of any server. `up` is asked for the same name twice.
fn check_life(up: impl Fn() -> Result<Server>) -> Result<()> {
    let server = up()?;
    let (port, first) = (server.port()?, server.pid()?);
    assert_eq!(up()?.pid()?, first, "a second up must find the first");

    let marker = server.folder().join("marker");
    server.kill()?;
    assert_eq!(server.pid()?, None);
    assert!(lab::ports::is_free(port), "nobody may listen after a kill");
    std::fs::write(&marker, "kept")?;
    server.start()?;
    assert!(first.is_none() || server.pid()? != first, "a start makes a new process");
    assert_eq!(server.port()?, port);
    assert!(marker.exists(), "a start on old data must not make a new folder");

    server.stop()?;
    assert!(lab::ports::is_free(port));
    server.start()?;
    server.kill()?;
    assert_eq!(up()?.port()?, port, "up after a kill starts the same instance again");
    server.remove()?;
    assert!(!server.folder().exists());
    assert!(lab::ports::is_free(port));
    server.remove().context("removing what is gone is no error")
}

#[test]
fn whoever_comes_at_the_same_time_gets_the_same_server() {
    Postgres::fresh("lab-crowd", &[]).unwrap().remove().unwrap();
    let crowd: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| Postgres::up("lab-crowd").unwrap().pid().unwrap())).collect();
    let pids: Vec<_> = crowd.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(pids.windows(2).all(|pair| pair[0] == pair[1]), "{pids:?}");
    Postgres::up("lab-crowd").unwrap().remove().unwrap();
}

#[test]
fn mysql_survives_kills() {
    Mysql::fresh("lab-life", &["--sync-binlog=0"]).unwrap();
    check_life(|| Ok(Server::clone(&*Mysql::up_with("lab-life", &["--sync-binlog=0"])?))).unwrap();
}

#[test]
fn mariadb_survives_kills() {
    Mariadb::fresh("lab-life", &[]).unwrap();
    check_life(|| Ok(Server::clone(&*Mariadb::up("lab-life")?))).unwrap();
}

#[test]
fn mariadb11_survives_kills() {
    Mariadb11::fresh("lab-life", &[]).unwrap();
    check_life(|| Ok(Server::clone(&*Mariadb11::up("lab-life")?))).unwrap();
}

#[test]
fn kafka_survives_kills() {
    // A killed broker is let in again only when its old session has run out: nine seconds unless told otherwise.
    let options = ["broker.session.timeout.ms=4000", "broker.heartbeat.interval.ms=1000"];
    Kafka::fresh("lab-life", &options).unwrap();
    check_life(|| Ok(Server::clone(&*Kafka::up_with("lab-life", &options)?))).unwrap();
}

#[test]
fn postgres_survives_kills() {
    Postgres::fresh("lab-life", &["synchronous_commit=off"]).unwrap();
    check_life(|| Ok(Server::clone(&*Postgres::up_with("lab-life", &["synchronous_commit=off"])?))).unwrap();
}

#[test]
fn other_options_under_the_same_name_are_refused() {
    let server = Postgres::fresh("lab-options", &[]).unwrap();
    let error = Postgres::up_with("lab-options", &["fsync=off"]).err().expect("two sets of options under one name");
    assert!(error.to_string().contains("fsync=off"), "{error:#}");
    server.remove().unwrap();
}

#[test]
fn a_server_that_can_not_start_shows_its_log() {
    let error = Postgres::fresh("lab-broken", &["no_such_setting=1"]).err().expect("an unknown setting");
    assert!(error.to_string().contains("no_such_setting"), "{error:#}");
    let folder = lab::home::Home::find().unwrap().servers().join("postgres-lab-broken");
    Postgres::fresh("lab-broken", &[]).unwrap().remove().unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_new_broker_has_no_open_transaction_and_its_tools_run() {
    let kafka = Kafka::up("main").unwrap();
    assert!(kafka.transactions().unwrap().iter().all(|one| !one.id.is_empty() && !one.state.is_empty()));
    kafka.delete_topics("no-such-topic-of-the-laboratory").unwrap();
    assert!(kafka.console_consumer("shop.orders").unwrap().contains("--bootstrap-server 127.0.0.1:"));
}

#[test]
fn the_binlog_is_read_by_the_servers_own_program() {
    let mysql = Mysql::up("main").unwrap();
    let mut command = mysql.mysqlbinlog().unwrap();
    let output = command.args(["--stop-position=200", "binlog.000001"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Start: binlog v 4"));
}
