//! Reads committed records of chosen partitions into batches.
//!
//! 1. Partitions are assigned by hand, from offsets that the target keeps; Kafka's own committed offsets are written only
//!    for lag tools.
//! 2. An offset that the log does not have is an error that names it (`auto.offset.reset=error`), checked when the reader is
//!    opened and again whenever the broker refuses one: nothing is skipped.
//! 3. Progress comes from the consumer's position, not from the last record: commit markers and aborted records take
//!    offsets too, and a partition may end with them.
//! 4. Tombstones are passed over: the delete before them said it.
//! 5. A record that can't be read stops its lane. What was read before it is handed over first; then every call fails with
//!    the same error until the table is stopped, so that nobody goes on without it by mistake.
//! 6. A lane that comes to a record which names a barrier stands before it. That record, and what the client may still give of the
//!    lane, is kept and read first when the lane is released: nothing is asked for twice, and no place is set back.
//! 7. A topic that was deleted, made anew and has grown past our offset has that offset too (E20). So a lane begins a little earlier,
//!    and looks at the sequences of what was applied already: had that topic been ours, one at least would be of the epoch of
//!    the last that was applied, and not newer. The first record to be handed over is held back until that is known.
//! 8. The client reconnects by itself for ever. Leaders that are away for [`ANSWER_TIMEOUT`] become a transient error.
//!
//! Waiting is done in short blocking steps between which the task can be dropped; no record is taken out of the client's
//! queue before it is read into the batch.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, OwnedMessage},
};
use tailrace_contract::{
    BatchLimits, BoxFuture, Error, ErrorKind, LaneStop, LogBatch, LogPartition, LogReader, LogStart, PartitionEnds,
    ReadProgress, Result,
};
use tailrace_row::{Sequence, TableName};

use crate::{
    Shared,
    blocking::block,
    config::{ANSWER_TIMEOUT, Isolation},
    debezium::{RawRecord, Scratch, TableForm, TheirTable, decode, decode_theirs},
    errors,
    record_headers::{RecordHeaders, has_our_headers, read_headers},
    schemas::SchemaBook,
    small_topic::{ReadTo, SmallTopicReader},
    watch::{BrokerWatch, hear},
};

/// How long a step of waiting blocks the task.
const WAIT_STEP: Duration = Duration::from_millis(100);

/// How many offsets before its begin a lane is looked at. Markers of transactions are among them; somebody who sets an offset forward
/// over a damaged record leaves others.
const LOOKED_AT: i64 = 100;

/// See the module.
pub(crate) struct KafkaReader {
    shared: Arc<Shared>,
    consumer: ClosedApart,
    lanes: Vec<Lane>,
    /// The lane of each partition, by topic.
    lanes_of: HashMap<String, HashMap<i32, usize>>,
    book: SchemaBook,
    /// The tables of a log that Debezium writes: there no record names a schema.
    theirs: Option<HashMap<TableName, TheirTable>>,
    scratch: Scratch,
    /// Whether the end of some partition was met since positions were last asked.
    met_end: bool,
    /// Set by an error after which the client's place is not ours any more: only a new reader goes on.
    is_broken: bool,
}

/// A consumer whose end nobody waits for. Closing waits for the answers to offsets that were sent for lag tools, for more than
/// a minute if the brokers are away; nothing rests on these, and the session that ends must not wait.
struct ClosedApart(Option<BaseConsumer<BrokerWatch>>);

/// Enough to bring the offsets to brokers that answer.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

impl std::ops::Deref for ClosedApart {
    type Target = BaseConsumer<BrokerWatch>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("invariant: only dropping takes it out")
    }
}

impl Drop for ClosedApart {
    fn drop(&mut self) {
        let Some(consumer) = self.0.take() else { return };
        let (done, is_done) = std::sync::mpsc::sync_channel(1);
        let close = move || {
            drop(consumer);
            // Nobody may be waiting any more.
            let _ = done.send(());
        };
        // Without a thread it is closed here and now, by the closure's own end.
        if std::thread::Builder::new().name("kafka.close".to_owned()).spawn(close).is_ok() {
            let _ = is_done.recv_timeout(CLOSE_PATIENCE);
        }
    }
}

