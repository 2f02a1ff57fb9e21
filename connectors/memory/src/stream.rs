//! The stream of changes: reads the binlog from a checkpoint on, in pieces of any size.

use std::{ops::ControlFlow, sync::Arc};

use tailrace_contract::{
    BatchEnd, BatchLimits, BoxFuture, ChangeStream, Checkpoint, Error, Mark, Result, SchemaChange, SourcePlace,
    SplitTransaction, TableAct, TableFilter,
};
use tailrace_row::{Epoch, Origin, Record, RecordBatch, RecordId, Sequence};
use tokio::time::Instant;

use crate::{
    binlog::BinlogTransaction,
    faults::Call,
    row::{copy_in_part, key_of},
    source::SourceServer,
};

pub(crate) struct MemoryStream {
    server: Arc<SourceServer>,
    filter: Arc<TableFilter>,
    epoch: Epoch,
    /// Index in the binlog of the next transaction, or of the one in progress.
    next: usize,
    /// How many files of the binlog were begun before what comes next, as far as was read.
    files: usize,
    /// How many transactions were complete, as the checkpoint counts them.
    complete: u64,
    /// The record of the transaction in progress to look at next.
    record: RecordId,
    /// The last sequence of the transaction in progress that was delivered, now or before the checkpoint.
    last: Option<Sequence>,
    /// Whether this stream has delivered something of the transaction in progress.
    has_begun: bool,
    /// The statement that was passed just now.
    passed: Option<Box<SchemaChange>>,
    /// Silent waits since the last transaction.
    heartbeats: u64,
    has_failed: bool,
}

impl MemoryStream {
    pub(crate) fn open(server: &Arc<SourceServer>, from: &Checkpoint, filter: Arc<TableFilter>) -> Result<Self> {
        let next = server.transactions_at(&from.mark.position)?;
        if let Some(split) = &from.split {
            let binlog = server.binlog();
            let transaction = binlog.transactions.get(next);
            if transaction.is_none_or(|transaction| transaction.name() != &split.name) {
                return Err(Error::position_lost(format!("{} is not the transaction that comes next", split.name))
                    .at(&from.mark.position));
            }
        }
        // A file that begins here is heard of by reading on.
        let files = next.checked_sub(1).map_or(0, |last| server.binlog().files_at(last));
        Ok(Self {
            server: Arc::clone(server),
            filter,
            epoch: from.epoch,
            next,
            files,
            complete: from.mark.transactions,
            record: 0,
            last: from.split.as_ref().map(|split| split.last),
            has_begun: false,
            passed: None,
            heartbeats: 0,
            has_failed: false,
        })
    }

    fn mark(&self) -> Mark {
        Mark { position: self.server.position_after(self.next, self.heartbeats), transactions: self.complete }
    }

    async fn read(&mut self, out: &mut RecordBatch, limits: BatchLimits) -> Result<BatchEnd> {
        self.server.faults.enter(Call::StreamRead).await?.answer(Call::StreamRead)?;
        self.server.pass_call();
        let piece = self.server.next_piece();
        let records_max = limits.records_max.min(out.len().saturating_add(piece));
        let limits = BatchLimits { records_max, ..limits };
        let deadline = Instant::now() + limits.wait_max;
        loop {
            let seen = self.server.committed.count();
            if self.fill(out, limits).is_break() || !out.is_empty() {
                return Ok(self.end(out));
            }
            let news = tokio::time::timeout_at(deadline, async {
                match piece {
                    0 => std::future::pending().await,
                    _ => self.server.committed.beyond(seen).await,
                }
            });
            if news.await.is_err() {
                self.heartbeats += 1;
                return Ok(self.end(out));
            }
        }
    }

    /// Appends what is there; breaks if a limit is reached.
    fn fill(&mut self, out: &mut RecordBatch, limits: BatchLimits) -> ControlFlow<()> {
        if limits.records_max == 0 {
            return ControlFlow::Continue(());
        }
        loop {
            let transaction = self.listen();
            let Some(transaction) = transaction else { return ControlFlow::Continue(()) };
            let change = self.change(&transaction);
            if change.is_some() && !out.is_empty() {
                // It comes alone: what lies before it goes first.
                return ControlFlow::Break(());
            }
            self.fill_from(&transaction, out, limits)?;
            self.next += 1;
            self.complete += 1;
            self.heartbeats = 0;
            (self.record, self.last, self.has_begun) = (0, None, false);
            self.passed = change;
            if self.passed.is_some() || is_full(out, limits) {
                return ControlFlow::Break(());
            }
        }
    }

    /// The next transaction; a file that begins before it is heard of.
    fn listen(&mut self) -> Option<Arc<BinlogTransaction>> {
        let binlog = self.server.binlog();
        self.files = binlog.files_at(self.next);
        binlog.transactions.get(self.next).map(Arc::clone)
    }

