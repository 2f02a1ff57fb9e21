//! `tailrace backfill`: what the ledger says, and orders to the process that copies.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use tailrace_contract::{Error, LedgerEntry, Result};

use super::{
    OutputFormat,
    bars::{self, Screen, Turns},
    output, print, shown_name,
};
use crate::{
    backfill::Order,
    config::{Config, Stores},
    control, registry,
    state::ledger::{self, ChunkEntry, CopyState, TableEntry},
    status::{self, Answer},
};

/// Whoever writes the log holds its end open for seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(super) enum BackfillCommand {
    /// Tell how far each table is copied, by the ledger; no process need run
    ///
    /// `tailrace status` tells rates and what holds the copies up, too.
    Status(StatusOfCopies),

    /// List the chunks of a table: bounds, rows, tries, times
    Chunks(ChunksArguments),

    /// Copy a table from its beginning whose copy failed, was given up, or has a gap
    ///
    /// Rows that were deleted in the source while it was not copied stay in the target until they are verified.
    Start(OneTable),

    /// Read no further chunk, until resumed; a restart changes nothing of it
    Pause(SomeTables),

    /// Let what was paused go on
    Resume(SomeTables),

    /// Give a table's copy up; rows that were copied stay
    Cancel(OneTable),

    /// Copy a part of a table once more
    ///
    /// Rows are added and replaced, none is deleted. Bounds belong to the range. A key is JSON: 17, "a", or an array of the key's
    /// columns; other kinds of values as `tailrace backfill chunks --format json` prints them. What is no JSON is taken for a text.
    #[command(
        after_help = "Examples:\n  tailrace backfill recopy --table shop.orders --from 1000 --to 2000\n  tailrace backfill recopy --table shop.items --from '[\"a\",1]'"
    )]
    Recopy(RecopyArguments),

    /// Copy no more rows a second, until the process ends
    Throttle(ThrottleArguments),
}

