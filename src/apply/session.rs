//! One session of apply: find the tables, claim their partitions, run workers until the first error, a new table, or the
//! request to stop.

use std::sync::Arc;

use tailrace_contract::{Error, LogPartition, LogStart, PartitionProgress, Result, TableMapping, TargetState};
use tailrace_row::TableName;
use tokio::sync::mpsc;

use super::{
    Apply, PART,
    plan::{Lane, Planner},
    worker::{Quiet, Worker, empty_batches, read_log},
};
use crate::runtime::{Backoff, PartState, Shutdown, tasks, tasks::Group};

impl Apply {
    /// Ends with `Ok` when asked to stop, or when the log has a table that the session does not know.
    pub(super) async fn session(&self, backoff: &mut Backoff) -> Result<()> {
        self.sink.prepare().await?;
        let Some(mappings) = self.wait_for_tables().await? else { return Ok(()) };
        for mapping in &mappings {
            if let Err(error) = self.admit(mapping).await {
                self.refuse_table(error)?;
            }
        }
        let tables: Vec<TableName> = mappings.iter().map(|mapping| mapping.source.clone()).collect();
        if self.failed.len() >= tables.len() {
            return self.failed.first_error();
        }
        let partitions = self.log.partitions(&tables).await?;
        let claimed = self.sink.claim(self.log.name(), &partitions).await?;
        let deals = self.deal(&mappings, claimed)?;
        tracing::info!(
            tables = tables.len(),
            partitions = partitions.len(),
            workers = deals.len(),
            "apply goes on from the target's offsets"
        );
        if self.failed.len() == 0 {
            self.health.set(PART, PartState::Running);
        }
        backoff.reset();
        self.work(deals, &partitions).await
    }

    /// The log's tables that a rule names; waits until there is one. None when asked to stop meanwhile.
    async fn wait_for_tables(&self) -> Result<Option<Vec<TableMapping>>> {
        let mut has_told = false;
        loop {
            let mappings = self.rules.mappings(&self.log.tables().await?)?;
            if !mappings.is_empty() {
                return Ok(Some(mappings));
            }
            if !has_told {
                tracing::info!("the log holds none of the configured tables yet; waiting for capture to make them");
                has_told = true;
            }
            if self.shutdown.wait(self.limits.discovery_interval.min(std::time::Duration::from_secs(1))).await {
                return Ok(None);
            }
        }
    }

    /// A target table must exist, and must not hold rows of somebody else.
    async fn admit(&self, mapping: &TableMapping) -> Result<()> {
        let failed = |message: String| Error::table_failed(mapping.source.clone(), message);
        match self.sink.table_state(mapping).await? {
            TargetState::Missing => Err(failed(format!("the target table {} does not exist", mapping.target))
                .hint("run `tailrace schema --apply`, or create it yourself (`tailrace schema` prints the statement)")),
            TargetState::Foreign if !self.allow_existing => {
                Err(failed(format!("the target table {} has rows that Tailrace did not write", mapping.target))
                    .hint("empty it, or start with --allow-existing: rows with the same key will then be overwritten"))
            }
            TargetState::Foreign | TargetState::Empty | TargetState::Known => self.sink.adopt_table(mapping).await,
        }
    }

