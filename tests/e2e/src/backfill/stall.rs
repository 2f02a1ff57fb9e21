//! F28: rows that are delivered before they can be seen. The server holds every commit for 200 ms between the binlog and its rows, and
//! many writers write into the tables that are read in small chunks. The same without the wait must lose rows, or it proves nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::writer::Dice;
use lab::{Mysql, Server, say};

use super::{LIMIT, documents, end, fill};
use crate::harness::{Scene, Servers, seed, wait_until};

const STALL: [&str; 2] = ["--sync-binlog=0", "--binlog-group-commit-sync-delay=200000"];
const TABLES: u64 = 8;
const ROWS: u64 = 2_500;
/// Each waits for its commit most of the time.
const WRITERS: u64 = 32;
/// So that hundreds of windows are opened.
const TINY_CHUNKS: &str = "\n[backfill]\nreaders = 8\nchunk_rows = 50\n";

#[test]
fn f28_rows_that_are_seen_late_are_not_lost() -> Result<()> {
    let mysql = Mysql::fresh("e2e-stall", &STALL)?;
    let server = Server::clone(&mysql);
    let servers = || -> Result<Servers> { Ok(Servers { mysql: mysql.clone(), ..Servers::shared()? }) };
    let (lost, _) = copy(Scene::on("backfill_no_wait", servers()?)?, true)?;
    ensure!(lost > 0, "nothing was lost without the wait: the test proves nothing");
    let (differences, windows) = copy(Scene::on("backfill_stall", servers()?)?, false)?;
    ensure!(differences == 0, "{differences} rows differ, although the rows were waited for");
    ensure!(windows > 300, "only {windows} windows");
    say(&format!("f28: {windows} windows, no row lost; {lost} without the wait"));
    server.remove()
}

/// How many rows differ at the end, and how many windows were closed.
fn copy(scene: Scene, is_flawed: bool) -> Result<(u64, u64)> {
    let seed = seed(&scene.database);
    for table in 0..TABLES {
        scene.source(&format!("CREATE TABLE t{table} (id INT PRIMARY KEY, n INT NOT NULL)"))?;
        fill(&scene, u32::try_from(ROWS)?, &format!("t{table} (id, n)"), "i, 0")?;
    }
    scene.write_config(&(scene.embedded_config().replace("backfill = \"off\"\n", "") + TINY_CHUNKS))?;
    scene.make_target()?;
    let crowd = scene.open_crowd(WRITERS, Duration::ZERO, seed, change)?;
    wait_until("the crowd writes", LIMIT, || Ok(crowd.done() > WRITERS * 2))?;
    let launch = scene.launch(&["run"])?;
    let launch = if is_flawed { launch.variable("TAILRACE_FLAW", "mysql.no_wait") } else { launch };
    let mut process = launch.spawn()?;
    process.wait_ready(LIMIT)?;
    wait_until("all tables are copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let copies = documents(&scene, false)?;
        Ok(copies.len() as u64 > TABLES && copies.iter().all(|copy| copy["state"] == "done"))
    })?;
    let written = crowd.close()?;
    scene.wait_drained()?;
    let mut differences = 0;
    for table in scene.tables()? {
        differences += scene.compare(&table)?.differences;
    }
    let copies = documents(&scene, false)?;
    let sum = |field: &str| copies.iter().filter_map(|copy| copy[field].as_u64()).sum::<u64>();
    let (windows, dropped) = (sum("chunks"), sum("rows_dropped"));
    say(&format!(
        "{}: {written} changes, {windows} windows, {dropped} rows dropped, {differences} differ",
        scene.database
    ));
    ensure!(is_flawed || dropped > 0, "no window met a change");
    end(&mut process)?;
    scene.finish()?;
    Ok((differences, windows))
}

fn change(dice: &mut Dice) -> String {
    let (table, id) = (dice.below(TABLES), 1 + dice.below(ROWS));
    match dice.below(10) {
        0..6 => format!("UPDATE t{table} SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 4"),
        6..8 => format!("DELETE FROM t{table} WHERE id BETWEEN {id} AND {id} + 1"),
        _ => format!("INSERT INTO t{table} VALUES ({id}, -1), ({id} + 1, -1) ON DUPLICATE KEY UPDATE n = n + 100"),
    }
}