/// One partition.
struct Lane {
    partition: LogPartition,
    topic: String,
    next_offset: i64,
    state: LaneState,
    /// What lies before it was applied already.
    begin: i64,
    /// Where the client begins.
    looked_from: i64,
    origin: Origin,
    /// Whether `next_offset` moved since progress was last told.
    moved: bool,
    /// It may pass barriers up to this one.
    released: u64,
    /// The barrier that the next record names, whatever it says.
    held: Option<u64>,
    /// What the client gave while the lane stood.
    kept: VecDeque<OwnedMessage>,
}

/// What is known of where a lane begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Set by opening; nothing contradicts it.
    Taken,
    /// Set by `expect`: this sequence was applied last. Ended by a record before the begin.
    Expected(Sequence),
    /// Set by a record before the begin that is newer than that, or of a lower epoch; ended by one that is neither.
    Foreign(Sequence),
}

enum LaneState {
    /// Set by opening.
    Reading,
    /// Set by a record that can't be read; holds for every call until the table is stopped.
    Failed {
        /// The record.
        offset: i64,
        what: String,
    },
    /// Set by a record that names a barrier; ended by the barrier's release.
    Standing {
        /// The barrier.
        number: u64,
    },
    /// Set by `stop_table`.
    Stopped,
}

/// Opens a reader. Lane n is `from[n]`.
pub(crate) fn open(shared: &Arc<Shared>, from: &[(LogPartition, LogStart)]) -> Result<KafkaReader> {
    let config = shared.clients.reader(&shared.group, from.len())?;
    let consumer = BaseConsumer::from_config_and_context(&config, BrokerWatch::default())
        .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))?;
    let mut reader = KafkaReader {
        shared: Arc::clone(shared),
        consumer: ClosedApart(Some(consumer)),
        lanes: Vec::with_capacity(from.len()),
        lanes_of: HashMap::new(),
        book: SchemaBook::default(),
        theirs: theirs(shared)?,
        scratch: Scratch::default(),
        met_end: false,
        is_broken: false,
    };
    for (partition, start) in from {
        reader.add_lane(partition, *start)?;
    }
    reader.assign()?;
    if reader.theirs.is_none() {
        reader.refresh_schemas(ReadTo::Committed)?;
    }
    Ok(reader)
}

fn theirs(shared: &Shared) -> Result<Option<HashMap<TableName, TheirTable>>> {
    let Some(settings) = shared.settings.debezium else { return Ok(None) };
    let declared = shared.declared.get().ok_or_else(|| {
        Error::refused(format!("records of {} name no schema: Debezium writes them", shared.settings.prefix))
            .hint("`tailrace apply` reads them, because it asks the source for its tables")
    })?;
    let table =
        |(name, form): (&TableName, &Arc<TableForm>)| (name.clone(), TheirTable::new(Arc::clone(form), settings));
    Ok(Some(declared.iter().map(table).collect()))
}

/// Where the partitions begin and end for a reader of committed records. Blocks.
pub(crate) fn ends(shared: &Shared, partitions: &[LogPartition]) -> Result<Vec<PartitionEnds>> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut config = shared.clients.looker(Isolation::Committed)?;
    // Without a group it only asks.
    config.remove("group.id");
    let asker = BaseConsumer::from_config_and_context(&config, BrokerWatch::default())
        .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))?;
    let ask = |partition: &LogPartition| {
        let (oldest, end) = watermarks(&asker, &shared.names.table(&partition.table), partition)?;
        Ok(PartitionEnds { partition: partition.clone(), oldest, end })
    };
    partitions.iter().map(ask).collect()
}