#[derive(Debug, Args)]
pub(super) struct StatusOfCopies {
    /// Ask the process that copies instead, again and again until all is copied: bars on a terminal, else a line now and then
    #[arg(long, conflicts_with = "format")]
    watch: bool,

    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct ChunksArguments {
    /// The source's table, as in shop.orders
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: String,

    /// Only chunks that needed more than one try
    #[arg(long)]
    retried: bool,

    /// Form of the output; JSON is one object a line
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct OneTable {
    /// The source's table, as in shop.orders
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: String,
}

#[derive(Debug, Args)]
pub(super) struct SomeTables {
    /// The source's table, as in shop.orders [default: all to which it applies]
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RecopyArguments {
    /// The source's table, as in shop.orders
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: String,

    /// The first key [default: the table's first]
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    from: Option<String>,

    /// The last key [default: the table's last]
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    to: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct ThrottleArguments {
    /// Rows a second, of all tables together
    #[arg(long, value_name = "ROWS")]
    max_rate: Option<NonZeroU64>,

    /// Take it back: what backfill.max_rate says is in force again
    #[arg(long)]
    off: bool,
}

impl BackfillCommand {
    /// Which systems it asks; orders go to a process.
    pub(super) fn stores(&self) -> Stores {
        let is_asked = matches!(self, Self::Status(StatusOfCopies { watch: false, .. }) | Self::Chunks(_));
        Stores { source: false, log: is_asked, target: false }
    }

    /// The order that it gives.
    fn order(&self) -> Option<Order> {
        Some(match self {
            Self::Status(_) | Self::Chunks(_) => return None,
            Self::Start(OneTable { table }) => Order::Start { table: table.clone() },
            Self::Pause(SomeTables { table }) => Order::Pause { table: table.clone() },
            Self::Resume(SomeTables { table }) => Order::Resume { table: table.clone() },
            Self::Cancel(OneTable { table }) => Order::Cancel { table: table.clone() },
            Self::Recopy(RecopyArguments { table, from, to }) => {
                let key = |typed: &Option<String>| typed.as_deref().map(typed_key);
                Order::Recopy { table: table.clone(), from: key(from), to: key(to) }
            }
            Self::Throttle(ThrottleArguments { max_rate, .. }) => Order::Throttle { rows_per_second_max: *max_rate },
        })
    }
}

/// A text need not be quoted.
fn typed_key(typed: &str) -> serde_json::Value {
    serde_json::from_str(typed).unwrap_or_else(|_| serde_json::Value::String(typed.to_owned()))
}

/// Tells, or gives the order.
pub(super) async fn run(config: &Config, command: &BackfillCommand) -> Result<()> {
    if let Some(order) = command.order() {
        let token = config.token()?.ok_or_else(|| {
            Error::refused("no token is configured, so no orders are taken")
                .hint("write token = { env = \"NAME\" } into [http], and start capture or run anew")
        })?;
        let done = control::give(config.http.capture, &token, &order).await?;
        return print(&format!("{}\n", shown_name(&done)));
    }
    if let BackfillCommand::Status(StatusOfCopies { watch: true, .. }) = command {
        return watch(config).await;
    }
    let documents = tokio::time::timeout(PATIENCE, read_ledger(config));
    let documents = documents.await.unwrap_or_else(|_| Err(Error::transient("the ledger did not come in time")))?;
    match command {
        BackfillCommand::Chunks(options) => print(&chunks_text(&documents, options)?),
        _ => {
            let BackfillCommand::Status(options) = command else { return Ok(()) };
            print(&tables_text(&ledger::tables(&documents)?, options.format))
        }
    }
}

/// Asks the process until nothing is left to be copied, or nobody reads.
async fn watch(config: &Config) -> Result<()> {
    let (screen, mut turns) = (Screen::stdout(), Turns::default());
    loop {
        let told = match status::ask(config.http.capture).await {
            Answer::Told(status) => status.backfill,
            Answer::Nobody(why) | Answer::Stranger(why) => {
                screen.show(Vec::new());
                return Err(Error::refused(why).hint("`tailrace backfill status` asks the ledger; no process need run"));
            }
        };
        if let Some(told) = told {
            let lines = bars::lines(&told);
            let is_over = lines.is_empty();
            screen.show(lines);
            if is_over {
                return Ok(());
            }
            let next = if screen.is_seen() { None } else { turns.next(&told, Instant::now()) };
            let line = next.map(|copy| bars::of_table(copy, &told.held) + "\n").unwrap_or_default();
            let printed = output::print_to_reader(&line);
            if !printed.map_err(|error| Error::refused("can't write to standard output").caused_by(error))? {
                return Ok(());
            }
        }
        tokio::time::sleep(bars::LINE_INTERVAL).await;
    }
}

/// From the log, or without one from the target.
async fn read_ledger(config: &Config) -> Result<Vec<LedgerEntry>> {
    match &config.log {
        Some(log) => registry::log(log.clone())?.ledger().await,
        None => registry::sink(config.target()?)?.ledger(&config.stream()).await,
    }
}

/// A table as JSON: the ledger's document, and how many of its segments are done.
#[derive(Serialize)]
struct ToldTable<'a> {
    #[serde(flatten)]
    entry: &'a TableEntry,
    segments_done: usize,
}

fn tables_text(tables: &[TableEntry], format: OutputFormat) -> String {
    let done = |entry: &TableEntry| entry.segments.iter().filter(|segment| segment.is_done).count();
    if format == OutputFormat::Json {
        let told: Vec<_> = tables.iter().map(|entry| ToldTable { entry, segments_done: done(entry) }).collect();
        return serde_json::to_string_pretty(&told).expect("invariant: documents have a JSON form") + "\n";
    }
    if tables.is_empty() {
        return "no table's history was ever copied\n".to_owned();
    }
    let width = tables.iter().map(|entry| entry.table.to_string().chars().count()).max().unwrap_or(0);
    let line = |entry: &TableEntry| {
        let TableEntry { table, state, rows_written, rows_dropped, chunks, rows_estimated, .. } = entry;
        let done = rows_written + rows_dropped;
        let of = if *state == CopyState::Done { done } else { done.max(*rows_estimated) };
        let reason = entry.reason.as_ref().map(|reason| format!(": {}", shown_name(reason))).unwrap_or_default();
        let table = shown_name(&table.to_string());
        format!(
            "{table:<width$}  {:<9}  {done} of {of} rows in {chunks} chunks, {rows_dropped} came with a change{reason}\n",
            state.name()
        )
    };
    tables.iter().map(line).collect()
}

fn chunks_text(documents: &[LedgerEntry], options: &ChunksArguments) -> Result<String> {
    let chunks = ledger::chunks(documents)?;
    let is_asked = |chunk: &&ChunkEntry| {
        chunk.table.to_string() == options.table && (!options.retried || chunk.tries > 1 || chunk.last_error.is_some())
    };
    let asked = chunks.iter().filter(is_asked);
    if options.format == OutputFormat::Json {
        let line = |chunk| serde_json::to_string(chunk).expect("invariant: documents have a JSON form") + "\n";
        return Ok(asked.map(line).collect());
    }
    // Keys are the customers' data: only who asks for JSON gets them.
    let line = |chunk: &ChunkEntry| {
        let ChunkEntry { number, rows_read, rows_written, rows_dropped, tries, read_seconds, .. } = chunk;
        let error =
            chunk.last_error.as_ref().map(|error| format!(", before: {}", shown_name(error))).unwrap_or_default();
        format!(
            "{number:>6}  {rows_read:>8} read {rows_written:>8} written {rows_dropped:>6} dropped  {tries} tries  \
             {read_seconds:.3} s  up to {}{error}\n",
            shown_name(&chunk.end)
        )
    };
    Ok(asked.map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_json_or_a_text() {
        let check = |typed: &str, expect: &str| assert_eq!(typed_key(typed).to_string(), expect, "{typed}");
        check("17", "17");
        check("-5", "-5");
        check("abc", "\"abc\"");
        check("\"17\"", "\"17\"");
        check("[\"a\",1]", "[\"a\",1]");
    }
}
