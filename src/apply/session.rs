//! One session of apply: find the tables, claim their partitions, run workers until the first error, a new table, or the
//! request to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tailrace_contract::{Error, ErrorKind, LogPartition, LogStart, PartitionProgress, Result, TableMapping};
use tailrace_row::TableName;
use tokio::sync::mpsc;

use super::{
    Apply, Ended, PART,
    admission::admit,
    barriers::Ahead,
    meeting::Barriers,
    plan::{Lane, Planner},
    worker::{Quiet, Reading, Shared, Worker, empty_batches, read_log},
};
use crate::{
    mapping::projection::LeftOut,
    runtime::{Backoff, PartState, Shutdown, tasks::Group},
};

impl Apply {
    /// Ends with `Ok` when asked to stop, when the log has a table that the session does not know, or when no table is left.
    pub(super) async fn session(&self, backoff: &mut Backoff) -> Result<Ended> {
        // A server that hangs must not keep us from stopping; nothing is read yet that could be left half-written.
        let opened = tokio::select! {
            biased;
            () = self.shutdown.requested() => return Ok(Ended::Asked),
            opened = self.open() => opened?,
        };
        let state = self.failed.first_text().map_or(PartState::Running, PartState::Degraded);
        self.health.set(PART, state);
        let has_applied = Arc::new(AtomicBool::new(false));
        let ended = self.work(opened, &has_applied).await;
        // A target that answers when asked and fails when written to must not be asked ten times a second.
        if has_applied.load(Ordering::Relaxed) {
            backoff.reset();
        }
        ended
    }

    async fn open(&self) -> Result<Opened> {
        self.sink.prepare().await?;
        let mappings = self.wait_for_tables().await?;
        for mapping in mappings.iter().filter(|mapping| !self.failed.contains(&mapping.source)) {
            if let Err(error) = admit(self.sink.as_ref(), mapping, self.allow_existing).await {
                self.refuse_table(error)?;
            }
        }
        let tables: Arc<[TableName]> = mappings.iter().map(|mapping| mapping.source.clone()).collect();
        if tables.iter().all(|table| self.failed.contains(table)) {
            // A claim would only fence whoever applies these tables rightly.
            let (barriers, _) = self.open_barriers(Vec::new(), &[]).await?;
            return Ok(Opened { tables, partitions: Vec::new(), deals: Vec::new(), barriers });
        }
        let partitions = self.log.partitions(&tables).await?;
        let claimed = self.sink.claim(self.log.name(), &partitions).await?;
        self.metrics.facts.note_claimed(&claimed);
        let shared: Vec<Arc<TableMapping>> = mappings.into_iter().map(Arc::new).collect();
        let (barriers, ahead) = self.open_barriers(shared.clone(), &claimed).await?;
        let deals = self.deal(&shared, claimed.into_iter().zip(ahead))?;
        tracing::info!(
            tables = tables.len(),
            partitions = partitions.len(),
            workers = deals.len(),
            "apply goes on from the target's offsets"
        );
        Ok(Opened { tables, partitions, deals, barriers })
    }

    /// The log's tables that a rule names; waits until there is one.
    async fn wait_for_tables(&self) -> Result<Vec<TableMapping>> {
        let mut has_told = false;
        loop {
            let mappings = self.rules.mappings(&self.log.tables().await?)?;
            if !mappings.is_empty() {
                return Ok(mappings);
            }
            if !has_told {
                tracing::info!("the log holds none of the configured tables yet; waiting for capture to make them");
                has_told = true;
            }
            tokio::time::sleep(self.limits.discovery_interval.min(Duration::from_secs(1))).await;
        }
    }