impl LogReader for KafkaReader {
    fn read_batch<'a>(&'a mut self, out: &'a mut LogBatch, limits: BatchLimits) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.read(out, limits))
    }

    fn stop_table(&mut self, table: &TableName) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for lane in self.lanes.iter_mut().filter(|lane| lane.partition.table == *table) {
            lane.state = LaneState::Stopped;
            lane.kept.clear();
            list.add_partition(&lane.topic, kafka_partition(&lane.partition));
        }
        self.consumer.pause(&list).map_err(|error| errors::from_kafka(&error, "stopping to read a table"))
    }

    fn release(&mut self, lane: u32, number: u64) -> Result<()> {
        let lane = &mut self.lanes[lane as usize];
        lane.released = lane.released.max(number);
        if !matches!(lane.state, LaneState::Standing { number } if number <= lane.released) {
            return Ok(());
        }
        lane.state = LaneState::Reading;
        let list = lane.as_list();
        self.consumer.resume(&list).map_err(|error| errors::from_kafka(&error, "reading on behind a barrier"))
    }

    fn hold(&mut self, lane: u32, number: u64) {
        self.lanes[lane as usize].held = Some(number);
    }

    fn expect(&mut self, lane: u32, applied: Sequence) {
        if self.theirs.is_none() {
            self.lanes[lane as usize].origin = Origin::Expected(applied);
        }
    }

    fn report_applied(&mut self, applied: &[ReadProgress]) {
        let mut list = TopicPartitionList::new();
        for progress in applied {
            let Some(lane) = self.lanes.get(progress.lane as usize) else { continue };
            let offset = Offset::Offset(progress.next_offset);
            let added = list.add_partition_offset(&lane.topic, kafka_partition(&lane.partition), offset);
            debug_assert!(added.is_ok(), "a lane's offset is a number");
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets for lag tools were not sent; nothing rests on them");
        }
    }
}

impl KafkaReader {
    async fn read(&mut self, out: &mut LogBatch, limits: BatchLimits) -> Result<()> {
        if self.is_broken {
            return Err(Error::transient("the log's reader failed before; open a new one"));
        }
        self.check_lanes()?;
        self.take_what_was_kept(out).inspect_err(|_| self.is_broken = true)?;
        let waits = if out.records.is_empty() && out.stops.is_empty() { limits.wait_max } else { Duration::ZERO };
        let deadline = Instant::now() + waits;
        loop {
            let step = deadline.saturating_duration_since(Instant::now()).min(WAIT_STEP);
            let taken = block(|| self.take_what_is_there(out, limits, step));
            taken.inspect_err(|_| self.is_broken = true)?;
            let has_something = !out.records.is_empty() || !out.stops.is_empty();
            if has_something || Instant::now() >= deadline || self.has_failed_lane() {
                break;
            }
            // Here the caller may drop us.
            tokio::task::yield_now().await;
        }
        self.follow_positions()?;
        // After polling, because that is when the client tells that the brokers are back.
        if out.records.is_empty() {
            self.check_brokers()?;
        }
        self.tell_progress(out);
        // A failed lane that left nothing to hand over first is told at once.
        if out.records.is_empty() { self.check_lanes() } else { Ok(()) }
    }

    /// Waits up to `step` for a first message, then takes what the client has, up to the limits.
    fn take_what_is_there(&mut self, out: &mut LogBatch, limits: BatchLimits, step: Duration) -> Result<()> {
        let mut wait = step;
        while out.records.len() < limits.records_max && out.records.byte_len() < limits.bytes_max {
            // The consumer lends the message, reading it changes the reader: so the consumer is borrowed apart.
            let Self { consumer, lanes, lanes_of, book, theirs, scratch, shared, met_end, .. } = self;
            let taken = match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let Some(index) = lanes_of.get(message.topic()).and_then(|lanes| lanes.get(&message.partition()))
                    else {
                        continue;
                    };
                    let lane = &mut lanes[*index];
                    let mut intake = Intake { shared, book, theirs: theirs.as_ref(), scratch, lane };
                    let taken = intake.take(&message, u32::try_from(*index).unwrap_or(u32::MAX), out);
                    taken.and_then(|()| lane.pause_where_it_stands(consumer))
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    *met_end = true;
                    Ok(())
                }
                Some(Err(error)) => self.judge(&error),
            };
            taken?;
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// What the client gave of lanes that stood, before anything newer of them.
    fn take_what_was_kept(&mut self, out: &mut LogBatch) -> Result<()> {
        for index in 0..self.lanes.len() {
            if self.lanes[index].kept.is_empty() || !matches!(self.lanes[index].state, LaneState::Reading) {
                continue;
            }
            let mut kept = std::mem::take(&mut self.lanes[index].kept);
            while let Some(message) = kept.pop_front() {
                let Self { lanes, book, theirs, scratch, shared, .. } = self;
                let lane = &mut lanes[index];
                let mut intake = Intake { shared, book, theirs: theirs.as_ref(), scratch, lane };
                intake.take(&message, u32::try_from(index).unwrap_or(u32::MAX), out)?;
            }
            if matches!(self.lanes[index].state, LaneState::Standing { .. }) {
                self.pause(index)?;
            }
        }
        Ok(())
    }

