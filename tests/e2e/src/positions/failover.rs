//! F07, F08: the source dies under load and a replica of it takes its place, by way of an address that leads to it from then on.
//! Capture goes on there if the replica has everything, also with transactions of the replica's own; and it stops, and says what is
//! missing, when the address leads back to the old server, which never had what was written since.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::mysql::Flavor;
use lab::process::Tailrace;
use lab::proxy::Proxy;
use lab::{ADMIN_PASSWORD, Mariadb, Mysql};

use super::{ask, position, run_on};
use crate::harness::{LEDGER, READY_LIMIT, Scene, Servers, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(90);
/// Transactions before and after the failover.
const LOAD: u64 = 300;

#[test]
fn f07_f08_capture_follows_to_a_promoted_replica_and_stops_at_one_that_lags() -> Result<()> {
    let pair = (Mysql::fresh("e2e-failover-old", &[])?, Mysql::fresh("e2e-failover-new", &["--server-id=2"])?);
    fail_over("failover", pair, Form::WithLog)
}

#[test]
fn f07_f08_the_embedded_form_follows_to_a_promoted_replica_of_mariadb() -> Result<()> {
    let options = ["--server-id=2", "--log-slave-updates=ON"];
    let pair = (Mariadb::fresh("e2e-failover-old", &[])?, Mariadb::fresh("e2e-failover-new", &options)?);
    fail_over("failover_mariadb", pair, Form::Embedded)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    WithLog,
    Embedded,
}

fn fail_over(name: &str, (old, new): (Mysql, Mysql), form: Form) -> Result<()> {
    let scene = Scene::on(name, Servers { mysql: new.clone(), ..Servers::shared()? })?;
    let pair = Pair { scene: &scene, old: &old, new: &new };
    pair.replicate()?;
    let proxy = Proxy::start(old.port()?)?;
    let config = if form == Form::WithLog { scene.config() } else { scene.embedded_config() };
    let direct = format!("@{}", scene.addresses().mysql);
    scene.write_config(&config.replace(&direct, &format!("@127.0.0.1:{}", proxy.port())))?;
    let made = scene.command(&["schema", "--apply"])?;
    ensure!(made.code == Some(0), "{made:?}");

    // Rows from before the begin are not captured; apply is ready once there are some.
    let commands: &[&str] = if form == Form::WithLog { &["capture", "apply"] } else { &["run"] };
    let mut processes = vec![start(&scene, commands[0])?];
    let ledger = scene.open_ledger_through(proxy.port(), Duration::from_millis(2), seed(name))?;
    for command in &commands[1..] {
        processes.push(start(&scene, command)?);
    }
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > LOAD))?;
    pair.write_errant_row()?;
    pair.promote(&proxy)?;
    let before = ledger.transactions();
    wait_until("the writer writes to the promoted one", LIMIT, || Ok(ledger.transactions() > before + LOAD))?;
    ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    ensure!(scene.target_number(&format!("SELECT count(*) FROM {LEDGER} WHERE id = {ERRANT}"))? == 1, "no errant row");
    for process in &mut processes {
        ensure!(process.is_running(), "a process ended: {}", process.log_text());
    }
    let reached = pair.check_merged()?;
    lab::say(&format!("{name}: {} transactions before, {rows} rows after", before));

    // The old one comes back, and the address leads to it: it lacks what was written since.
    proxy.refuse();
    old.start()?;
    proxy.lead_to(old.port()?);
    proxy.pass();
    let ended = processes[0].wait_exit(LIMIT)?;
    ensure!(ended.code() == Some(3), "ended with {ended}: {}", processes[0].log_text());
    let told = processes[0].log_text();
    for word in ["never had transactions that we captured", &pair.missing()?] {
        ensure!(told.contains(word), "{word:?} is not in {told}");
    }
    // Asked through the promoted one, so that the source answers too.
    scene.write_config(&config)?;
    ensure!(position(&scene)? == reached, "the checkpoint moved");
    drop(processes);
    scene.finish()?;
    old.remove()?;
    new.remove()
}

/// Key of the row that only the replica was given.
const ERRANT: u32 = 900_001;

fn start(scene: &Scene, command: &str) -> Result<Tailrace> {
    let mut process = scene.launch(&[command])?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    Ok(process)
}