    /// An error of one table stops that table, any other ends the session.
    fn refuse_table(&self, error: Error) -> Result<()> {
        match error.table() {
            Some(_) if error.kind() == tailrace_contract::ErrorKind::TableFailed => {
                self.fail_table(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Deals the partitions out: one number goes to one worker for all tables, so that a transaction's rows seldom meet.
    fn deal(&self, mappings: &[TableMapping], claimed: Vec<PartitionProgress>) -> Result<Vec<Vec<Lane>>> {
        let shared: Vec<Arc<TableMapping>> = mappings.iter().cloned().map(Arc::new).collect();
        let workers = u32::try_from(self.limits.workers.max(1)).unwrap_or(u32::MAX);
        let mut deals = std::collections::BTreeMap::<u32, Vec<Lane>>::new();
        for stored in claimed {
            let place = shared.iter().position(|mapping| mapping.source == stored.partition.table);
            let place = place.ok_or_else(|| Error::corrupt("the target claimed a partition nobody asked for"))?;
            let is_stopped = self.failed.contains(&stored.partition.table);
            let table = u32::try_from(place).unwrap_or(u32::MAX);
            let lane = Lane { mapping: Arc::clone(&shared[place]), table, is_stopped, stored };
            deals.entry(lane.partition().index % workers).or_default().push(lane);
        }
        Ok(deals.into_values().collect())
    }

    async fn work(&self, deals: Vec<Vec<Lane>>, known: &[LogPartition]) -> Result<()> {
        let stop = self.shutdown.child();
        let table_count =
            known.iter().map(|partition| &partition.table).collect::<std::collections::BTreeSet<_>>().len();
        let mut workers = Group::new();
        for lanes in deals {
            let lanes: Vec<Lane> = lanes.into_iter().filter(|lane| !lane.is_stopped).collect();
            if lanes.is_empty() {
                continue;
            }
            let worker = self.clone_handles();
            let stop = stop.clone();
            workers.spawn("apply.worker", async move { worker.run_worker(lanes, stop, table_count).await });
        }
        let watch = self.watch_for_tables(known, &stop);
        let ended = first_end(workers, watch, &stop).await;
        stop.request();
        ended
    }

    /// Ends when the log has a partition that the session does not know.
    async fn watch_for_tables(&self, known: &[LogPartition], stop: &Shutdown) -> Result<()> {
        while !stop.wait(self.limits.discovery_interval).await {
            let tables: Vec<TableName> =
                self.rules.mappings(&self.log.tables().await?)?.into_iter().map(|mapping| mapping.source).collect();
            if self.log.partitions(&tables).await?.iter().any(|partition| !known.contains(partition)) {
                tracing::info!("the log has a new table; apply takes it up");
                return Ok(());
            }
        }
        Ok(())
    }

    async fn run_worker(&self, lanes: Vec<Lane>, stop: Shutdown, table_count: usize) -> Result<()> {
        let from: Vec<(LogPartition, LogStart)> = lanes
            .iter()
            .map(|lane| {
                let start = lane.stored.next_offset.map_or(LogStart::Earliest, LogStart::Offset);
                (lane.partition().clone(), start)
            })
            .collect();
        let reader = self.log.open_reader(&from).await?;
        let writer = self.sink.open_writer(self.log.name()).await?;
        let (filled_sender, filled) = mpsc::channel(1);
        let (empty, empty_receiver) = empty_batches();
        let reading = read_log(reader, self.limits.batch(), self.failed.clone(), filled_sender, empty_receiver);
        let reading = tasks::spawn("apply.read", reading);
        let mut worker = Worker {
            apply: self,
            writer,
            lanes,
            filled,
            empty,
            stop,
            planner: Planner::default(),
            quiet: Quiet::default(),
            table_count,
        };
        let result = worker.run().await;
        drop(worker);
        reading.abort();
        match reading.await {
            Err(join) if join.is_panic() => Err(Error::corrupt("the reading half of apply panicked").caused_by(join)),
            Ok(()) | Err(_) => result,
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

/// Waits for the first worker to fail, or for the watch to end; then asks all to stop and waits for them, so that each has
/// finished its batch. The first error counts.
async fn first_end(
    mut workers: Group<Result<()>>,
    watch: impl Future<Output = Result<()>>,
    stop: &Shutdown,
) -> Result<()> {
    let mut watch = std::pin::pin!(watch);
    let mut first = Ok(());
    let mut is_watching = true;
    loop {
        // Cancel-safe: the watch is pinned and kept, waiting for a task loses nothing.
        let ended = tokio::select! {
            biased;
            ended = workers.next() => match ended {
                None => return first,
                Some(Ok(ended)) => ended,
                Some(Err(join)) => Err(Error::corrupt("a worker of apply panicked").caused_by(join)),
            },
            ended = watch.as_mut(), if is_watching => {
                is_watching = false;
                ended
            }
        };
        stop.request();
        if first.is_ok() {
            first = ended;
        }
    }
}
