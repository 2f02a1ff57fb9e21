//! The tables of one session, and who copies which segment.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tailrace_contract::LedgerEntry;
use tailrace_row::{Epoch, Key, TableName};
use tokio::sync::Notify;

use super::pace::Pace;
use crate::{
    runtime::facts::CopyProgress,
    state::ledger::{CopyState, Segment, TableEntry},
    telemetry::{Metrics, seconds_now},
};

/// All tables of a session.
pub(super) struct Plan {
    pub(super) epoch: Epoch,
    chunk_rows_max: u64,
    tables: Mutex<Vec<TableCopy>>,
    /// Somebody gave a segment back, or made new ones.
    pub(super) changed: Notify,
    /// How many of those who copy found nothing to do.
    idle: AtomicUsize,
    leases: AtomicU64,
}

/// One table.
pub(super) struct TableCopy {
    pub(super) name: TableName,
    /// None until its copy has begun. It counts what is written, so it may be ahead of what is durable.
    pub(super) entry: Option<TableEntry>,
    /// How often the entry was changed.
    revision: u64,
    /// The entry as it is stored, and which revision that is: what is told to people.
    stored: (u64, Option<TableEntry>),
    /// How often the copy was begun anew: what was read for an earlier one is not counted.
    pub(super) generation: u64,
    /// Windows that are open on it.
    pub(super) windows: usize,
    pub(super) pace: Pace,
    /// Documents of an earlier copy, which are forgotten when a new one begins.
    pub(super) stale: Vec<LedgerEntry>,
    /// Segments that somebody copies.
    pub(super) taken: Vec<Lease>,
    /// Somebody finds out what the table looks like.
    is_beginning: bool,
    /// Windows that came to nothing, and reads that failed.
    retries: u64,
    /// Rows that were copied before this session.
    rows_before: u64,
    begun_at: f64,
    /// What is said of its last trouble.
    trouble: Option<String>,
}

/// A segment that is somebody's until it is given back. A chunk counts only while it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) segment: usize,
    /// Of the table's copy.
    generation: u64,
    number: u64,
}

/// Counts one who has nothing to do as long as it lives.
pub(super) struct Idle<'p>(&'p Plan);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.idle.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece of work.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// The table's copy begins: how many rows it has is to be found out.
    Begin(TableName),
    /// A segment is copied.
    Copy(TableName, Lease),
    /// Others are at it.
    Wait,
    /// Nothing is left.
    Nothing,
}

impl Plan {
    pub(super) fn new(epoch: Epoch, chunk_rows_max: u64) -> Self {
        Self {
            epoch,
            chunk_rows_max,
            tables: Mutex::default(),
            changed: Notify::new(),
            idle: AtomicUsize::default(),
            leases: AtomicU64::default(),
        }
    }

    pub(super) fn add(&mut self, name: TableName, known: Option<TableEntry>, stale: Vec<LedgerEntry>) {
        let rows_before = known.as_ref().map_or(0, |known| known.rows_written + known.rows_dropped);
        self.lock().push(TableCopy {
            name,
            revision: 0,
            stored: (0, known.clone()),
            generation: 0,
            windows: 0,
            entry: known,
            pace: Pace::new(self.chunk_rows_max),
            stale,
            taken: Vec::new(),
            is_beginning: false,
            retries: 0,
            rows_before,
            begun_at: seconds_now(),
            trouble: None,
        });
    }

    /// The next piece of work, in the order of the tables.
    pub(super) fn take(&self) -> Job {
        let mut is_over = true;
        for table in self.lock().iter_mut() {
            let Some(entry) = &table.entry else {
                is_over = false;
                if table.is_beginning {
                    continue;
                }
                table.is_beginning = true;
                return Job::Begin(table.name.clone());
            };
            if entry.state != CopyState::Copying {
                continue;
            }
            is_over = false;
            let free = table.free().next();
            if let Some(segment) = free {
                let number = self.leases.fetch_add(1, Ordering::Relaxed);
                let lease = Lease { segment, generation: table.generation, number };
                table.taken.push(lease);
                return Job::Copy(table.name.clone(), lease);
            }
        }
        if is_over { Job::Nothing } else { Job::Wait }
    }

