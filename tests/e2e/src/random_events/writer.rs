//! One connection of the workload: it rolls what to do, does it, and counts by kind what the server has done. What it prepared it
//! ends some transactions later, so that some of it stands open over a kill.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lab::writer::Dice;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::workload::{self, Abilities, Keys, MADE, Session};

const PAUSE: Duration = Duration::from_millis(5);
/// What may be prepared and not ended by one writer.
const SLOTS: usize = 3;
/// Deadlocks and waits that took too long, also inside XA.
const LOCKED: [u16; 5] = [1205, 1213, 1402, 1613, 1614];
/// MariaDB keeps none that changed nothing.
const ROLLED_BACK: u16 = 1402;
/// The session that prepared it has not quite gone yet.
const NOT_THERE_YET: u16 = 1397;

/// What happened, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Plain,
    Savepoint,
    RolledBack,
    WithoutTransactions,
    Mixed,
    MixedRolledBack,
    KeyChange,
    Cascade,
    LoadData,
    Procedure,
    CreateSelect,
    Foreign,
    OnePhase,
    TwoPhases,
    TwoPhasesRolledBack,
    /// Tailrace was killed between the two phases.
    PhasesOverKill,
    PartialImage,
    PartialJson,
    Compressed,
    CompressedPartial,
    PhasesPartial,
    PhasesCompressed,
    PhasesCompressedPartial,
}

/// What all writers share.
#[derive(Default)]
pub(super) struct Board {
    /// Transactions that the server has committed or rolled back as asked.
    pub(super) transactions: AtomicU64,
    /// Given up for others' locks.
    pub(super) locked: AtomicU64,
    pub(super) kills: AtomicU64,
    /// Nobody begins more before the next kill.
    pub(super) gate: AtomicU64,
    made: AtomicU64,
    /// Why a writer has ended before its time.
    failure: Mutex<Option<String>>,
    kinds: Mutex<BTreeMap<Kind, u64>>,
}

impl Board {
    fn count(&self, kind: Kind) {
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    pub(super) fn ensure_well(&self) -> Result<()> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => bail!("a writer has failed: {failure}"),
            None => Ok(()),
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
    }