    /// An error of one table stops that table, any other ends the session.
    fn refuse_table(&self, error: Error) -> Result<()> {
        match error.table() {
            Some(_) if error.kind() == ErrorKind::TableFailed => {
                self.fail_table(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Deals the partitions out: one number goes to one worker for all tables, so that a transaction's rows seldom meet.
    fn deal(
        &self,
        shared: &[Arc<TableMapping>],
        claimed: impl Iterator<Item = (PartitionProgress, Ahead)>,
    ) -> Result<Vec<Vec<Lane>>> {
        let workers = u32::try_from(self.limits.workers.max(1)).unwrap_or(u32::MAX);
        let mut deals = std::collections::BTreeMap::<u32, Vec<Lane>>::new();
        for (stored, ahead) in claimed {
            let place = shared.iter().position(|mapping| mapping.source == stored.partition.table);
            let place = place.ok_or_else(|| Error::corrupt("the target claimed a partition nobody asked for"))?;
            let is_stopped = self.failed.contains(&stored.partition.table);
            let table = u32::try_from(place).unwrap_or(u32::MAX);
            let lane = Lane { mapping: Arc::clone(&shared[place]), ahead, table, is_stopped, stored };
            deals.entry(lane.partition().index % workers).or_default().push(lane);
        }
        Ok(deals.into_values().collect())
    }

    async fn work(&self, opened: Opened, has_applied: &Arc<AtomicBool>) -> Result<Ended> {
        let Opened { tables, partitions, deals, barriers } = opened;
        if tables.iter().all(|table| self.failed.contains(table)) {
            return Ok(Ended::NoTableLeft);
        }
        let stop = self.shutdown.child();
        let mut workers = Group::new();
        for lanes in deals {
            let lanes: Vec<Lane> = lanes.into_iter().filter(|lane| !lane.is_stopped).collect();
            if lanes.is_empty() {
                continue;
            }
            let worker = self.clone_handles();
            let shared = Shared {
                stop: stop.clone(),
                tables: Arc::clone(&tables),
                has_applied: Arc::clone(has_applied),
                board: Arc::clone(&barriers.board),
            };
            workers.spawn("apply.worker", async move { worker.run_worker(lanes, shared).await });
        }
        // Cancel-safe: whichever ends first ends the session.
        let watch = async {
            tokio::select! {
                biased;
                ended = self.watch_for_tables(&partitions, &stop) => ended,
                ended = self.watch_barriers(barriers, &stop) => ended,
            }
        };
        let ended = first_end(workers, watch, &stop).await;
        stop.request();
        ended
    }

    /// Ends when the log has a partition that the session does not know, or when the session stops.
    async fn watch_for_tables(&self, known: &[LogPartition], stop: &Shutdown) -> Result<Ended> {
        while !stop.wait(self.limits.discovery_interval).await {
            let found = tokio::select! {
                biased;
                () = stop.requested() => break,
                found = self.has_new_partition(known) => found,
            };
            match found {
                Ok(true) => {
                    tracing::info!("the log has a new table; apply takes it up");
                    return Ok(Ended::NewTable);
                }
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Transient => {
                    // The workers have connections of their own: as long as these work, nobody needs to stop.
                    self.metrics.count_error(PART, &error);
                    tracing::warn!(%error, "the log could not be asked for new tables; it is asked again");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ended::Asked)
    }

    async fn has_new_partition(&self, known: &[LogPartition]) -> Result<bool> {
        let mappings = self.rules.mappings(&self.log.tables().await?)?;
        let tables: Vec<TableName> = mappings.into_iter().map(|mapping| mapping.source).collect();
        Ok(self.log.partitions(&tables).await?.iter().any(|partition| !known.contains(partition)))
    }

    async fn run_worker(&self, lanes: Vec<Lane>, shared: Shared) -> Result<Ended> {
        let from: Vec<(LogPartition, LogStart)> = lanes
            .iter()
            .map(|lane| {
                // Nothing applied means everything is needed: if the log has forgotten its beginning, that is an error, while
                // "the oldest there is" would skip what is gone.
                let start = LogStart::Offset(lane.stored.next_offset.unwrap_or(0));
                (lane.partition().clone(), start)
            })
            .collect();
        let open = async {
            Ok::<_, Error>((self.log.open_reader(&from).await?, self.sink.open_writer(self.log.name()).await?))
        };
        let (mut reader, writer) = tokio::select! {
            biased;
            () = shared.stop.requested() => return Ok(Ended::Asked),
            opened = open => opened?,
        };
        for (number, lane) in (0..).zip(&lanes) {
            let held = shared.board.holds(lane.partition(), lane.stored.next_offset.unwrap_or(0));
            held.into_iter().for_each(|barrier| reader.hold(number, barrier));
            lane.stored.sequence.into_iter().for_each(|applied| reader.expect(number, applied));
        }
        let (filled_sender, filled) = mpsc::channel(1);
        let (empty, empty_receiver) = empty_batches();
        let mut reading = Group::new();
        reading.spawn(
            "apply.read",
            read_log(
                Reading {
                    reader,
                    limits: self.limits.batch(),
                    tables: lanes.iter().map(|lane| lane.partition().table.clone()).collect(),
                    failed: self.failed.clone(),
                    board: Arc::clone(&shared.board),
                },
                filled_sender,
                empty_receiver,
            ),
        );
        let mut worker = Worker {
            apply: self,
            writer,
            lanes,
            filled,
            empty,
            shared,
            planner: Planner::default(),
            quiet: Quiet::default(),
            left_out: LeftOut::default(),
        };
        let result = worker.run().await;
        drop(worker);
        reading.abort();
        match reading.next().await {
            Some(Err(join)) if join.is_panic() => {
                Err(Error::corrupt("the reading half of apply panicked").caused_by(join))
            }
            Some(Ok(()) | Err(_)) | None => result,
        }
    }

    /// The same apply for another task: everything in it is shared.
    fn clone_handles(&self) -> Self {
        Self {
            log: Arc::clone(&self.log),
            sink: Arc::clone(&self.sink),
            rules: self.rules.clone(),
            limits: self.limits,
            allow_existing: self.allow_existing,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            shutdown: self.shutdown.clone(),
            failed: self.failed.clone(),
        }
    }
}

/// What a session works with.
struct Opened {
    tables: Arc<[TableName]>,
    partitions: Vec<LogPartition>,
    deals: Vec<Vec<Lane>>,
    barriers: Barriers,
}

/// Waits for the first worker to end, or for the watch; then asks all to stop and waits for them, so that each has finished
/// its batch. The first end counts, unless a later one is an error that does not pass: who lost a connection and was fenced
/// meanwhile must not come back.
async fn first_end(
    mut workers: Group<Result<Ended>>,
    watch: impl Future<Output = Result<Ended>>,
    stop: &Shutdown,
) -> Result<Ended> {
    let mut watch = std::pin::pin!(watch);
    if workers.is_empty() {
        return watch.await;
    }
    let mut first = None;
    loop {
        // Cancel-safe: the watch is pinned and kept, waiting for a task loses nothing.
        let ended = tokio::select! {
            biased;
            ended = workers.next() => match ended {
                None => return first.unwrap_or(Ok(Ended::Asked)),
                Some(Ok(ended)) => ended,
                Some(Err(join)) => Err(Error::corrupt("a worker of apply panicked").caused_by(join)),
            },
            ended = watch.as_mut(), if first.is_none() => ended,
        };
        stop.request();
        let is_grave = |end: &Result<Ended>| matches!(end, Err(error) if error.kind() != ErrorKind::Transient);
        if first.as_ref().is_none_or(|first| is_grave(&ended) && !is_grave(first)) {
            first = Some(ended);
        }
    }
}
