//! The watch of a session at its barriers: reads them, brings each table's to be done, says what waits and why.

use std::{sync::Arc, time::Duration};

use tailrace_contract::{
    Barrier, BarrierAct, BarrierPlace, BarrierReader, Encounter, Error, ErrorKind, Meeting, PartitionProgress, Result,
    StoredMeeting, TableMapping,
};

use super::{
    Apply, Ended, PART,
    barriers::{Again, Ahead, Board, Reached, again},
};
use crate::{
    mapping::evolve,
    runtime::{PartState, Shutdown},
    telemetry::TableLabel,
};

/// How often the log is asked for barriers that no record names, and the target for tables that an operator let go on.
const QUIET_INTERVAL: Duration = Duration::from_secs(1);

/// How often the target is asked while partitions of other processes are on their way.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);

/// A session's barriers.
pub(super) struct Barriers {
    pub(super) board: Arc<Board>,
    pub(super) reader: Box<dyn BarrierReader>,
    pub(super) mappings: Vec<Arc<TableMapping>>,
}

/// What the target knew when the session was opened.
struct Known {
    meetings: Vec<StoredMeeting>,
    progress: Vec<PartitionProgress>,
}

impl Known {
    fn is_done(&self, barrier: &Barrier, mapping: &TableMapping) -> bool {
        let is_it = |known: &&StoredMeeting| known.table == mapping.source && known.sequence == barrier.change.sequence;
        self.meetings.iter().find(is_it).is_some_and(|known| known.paused.is_none())
    }
}

impl Apply {
    /// Reads what the log and the target know of barriers, before the first record is read; `claimed` are the session's
    /// partitions. Returns what lies ahead of each of them, in their order.
    pub(super) async fn open_barriers(
        &self,
        mappings: Vec<Arc<TableMapping>>,
        claimed: &[PartitionProgress],
    ) -> Result<(Barriers, Vec<Ahead>)> {
        // What waited in the session before is found out anew.
        for table in self.metrics.facts.note_paused(&[]) {
            self.metrics.apply.table_paused.get_or_create(&TableLabel { table: table.to_string() }).set(0);
        }
        let board = Arc::new(Board::default());
        for stored in claimed {
            board.note_stored(&stored.partition, stored.next_offset.unwrap_or(0));
        }
        let mut reader = self.log.open_barriers().await?;
        let mut ahead = vec![Ahead::default(); claimed.len()];
        let barriers = reader.read().await?;
        if barriers.is_empty() {
            return Ok((Barriers { board, reader, mappings }, ahead));
        }
        let known = Known {
            meetings: self.sink.meetings(self.log.name()).await?,
            progress: self.sink.progress(self.log.name()).await?,
        };
        for barrier in barriers {
            let mut undone = Vec::new();
            let tables = barrier.change.tables();
            for mapping in mappings.iter().filter(|mapping| tables.contains(&mapping.source)) {
                if !known.is_done(&barrier, mapping) || self.is_to_be_held_again(&barrier, mapping, &known).await? {
                    undone.push(mapping.source.clone());
                    continue;
                }
                let lanes = claimed.iter().zip(&mut ahead);
                lanes.for_each(|(stored, ahead)| ahead.add(&barrier, stored, mapping));
            }
            board.add(barrier, |table| undone.contains(table));
        }
        Ok((Barriers { board, reader, mappings }, ahead))
    }

    /// A TRUNCATE that is done is done again if all partitions were set back behind it.
    async fn is_to_be_held_again(&self, barrier: &Barrier, mapping: &TableMapping, known: &Known) -> Result<bool> {
        match again(barrier, mapping, &known.progress) {
            Again::No => Ok(false),
            Again::Yes => {
                self.sink.reopen(self.log.name(), &mapping.source, barrier.change.sequence).await?;
                tracing::info!(table = %mapping.source, barrier = barrier.number, place = %barrier.change.place,
                    "the partitions were set back behind a TRUNCATE, which will be carried out again");
                Ok(true)
            }
            Again::Impossible(partition) => {
                let what = format!(
                    "partitions were set back behind the TRUNCATE at {}, while {partition} has applied rows from behind it",
                    barrier.change.place
                );
                self.fail_table(Error::table_failed(mapping.source.clone(), what).hint(
                    "set all partitions of the table back behind it, or none: rows that it deleted would come back",
                ));
                Ok(false)
            }
        }
    }