    /// Somebody has nothing to do.
    pub(super) fn idle(&self) -> Idle<'_> {
        self.idle.fetch_add(1, Ordering::Relaxed);
        Idle(self)
    }

    /// Whether some have nothing to do, and would find nothing.
    pub(super) fn has_idle(&self) -> bool {
        let waiting = |table: &TableCopy| match &table.entry {
            Some(_) => table.free().count(),
            None => usize::from(!table.is_beginning),
        };
        let waiting: usize = self.lock().iter().map(waiting).sum();
        self.idle.load(Ordering::Relaxed) > waiting
    }

    /// Ends a segment at a key, so that others copy what is behind it. False if it is not copied any more by whoever has the lease.
    pub(super) fn split(&self, name: &TableName, lease: Lease, at: &Key) -> bool {
        let is_split = self.with(name, |table| {
            if !table.is_held(lease) {
                return false;
            }
            let is_taken = |place: usize| table.taken.iter().any(|taken| taken.segment == place);
            let Some(entry) = table.entry.as_mut().filter(|entry| entry.state == CopyState::Copying) else {
                return false;
            };
            // So there are never more segments than work for those who copy, and what operators asked for.
            let is_over = |(place, segment): &(usize, &Segment)| segment.is_done && !is_taken(*place);
            let place = entry.segments.iter().enumerate().find(is_over).map(|(place, _)| place);
            entry.split(lease.segment, at, place);
            true
        });
        self.changed.notify_waiters();
        is_split
    }

    /// A piece of work is done, or given up for now.
    pub(super) fn give_back(&self, job: &Job) {
        match job {
            Job::Begin(name) => self.with(name, |table| table.is_beginning = false),
            Job::Copy(name, lease) => self.with(name, |table| table.taken.retain(|taken| taken != lease)),
            Job::Wait | Job::Nothing => {}
        }
        self.changed.notify_waiters();
    }

    /// Looks at a table, or changes it.
    pub(super) fn with<T>(&self, name: &TableName, act: impl FnOnce(&mut TableCopy) -> T) -> T {
        let mut tables = self.lock();
        act(tables.iter_mut().find(|table| table.name == *name).expect("invariant: jobs are of tables of the plan"))
    }

    /// Whether anything is left to be copied now.
    pub(super) fn is_active(&self) -> bool {
        self.lock().iter().any(|table| table.entry.as_ref().is_none_or(|entry| entry.state == CopyState::Copying))
    }

    /// Counts a window that came to nothing, or a read that failed.
    pub(super) fn note_trouble(&self, name: &TableName, trouble: String) {
        self.with(name, |table| {
            table.retries += 1;
            table.trouble = Some(trouble);
        });
    }

    /// Tells how far all tables are.
    pub(super) fn report(&self, metrics: &Metrics) {
        metrics.note_copies(self.lock().iter().map(TableCopy::progress).collect());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<TableCopy>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableCopy {
    /// The table's entry, made if its copy has not begun. Then nothing is known of the table, not even the order of its key.
    pub(super) fn entry_or_new(&mut self, epoch: Epoch) -> &mut TableEntry {
        let Self { entry, name, .. } = self;
        entry.get_or_insert_with(|| TableEntry::new(name.clone(), epoch, String::new(), 0, seconds_now()))
    }

    /// Whether what was read under the lease counts.
    pub(super) fn is_held(&self, lease: Lease) -> bool {
        lease.generation == self.generation && self.taken.contains(&lease)
    }

    /// Segments that nobody copies and that may be copied now.
    fn free(&self) -> impl Iterator<Item = usize> {
        // The table's first document must be stored before those that replace it.
        let is_copying = |entry: &&TableEntry| entry.state == CopyState::Copying && !self.is_beginning;
        let segments = self.entry.as_ref().filter(is_copying).map_or(&[][..], |entry| &entry.segments);
        let is_free = |place: usize| self.taken.iter().all(|taken| taken.segment != place);
        segments
            .iter()
            .enumerate()
            .filter(move |(place, segment)| !segment.is_done && is_free(*place))
            .map(|(place, _)| place)
    }

    /// The copy begins from nothing.
    pub(super) fn begin_anew(&mut self) {
        self.entry = None;
        self.generation += 1;
        (self.rows_before, self.begun_at, self.trouble) = (0, seconds_now(), None);
    }

    /// The entry was changed. What is returned becomes what is told once it is stored.
    pub(super) fn note_change(&mut self) -> (u64, Option<TableEntry>) {
        self.revision += 1;
        (self.revision, self.entry.clone())
    }

    /// The entry is stored as it was then.
    pub(super) fn note_stored(&mut self, stored: (u64, Option<TableEntry>)) {
        if stored.0 > self.stored.0 {
            self.stored = stored;
        }
    }

    fn progress(&self) -> CopyProgress {
        let stored = self.stored.1.as_ref();
        let done = stored.map_or(0, |entry| entry.rows_written + entry.rows_dropped);
        let estimated = stored.map_or(0, |entry| entry.rows_estimated);
        let state = stored.map_or("waiting", |entry| entry.state.name());
        let is_done = stored.is_some_and(|entry| entry.state == CopyState::Done);
        let is_copying = stored.is_none_or(|entry| entry.state == CopyState::Copying);
        let seconds = (seconds_now() - self.begun_at).max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = (done - self.rows_before.min(done)) as f64 / seconds;
        // Statistics may be far off: a table that has more rows than they say is not over 100 %.
        let rows = if is_done { done } else { estimated.max(done) };
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = (is_copying && rate > 0.0).then(|| (rows - done) as f64 / rate);
        CopyProgress {
            table: self.name.clone(),
            state,
            reason: stored.and_then(|entry| entry.reason.clone()).or_else(|| self.trouble.clone()),
            rows_done: done,
            rows_estimated: rows,
            rows_dropped: stored.map_or(0, |entry| entry.rows_dropped),
            chunks: stored.map_or(0, |entry| entry.chunks),
            readers: self.taken.len(),
            windows_open: self.windows,
            retries: self.retries,
            rows_per_second: if is_copying { rate } else { 0.0 },
            eta_seconds: eta,
        }
    }
}