    fn pause(&self, index: usize) -> Result<()> {
        let list = self.lanes[index].as_list();
        self.consumer.pause(&list).map_err(|error| errors::from_kafka(&error, "standing at a barrier"))
    }

    /// An error that the client reports instead of a record.
    fn judge(&self, error: &KafkaError) -> Result<()> {
        let error = errors::from_wait(error, "reading from Kafka", self.consumer.context());
        match error.kind() {
            // The client tries again by itself; if that takes too long, `check_brokers` says so.
            ErrorKind::Transient => {
                tracing::debug!(%error, "the Kafka client will try again");
                Ok(())
            }
            ErrorKind::PositionLost => Err(self.find_lost_position(error)),
            ErrorKind::Refused
            | ErrorKind::TableFailed
            | ErrorKind::Corrupt
            | ErrorKind::Fenced
            | ErrorKind::Cancelled => Err(error),
        }
    }

    /// The client does not say whose offset was refused: the lane whose offset the log does not have. Where all are there, only what was
    /// to be looked at is gone.
    fn find_lost_position(&self, error: Error) -> Error {
        for lane in self.lanes.iter().filter(|lane| matches!(lane.state, LaneState::Reading)) {
            let Ok((low, high)) = watermarks(&self.consumer, &lane.topic, &lane.partition) else { return error };
            if let Err(lost) = check_offset(lane, lane.next_offset, low, high) {
                return lost;
            }
            if lane.looked_from < low && lane.next_offset == lane.begin {
                return Error::transient("records that were applied already were deleted while they were looked at");
            }
        }
        error
    }

