//! What only the start of a server decides: `check` names the option, and a start without it mends the problem.

use anyhow::{Result, ensure};
use lab::{Kafka, Mariadb, Mysql, Postgres, Server};

use super::{check, find};
use crate::harness::{Scene, Servers};

/// Options of a server, what makes the problem beside them, its code, and what undoes it.
pub(super) struct StartedCase {
    options: &'static [&'static str],
    source: &'static str,
    pub(super) code: &'static str,
    undo: &'static str,
}

pub(super) const STARTED: &[StartedCase] = &[
    StartedCase { options: &["--skip-log-bin"], source: "", code: "log_bin", undo: "" },
    StartedCase { options: &["--binlog-ignore-db=e2e_check_started"], source: "", code: "binlog_filter", undo: "" },
    // A replica need not reach its source to be one.
    StartedCase {
        options: &["--log-replica-updates=OFF", "--skip-replica-start"],
        source: "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1",
        code: "log_replica_updates",
        undo: "RESET REPLICA ALL",
    },
];

/// The same of MariaDB, whose statement mends it.
pub(super) const STARTED_MARIADB: &str = "gtid_strict_mode";

/// Of a server of PostgreSQL.
pub(super) const STARTED_POSTGRES: &str = "target_standby";

#[test]
fn a_start_with_other_options_mends_what_one_has_spoiled() -> Result<()> {
    let mysql = Mysql::fresh("check-started", &[])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("check_started", servers)?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY)")?;
    scene.make_target()?;
    for case in STARTED {
        mysql.restart_with(case.options)?;
        if !case.source.is_empty() {
            scene.source(case.source)?;
        }
        let found = find(&scene, case.code)?;
        let option =
            case.options[0].split('=').next().unwrap_or_default().trim_start_matches("--").replace("skip-", "");
        let mend = found.mends("source").concat();
        ensure!(mend.contains(&option), "{} is mended by {mend:?}", case.code);
        if !case.undo.is_empty() {
            scene.source(case.undo)?;
        }
    }
    mysql.restart_with(&[])?;
    ensure!(check(&scene)?.codes().is_empty(), "a start without options leaves {:?}", check(&scene)?);
    scene.finish()?;
    mysql.remove()
}

#[test]
fn mariadb_and_a_standby_are_mended_too() -> Result<()> {
    let (mysql, postgres) =
        (Mariadb::fresh("check-started", &["--gtid-strict-mode=OFF"])?, Postgres::fresh("check-standby", &[])?);
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: postgres.clone() };
    let scene = Scene::on("check_started_others", servers)?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY)")?;
    scene.make_target()?;
    let found = find(&scene, STARTED_MARIADB)?;
    found.mends("source").into_iter().try_for_each(|mend| scene.source(mend))?;
    ensure!(check(&scene)?.codes().is_empty(), "mended, and found: {:?}", check(&scene)?);

    let server: &Server = &postgres;
    server.stop()?;
    let signal = server.data().join("standby.signal");
    std::fs::write(&signal, "")?;
    server.start()?;
    find(&scene, STARTED_POSTGRES)?;
    server.stop()?;
    std::fs::remove_file(&signal)?;
    server.start()?;
    ensure!(check(&scene)?.codes().is_empty(), "no standby any more, and found: {:?}", check(&scene)?);
    scene.finish()?;
    postgres.remove()?;
    mysql.remove()
}