    pub(super) fn kinds(&self) -> BTreeMap<Kind, u64> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Prepared, and its end not decided.
struct Prepared {
    slot: u64,
    name: String,
    session: Session,
    kills: u64,
}

pub(super) struct Writer<'a> {
    pub(super) url: String,
    pub(super) number: u64,
    pub(super) goal: u64,
    pub(super) dice: Dice,
    pub(super) abilities: &'a Abilities,
    pub(super) board: &'a Board,
    connection: Option<Conn>,
    prepared: Vec<Prepared>,
    names: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        url: String,
        (number, goal): (u64, u64),
        dice: Dice,
        abilities: &'a Abilities,
        board: &'a Board,
    ) -> Self {
        Self { url, number, goal, dice, abilities, board, connection: None, prepared: Vec::new(), names: 0 }
    }

    /// Writes until all together have reached the goal, then ends what stands open.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.write().await {
            self.board.fail(&error);
        }
    }

    async fn write(&mut self) -> Result<()> {
        while self.board.transactions.load(Ordering::SeqCst) < self.goal {
            if self.board.transactions.load(Ordering::SeqCst) >= self.board.gate.load(Ordering::SeqCst) {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            match self.step().await {
                Ok(()) => {}
                Err(Failed::Locked) => {
                    // Whatever was begun goes with its connection.
                    self.connection = None;
                    self.board.locked.fetch_add(1, Ordering::SeqCst);
                }
                Err(Failed::Otherwise(error)) => return Err(error),
            }
        }
        while !self.prepared.is_empty() {
            self.finish(0).await.map_err(Failed::into_error)?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Outcome {
        if !self.prepared.is_empty() && self.dice.once_in(12) {
            let which = self.dice.index(self.prepared.len());
            return self.finish(which).await;
        }
        let made = self.board.made.load(Ordering::SeqCst);
        let due = self.goal * (made + 1) / (MADE + 1);
        if made < MADE && self.number == 0 && self.board.transactions.load(Ordering::SeqCst) > due {
            return self.make(made).await;
        }
        let session = Session::roll(self.abilities, &mut self.dice);
        match self.dice.below(100) {
            0..5 => self.rolled_back(session).await,
            5..12 => self.savepoint(session).await,
            12..17 => self.mixed(session).await,
            17..20 => {
                let sql = workload::loose_rows(&mut self.dice);
                self.simple(Kind::WithoutTransactions, session.whole(), sql).await
            }
            20..25 => {
                let sql = format!("BEGIN; {0}; {1}; COMMIT", self.key_change(), self.key_change());
                self.simple(Kind::KeyChange, session.whole(), sql).await
            }
            25..30 if self.abilities.is_mysql() => {
                let sql = format!("BEGIN; {}; COMMIT", workload::cascade(&mut self.dice));
                self.simple(Kind::Cascade, session.whole(), sql).await
            }
            30..32 => self.load_data(session).await,
            32..35 => {
                let sql = format!("BEGIN; {}; COMMIT", workload::procedure(&mut self.dice));
                self.simple(Kind::Procedure, session.whole(), sql).await
            }
            // MariaDB does not tell which databases a statement changed, so each stops Tailrace.
            35..37 if self.abilities.is_mysql() => self.foreign().await,
            37..43 => self.one_phase(session).await,
            43..52 if self.prepared.len() < SLOTS => self.prepare(session).await,
            _ => {
                let sql = format!("BEGIN; {}; COMMIT", self.changes(session));
                self.simple(Kind::Plain, session, sql).await
            }
        }
    }

    fn key_change(&mut self) -> String {
        workload::key_change(&mut self.dice)
    }

    fn changes(&mut self, session: Session) -> String {
        workload::changes(self.abilities, session, Keys::SHARED, &mut self.dice)
    }

    async fn simple(&mut self, kind: Kind, session: Session, sql: String) -> Outcome {
        self.run_sql(session, &sql).await?;
        self.done(kind, session);
        Ok(())
    }

    async fn rolled_back(&mut self, session: Session) -> Outcome {
        let sql = format!("BEGIN; {}; ROLLBACK", self.changes(session));
        self.simple(Kind::RolledBack, session, sql).await
    }

    async fn savepoint(&mut self, session: Session) -> Outcome {
        let (one, two, three) = (self.changes(session), self.changes(session), self.changes(session));
        let sql = format!(
            "BEGIN; {one}; SAVEPOINT s; {two}; SAVEPOINT inner_s; {three}; ROLLBACK TO s; {one}; RELEASE SAVEPOINT s; COMMIT"
        );
        self.simple(Kind::Savepoint, session, sql).await
    }

    /// Tables with and without transactions in one; where the server refuses that, one after the other.
    async fn mixed(&mut self, session: Session) -> Outcome {
        let session = session.whole();
        let (changes, loose) = (self.changes(session), workload::loose_rows(&mut self.dice));
        if !self.abilities.can_mix {
            return self.simple(Kind::WithoutTransactions, session, loose).await;
        }
        let (end, kind) =
            *self.dice.pick(&[("COMMIT", Kind::Mixed), ("ROLLBACK", Kind::MixedRolledBack), ("", Kind::Mixed)]);
        let again = self.changes(session);
        let sql = match end {
            "" => format!("BEGIN; {again}; SAVEPOINT s; {changes}; {loose}; ROLLBACK TO s; {again}; COMMIT"),
            end => format!("BEGIN; {changes}; {loose}; {again}; {end}"),
        };
        self.simple(kind, session, sql).await
    }

    async fn load_data(&mut self, session: Session) -> Outcome {
        let session = session.whole();
        let (file, statement) = workload::file(&mut self.dice);
        let bytes = Bytes::from(file.into_bytes());
        self.run_sql(session, "DO 0").await?;
        let connection = self.connection().await?;
        connection.set_infile_handler(async { Ok(stream::iter([Ok(bytes)]).boxed()) });
        connection.query_drop(statement).await?;
        self.done(Kind::LoadData, session);
        Ok(())
    }

    /// A statement in the binlog, of a table that is not captured.
    async fn foreign(&mut self) -> Outcome {
        let number = self.dice.below(1 << 30);
        let sql = format!(
            "SET binlog_format = STATEMENT; USE elsewhere; INSERT INTO rows_of_others VALUES ({number}); \
             USE {}; SET binlog_format = ROW",
            self.abilities.database
        );
        self.connection().await?.query_drop(sql).await?;
        self.board.transactions.fetch_add(1, Ordering::SeqCst);
        self.board.count(Kind::Foreign);
        Ok(())
    }

    async fn make(&mut self, number: u64) -> Outcome {
        let session = Session::roll(self.abilities, &mut self.dice).whole();
        self.run_sql(session, &workload::made(number)).await?;
        self.board.made.fetch_add(1, Ordering::SeqCst);
        self.done(Kind::CreateSelect, session);
        Ok(())
    }

    fn new_name(&mut self) -> String {
        self.names += 1;
        format!("'random {}', 'branch {}', {}", self.number, self.names, 1 + self.names % 3)
    }

    async fn one_phase(&mut self, session: Session) -> Outcome {
        let (name, changes) = (self.new_name(), self.changes(session));
        let sql = format!("XA START {name}; {changes}; XA END {name}; XA COMMIT {name} ONE PHASE");
        self.simple(Kind::OnePhase, session, sql).await
    }

    async fn prepare(&mut self, session: Session) -> Outcome {
        let name = self.new_name();
        let taken = |slot: &u64| !self.prepared.iter().any(|prepared| prepared.slot == *slot);
        let slot = (0..SLOTS as u64).find(taken).unwrap_or(0);
        let keys = Keys::of_slot(self.number, slot);
        let mut changes = workload::changes(self.abilities, session, keys, &mut self.dice);
        if self.dice.once_in(3) {
            let more = workload::changes(self.abilities, session, keys, &mut self.dice);
            changes = format!("SAVEPOINT s; {more}; ROLLBACK TO SAVEPOINT s; {changes}");
        }
        let sql = format!("XA START {name}; {changes}; XA END {name}; XA PREPARE {name}");
        let kills = self.board.kills.load(Ordering::SeqCst);
        self.run_sql(session, &sql).await?;
        if !self.abilities.is_mysql() {
            // MariaDB gives it to others only when its session is gone.
            let connection = self.connection.take().context("the session that prepared").map_err(Failed::Otherwise)?;
            let session = connection.id();
            connection.disconnect().await?;
            self.wait_given_up(session).await?;
        }
        self.prepared.push(Prepared { slot, name, session, kills });
        Ok(())
    }

    /// Waits until no transaction of InnoDB has the session any more. MariaDB gives a prepared transaction to others before that, and who
    /// is so quick as to end it then is told "OK", has it in the binlog, and InnoDB knows nothing of it (10.11.19, 2 of 6,000 rounds):
    /// the source itself is then not what its binlog says.
    async fn wait_given_up(&mut self, session: u32) -> Outcome {
        let owner = format!("thread id {session},");
        loop {
            let status: Option<(String, String, String)> =
                self.connection().await?.query_first("SHOW ENGINE INNODB STATUS").await?;
            // What stands above tells of the last deadlock, whoever that was.
            let transactions = status.as_ref().and_then(|(_, _, text)| text.split_once("LIST OF TRANSACTIONS"));
            let (_, transactions) = transactions.context("no list of transactions").map_err(Failed::Otherwise)?;
            if !transactions.contains(&owner) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The second phase of one that is prepared.
    async fn finish(&mut self, which: usize) -> Outcome {
        let is_rolled_back = self.dice.once_in(4);
        let verb = if is_rolled_back { "ROLLBACK" } else { "COMMIT" };
        let Prepared { name, session, kills, .. } = &self.prepared[which];
        let (statement, session, kills) = (format!("XA {verb} {name}"), *session, *kills);
        let mut tries = 0;
        while let Err(error) = self.connection().await?.query_drop(&statement).await {
            let code = match &error {
                mysql_async::Error::Server(error) => error.code,
                _ => 0,
            };
            if code == ROLLED_BACK {
                self.prepared.swap_remove(which);
                return Ok(());
            }
            tries += 1;
            if code != NOT_THERE_YET || tries > 1_000 {
                return Err(Failed::Otherwise(anyhow::Error::new(error).context(statement)));
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.prepared.swap_remove(which);
        if is_rolled_back {
            self.board.transactions.fetch_add(1, Ordering::SeqCst);
            self.board.count(Kind::TwoPhasesRolledBack);
            return Ok(());
        }
        self.done(Kind::TwoPhases, session);
        if self.board.kills.load(Ordering::SeqCst) > kills {
            self.board.count(Kind::PhasesOverKill);
        }
        Ok(())
    }

    /// Counts it, and what its session made of it.
    fn done(&self, kind: Kind, session: Session) {
        self.board.transactions.fetch_add(1, Ordering::SeqCst);
        self.board.count(kind);
        let (is_partial, is_compressed) =
            (session.is_partial_image() || session.is_partial_json, session.is_compressed);
        let in_phases = matches!(kind, Kind::OnePhase | Kind::TwoPhases);
        let all = [
            (Kind::PartialImage, session.is_partial_image()),
            (Kind::PartialJson, session.is_partial_json),
            (Kind::Compressed, is_compressed),
            (Kind::CompressedPartial, is_compressed && is_partial),
            (Kind::PhasesPartial, in_phases && is_partial),
            (Kind::PhasesCompressed, in_phases && is_compressed),
            (Kind::PhasesCompressedPartial, in_phases && is_compressed && is_partial),
        ];
        all.into_iter().filter(|(_, is_so)| *is_so).for_each(|(kind, _)| self.board.count(kind));
    }

    async fn run_sql(&mut self, session: Session, sql: &str) -> Outcome {
        let all = format!("{}; {sql}", session.statement(self.abilities));
        match self.connection().await?.query_drop(&all).await.map_err(Failed::from) {
            Err(Failed::Otherwise(error)) => Err(Failed::Otherwise(error.context(all))),
            outcome => outcome,
        }
    }

    async fn connection(&mut self) -> std::result::Result<&mut Conn, Failed> {
        if self.connection.is_none() {
            self.connection = Some(Conn::from_url(&self.url).await?);
        }
        self.connection.as_mut().context("just opened").map_err(Failed::Otherwise)
    }
}

/// Why a step was not done.
enum Failed {
    Locked,
    Otherwise(anyhow::Error),
}

type Outcome = std::result::Result<(), Failed>;

impl Failed {
    fn into_error(self) -> anyhow::Error {
        match self {
            Failed::Locked => anyhow::anyhow!("a second phase waits for a lock"),
            Failed::Otherwise(error) => error,
        }
    }
}

impl From<mysql_async::Error> for Failed {
    fn from(error: mysql_async::Error) -> Self {
        match &error {
            mysql_async::Error::Server(server) if LOCKED.contains(&server.code) => Failed::Locked,
            _ => Failed::Otherwise(anyhow::Error::new(error)),
        }
    }
}