    /// What the transaction does to captured tables, if it is a statement.
    fn change(&self, transaction: &BinlogTransaction) -> Option<Box<SchemaChange>> {
        let is_captured = |act: &&TableAct| {
            let name = act.table();
            self.filter.matches(&name.database, &name.table)
        };
        let acts: Vec<TableAct> = transaction.acts().iter().filter(is_captured).cloned().collect();
        let sequence = Sequence { epoch: self.epoch, transaction: self.complete + 1, event: 0, row: 0 };
        (!acts.is_empty()).then(|| {
            Box::new(SchemaChange {
                sequence,
                place: Arc::clone(transaction.name()),
                committed_at_micros: committed_at_micros(self.next),
                statement: "TRUNCATE".into(),
                acts,
            })
        })
    }

    /// Appends the rest of one transaction.
    fn fill_from(
        &mut self,
        transaction: &BinlogTransaction,
        out: &mut RecordBatch,
        limits: BatchLimits,
    ) -> ControlFlow<()> {
        while let Some(record) = transaction.records().records().get(self.record as usize) {
            let sequence = self.sequence(transaction, record);
            let name = transaction.records().schema(record).name();
            let is_new = self.last.is_none_or(|last| sequence > last);
            let is_wanted = is_new && self.filter.matches(&name.database, &name.table);
            if is_wanted && is_full(out, limits) {
                return ControlFlow::Break(());
            }
            if is_wanted {
                self.deliver(transaction, record, out);
                (self.last, self.has_begun) = (Some(sequence), true);
            }
            self.record += 1;
        }
        ControlFlow::Continue(())
    }

    fn sequence(&self, transaction: &BinlogTransaction, record: &Record) -> Sequence {
        let event = transaction.records().origin(record).event;
        Sequence { epoch: self.epoch, transaction: self.complete + 1, event, row: record.row }
    }

    fn deliver(&self, transaction: &BinlogTransaction, record: &Record, out: &mut RecordBatch) {
        let from = transaction.records();
        let known = from.origin(record);
        let number = self.complete + 1;
        let is_last = |last: &Origin| {
            last.transaction == number && last.event == known.event && !out.is_empty() && last.epoch == self.epoch
        };
        let origins = out.records().last().map(|last| last.origin);
        let origin = match (out.last_origin().filter(|last| is_last(last)), origins) {
            (Some(_), Some(number)) => number,
            _ => out.add_origin(Origin {
                epoch: self.epoch,
                transaction: number,
                committed_at_micros: committed_at_micros(self.next),
                transaction_name: Some(Arc::clone(transaction.name())),
                file: "memory.000001".into(),
                server_id: 1,
                ..known.clone()
            }),
        };
        let schema = out.add_schema(from.schema(record));
        let (old, new) = (from.before(record), from.after(record));
        let key = from.schema(record).key();
        let has_moved = |(old, new)| key_of(from.schema(record), old) != key_of(from.schema(record), new);
        let is_in_part = transaction.is_in_part() && !old.zip(new).is_some_and(has_moved);
        let is_same =
            |column| old.zip(new).is_some_and(|(old, new)| old.field_bytes(column) == new.field_bytes(column));
        let before = old.map(|image| copy_in_part(out, image, |column| !is_in_part || key.contains(&column)));
        let is_told = |column| !is_in_part || key.contains(&column) || !is_same(column);
        let after = new.map(|image| copy_in_part(out, image, is_told));
        out.push(Record { schema, origin, before, after, ..*record });
    }

    /// How a batch that ends here ended.
    fn end(&mut self, out: &RecordBatch) -> BatchEnd {
        if let Some(change) = self.passed.take() {
            return BatchEnd::SchemaChange { mark: self.mark(), change };
        }
        let binlog = self.server.binlog();
        match (self.last, binlog.transactions.get(self.next)) {
            (Some(last), Some(transaction)) if self.has_begun => BatchEnd::MidTransaction {
                mark: self.mark(),
                split: SplitTransaction { name: Arc::clone(transaction.name()), last },
            },
            _ if out.is_empty() => BatchEnd::Idle(self.mark()),
            _ => BatchEnd::TransactionEnd(self.mark()),
        }
    }
}

fn committed_at_micros(transaction: usize) -> i64 {
    1_700_000_000_000_000 + i64::try_from(transaction).unwrap_or(0)
}

fn is_full(out: &RecordBatch, limits: BatchLimits) -> bool {
    out.len() >= limits.records_max || out.byte_len() >= limits.bytes_max
}

impl ChangeStream for MemoryStream {
    fn read_batch<'a>(&'a mut self, out: &'a mut RecordBatch, limits: BatchLimits) -> BoxFuture<'a, Result<BatchEnd>> {
        Box::pin(async move {
            if self.has_failed {
                return Err(Error::corrupt("the stream was used after it had failed"));
            }
            // Failed until proven otherwise: a dropped future ends the stream too.
            self.has_failed = true;
            let end = self.read(out, limits).await?;
            self.has_failed = false;
            Ok(end)
        })
    }

    fn place(&self) -> Option<SourcePlace> {
        let is_between = self.record == 0 && !self.has_begun;
        is_between.then(|| self.server.binlog().place(&self.server.series, self.next, self.files))
    }
}