    fn check_brokers(&self) -> Result<()> {
        let watch = self.consumer.context();
        match watch.unreachable_for() {
            Some(time) if time > ANSWER_TIMEOUT => {
                let reason = watch.trouble().map_or_else(String::new, |trouble| format!(": {}", trouble.reason));
                let seconds = time.as_secs();
                Err(Error::transient(format!("Kafka's partition leaders are out of reach for {seconds} s{reason}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn has_failed_lane(&self) -> bool {
        self.lanes.iter().any(|lane| matches!(lane.state, LaneState::Failed { .. }))
    }

    fn check_lanes(&self) -> Result<()> {
        for lane in &self.lanes {
            if let LaneState::Failed { offset, what } = &lane.state {
                let place = format!("{}[{}]@{offset}", lane.topic, lane.partition.index);
                return Err(Error::table_failed(lane.partition.table.clone(), what.clone()).at(place));
            }
        }
        Ok(())
    }

    /// Moves lanes over markers and aborted records that lie behind their last record.
    fn follow_positions(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.met_end) {
            return Ok(());
        }
        let positions =
            self.consumer.position().map_err(|error| errors::from_kafka(&error, "asking how far was read"))?;
        for element in positions.elements() {
            let Offset::Offset(position) = element.offset() else { continue };
            let lanes = self.lanes_of.get(element.topic());
            let Some(index) = lanes.and_then(|lanes| lanes.get(&element.partition())) else { continue };
            self.lanes[*index].move_to(position);
        }
        Ok(())
    }

    fn tell_progress(&mut self, out: &mut LogBatch) {
        let watch = self.consumer.context();
        for (index, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.moved) {
            lane.moved = false;
            let end = watch.end(&lane.topic, kafka_partition(&lane.partition)).unwrap_or(lane.next_offset);
            let behind = u64::try_from(end - lane.next_offset).unwrap_or(0);
            let lane_number = u32::try_from(index).unwrap_or(u32::MAX);
            let progress = ReadProgress { lane: lane_number, next_offset: lane.next_offset, behind };
            match out.progress.iter_mut().find(|known| known.lane == lane_number) {
                Some(known) => *known = progress,
                None => out.progress.push(progress),
            }
        }
    }

    fn add_lane(&mut self, partition: &LogPartition, start: LogStart) -> Result<()> {
        let topic = self.shared.names.table(&partition.table);
        let mut lane = Lane {
            partition: partition.clone(),
            topic,
            next_offset: 0,
            begin: 0,
            looked_from: 0,
            origin: Origin::Taken,
            state: LaneState::Reading,
            moved: false,
            released: 0,
            held: None,
            kept: VecDeque::new(),
        };
        let (low, high) = watermarks(&self.consumer, &lane.topic, partition)?;
        lane.next_offset = match start {
            LogStart::Earliest => low,
            LogStart::Offset(offset) => {
                check_offset(&lane, offset, low, high)?;
                offset
            }
        };
        lane.begin = lane.next_offset;
        lane.looked_from = low.max(lane.begin - LOOKED_AT);
        let lanes = self.lanes_of.entry(lane.topic.clone()).or_default();
        if lanes.insert(kafka_partition(partition), self.lanes.len()).is_some() {
            return Err(Error::refused(format!("partition {partition} was asked for twice")));
        }
        self.lanes.push(lane);
        Ok(())
    }

    fn assign(&self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for lane in &self.lanes {
            list.add_partition_offset(&lane.topic, kafka_partition(&lane.partition), Offset::Offset(lane.looked_from))
                .map_err(|error| errors::from_kafka(&error, "choosing partitions"))?;
        }
        self.consumer.assign(&list).map_err(|error| errors::from_kafka(&error, "choosing partitions"))
    }

    fn refresh_schemas(&mut self, to: ReadTo) -> Result<()> {
        refresh_schemas(&self.shared, &mut self.book, to)
    }
}

impl Lane {
    fn as_list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, kafka_partition(&self.partition));
        list
    }

    /// The client need not bring what would only be kept.
    fn pause_where_it_stands(&self, consumer: &BaseConsumer<BrokerWatch>) -> Result<()> {
        match self.state {
            LaneState::Standing { .. } if self.kept.len() == 1 => {
                let paused = consumer.pause(&self.as_list());
                paused.map_err(|error| errors::from_kafka(&error, "standing at a barrier"))
            }
            LaneState::Standing { .. } | LaneState::Reading | LaneState::Failed { .. } | LaneState::Stopped => Ok(()),
        }
    }

    /// Whether it stands before a record that names this barrier.
    fn stands_before(&mut self, named: Option<u64>) -> Option<u64> {
        let number = named.max(self.held).filter(|number| *number > self.released);
        if number.is_none() {
            self.held = None;
        }
        number
    }

    /// A record that was applied already.
    fn look_at(&mut self, message: &impl Message) {
        let (Origin::Expected(applied) | Origin::Foreign(applied)) = self.origin else { return };
        if let Some(headers) = message.payload().and_then(|_| read_headers(message).ok()) {
            // The last of them in our topic is what was applied last, so its epoch is there; a topic that was made anew by a capture whose
            // clock was behind has only lower ones.
            let is_ours = headers.sequence <= applied && headers.sequence.epoch == applied.epoch;
            self.origin = if is_ours { Origin::Taken } else { Origin::Foreign(applied) };
        }
    }

    fn check_origin(&self) -> Result<()> {
        let Origin::Foreign(applied) = self.origin else { return Ok(()) };
        let what = format!(
            "no record right before offset {} is of those that were applied up to the last one ({applied}): the topic was made anew",
            self.begin
        );
        Err(Error::position_lost(what)
            .on_table(self.partition.table.clone())
            .at(format!("{}[{}]", self.topic, self.partition.index))
            .hint("copy the table again; to go on with what the topic holds, set next_offset and sequence of its rows in the target to NULL"))
    }

    fn move_to(&mut self, next_offset: i64) {
        if matches!(self.state, LaneState::Reading) && next_offset > self.next_offset {
            self.next_offset = next_offset;
            self.moved = true;
        }
    }
}

/// What taking one message needs of the reader.
struct Intake<'a> {
    shared: &'a Shared,
    book: &'a mut SchemaBook,
    theirs: Option<&'a HashMap<TableName, TheirTable>>,
    scratch: &'a mut Scratch,
    lane: &'a mut Lane,
}

impl Intake<'_> {
    /// Reads the message into the batch. A record that can't be read fails its lane; other errors are the reader's.
    fn take(&mut self, message: &impl Kept, lane_number: u32, out: &mut LogBatch) -> Result<()> {
        match self.lane.state {
            LaneState::Reading => {}
            LaneState::Standing { .. } => {
                self.lane.kept.push_back(message.keep());
                return Ok(());
            }
            // What the client had fetched before the lane was stopped.
            LaneState::Failed { .. } | LaneState::Stopped => return Ok(()),
        }
        let offset = message.offset();
        if offset < self.lane.begin {
            self.lane.look_at(message);
            return Ok(());
        }
        self.lane.check_origin()?;
        if let Some(value) = message.payload() {
            let read = match self.theirs {
                None => self.read(message, value, lane_number, out),
                Some(tables) => self.read_theirs(tables, message, value, lane_number, out),
            };
            match read {
                Ok(()) => {}
                Err(Trouble::Unreadable(what)) => {
                    self.lane.state = LaneState::Failed { offset, what };
                    return Ok(());
                }
                Err(Trouble::Barrier(number)) => {
                    // All before it is read, whatever offsets lay between.
                    self.lane.move_to(offset);
                    self.lane.state = LaneState::Standing { number };
                    self.lane.kept.push_back(message.keep());
                    out.stops.push(LaneStop { lane: lane_number, number });
                    return Ok(());
                }
                Err(Trouble::Other(error)) => return Err(error),
            }
        }
        self.lane.move_to(offset + 1);
        Ok(())
    }

