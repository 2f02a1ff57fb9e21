//! The writer's side: which windows are open, what was changed since, which may close.

use std::collections::{HashMap, VecDeque};

use tailrace_contract::{BatchEnd, LedgerEntry, Position, Result, SourcePlace};
use tailrace_row::{RecordBatch, TableName};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    desk::{CloseRequest, Closed, Documents, Request, Void},
    touched::{Touched, Verdict, WindowNumber},
    uncopied::Uncopied,
};
use crate::{capture::boundary::Boundary, telemetry::seconds_now};

/// The windows of one session.
pub(crate) struct WindowBook {
    requests: mpsc::Receiver<Request>,
    /// Nobody will ask any more.
    is_over: bool,
    tables: HashMap<TableName, Touched>,
    /// Windows that are to be opened between the next two transactions.
    opening: Vec<Opening>,
    /// Windows whose rows were read.
    closing: Vec<CloseRequest>,
    notes: VecDeque<(Documents, oneshot::Sender<()>)>,
    /// How far the source's log is read; none inside a transaction.
    place: Option<SourcePlace>,
    /// Something of it is not durable yet.
    has_unwritten: bool,
    /// Where it is told to those who copy.
    captured: watch::Sender<Option<SourcePlace>>,
    /// Who is to be told when all that was written is durable.
    written: Vec<Written>,
    /// As of what is written, durable or not.
    uncopied: Uncopied,
}

/// A window that is asked for, and who asks.
type Opening = (WindowNumber, TableName, oneshot::Sender<std::result::Result<Position, Void>>);

enum Written {
    Chunk(Closed, oneshot::Sender<std::result::Result<Closed, Void>>),
    Note(oneshot::Sender<()>),
}

/// What is to be written now.
pub(crate) struct DueChunk {
    /// The rows that are left; empty where only documents are to be stored.
    pub(crate) rows: RecordBatch,
    /// To store with the rows.
    pub(crate) entries: Vec<LedgerEntry>,
}

/// The same, before it is said behind which transaction it is written.
pub(crate) struct Due {
    chunk: DueChunk,
    place: Option<SourcePlace>,
}

impl Due {
    /// Behind the last transaction that was taken over. Rows that are copied have the sequence of what comes before them, so that
    /// whatever comes later is above it (E15).
    pub(crate) fn written_behind(mut self, boundary: &Boundary) -> DueChunk {
        if !self.chunk.rows.is_empty() {
            self.chunk.rows.set_origin(boundary.origin_of_copies(self.place.as_ref(), seconds_now()));
        }
        self.chunk
    }
}

impl WindowBook {
    pub(super) fn new(
        requests: mpsc::Receiver<Request>,
        captured: watch::Sender<Option<SourcePlace>>,
        uncopied: Uncopied,
    ) -> Self {
        Self {
            requests,
            is_over: false,
            tables: HashMap::new(),
            opening: Vec::new(),
            closing: Vec::new(),
            notes: VecDeque::new(),
            place: None,
            has_unwritten: false,
            captured,
            written: Vec::new(),
            uncopied,
        }
    }

    /// Where nothing is copied.
    pub(crate) fn none() -> Self {
        let (_, requests) = mpsc::channel(1);
        Self::new(requests, watch::Sender::new(None), Uncopied::default())
    }

    /// Waits until somebody asks for something, and takes it in. Cancel-safe.
    pub(crate) async fn requested(&mut self) {
        if self.is_over {
            std::future::pending::<()>().await;
        }
        match self.requests.recv().await {
            Some(request) => self.take_in(request),
            None => self.is_over = true,
        }
    }

