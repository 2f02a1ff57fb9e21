//! `tailrace tail`: decoded changes as they pass, for a person who looks. Nothing is committed, stored or fenced.
//!
//! With a log its committed records are read, as apply reads them. Without one the source itself is followed, as one more
//! replica with a number of its own: the number of the configuration is that of the running process, and a server has no two
//! replicas of one number.
//!
//! Values are shown only when asked for: without, a change is its operation, its place, and the names, types and lengths of
//! what changed.

mod change;
mod literal;

use std::{sync::Arc, time::Duration};

pub use change::{Change, ColumnShape, Place, Shown};
use tailrace_contract::{
    BatchLimits, Checkpoint, Error, Log, LogBatch, LogPartition, LogReader, LogStart, Mark, Result, Source,
    SourceSettings, StartAt, TableFilter, TablePattern,
};
use tailrace_row::{Epoch, RecordBatch, TableName};

use crate::{config::Config, mapping::chosen, registry};

/// What one read may bring, and how long it waits.
const LIMITS: BatchLimits =
    BatchLimits { bytes_max: 1 << 20, records_max: 1_000, wait_max: Duration::from_millis(250) };

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Behind everything that is there.
    Now,
    /// At the oldest record of the log.
    Earliest,
    /// At this offset of one partition.
    Offset(i64),
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Request {
    /// The source's table.
    pub table: TableName,
    /// One partition of it, or all.
    pub partition: Option<u32>,
    /// Where to begin.
    pub from: From,
    /// Whether values are shown.
    pub shown: Shown,
    /// How many changes at most.
    pub limit: Option<u64>,
}

/// Hands over change after change, until `take` says that it wants no more, or the limit is reached.
pub async fn tail(config: &Config, request: &Request, mut take: impl FnMut(&Change) -> Result<bool>) -> Result<()> {
    if config.rules.mapping(&request.table).is_none() {
        return Err(Error::refused(format!("no [[table]] names {}", request.table))
            .hint("write --table DATABASE.TABLE as the source spells it"));
    }
    let mut left = request.limit.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    let mut take = |change: &Change| {
        left = left.saturating_sub(1);
        Ok(take(change)? && left > 0)
    };
    match &config.log {
        Some(log) => tail_log(registry::log(log.clone())?.as_ref(), request, &mut take).await,
        None => tail_source(config, request, &mut take).await,
    }
}

type Take<'a> = &'a mut (dyn FnMut(&Change) -> Result<bool> + 'a);

async fn tail_log(log: &dyn Log, request: &Request, take: Take<'_>) -> Result<()> {
    let partitions = choose_partitions(log, request).await?;
    let ends = log.ends(&partitions).await?;
    let from: Vec<(LogPartition, LogStart)> = ends
        .into_iter()
        .map(|ends| {
            let start = match request.from {
                From::Now => LogStart::Offset(ends.end),
                From::Earliest => LogStart::Earliest,
                From::Offset(offset) => LogStart::Offset(offset),
            };
            (ends.partition, start)
        })
        .collect();
    let mut reader = log.open_reader(&from).await?;
    read_log(reader.as_mut(), &partitions, request.shown, take).await
}

async fn choose_partitions(log: &dyn Log, request: &Request) -> Result<Vec<LogPartition>> {
    let mut partitions = log.partitions(std::slice::from_ref(&request.table)).await?;
    if partitions.is_empty() {
        return Err(Error::refused(format!("the log has no table {} yet", request.table))
            .hint("start capture first: it makes the topics of its tables"));
    }
    let count = partitions.len();
    if let Some(wanted) = request.partition {
        partitions.retain(|partition| partition.index == wanted);
        if partitions.is_empty() {
            return Err(Error::refused(format!("{} has {count} partitions, and no {wanted}", request.table))
                .hint(format!("write --partition 0 to {}", count - 1)));
        }
    }
    if matches!(request.from, From::Offset(_)) && partitions.len() > 1 {
        return Err(Error::refused(format!("an offset belongs to one partition, and {} has {count}", request.table))
            .hint("name it with --partition"));
    }
    Ok(partitions)
}

async fn read_log(reader: &mut dyn LogReader, partitions: &[LogPartition], shown: Shown, take: Take<'_>) -> Result<()> {
    let mut batch = LogBatch::default();
    loop {
        batch.clear();
        reader.read_batch(&mut batch, LIMITS).await?;
        for record in batch.records.records() {
            let partition = partitions[record.lane as usize].index;
            let place = Place::Log { partition, offset: record.offset };
            if !take(&Change::read(&batch.records, record, place, shown))? {
                return Ok(());
            }
        }
    }
}

async fn tail_source(config: &Config, request: &Request, take: Take<'_>) -> Result<()> {
    if request.from != From::Now || request.partition.is_some() {
        return Err(Error::refused("without [log] only what comes from now on can be shown")
            .hint("leave --from and --partition out"));
    }
    let settings = SourceSettings { server_id: passing_server_id(), ..config.source.settings.clone() };
    let source = chosen::source(registry::source(settings)?, &config.rules);
    let position = source.position(&StartAt::Now).await?;
    let checkpoint = Checkpoint { epoch: Epoch(0), mark: Mark { position, transactions: 0 }, split: None };
    let filter = Arc::new(TableFilter { patterns: vec![TablePattern::Table(request.table.clone())] });
    follow(source.as_ref(), &checkpoint, filter, request.shown, take).await
}

async fn follow(
    source: &dyn Source,
    from: &Checkpoint,
    filter: Arc<TableFilter>,
    shown: Shown,
    take: Take<'_>,
) -> Result<()> {
    let mut stream = source.open(from, filter).await?;
    let mut batch = RecordBatch::new();
    loop {
        batch.clear();
        stream.read_batch(&mut batch, LIMITS).await?;
        for record in batch.records() {
            let origin = batch.origin(record);
            let place = Place::Source { file: origin.file.to_string(), offset: origin.file_offset };
            if !take(&Change::read(&batch, record, place, shown))? {
                return Ok(());
            }
        }
    }
}

/// A number from the upper half, which people don't choose, different each time.
fn passing_server_id() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    let [.., a, b, c, d] = RandomState::new().hash_one(std::process::id()).to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1 << 31
}