    fn read(
        &mut self,
        message: &impl Message,
        value: &[u8],
        lane: u32,
        out: &mut LogBatch,
    ) -> std::result::Result<(), Trouble> {
        let headers = read_headers(message).map_err(|what| Trouble::Unreadable(what.to_owned()))?;
        let RecordHeaders { sequence, schema, truths, barrier, is_uncopied } = headers;
        if let Some(number) = self.lane.stands_before(barrier) {
            return Err(Trouble::Barrier(number));
        }
        // Its schema may become visible a moment after the record. What a writer that died has left undecided is waited for last.
        for to in [ReadTo::Committed, ReadTo::Everything] {
            if self.book.get(schema).is_none() {
                refresh_schemas(self.shared, self.book, to).map_err(Trouble::Other)?;
            }
        }
        let Some(known) = self.book.get(schema) else {
            return Err(Trouble::Unreadable(unknown_schema(self.shared, schema)));
        };
        let table = known.map_err(|what| Trouble::Unreadable(what.to_owned()))?;
        self.check_table(table)?;
        let raw = RawRecord { value, truths, sequence, lane, offset: message.offset() };
        let first = out.records.len();
        decode(table, &raw, self.scratch, &mut out.records).map_err(|unreadable| Trouble::Unreadable(unreadable.0))?;
        if is_uncopied {
            out.records.allow_absence(first, |_| true);
        }
        Ok(())
    }

