//! `cargo x demo`: a live shop, and a table with a million rows of history, flow from MySQL through Kafka into PostgreSQL while capture
//! and apply are killed again and again; then every row is compared by what the two databases print.
//!
//! The real binary, as separate processes; nothing of Tailrace is linked in. What counts as proof: the writer's own tally,
//! the brokers' and the target's own word that a kill hit a batch in flight, and the oracle's comparison. What Tailrace says
//! about itself is shown and believed nowhere.

mod board;
mod embedded;
mod history;
mod killer;
mod lag;
mod options;
mod report;
mod screen;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use sqlx::PgConnection;

use crate::oracle::{self, Comparison, Pair};
use crate::say;
use crate::writer::{Settings, Table, Tally, Writer};
use board::{Board, Phase};
use history::Hand;
use killer::Killer;
use lag::{LagMeter, Period};
pub use options::Options;
use report::Report;
use screen::Screen;
use stage::Stage;

/// The shop's database in MySQL, its schema and its database in PostgreSQL.
const SHOP: &str = "shop";
const CONNECTIONS: u32 = 8;
/// Written without a kill first: the lag of undisturbed work.
const CALM: Duration = Duration::from_secs(8);
/// The first change must get through topics that are not made yet.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);
const DRAIN_LIMIT: Duration = Duration::from_secs(180);
/// A target in which nothing moved for so long will not become equal any more.
const STANDSTILL: Duration = Duration::from_secs(15);

/// Plays the demo; `true` if everything held that it is meant to show.
pub async fn run(options: &Options) -> Result<bool> {
    if options.embedded {
        return embedded::run(options).await;
    }
    say(&format!("seed {}: the same seed rolls the same dice", options.seed));
    let stage = Stage::prepare().await.context("setting the stage")?;
    let board = Arc::new(Board::default());
    let screen = Screen::start(Arc::clone(&board));
    let outcome = play(options, &stage, &board).await;
    screen.end();
    let report = outcome?;
    report.print(&stage);
    Ok(report.holds())
}

async fn play(options: &Options, stage: &Stage, board: &Arc<Board>) -> Result<Report> {
    board.enter(Phase::Starting);
    let mut killer = Killer::start(stage, Arc::clone(board), options.seed)?;
    board.enter(Phase::Writing);
    let begin = Instant::now();
    let settings = Settings {
        url: stage.mysql.admin_url()?,
        database: SHOP.to_owned(),
        connections: CONNECTIONS,
        rate: options.rate,
        seed: options.seed,
    };
    let hand = Hand::start(&settings.url, options.seed);
    let mut writer = Writer::start(&settings).await?;
    board.watch(writer.tally());
    let meter = LagMeter::start(stage, writer.tally(), Arc::clone(board)).await?;
    while !(killer.is_ready() && meter.has_seen_one()) {
        wait_writing(&mut writer, Duration::from_millis(50)).await?;
        killer.check()?;
        ensure!(begin.elapsed() < ARRIVAL_LIMIT, "no change has arrived in the target after {ARRIVAL_LIMIT:?}");
    }
    meter.enter(Period::Calm);
    wait_writing(&mut writer, CALM).await?;
    meter.enter(Period::Disturbed);
    killer.begin(options.kills);
    let mut target = stage.target().await?;
    while begin.elapsed() < Duration::from_secs(options.seconds) || !killer.is_done() {
        board.note(history::bar(stage.copied(&mut target).await?));
        wait_writing(&mut writer, Duration::from_millis(1_000)).await?;
        killer.check()?;
    }
    let (mut processes, kills) = killer.finish()?;
    let tally = writer.stop().await?;
    let seconds = begin.elapsed().as_secs_f64();
    let changed = hand.end().await?;
    let lag = meter.finish().await?;

    board.enter(Phase::Draining);
    wait_copied(stage, board).await?;
    let mut comparisons = drain(stage, board).await?;
    if options.plant {
        let key = stage.plant().await?;
        say(&format!("planted: {key} was changed in the target behind Tailrace's back"));
        comparisons = compare_all(stage).await?;
    }
    board.enter(Phase::Ending);
    let exits = processes.terminate()?;
    let history = compare(stage, history::ARCHIVE).await?;
    Ok(Report { tally, seconds, rate: options.rate, kills, lag, comparisons, history, changed, exits })
}

/// Lets the shop be written to for a while; an error if a connection of it fails.
async fn wait_writing(writer: &mut Writer, time: Duration) -> Result<()> {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        writer.check()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until history has as many rows as in the source, or none has come for a while: then the comparison tells.
async fn wait_copied(stage: &Stage, board: &Board) -> Result<()> {
    let mut source = crate::writer::connect(&stage.mysql.admin_url()?, Some(SHOP)).await?;
    let count = format!("SELECT COUNT(*) FROM {}", history::ARCHIVE);
    let wanted: u64 = source.query_first(count).await?.context("a count")?;
    source.disconnect().await?;
    let mut target = stage.target().await?;
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let copied = stage.copied(&mut target).await?;
        board.note(history::bar(copied));
        if copied != last {
            (last, since) = (copied, Instant::now());
        }
        if copied == wanted || since.elapsed() > STANDSTILL {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Compares until the target is equal and stays equal, or stands still without being so.
async fn drain(stage: &Stage, board: &Board) -> Result<Vec<(Table, Comparison)>> {
    let begin = Instant::now();
    let (mut last, mut since, mut equal) = (Vec::new(), Instant::now(), 0);
    loop {
        let found = compare_all(stage).await?;
        let state: Vec<(u64, u64)> = found.iter().map(|(_, one)| (one.target_rows, one.differences)).collect();
        let differences: u64 = found.iter().map(|(_, one)| one.differences).sum();
        board.note(format!("{differences} rows differ while the log drains"));
        equal = if differences == 0 { equal + 1 } else { 0 };
        if state != last {
            (last, since) = (state, Instant::now());
        }
        if equal == 2 || since.elapsed() > STANDSTILL && differences > 0 || begin.elapsed() > DRAIN_LIMIT {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

async fn compare_all(stage: &Stage) -> Result<Vec<(Table, Comparison)>> {
    let mut source = crate::writer::connect(&stage.mysql.admin_url()?, Some(SHOP)).await?;
    let mut target: PgConnection = stage.target().await?;
    let mut found = Vec::new();
    for table in Table::ALL {
        found.push((table, oracle::compare(&mut source, &mut target, &Pair::same(SHOP, table.name())).await?));
    }
    source.disconnect().await?;
    Ok(found)
}

async fn compare(stage: &Stage, table: &str) -> Result<Comparison> {
    let mut source = crate::writer::connect(&stage.mysql.admin_url()?, Some(SHOP)).await?;
    let mut target: PgConnection = stage.target().await?;
    let found = oracle::compare(&mut source, &mut target, &Pair::same(SHOP, table)).await?;
    source.disconnect().await?;
    Ok(found)
}

/// Tallies are shared with the writer's tasks.
type SharedTally = Arc<Tally>;
