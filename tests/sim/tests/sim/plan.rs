//! What a seed makes of a run: sizes, rates of faults and kills, and the special things that happen in it.

use std::time::Duration;

use tailrace::{apply::ApplyLimits, backfill::CopyLimits, capture::CommitLimits};
use tailrace_memory::Offsets;

use crate::random::Random;

/// One run, as drawn from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) form: Form,
    pub(crate) tables: usize,
    pub(crate) partitions: u32,
    pub(crate) offsets: Offsets,
    pub(crate) transactions: u64,
    /// Ids are drawn below this number: the smaller, the more often keys meet.
    pub(crate) ids: u64,
    /// How many transactions in a thousand have many rows.
    pub(crate) huge_per_mille: u64,
    /// How many transactions in a thousand change other tables only.
    pub(crate) foreign_per_mille: u64,
    /// How many statements in a thousand empty a table.
    pub(crate) truncate_per_mille: u64,
    pub(crate) pause_max_ms: u64,
    /// Whether reads of the stream end anywhere.
    pub(crate) has_pieces: bool,
    pub(crate) start: Start,
    pub(crate) commit: CommitLimits,
    pub(crate) apply: ApplyLimits,
    pub(crate) fault_per_mille: u64,
    pub(crate) tear_per_mille: u64,
    /// How many calls a process lives to make, on average; none if nobody kills it.
    pub(crate) life_calls: Option<u64>,
    /// After how long a process is asked to stop, on average; none if it is not.
    pub(crate) stop_ms: Option<u64>,
    pub(crate) has_rival_capture: bool,
    pub(crate) has_rival_apply: bool,
    pub(crate) rewinds: u32,
    pub(crate) sick: Sick,
    /// Whether a table is made while the processes run.
    pub(crate) has_late_table: bool,
    /// How rows are copied that only the tables have; none if there are no such rows.
    pub(crate) copies: Option<Copies>,
}

/// Rows from before the capture, and how they are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies {
    /// Transactions that nobody captures.
    pub(crate) transactions: u64,
    pub(crate) limits: CopyLimits,
    /// How many transactions in a thousand are delivered before readers see them.
    pub(crate) stall_per_mille: u64,
    /// How many transactions in a thousand are logged in part.
    pub(crate) in_part_per_mille: u64,
}

/// What a seed is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) form: Form,
    pub(crate) has_copies: bool,
}

impl Case {
    pub(crate) const LOG: Self = Self { form: Form::Log, has_copies: false };
    pub(crate) const EMBEDDED: Self = Self { form: Form::Embedded, has_copies: false };
    pub(crate) const LOG_COPIES: Self = Self { form: Form::Log, has_copies: true };
    pub(crate) const EMBEDDED_COPIES: Self = Self { form: Form::Embedded, has_copies: true };
}

/// How changes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Through a log, by two processes.
    Log,
    /// In one process.
    Embedded,
}

/// Where capture begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the oldest transaction; the writer does not wait.
    Earliest,
    /// At the moment; the writer waits for the first checkpoint.
    Now,
}

/// Whether something is wrong with the first table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sick {
    Nothing,
    /// The target refuses one row, until it is healed.
    RefusedRow,
    /// A foreign producer wrote bytes into the log that are no record.
    Garbage,
}

impl Plan {
    /// The same without a log: what happens only in one does not happen. A refused row stops the process for good.
    pub(crate) fn embedded(self) -> Self {
        Self { form: Form::Embedded, tear_per_mille: 0, sick: Sick::Nothing, ..self }
    }

    /// The same with rows from before the capture.
    pub(crate) fn with_copies(self, random: &mut Random) -> Self {
        let limits = CopyLimits {
            readers: random.pick(&[1, 2, 3, 4]),
            chunk_time: random.pick(&[1, 50, 500].map(Duration::from_millis)),
            chunk_bytes_max: random.pick(&[40, 150, 600, 4 << 20]),
            chunk_rows_max: random.pick(&[1, 3, 10, 1_000]),
        };
        let stall_per_mille = random.pick(&[0, 200, 700]);
        let in_part_per_mille = random.pick(&[0, 300, 800]);
        let transactions = random.between(1, 20);
        let copies = Some(Copies { transactions, limits, stall_per_mille, in_part_per_mille });
        let (ids, transactions) = (random.pick(&[3, 8, 30, 80]), self.transactions.min(30));
        Self { copies, sick: Sick::Nothing, rewinds: 0, ids, transactions, ..self }
    }

    pub(crate) fn case(&self) -> Case {
        Case { form: self.form, has_copies: self.copies.is_some() }
    }

    /// The same without long waits.
    pub(crate) fn for_real_time(self) -> Self {
        Self {
            transactions: self.transactions.min(30),
            pause_max_ms: self.pause_max_ms.min(10),
            fault_per_mille: self.fault_per_mille.min(10),
            life_calls: self.life_calls.map(|calls| calls.max(60)),
            ..self
        }
    }

    pub(crate) fn draw(random: &mut Random) -> Self {
        let is_calm = random.per_mille(100);
        let rate = |random: &mut Random, rates: &[u64]| if is_calm { 0 } else { random.pick(rates) };
        let is_killed = !is_calm && random.per_mille(700);
        let is_stopped = !is_calm && random.per_mille(500);
        Self {
            form: Form::Log,
            tables: random.index(3) + 1,
            partitions: random.pick(&[1, 1, 2, 3, 5]),
            offsets: random.pick(&[Offsets::Dense, Offsets::WithHoles, Offsets::WithHoles]),
            transactions: random.between(5, 60),
            ids: random.pick(&[3, 8, 8, 30]),
            huge_per_mille: random.pick(&[0, 30, 100]),
            foreign_per_mille: random.pick(&[0, 100, 500]),
            truncate_per_mille: random.pick(&[0, 50, 150]),
            pause_max_ms: random.pick(&[1, 20, 20, 200]),
            has_pieces: random.per_mille(600),
            start: random.pick(&[Start::Earliest, Start::Earliest, Start::Now]),
            commit: CommitLimits {
                bytes_max: random.pick(&[200, 5_000, 64 << 20]),
                records_max: random.pick(&[1, 10, 50, 200_000]),
                age_max: random.pick(&[20, 500, 5_000].map(Duration::from_millis)),
                idle_interval: random.pick(&[50, 2_000].map(Duration::from_millis)),
            },
            apply: ApplyLimits {
                workers: random.index(3) + 1,
                batch_records_max: random.pick(&[1, 7, 50, 10_000]),
                batch_bytes_max: random.pick(&[2_000, 8 << 20]),
                discovery_interval: random.pick(&[100, 1_000].map(Duration::from_millis)),
            },
            fault_per_mille: rate(random, &[0, 5, 20, 80]),
            tear_per_mille: rate(random, &[0, 0, 50, 200]),
            life_calls: is_killed.then(|| random.pick(&[25, 60, 200])),
            stop_ms: is_stopped.then(|| random.pick(&[200, 1_000])),
            has_rival_capture: !is_calm && random.per_mille(200),
            has_rival_apply: !is_calm && random.per_mille(200),
            rewinds: if is_killed && random.per_mille(400) { random.pick(&[1, 2]) } else { 0 },
            sick: match random.below(10) {
                0 => Sick::RefusedRow,
                1 => Sick::Garbage,
                _ => Sick::Nothing,
            },
            has_late_table: random.per_mille(150),
            copies: None,
        }
    }
}
