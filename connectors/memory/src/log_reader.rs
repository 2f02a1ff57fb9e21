//! Reads committed records of several partitions, taking turns among them.

use std::{collections::BTreeSet, sync::Arc};

use tailrace_contract::{
    Barrier, BarrierReader, BatchLimits, BoxFuture, Error, LaneStop, LogBatch, LogPartition, LogReader, LogStart,
    ReadProgress, Result,
};
use tailrace_row::{Origin, Record, RecordBatch, TableName};
use tokio::time::Instant;

use crate::{
    faults::Call,
    log::{LogServer, LogState, Partition, Slot},
    row::copy_image,
};

pub(crate) struct MemoryLogReader {
    server: Arc<LogServer>,
    lanes: Vec<Lane>,
    stopped: BTreeSet<TableName>,
    /// The lane whose turn is first.
    turn: usize,
}

struct Lane {
    partition: LogPartition,
    next_offset: i64,
    /// It may pass barriers up to this one.
    released: u64,
    /// The barrier before which it stands.
    stands_at: Option<u64>,
    /// The barrier that the next record names, whatever it says.
    held: Option<u64>,
}

impl MemoryLogReader {
    pub(crate) fn open(server: &Arc<LogServer>, from: &[(LogPartition, LogStart)]) -> Result<Self> {
        let state = server.state();
        let mut lanes = Vec::new();
        for (partition, start) in from {
            let known = lane_of(&state, partition)?;
            let next_offset = match start {
                LogStart::Earliest => known.first,
                LogStart::Offset(offset) if (known.first..=known.end()).contains(offset) => *offset,
                LogStart::Offset(offset) => return Err(position_lost(partition, *offset, known)),
            };
            let partition = partition.clone();
            lanes.push(Lane { partition, next_offset, released: 0, stands_at: None, held: None });
        }
        drop(state);
        Ok(Self { server: Arc::clone(server), lanes, stopped: BTreeSet::new(), turn: 0 })
    }

    async fn read(&mut self, out: &mut LogBatch, limits: BatchLimits) -> Result<()> {
        self.server.faults.enter(Call::LogRead).await?.answer(Call::LogRead)?;
        let deadline = Instant::now() + limits.wait_max;
        loop {
            let seen = self.server.committed.count();
            self.fill(out, limits)?;
            if !out.records.is_empty()
                || !out.stops.is_empty()
                || tokio::time::timeout_at(deadline, self.server.committed.beyond(seen)).await.is_err()
            {
                return Ok(());
            }
        }
    }

    fn fill(&mut self, out: &mut LogBatch, limits: BatchLimits) -> Result<()> {
        self.turn = (self.turn + 1) % self.lanes.len().max(1);
        for place in 0..self.lanes.len() {
            let number = (self.turn + place) % self.lanes.len();
            let lane = &self.lanes[number];
            if lane.stands_at.is_none() && !self.stopped.contains(&lane.partition.table) {
                self.read_lane(number, out, limits)?;
            }
        }
        Ok(())
    }

    /// Whatever ends it, what was read and how far stand in `out`.
    fn read_lane(&mut self, number: usize, out: &mut LogBatch, limits: BatchLimits) -> Result<()> {
        let lane = &mut self.lanes[number];
        let state = self.server.state();
        let known = lane_of(&state, &lane.partition)?;
        if lane.next_offset < known.first {
            return Err(position_lost(&lane.partition, lane.next_offset, known));
        }
        let lane_number = u32::try_from(number).expect("invariant: there are under 2^32 lanes");
        let begun_at = lane.next_offset;
        let mut result = Ok(());
        while out.records.len() < limits.records_max && out.records.byte_len() < limits.bytes_max {
            match known.slot(lane.next_offset) {
                None => break,
                Some(Slot::Hole) => {}
                Some(Slot::Garbage) => {
                    let at = format!("{}@{}", lane.partition, lane.next_offset);
                    result = Err(Error::table_failed(lane.partition.table.clone(), "bytes that are no record").at(at));
                    break;
                }
                Some(Slot::Record(batch, id)) => {
                    let named = known.named.get(&lane.next_offset).copied().max(lane.held);
                    if let Some(number) = named.filter(|number| *number > lane.released) {
                        lane.stands_at = Some(number);
                        out.stops.push(LaneStop { lane: lane_number, number });
                        break;
                    }
                    lane.held = None;
                    let record = &batch.records()[*id as usize];
                    copy_record(batch, record, (lane_number, lane.next_offset), &mut out.records);
                }
            }
            lane.next_offset += 1;
        }
        if lane.next_offset > begun_at {
            let behind = u64::try_from(known.end() - lane.next_offset).unwrap_or(0);
            note(&mut out.progress, ReadProgress { lane: lane_number, next_offset: lane.next_offset, behind });
        }
        result
    }
}

