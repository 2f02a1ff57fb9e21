//! Tables at barriers: what a table is to suffer there is done once, in one transaction with the mark that it is done.
//!
//! Why no two processes do it, and none does it too early:
//!
//! 1. Whoever finds that all partitions are there inserts the meeting's row, or waits for the one who does, and locks it
//!    until the end of the transaction. Of two the second one finds it done.
//! 2. All partitions are there when their stored offsets say so, whoever brought them. An offset is stored with its rows, so
//!    every row from before the barrier is in the table by then. A process that lost a partition can't add one afterwards: its
//!    step compares the offset and the owner, and one of them has changed.
//! 3. No row from behind the barrier is there before the mark is: who reads the log stands until then. Should somebody have
//!    moved offsets by hand, the sequences tell, and the table is not emptied.
//! 4. A connection that is lost while it commits leaves all or nothing; whoever asks next reads which.
//!
//! The rows of the offsets are not locked, because a writer holds locks of its tables when it comes to its offsets: in the
//! other order the two would wait for each other. A lock that others hold for long is not waited for either, because everybody
//! who wants the table would have to wait behind us; the question is asked again later.

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe,
    postgres::{PgArguments, PgRow},
};
use tailrace_contract::{
    BarrierAct, BarrierPlace, Encounter, Error, ErrorKind, Meeting, MeetingState, Result, Standing, StoredMeeting,
    TargetAct, fault, standing,
};
use tailrace_row::{Sequence, TableName};

use crate::{
    catalog::{add, get},
    evolve,
    progress::{OwnTables, read_sequence, written},
    session::Session,
    sink::Target,
};

/// How long an act may take that rewrites a table, if the configured timeout is not longer.
pub(crate) const ACT_TIMEOUT: Duration = Duration::from_secs(600);

/// The first format that has meetings.
const FIRST_FORMAT: i32 = 3;

/// The statements on the table of meetings.
#[derive(Debug)]
pub(crate) struct MeetingStatements {
    enter: Arc<str>,
    look: Arc<str>,
    lock: Arc<str>,
    mark: Arc<str>,
    pass: Arc<str>,
    read: Arc<str>,
    resume: Arc<str>,
    reopen: Arc<str>,
    forget: Arc<str>,
}

impl MeetingStatements {
    /// Builds the statements for the schema, which is quoted.
    pub(crate) fn new(schema: &str) -> Self {
        let build = |sql: &str| -> Arc<str> { sql.replace("$schema", schema).into() };
        Self {
            enter: build(ENTER),
            look: build(LOOK),
            lock: build(&format!("{LOOK} FOR UPDATE")),
            mark: build(MARK),
            pass: build(PASS),
            read: build(READ),
            resume: build(RESUME),
            reopen: build(REOPEN),
            forget: build("DELETE FROM $schema.barriers WHERE log = $1"),
        }
    }
}

/// What a transaction at a barrier came to.
enum Outcome {
    Met(Meeting),
    /// The table waits, for this reason; to be written down.
    Waits(String),
}

impl Target {
    /// See [`tailrace_contract::Sink::meet`].
    pub(crate) async fn meet(&self, encounter: Encounter<'_>) -> Result<Meeting> {
        let mut session = self.connect_for(ACT_TIMEOUT).await?;
        // Most questions come too early: these write nothing.
        if matches!(encounter.place, BarrierPlace::Log(_)) {
            let known = self.own_tables.look(&mut session, encounter, &self.own_tables.meetings.look).await?;
            if known.is_some_and(|known| encounter.is_passed(known)) {
                return Ok(Meeting::Done);
            }
            if self.own_tables.judge(&mut session, encounter).await? == Standing::Before {
                return Ok(Meeting::Waiting);
            }
        }
        let outcome = self.try_to_meet(&mut session, encounter).await;
        session.roll_back().await;
        let why = match outcome {
            Ok(Outcome::Met(meeting)) => return Ok(meeting),
            Ok(Outcome::Waits(why)) => why,
            // What can't be done to the table is for an operator to do.
            Err(error) if matches!(error.kind(), ErrorKind::TableFailed | ErrorKind::Refused) => error.to_string(),
            Err(error) => return Err(error),
        };
        match self.own_tables.pause(&mut session, encounter, &why).await? {
            true => Ok(Meeting::Paused(why)),
            false => Err(Error::transient("somebody else was at the same barrier")),
        }
    }

