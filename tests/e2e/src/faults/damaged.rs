//! F17, F25: bytes change between server and capture, without TLS, which would notice. An event of an unknown type is passed over if
//! it says that it may be, else capture ends; a damaged one is read again, and ends capture if it stays damaged.

use anyhow::{Context, Result, ensure};
use lab::Mysql;
use lab::process::Tailrace;
use lab::proxy::Proxy;

use super::{PAUSE, converge, covers, ensure_ends, wait_written};
use crate::harness::{Addresses, DRAIN_LIMIT, Ledger, Scene, Servers, seed, wait_until};

/// Types of events that no server writes are above them.
const UNKNOWN: u8 = 0x63;
const ROWS_QUERY: u8 = 29;
const XID: u8 = 16;
const HEADER_BYTES: u32 = 19;
const CORRUPT: i32 = 5;
const REFUSED: i32 = 1;

#[test]
fn f17_unknown_event() -> Result<()> {
    // Without checksums a changed event is a good one.
    let fault = Fault::begin("f17", &["--binlog-checksum=NONE"])?;
    let Fault { scene, proxy, mysql } = &fault;
    let (mut capture, apply, ledger) = fault.start()?;
    let statement = "INSERT INTO t VALUES (17, 'its event says that it may be ignored')";
    let size = HEADER_BYTES + 1 + u32::try_from(statement.len())?;
    proxy.rewrite(&header(ROWS_QUERY, size), &header(UNKNOWN, size));
    scene.source(&format!("SET binlog_rows_query_log_events = ON; {statement}"))?;
    wait_until("an unknown event is ignored", DRAIN_LIMIT, || {
        ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
        Ok(capture.metrics()?.sum("tailrace_capture_ignored_events_total") > Some(0.0))
    })?;
    wait_written(&ledger)?;
    ensure!(capture.is_running(), "capture ended: {}", capture.log_text());

    // The end of any transaction, which does not say so.
    proxy.rewrite(&header(XID, HEADER_BYTES + 8), &header(UNKNOWN, HEADER_BYTES + 8));
    scene.source("SET gtid_next = 'AUTOMATIC:unknown'; INSERT INTO t VALUES (18, 'its end is unknown')")?;
    ensure_ends(&mut capture, REFUSED, &["an event of type 99", "newer version"])?;
    ensure!(!covers(scene, "unknown:1")?, "the checkpoint passed it");
    fault.heal()?;
    let capture = scene.capture()?;
    converge(scene, ledger)?;
    drop((capture, apply));
    let mysql = mysql.clone();
    fault.scene.finish()?;
    mysql.remove()
}

#[test]
fn f25_crc_corrupt() -> Result<()> {
    let fault = Fault::begin("f25", &[])?;
    let Fault { scene, proxy, mysql } = &fault;
    let (mut capture, apply, ledger) = fault.start()?;
    proxy.rewrite(b"a value that changes", b"a value that CHANGES");
    scene.source("SET gtid_next = 'AUTOMATIC:damaged'; INSERT INTO t VALUES (25, 'a value that changes')")?;
    ensure_ends(&mut capture, CORRUPT, &["checksum", "read again"])?;
    let log = capture.log_text();
    let first = log.lines().find(|line| line.contains("checksum")).context("a word of the first time")?;
    ensure!(first.contains("WARN") && first.contains("on its way"), "it is not read again: {log}");
    ensure!(!log.contains("a value that"), "the row's value is in the log");
    ensure!(!covers(scene, "damaged:1")?, "the checkpoint passed it");
    fault.heal()?;
    let capture = scene.capture()?;
    converge(scene, ledger)?;
    drop((capture, apply));
    let mysql = mysql.clone();
    fault.scene.finish()?;
    mysql.remove()
}

/// The begin of an event's header behind its time: type, server, length.
fn header(kind: u8, size: u32) -> Vec<u8> {
    let server: u32 = 1;
    [&[kind][..], &server.to_le_bytes(), &size.to_le_bytes()].concat()
}

/// A scene whose server is reached through a proxy, in plain text.
struct Fault {
    scene: Scene,
    proxy: Proxy,
    mysql: Mysql,
}

impl Fault {
    fn begin(name: &str, options: &[&str]) -> Result<Fault> {
        let mysql = Mysql::fresh(&format!("e2e-{name}"), options)?;
        let scene = Scene::on(name, Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
        let proxy = Proxy::start(mysql.port()?)?;
        let through = Addresses { mysql: format!("127.0.0.1:{}", proxy.port()), ..scene.addresses() };
        let config = scene.config_for(&through);
        let tls = config.lines().find(|line| line.contains("verify-ca")).context("the source has TLS")?;
        scene.write_config(&config.replace(tls, "tls = { mode = \"disabled\" }"))?;
        scene.make_ledger()?;
        scene.source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(60))")?;
        scene.make_target()?;
        Ok(Fault { scene, proxy, mysql })
    }

    fn start(&self) -> Result<(Tailrace, Tailrace, Ledger<'_>)> {
        let seed = seed(&self.scene.database);
        let (capture, apply) = (self.scene.capture()?, self.scene.apply()?);
        let ledger = self.scene.open_ledger(PAUSE, seed)?;
        wait_written(&ledger)?;
        Ok((capture, apply, ledger))
    }

    /// From now on the server is reached directly.
    fn heal(&self) -> Result<()> {
        self.scene.write_config(&self.scene.config())
    }
}