fn lane_of<'a>(state: &'a LogState, partition: &LogPartition) -> Result<&'a Partition> {
    let lanes = state.tables.get(&partition.table);
    lanes
        .and_then(|lanes| lanes.get(partition.index as usize))
        .ok_or_else(|| Error::refused(format!("the log has no partition {partition}")))
}

fn position_lost(partition: &LogPartition, offset: i64, known: &Partition) -> Error {
    let (first, end) = (known.first, known.end());
    Error::position_lost(format!("the log holds offsets {first} to {end} of this partition"))
        .on_table(partition.table.clone())
        .at(format!("{partition}@{offset}"))
}

fn copy_record(from: &RecordBatch, record: &Record, (lane, offset): (u32, i64), to: &mut RecordBatch) {
    let known = from.origin(record);
    let is_same = |last: &Origin| {
        (last.epoch, last.transaction, last.event) == (known.epoch, known.transaction, known.event) && !to.is_empty()
    };
    let origin = match (to.last_origin().is_some_and(is_same), to.records().last()) {
        (true, Some(last)) => last.origin,
        _ => to.add_origin(known.clone()),
    };
    let schema = to.add_schema(from.schema(record));
    let before = from.before(record).map(|image| copy_image(to, image));
    let after = from.after(record).map(|image| copy_image(to, image));
    to.push(Record { schema, origin, lane, offset, before, after, ..*record });
}

fn note(progress: &mut Vec<ReadProgress>, new: ReadProgress) {
    match progress.iter_mut().find(|known| known.lane == new.lane) {
        Some(known) => *known = new,
        None => progress.push(new),
    }
}

impl LogReader for MemoryLogReader {
    fn read_batch<'a>(&'a mut self, out: &'a mut LogBatch, limits: BatchLimits) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.read(out, limits))
    }

    fn release(&mut self, lane: u32, number: u64) -> Result<()> {
        let lane = &mut self.lanes[lane as usize];
        lane.released = lane.released.max(number);
        lane.stands_at = lane.stands_at.filter(|stands_at| *stands_at > lane.released);
        Ok(())
    }

    fn hold(&mut self, lane: u32, number: u64) {
        self.lanes[lane as usize].held = Some(number);
    }

    fn stop_table(&mut self, table: &TableName) -> Result<()> {
        self.stopped.insert(table.clone());
        Ok(())
    }

    fn report_applied(&mut self, applied: &[ReadProgress]) {
        let mut state = self.server.state();
        for applied in applied {
            let partition = self.lanes[applied.lane as usize].partition.clone();
            state.reported.insert(partition, applied.next_offset);
        }
    }
}

/// Reads the log's barriers.
pub(crate) struct MemoryBarrierReader {
    server: Arc<LogServer>,
    read: usize,
}

impl MemoryBarrierReader {
    pub(crate) fn new(server: &Arc<LogServer>) -> Self {
        Self { server: Arc::clone(server), read: 0 }
    }
}

impl BarrierReader for MemoryBarrierReader {
    fn read(&mut self) -> BoxFuture<'_, Result<Vec<Barrier>>> {
        Box::pin(async {
            self.server.faults.enter(Call::LogReadBarriers).await?.answer(Call::LogReadBarriers)?;
            let found = self.server.state().barriers[self.read..].to_vec();
            self.read += found.len();
            Ok(found)
        })
    }
}
