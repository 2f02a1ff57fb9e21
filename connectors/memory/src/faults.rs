//! What goes wrong, call by call: scripted, or decided by a function (which a simulation seeds).
//!
//! A fault strikes one call of one fake. The hard ones are those after which the caller can't know what happened: the answer
//! was lost ([`Fault::After`]), or the server does it later ([`Fault::Late`]), when the caller has long given up.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::news::News;
use tailrace_contract::{Error, ErrorKind, Result};

/// The calls that faults can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `Source::state`.
    SourceState,
    /// `Source::tables`.
    SourceTables,
    /// `Source::position`.
    SourcePosition,
    /// `Source::has_rows`.
    SourceHasRows,
    /// `Source::open`.
    SourceOpen,
    /// `ChangeStream::read_batch`.
    StreamRead,
    /// `Log::prepare`.
    LogPrepare,
    /// `Log::tables`.
    LogTables,
    /// `Log::partitions`.
    LogPartitions,
    /// `Log::open_writer`.
    LogOpenWriter,
    /// `LogWriter::append` and `LogWriter::append_ledger`.
    LogAppend,
    /// `LogWriter::commit` and `LogWriter::commit_barrier`.
    LogCommit,
    /// `Log::checkpoint`.
    LogCheckpoint,
    /// `Log::ledger`.
    LogLedger,
    /// `Log::ends`.
    LogEnds,
    /// `Log::forget_checkpoint`.
    LogForgetCheckpoint,
    /// `Log::open_barriers`.
    LogOpenBarriers,
    /// `BarrierReader::read`.
    LogReadBarriers,
    /// `Log::open_reader`.
    LogOpenReader,
    /// `LogReader::read_batch`.
    LogRead,
    /// `Sink::prepare`.
    SinkPrepare,
    /// `Sink::create_table`.
    SinkCreateTable,
    /// `Sink::table_state`.
    SinkTableState,
    /// `Sink::adopt_table`.
    SinkAdoptTable,
    /// `Sink::claim`.
    SinkClaim,
    /// `Sink::progress`.
    SinkProgress,
    /// `Sink::ledger`.
    SinkLedger,
    /// `Sink::forget`.
    SinkForget,
    /// `Sink::meet`.
    SinkMeet,
    /// `Sink::meetings`.
    SinkMeetings,
    /// `Sink::resume`.
    SinkResume,
    /// `Sink::reopen`.
    SinkReopen,
    /// `Sink::open_writer`.
    SinkOpenWriter,
    /// `SinkWriter::apply`.
    SinkApply,
    /// `Source::open_reader` and `Sink::open_reader`.
    OpenReader,
    /// `Source::open_chunks`.
    OpenChunks,
    /// `ChunkReader::read_chunk` and `ChunkReader::read_keys`.
    ReaderChunk,
    /// `ChunkReader::end_of_view`.
    ReaderEndOfView,
    /// `TableReader::estimate`.
    ReaderEstimate,
    /// `TableReader::bound` and `ChunkReader::bound_within`.
    ReaderBound,
    /// `TableReader::read`.
    ReaderRead,
    /// `TableReader::fill`.
    ReaderFill,
}

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails with an error of this kind, and nothing was done.
    Fail(ErrorKind),
    /// It is done, but the answer is lost: it fails as transient.
    After,
    /// It fails as transient, and is done once the server has met so many more calls, unless it is fenced by then. A call
    /// that changes nothing just fails.
    Late(u32),
    /// A commit of the log is torn, as by a broken broker: so many of its records become visible, the rest and the
    /// checkpoint don't, nor its documents, and it fails as transient. Any other call just fails.
    Tear(usize),
    /// As [`Fault::Tear`], but all records become visible, and so many of its documents: documents are never seen before them.
    TearLedger(usize),
    /// It takes so long, then goes its way.
    Delay(Duration),
    /// It waits until the gate is opened, then goes its way.
    Hang(Gate),
}

/// Holds calls up until it is opened.
#[derive(Clone, Debug)]
pub struct Gate {
    opened: Arc<News>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { opened: Arc::new(News::default()) }
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.opened.announce();
    }

    /// Waits until it is open.
    pub async fn wait(&self) {
        self.opened.beyond(0).await;
    }
}

/// Decides the fault of each call that nothing is scripted for.
type Decide = Box<dyn FnMut(Call) -> Option<Fault> + Send>;

/// The faults of one fake, and how often each call was made.
#[derive(Default)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scripted: BTreeMap<Call, VecDeque<Fault>>,
    decide: Option<Decide>,
    calls: BTreeMap<Call, u64>,
    struck: u64,
}

/// How a call that did not fail at once is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Do it and answer.
    Answered,
    /// Do it and fail.
    Lost,
    /// Fail, and do it after so many calls.
    Late(u32),
    /// Make a part visible and fail.
    Torn(Torn),
}

/// What becomes visible of a torn transaction of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// So many of its records.
    pub(crate) records: usize,
    /// So many of its documents.
    pub(crate) documents: usize,
}

impl Torn {
    /// All of it: it is not torn at all.
    pub(crate) const WHOLE: Self = Self { records: usize::MAX, documents: usize::MAX };
    /// Nothing of it: it is aborted.
    pub(crate) const NOTHING: Self = Self { records: 0, documents: 0 };
}

impl Outcome {
    /// For calls that change nothing: any outcome but an answer is a failure.
    pub(crate) fn answer(self, call: Call) -> Result<()> {
        if self == Self::Answered { Ok(()) } else { Err(lost(call)) }
    }
}

/// The error of a call whose outcome is unknown.
pub(crate) fn lost(call: Call) -> Error {
    Error::transient(format!("the answer to {call:?} was lost"))
}

impl Faults {
    /// The next call of this kind meets the fault; several are met in order.
    pub fn script(&self, call: Call, fault: Fault) {
        self.state().scripted.entry(call).or_default().push_back(fault);
    }

    /// Every call that nothing is scripted for is decided by `decide`.
    pub fn decide_by(&self, decide: impl FnMut(Call) -> Option<Fault> + Send + 'static) {
        self.state().decide = Some(Box::new(decide));
    }

    /// No more faults.
    pub fn clear(&self) {
        let mut state = self.state();
        state.scripted.clear();
        state.decide = None;
    }

    /// How often the call was made.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.state().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many faults have struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.state().struck
    }

    /// Meets the call: fails, or says how it is to end.
    pub(crate) async fn enter(&self, call: Call) -> Result<Outcome> {
        match self.next(call) {
            None => Ok(Outcome::Answered),
            Some(Fault::Fail(kind)) => Err(Error::new(kind, format!("{call:?} was made to fail"))),
            Some(Fault::After) => Ok(Outcome::Lost),
            Some(Fault::Late(calls)) => Ok(Outcome::Late(calls)),
            Some(Fault::Tear(records)) => Ok(Outcome::Torn(Torn { records, documents: 0 })),
            Some(Fault::TearLedger(documents)) => Ok(Outcome::Torn(Torn { records: usize::MAX, documents })),
            Some(Fault::Delay(duration)) => {
                tokio::time::sleep(duration).await;
                Ok(Outcome::Answered)
            }
            Some(Fault::Hang(gate)) => {
                gate.wait().await;
                Ok(Outcome::Answered)
            }
        }
    }

    fn next(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        *state.calls.entry(call).or_default() += 1;
        let scripted = state.scripted.get_mut(&call).and_then(VecDeque::pop_front);
        let fault = scripted.or_else(|| state.decide.as_mut().and_then(|decide| decide(call)));
        state.struck += u64::from(fault.is_some());
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults({} struck)", self.struck())
    }
}
