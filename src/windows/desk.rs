//! The side of those who copy: where sessions are taken from, windows opened and closed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tailrace_contract::{LedgerEntry, Position, SourcePlace};
use tailrace_row::{Epoch, RecordBatch, TableName};
use tokio::sync::{mpsc, oneshot, watch};

use super::{book::WindowBook, touched::WindowNumber, uncopied::Uncopied};
use crate::mapping::TableRules;

/// Requests that wait: far more than all who copy can have at once, which is a few each.
const REQUESTS_MAX: usize = 4_096;

/// Where those who copy and the one who writes meet. Clones are the same desk.
#[derive(Clone, Default)]
pub struct Desk {
    newest: watch::Sender<Option<CopySession>>,
}

impl Desk {
    /// The writer's session begins, with the ledger as it is stored: windows can be opened until what is returned is dropped.
    pub(crate) fn begin(
        &self,
        epoch: Epoch,
        ledger: Vec<LedgerEntry>,
        rules: &TableRules,
    ) -> tailrace_contract::Result<WindowBook> {
        let (requests, of_copiers) = mpsc::channel(REQUESTS_MAX);
        let (capturing, captured) = watch::channel(None);
        let uncopied = Uncopied::new(rules.clone(), &ledger)?;
        self.newest.send_replace(Some(CopySession { epoch, ledger, captured, requests, next: Arc::default() }));
        Ok(WindowBook::new(of_copiers, capturing, uncopied))
    }

    /// The newest session; none before the first.
    pub(crate) fn sessions(&self) -> watch::Receiver<Option<CopySession>> {
        self.newest.subscribe()
    }
}

/// One session of the writer. Nothing of it outlives it: who copies begins again from the ledger of the next.
#[derive(Clone)]
pub(crate) struct CopySession {
    /// The lineage in which the writer counts.
    pub(crate) epoch: Epoch,
    /// As it is stored.
    pub(crate) ledger: Vec<LedgerEntry>,
    /// How far the source's log was read, and all of it was durable, when the stream last stood between two transactions; none before.
    pub(crate) captured: watch::Receiver<Option<SourcePlace>>,
    requests: mpsc::Sender<Request>,
    next: Arc<AtomicU64>,
}

/// Makes documents when they are written, so that none replaces a newer one.
pub(super) type Documents = Box<dyn FnOnce() -> Vec<LedgerEntry> + Send>;

/// What the writer is asked for.
pub(super) enum Request {
    Open { window: WindowNumber, table: TableName, answer: oneshot::Sender<Result<Position, Void>> },
    Close(Box<CloseRequest>),
    Abandon { window: WindowNumber, table: TableName },
    Note { entries: Documents, answer: oneshot::Sender<()> },
}

pub(super) struct CloseRequest {
    pub(super) window: WindowNumber,
    pub(super) table: TableName,
    pub(super) chunk: Chunk,
    pub(super) answer: oneshot::Sender<Result<Closed, Void>>,
}

/// Rows that were read in a window.
pub(crate) struct Chunk {
    /// All of one table.
    pub(crate) rows: RecordBatch,
    /// At or behind everything that the view could show.
    pub(crate) end: SourcePlace,
    /// The documents to store with the rows, made when it is known what becomes of them.
    pub(crate) entries: Box<dyn FnOnce(Closed) -> Vec<LedgerEntry> + Send>,
}

/// What became of the rows of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Rows that went into the log.
    pub(crate) written: u64,
    /// Rows whose keys had changed since.
    pub(crate) dropped: u64,
}

/// Why a window came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Void {
    /// The session has ended.
    SessionEnded,
    /// A statement changed the table.
    Altered,
    /// More rows of the table were changed than can be remembered.
    TooManyChanges,
    /// Rows of it were changed by statements that log no whole rows.
    PartialImages,
    /// It was read from another server than the changes are.
    OtherServer,
}

impl Void {
    /// For metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::Altered => "altered",
            Self::TooManyChanges => "too_many_changes",
            Self::PartialImages => "partial_images",
            Self::OtherServer => "other_server",
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SessionEnded => "the session ended",
            Self::Altered => "a statement changed the table",
            Self::TooManyChanges => "too many rows were changed meanwhile",
            Self::PartialImages => "rows were changed meanwhile of which the source logs not all columns",
            Self::OtherServer => {
                "the rows came from another server than the changes: see where the source's address leads"
            }
        }
    }
}

impl CopySession {
    /// Opens a window on a table: asked for at once, waited for as long as the writer is in a transaction, or behind the source.
    pub(crate) fn open(&self, table: &TableName) -> impl Future<Output = Result<Window, Void>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let window = self.next.fetch_add(1, Ordering::Relaxed);
        // From here on: a window that is not waited for must be given back.
        let mut guard = Window {
            window,
            table: table.clone(),
            shown: Position::new(""),
            requests: self.requests.clone(),
            is_open: true,
        };
        let asked = self.send(Request::Open { window, table: table.clone(), answer });
        async move {
            asked?;
            guard.shown = answered.await.map_err(|_| Void::SessionEnded)??;
            Ok(guard)
        }
    }

    /// Stores documents without rows.
    pub(crate) async fn note(&self, entries: impl FnOnce() -> Vec<LedgerEntry> + Send + 'static) -> Result<(), Void> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Note { entries: Box::new(entries), answer })?;
        answered.await.map_err(|_| Void::SessionEnded)
    }

    fn send(&self, request: Request) -> Result<(), Void> {
        self.requests.try_send(request).map_err(|_| Void::SessionEnded)
    }
}

/// An open window. Dropping it gives it up.
pub(crate) struct Window {
    window: WindowNumber,
    table: TableName,
    /// P: a read must show everything up to here.
    pub(crate) shown: Position,
    requests: mpsc::Sender<Request>,
    is_open: bool,
}

impl Window {
    /// Asks to close it with the rows that were read in it. What is returned ends when they are durable.
    pub(crate) fn close(mut self, chunk: Chunk) -> impl Future<Output = Result<Closed, Void>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.is_open = false;
        let request = CloseRequest { window: self.window, table: self.table.clone(), chunk, answer };
        let is_sent = self.requests.try_send(Request::Close(Box::new(request))).is_ok();
        async move {
            if !is_sent {
                return Err(Void::SessionEnded);
            }
            answered.await.map_err(|_| Void::SessionEnded)?
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.is_open {
            // The session may have ended, and the window with it.
            let _ = self.requests.try_send(Request::Abandon { window: self.window, table: self.table.clone() });
        }
    }
}