    /// Takes in what was asked for by now.
    pub(crate) fn take_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.take_in(request);
        }
    }

    /// Takes over what a batch brought, before it is written, and how far the source was read with it. Changes in part of rows that may
    /// not be copied yet are marked as such.
    pub(crate) fn note(&mut self, batch: &mut RecordBatch, end: &BatchEnd, place: Option<SourcePlace>) {
        self.uncopied.mark(batch);
        self.place = match end {
            BatchEnd::TransactionEnd(_) | BatchEnd::Idle(_) => place,
            BatchEnd::MidTransaction { .. } | BatchEnd::SchemaChange { .. } => None,
        };
        self.has_unwritten |= !batch.is_empty();
        self.tell_place();
        if let BatchEnd::SchemaChange { change, .. } = end {
            for table in change.tables() {
                self.void(table, Void::Altered);
            }
        }
        if self.tables.is_empty() {
            return;
        }
        for (number, schema) in (0..).zip(batch.schemas()) {
            let Some(touched) = self.tables.get_mut(schema.name()) else { continue };
            for record in batch.records().iter().filter(|record| record.schema == number) {
                let images = [batch.before(record), batch.after(record)];
                images.into_iter().flatten().for_each(|image| touched.note(schema, image));
            }
            if touched.is_too_much() {
                self.void(&schema.name().clone(), Void::TooManyChanges);
            }
        }
    }

    /// Opens the windows that were asked for. All changes up to this position, and no others, are taken over.
    pub(crate) fn open(&mut self, shown: &Position) {
        for (window, table, answer) in self.opening.drain(..) {
            self.tables.entry(table).or_default().open(window);
            // Who asked and went away gives the window back.
            let _ = answer.send(Ok(shown.clone()));
        }
    }

    /// The next thing that may be written now, between two transactions.
    pub(crate) fn take_due(&mut self) -> Result<Option<Due>> {
        let due = self.find_due();
        // What comes is written behind it.
        due.iter().try_for_each(|due| self.uncopied.learn(&due.chunk.entries))?;
        Ok(due)
    }

    fn find_due(&mut self) -> Option<Due> {
        if let Some((entries, answer)) = self.notes.pop_front() {
            self.written.push(Written::Note(answer));
            let chunk = DueChunk { rows: RecordBatch::new(), entries: entries() };
            return Some(Due { chunk, place: None });
        }
        let place = self.place.clone()?;
        for request in self.closing.extract_if(.., |request| request.chunk.end.series != place.series) {
            self.tables.get_mut(&request.table).map(|touched| touched.forget(request.window));
            let _ = request.answer.send(Err(Void::OtherServer));
        }
        // The first that was asked for of those that may close: whoever reads on before a window is closed counts on that order.
        let is_due = |request: &CloseRequest| place.has_reached(&request.chunk.end);
        let CloseRequest { window, table, mut chunk, answer } =
            self.closing.remove(self.closing.iter().position(is_due)?);
        let touched = self.tables.get_mut(&table).expect("invariant: a window that is not voided is open");
        let (read, mut has_partial) = (chunk.rows.len(), false);
        chunk.rows.retain(|schema, image| {
            let verdict = touched.judge(window, schema, image);
            has_partial |= verdict == Verdict::TouchedInPart;
            verdict == Verdict::Untouched
        });
        self.forget(window, &table);
        if has_partial {
            let _ = answer.send(Err(Void::PartialImages));
            return self.find_due();
        }
        let written = chunk.rows.len();
        let closed = Closed { written: written as u64, dropped: (read - written) as u64 };
        self.written.push(Written::Chunk(closed, answer));
        let due = DueChunk { rows: chunk.rows, entries: (chunk.entries)(closed) };
        Some(Due { chunk: due, place: Some(place) })
    }

    /// All that was written is durable.
    pub(crate) fn committed(&mut self) {
        self.has_unwritten = false;
        self.tell_place();
        for written in self.written.drain(..) {
            // Who asked may have gone away: what is written is written.
            match written {
                Written::Chunk(closed, answer) => drop(answer.send(Ok(closed))),
                Written::Note(answer) => drop(answer.send(())),
            }
        }
    }

    /// What is not durable is not captured.
    fn tell_place(&self) {
        if self.place.is_some() && !self.has_unwritten {
            self.captured.send_replace(self.place.clone());
        }
    }

    fn take_in(&mut self, request: Request) {
        match request {
            Request::Open { window, table, answer } => self.opening.push((window, table, answer)),
            Request::Close(request) => {
                let is_open = self.tables.get(&request.table).is_some_and(|touched| touched.is_open(request.window));
                if is_open {
                    self.closing.push(*request);
                } else {
                    let _ = request.answer.send(Err(Void::Altered));
                }
            }
            Request::Abandon { window, table } => {
                self.opening.retain(|(opening, ..)| *opening != window);
                self.forget(window, &table);
            }
            Request::Note { entries, answer } => self.notes.push_back((entries, answer)),
        }
    }

    fn forget(&mut self, window: WindowNumber, table: &TableName) {
        if let Some(touched) = self.tables.get_mut(table) {
            touched.forget(window);
            if !touched.has_open() {
                self.tables.remove(table);
            }
        }
    }

    /// The windows on a table come to nothing.
    fn void(&mut self, table: &TableName, why: Void) {
        self.tables.remove(table);
        for request in self.closing.extract_if(.., |request| request.table == *table) {
            let _ = request.answer.send(Err(why));
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