    async fn try_to_meet(&self, session: &mut Session, encounter: Encounter<'_>) -> Result<Outcome> {
        const DOING: &str = "meeting at a barrier";
        let own_tables = &self.own_tables;
        session.begin().await?;
        session.run("SET LOCAL lock_timeout = '5s'", DOING).await?;
        session.write(&own_tables.meetings.enter, described(encounter), DOING).await?;
        let known = own_tables.look(session, encounter, &own_tables.meetings.lock).await?;
        let known = known.ok_or_else(|| Error::transient(format!("{DOING}: somebody took its row away")))?;
        if !encounter.is_passed(known) {
            let BarrierAct::CarryOut(acts) = encounter.act else { return Ok(waits(encounter)) };
            match own_tables.judge(session, encounter).await? {
                Standing::Before => return Ok(Outcome::Met(Meeting::Waiting)),
                Standing::Beyond(partition) if acts.contains(&TargetAct::Truncate) => {
                    return Ok(Outcome::Waits(format!(
                        "{partition} has applied rows from behind the statement, which would go too"
                    )));
                }
                Standing::There | Standing::Beyond(_) => {}
            }
            fault::point("postgres.barrier_acting");
            for act in acts {
                evolve::carry_out(session, encounter.mapping, act).await?;
            }
            let arguments = marked(encounter, MeetingState::Done, None);
            session.write(&own_tables.meetings.mark, arguments, DOING).await?;
        }
        if let Some(step) = encounter.step() {
            if !own_tables.save_stream(session, step, &[]).await? {
                session.roll_back().await;
                let rival = own_tables.find_stream_rival(session, step).await?;
                return Err(rival.unwrap_or_else(|| Error::transient("the checkpoint was moved at a barrier")));
            }
            let mut arguments = PgArguments::default();
            add(&mut arguments, encounter.log);
            add(&mut arguments, written(encounter.change.sequence));
            session.write(&own_tables.meetings.pass, arguments, DOING).await?;
        }
        session.commit(|| fault::point("postgres.barrier_commit_sent")).await?;
        fault::point("postgres.barrier_committed");
        Ok(Outcome::Met(Meeting::Done))
    }
}

fn waits(encounter: Encounter<'_>) -> Outcome {
    match encounter.act {
        BarrierAct::Pause(why) => Outcome::Waits(why.clone()),
        BarrierAct::CarryOut(_) => Outcome::Met(Meeting::Waiting),
    }
}

impl OwnTables {
    /// What is known of the meeting; none if it was never held.
    async fn look(
        &self,
        session: &mut Session,
        encounter: Encounter<'_>,
        sql: &Arc<str>,
    ) -> Result<Option<MeetingState>> {
        let sql = AssertSqlSafe(Arc::clone(sql));
        let rows = session.read(sql, key(encounter), "looking at a barrier").await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let state = MeetingState::from_name(get(row, "state")?);
        state.map(Some).ok_or_else(|| Error::corrupt("the stored state of a barrier is none"))
    }

    async fn judge(&self, session: &mut Session, encounter: Encounter<'_>) -> Result<Standing> {
        let progress = self.read(session, encounter.log).await?;
        Ok(standing(encounter.ends(), encounter.change.sequence, &progress))
    }

    /// Writes down that the table waits, unless it goes on meanwhile; tells whether it was written.
    async fn pause(&self, session: &mut Session, encounter: Encounter<'_>, why: &str) -> Result<bool> {
        const DOING: &str = "pausing a table at a barrier";
        session.begin().await?;
        session.write(&self.meetings.enter, described(encounter), DOING).await?;
        let known = self.look(session, encounter, &self.meetings.lock).await?;
        let is_paused = known.is_some_and(|known| !encounter.is_passed(known));
        if is_paused {
            let arguments = marked(encounter, MeetingState::Paused, Some(&without_nul(why)));
            session.write(&self.meetings.mark, arguments, DOING).await?;
        }
        session.commit(|| ()).await?;
        Ok(is_paused)
    }

    /// All meetings of the log, ordered; nothing where there are no tables of ours.
    pub(crate) async fn read_meetings(&self, session: &mut Session, log: &str) -> Result<Vec<StoredMeeting>> {
        if !self.has_meetings(session).await? {
            return Ok(Vec::new());
        }
        let mut arguments = PgArguments::default();
        add(&mut arguments, log);
        let sql = AssertSqlSafe(Arc::clone(&self.meetings.read));
        read_all(&session.read(sql, arguments, "reading the meetings at barriers").await?)
    }

    /// Lets the table go on wherever it waits.
    pub(crate) async fn resume(
        &self,
        session: &mut Session,
        log: &str,
        table: &TableName,
    ) -> Result<Vec<StoredMeeting>> {
        if !self.has_meetings(session).await? {
            return Ok(Vec::new());
        }
        let sql = AssertSqlSafe(Arc::clone(&self.meetings.resume));
        read_all(&session.read(sql, of_table(log, table), "letting a table go on").await?)
    }

    /// Forgets the meeting.
    pub(crate) async fn reopen(
        &self,
        session: &mut Session,
        log: &str,
        table: &TableName,
        change: Sequence,
    ) -> Result<()> {
        let mut arguments = of_table(log, table);
        add(&mut arguments, written(change));
        session.write(&self.meetings.reopen, arguments, "forgetting a meeting at a barrier").await?;
        Ok(())
    }

    /// Forgets all meetings of the log.
    pub(crate) async fn forget_meetings(&self, session: &mut Session, log: &str) -> Result<()> {
        if !self.has_meetings(session).await? {
            return Ok(());
        }
        let mut arguments = PgArguments::default();
        add(&mut arguments, log);
        session.write(&self.meetings.forget, arguments, "forgetting the meetings at barriers").await?;
        Ok(())
    }