    /// Until the session stops, or until an error that does not pass by itself.
    pub(super) async fn watch_barriers(&self, mut barriers: Barriers, stop: &Shutdown) -> Result<Ended> {
        loop {
            let wait = tokio::select! {
                biased;
                () = stop.requested() => return Ok(Ended::Asked),
                met = self.meet_all(&mut barriers) => match met {
                    Ok(wait) => wait,
                    Err(error) if error.kind() == ErrorKind::Transient => {
                        // The workers have connections of their own: as long as these work, nobody needs to stop.
                        self.metrics.count_error(PART, &error);
                        tracing::warn!(%error, "the barriers could not be looked after; it is tried again");
                        QUIET_INTERVAL
                    }
                    Err(error) => return Err(error),
                },
            };
            // Cancel-safe: all branches only wait.
            tokio::select! {
                biased;
                () = stop.requested() => return Ok(Ended::Asked),
                () = barriers.board.news.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what can be done by now, and tells how long nothing new is to be expected unless somebody says so.
    async fn meet_all(&self, barriers: &mut Barriers) -> Result<Duration> {
        let Barriers { board, reader, mappings } = barriers;
        for barrier in reader.read().await? {
            tracing::info!(barrier = barrier.number, place = %barrier.change.place,
                statement = %barrier.change.statement, "a statement of the source changes tables");
            board.add(barrier, |table| mappings.iter().any(|mapping| mapping.source == *table));
        }
        let mut wait = if board.misses_any() { BUSY_INTERVAL } else { QUIET_INTERVAL };
        let mut reached = board.reached();
        while let Some(next) = reached.pop() {
            if self.failed.contains(&next.table) {
                continue;
            }
            match self.meet(board, &next, mappings).await? {
                Meeting::Done => reached = board.reached(),
                Meeting::Paused(_) => {}
                Meeting::Waiting => wait = BUSY_INTERVAL,
            }
        }
        self.tell_waiting(board);
        Ok(wait)
    }

    async fn meet(&self, board: &Board, next: &Reached, mappings: &[Arc<TableMapping>]) -> Result<Meeting> {
        let Reached { table, barrier, paused } = next;
        let mapping = mappings.iter().find(|mapping| mapping.source == *table);
        let mapping =
            mapping.ok_or_else(|| Error::corrupt(format!("a barrier of {table}, which is not applied here")))?;
        let act = match paused {
            // What could not be done is not tried again and again: only whether an operator has decided.
            Some(why) => BarrierAct::Pause(why.clone()),
            None => evolve::act(&barrier.change, mapping),
        };
        let ends = barrier.ends_of(table);
        let encounter = Encounter {
            log: self.log.name(),
            mapping,
            number: barrier.number,
            change: &barrier.change,
            act: &act,
            place: BarrierPlace::Log(&ends),
        };
        let meeting = self.sink.meet(encounter).await?;
        match &meeting {
            Meeting::Waiting => {}
            Meeting::Paused(why) if paused.is_none() => {
                board.pause(table, barrier.number, why);
                tracing::warn!(%table, barrier = barrier.number, place = %barrier.change.place,
                    statement = %barrier.change.statement, reason = why,
                    "the table waits for an operator; the others go on: tailrace resume --table {table}");
            }
            Meeting::Paused(_) => {}
            Meeting::Done => {
                let since = board.finish(table, barrier.number);
                self.metrics.apply.barriers.inc();
                if let Some(since) = since {
                    self.metrics.apply.barrier_seconds.observe(since.elapsed().as_secs_f64());
                }
                tracing::info!(%table, barrier = barrier.number, place = %barrier.change.place,
                    "the table goes on behind the statement");
            }
        }
        Ok(meeting)
    }

    /// Says which tables wait, where it is looked for.
    fn tell_waiting(&self, board: &Board) {
        let (paused, standing) = board.waiting();
        self.metrics.apply.barrier_waiting.set(i64::try_from(standing).unwrap_or(i64::MAX));
        let labels = |table: &tailrace_row::TableName| TableLabel { table: table.to_string() };
        let told: Vec<_> = paused
            .iter()
            .map(|(table, barrier, why)| (table.clone(), evolve::waits(table, &barrier.change, why)))
            .collect();
        let before = self.metrics.facts.note_paused(&told);
        for table in before.iter().filter(|before| told.iter().all(|(table, _)| table != *before)) {
            self.metrics.apply.table_paused.get_or_create(&labels(table)).set(0);
        }
        for (table, _) in &told {
            self.metrics.apply.table_paused.get_or_create(&labels(table)).set(1);
        }
        if before.iter().ne(told.iter().map(|(table, _)| table)) {
            let text = self.failed.first_text().or_else(|| told.first().map(|(_, text)| text.clone()));
            self.health.set(PART, text.map_or(PartState::Running, PartState::Degraded));
        }
    }
}