struct Pair<'a> {
    scene: &'a Scene,
    old: &'a Mysql,
    new: &'a Mysql,
}

impl Pair<'_> {
    fn is_mariadb(&self) -> bool {
        self.old.flavor() != Flavor::Mysql
    }

    fn on_old(&self, statements: &str) -> Result<()> {
        run_on(self.scene, self.old, statements)
    }

    fn on_new(&self, statements: &str) -> Result<()> {
        run_on(self.scene, self.new, statements)
    }

    /// The new one follows the old one, which gets the tables.
    fn replicate(&self) -> Result<()> {
        let port = self.old.port()?;
        if self.is_mariadb() {
            self.on_old("RESET MASTER")?;
            self.on_new(&format!(
                "RESET MASTER; SET GLOBAL gtid_slave_pos = '';
                 CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root',
                   MASTER_PASSWORD = '{ADMIN_PASSWORD}', MASTER_USE_GTID = slave_pos;
                 START SLAVE"
            ))?;
        } else {
            self.on_old("RESET BINARY LOGS AND GTIDS")?;
            self.on_new(&format!(
                "RESET BINARY LOGS AND GTIDS;
                 CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root',
                   SOURCE_PASSWORD = '{ADMIN_PASSWORD}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
                 START REPLICA"
            ))?;
        }
        let database = &self.scene.database;
        self.on_old(&format!(
            "CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4;
             CREATE TABLE {database}.{LEDGER} (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, note VARCHAR(60) NOT NULL);
             CREATE TABLE {database}.{} (id BIGINT AUTO_INCREMENT PRIMARY KEY)",
            Scene::MARKERS
        ))?;
        wait_until("the replica has the tables", LIMIT, || self.has_everything())
    }

    /// Whether the new one has all that the old one has.
    fn has_everything(&self) -> Result<bool> {
        if self.is_mariadb() {
            let logged = ask(self.scene, self.old, "SELECT @@GLOBAL.gtid_binlog_pos")?;
            return Ok(ask(self.scene, self.new, "SELECT @@GLOBAL.gtid_slave_pos")? == logged);
        }
        let executed = ask(self.scene, self.old, "SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')")?;
        let question = format!("SELECT GTID_SUBSET('{executed}', @@GLOBAL.gtid_executed)");
        Ok(ask(self.scene, self.new, &question)? == "1")
    }

    /// A transaction that the old one never has. MariaDB keeps order in a domain, so there it has another one.
    fn write_errant_row(&self) -> Result<()> {
        let own_domain = if self.is_mariadb() { "SET gtid_domain_id = 9; " } else { "" };
        self.on_new(&format!("{own_domain}INSERT INTO {}.{LEDGER} VALUES ({ERRANT}, 1, 'errant')", self.scene.database))
    }

    /// Nobody reaches the old one any more; once the new one has everything, it is the source, and the old one dies.
    fn promote(&self, proxy: &Proxy) -> Result<()> {
        proxy.refuse();
        wait_until("the replica has everything", LIMIT, || self.has_everything())?;
        self.on_new(if self.is_mariadb() { "STOP SLAVE; RESET SLAVE ALL" } else { "STOP REPLICA; RESET REPLICA ALL" })?;
        self.old.kill()?;
        proxy.lead_to(self.new.port()?);
        proxy.pass();
        Ok(())
    }

    /// The position names transactions of the old one and of both kinds of the new one's.
    fn check_merged(&self) -> Result<String> {
        let reached = position(self.scene)?;
        let origins = if self.is_mariadb() {
            vec!["mariadb:0-2-".to_owned(), ",9-2-1".to_owned()]
        } else {
            let own = ask(self.scene, self.new, "SELECT @@server_uuid")?;
            let sets = reached.split('@').next().unwrap_or_default().matches(':').count();
            ensure!(sets >= 3, "not merged: {reached}");
            vec![own]
        };
        for origin in origins {
            ensure!(reached.contains(&origin), "{origin} is not in {reached}");
        }
        Ok(reached)
    }

    /// Something that the old one lacks.
    fn missing(&self) -> Result<String> {
        if self.is_mariadb() {
            return ask(self.scene, self.new, "SELECT SUBSTRING_INDEX(@@GLOBAL.gtid_binlog_pos, ',', 1)");
        }
        ask(self.scene, self.new, "SELECT CONCAT(@@server_uuid, ':1-')")
    }
}