    async fn has_meetings(&self, session: &mut Session) -> Result<bool> {
        Ok(self.read_format(session).await?.is_some_and(|format| format >= FIRST_FORMAT))
    }
}

fn of_table(log: &str, table: &TableName) -> PgArguments {
    let mut arguments = PgArguments::default();
    for name in [log, &table.database, &table.table] {
        add(&mut arguments, name);
    }
    arguments
}

fn key(encounter: Encounter<'_>) -> PgArguments {
    let mut arguments = of_table(encounter.log, &encounter.mapping.source);
    add(&mut arguments, written(encounter.change.sequence));
    arguments
}

fn described(encounter: Encounter<'_>) -> PgArguments {
    let mut arguments = key(encounter);
    add(&mut arguments, i64::try_from(encounter.number).unwrap_or(i64::MAX));
    add(&mut arguments, without_nul(&encounter.change.statement));
    add(&mut arguments, without_nul(&encounter.change.place));
    arguments
}

fn marked(encounter: Encounter<'_>, state: MeetingState, reason: Option<&str>) -> PgArguments {
    let mut arguments = key(encounter);
    add(&mut arguments, state.name());
    add(&mut arguments, reason);
    arguments
}

/// PostgreSQL's texts hold none.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn read_all(rows: &[PgRow]) -> Result<Vec<StoredMeeting>> {
    rows.iter().map(read_meeting).collect()
}

fn read_meeting(row: &PgRow) -> Result<StoredMeeting> {
    let (database, table): (&str, &str) = (get(row, "database")?, get(row, "table")?);
    let sequence = read_sequence(&get::<Vec<i64>>(row, "sequence")?);
    let number: i64 = get(row, "number")?;
    Ok(StoredMeeting {
        table: TableName::new(database, table),
        sequence: sequence.ok_or_else(|| Error::corrupt("the stored sequence of a barrier is none"))?,
        number: u64::try_from(number).unwrap_or(0),
        statement: get(row, "statement")?,
        place: get(row, "place")?,
        paused: get(row, "paused")?,
        since_micros: get(row, "since_micros")?,
    })
}

/// The table itself; of the format that has it.
pub(crate) const CREATE: &str = r#"
CREATE TABLE IF NOT EXISTS $schema.barriers (
  log text COLLATE "C" NOT NULL,
  database text COLLATE "C" NOT NULL,
  "table" text COLLATE "C" NOT NULL,
  sequence bigint[] NOT NULL CHECK (cardinality(sequence) = 4),
  number bigint NOT NULL,
  statement text NOT NULL,
  place text NOT NULL,
  state text NOT NULL CHECK (state IN ('paused', 'resumed', 'done')),
  reason text,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (log, database, "table", sequence)
);
COMMENT ON TABLE $schema.barriers IS
  'Statements of the source that changed a table, and what became of them here. A table that is paused waits: tailrace resume.';"#;

/// A meeting that is entered counts as paused; what it is to be is said before the commit.
const ENTER: &str = r#"
INSERT INTO $schema.barriers (log, database, "table", sequence, number, statement, place, state)
VALUES ($1, $2, $3, $4::text::int8[], $5, $6, $7, 'paused') ON CONFLICT DO NOTHING"#;

const LOOK: &str = r#"
SELECT state FROM $schema.barriers
WHERE log = $1 AND database = $2 AND "table" = $3 AND sequence = $4::text::int8[]"#;

const MARK: &str = r#"
UPDATE $schema.barriers SET state = $5, reason = coalesce($6, reason),
  since = CASE WHEN state = $5 AND reason IS NOT NULL THEN since ELSE clock_timestamp() END
WHERE log = $1 AND database = $2 AND "table" = $3 AND sequence = $4::text::int8[]"#;

/// What an operator let pass is passed.
const PASS: &str = "
UPDATE $schema.barriers SET state = 'done', since = clock_timestamp()
WHERE log = $1 AND sequence = $2::text::int8[] AND state = 'resumed'";

const READ: &str = r#"
SELECT database, "table", sequence, number, statement, place, CASE WHEN state = 'paused' THEN coalesce(reason, '') END AS paused,
  (extract(epoch FROM since) * 1000000)::int8 AS since_micros
FROM $schema.barriers WHERE log = $1 ORDER BY database, "table", sequence"#;

const RESUME: &str = r#"
WITH waiting AS (
  SELECT log, database, "table", sequence, number, statement, place, coalesce(reason, '') AS paused,
    (extract(epoch FROM since) * 1000000)::int8 AS since_micros
  FROM $schema.barriers WHERE log = $1 AND database = $2 AND "table" = $3 AND state = 'paused' FOR UPDATE
)
UPDATE $schema.barriers AS b SET state = 'resumed', since = clock_timestamp() FROM waiting AS w
WHERE b.log = w.log AND b.database = w.database AND b."table" = w."table" AND b.sequence = w.sequence
RETURNING w.database, w."table", w.sequence, w.number, w.statement, w.place, w.paused, w.since_micros"#;

const REOPEN: &str = r#"
DELETE FROM $schema.barriers WHERE log = $1 AND database = $2 AND "table" = $3 AND sequence = $4::text::int8[]"#;