    /// Their order is the partition's: the sequence is the offset, so that none is ever taken for read before.
    fn read_theirs(
        &mut self,
        tables: &HashMap<TableName, TheirTable>,
        message: &impl Message,
        value: &[u8],
        lane: u32,
        out: &mut LogBatch,
    ) -> std::result::Result<(), Trouble> {
        if has_our_headers(message).map_err(|what| Trouble::Unreadable(what.to_owned()))? {
            return Err(Trouble::Unreadable("the record is Tailrace's own: leave [log.debezium] out".to_owned()));
        }
        let unknown = || Trouble::Unreadable("the source has no such table any more".to_owned());
        let table = tables.get(&self.lane.partition.table).ok_or_else(unknown)?;
        let offset = message.offset();
        let sequence = Sequence { transaction: u64::try_from(offset).unwrap_or(0), ..Sequence::default() };
        let raw = RawRecord { value, truths: None, sequence, lane, offset };
        decode_theirs(table, &raw, self.scratch, &mut out.records)
            .map_err(|unreadable| Trouble::Unreadable(unreadable.0))
    }

    fn check_table(&self, table: &Arc<TableForm>) -> std::result::Result<(), Trouble> {
        let (named, read) = (table.schema().name(), &self.lane.partition.table);
        if named == read {
            return Ok(());
        }
        Err(Trouble::Unreadable(format!("the record names a schema of {named} in the topic of {read}")))
    }
}

/// Why a message was not read.
enum Trouble {
    /// The record's own fault: its table can't go on.
    Unreadable(String),
    /// It names a barrier that is not released.
    Barrier(u64),
    /// Something else: the same record may be read later.
    Other(Error),
}

/// A message that can be kept for later.
trait Kept: Message {
    fn keep(&self) -> OwnedMessage;
}

impl Kept for BorrowedMessage<'_> {
    fn keep(&self) -> OwnedMessage {
        self.detach()
    }
}

impl Kept for OwnedMessage {
    fn keep(&self) -> OwnedMessage {
        self.clone()
    }
}

fn unknown_schema(shared: &Shared, schema: tailrace_row::SchemaId) -> String {
    format!("the record names the schema {schema}, which {} does not have", shared.names.schemas())
}

fn refresh_schemas(shared: &Shared, book: &mut SchemaBook, to: ReadTo) -> Result<()> {
    let topic = shared.names.schemas();
    book.refresh(&topic, &SmallTopicReader::open(&shared.clients)?, to)
}

fn watermarks(consumer: &BaseConsumer<BrokerWatch>, topic: &str, partition: &LogPartition) -> Result<(i64, i64)> {
    consumer.fetch_watermarks(topic, kafka_partition(partition), ANSWER_TIMEOUT).map_err(|error| {
        hear(consumer);
        let doing = format!("asking for the offsets of {topic}[{}]", partition.index);
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => Error::position_lost(format!("{doing}: there is no such partition"))
                .hint("the topic was deleted, or never made: start capture first, or copy the table again"),
            _ => errors::from_wait(&error, &doing, consumer.context()),
        }
    })
}

fn check_offset(lane: &Lane, wanted: i64, low: i64, high: i64) -> Result<()> {
    if (low..=high).contains(&wanted) {
        return Ok(());
    }
    let what = if wanted < low {
        format!("the log no longer has offset {wanted}: it begins at {low} and ends at {high}")
    } else {
        format!("the log does not have offset {wanted} yet: it begins at {low} and ends at {high}")
    };
    let hint = if wanted < low {
        "records were deleted before they were applied: raise [log] retention, and begin a new log (another [log] prefix), which copies the tables again"
    } else {
        "the topic was made anew or lost its end: begin a new log (another [log] prefix), which copies the tables again"
    };
    Err(Error::position_lost(what)
        .on_table(lane.partition.table.clone())
        .at(format!("{}[{}]", lane.topic, lane.partition.index))
        .hint(hint))
}

fn kafka_partition(partition: &LogPartition) -> i32 {
    i32::try_from(partition.index).expect("invariant: Kafka numbers partitions with 31 bits")
}
