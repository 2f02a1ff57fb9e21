//! Tables at barriers: what a table is to suffer there is done once, in one transaction with the mark that it is done.
//!
//! Why no two processes do it, and none does it too early: the transaction holds the file's write lock from its beginning, so
//! whoever comes second reads that it is done. All partitions are there when their stored offsets say so, and an offset is stored
//! with its rows; a process that lost a partition can't add one afterwards, because its step compares the offset and the owner.
//! No row from behind the barrier is there before the mark is: who reads the log stands until then. Should somebody have moved
//! offsets by hand, the sequences tell, and the table is not emptied.

use std::sync::Arc;

use rusqlite::types::Value;
use tailrace_contract::{
    BarrierAct, Encounter, Error, ErrorKind, Meeting, MeetingState, Result, Standing, StoredMeeting, TargetAct, fault,
    standing,
};
use tailrace_row::{Sequence, TableName};

use crate::{
    evolve,
    progress::OwnTables,
    session::{Access, Answer, Session, text},
    sink::Target,
};

/// The first format that has meetings.
pub(crate) const FIRST_FORMAT: i64 = 2;

/// The statements on the table of meetings.
#[derive(Debug)]
pub(crate) struct MeetingStatements {
    mark: Arc<str>,
    look: Arc<str>,
    pass: Arc<str>,
    read: Arc<str>,
    resume: Arc<str>,
    reopen: Arc<str>,
}

impl MeetingStatements {
    /// Builds the statements.
    pub(crate) fn new(build: impl Fn(&str) -> Arc<str>) -> Self {
        let (mark, look, pass, read) = (build(MARK), build(LOOK), build(PASS), build(READ));
        Self { mark, look, pass, read, resume: build(RESUME), reopen: build(REOPEN) }
    }
}

impl Target {
    /// See [`tailrace_contract::Sink::meet`].
    pub(crate) async fn meet(&self, encounter: Encounter<'_>) -> Result<Meeting> {
        let _turn = self.turn.acquire().await.map_err(|_| Error::cancelled())?;
        let mut session = self.open(Access::Write).await?;
        let met = self.meet_in(&mut session, encounter).await;
        session.close().await;
        met
    }

    async fn meet_in(&self, session: &mut Session, encounter: Encounter<'_>) -> Result<Meeting> {
        let tried = self.try_to_meet(session, encounter).await;
        session.roll_back().await;
        let why = match tried {
            Ok(Ok(meeting)) => return Ok(meeting),
            Ok(Err(why)) => why,
            // What can't be done to the table is for an operator to do.
            Err(error) if matches!(error.kind(), ErrorKind::TableFailed | ErrorKind::Refused) => error.to_string(),
            Err(error) => return Err(error),
        };
        session.begin().await?;
        let known = self.own_tables.look(session, encounter).await?;
        if known.is_some_and(|known| encounter.is_passed(known)) {
            session.roll_back().await;
            return Err(Error::transient("somebody else was at the same barrier"));
        }
        self.own_tables.mark(session, encounter, MeetingState::Paused, Some(&why)).await?;
        session.commit(|| ()).await?;
        Ok(Meeting::Paused(why))
    }

    /// How far the table is, or why it is to wait.
    async fn try_to_meet(
        &self,
        session: &mut Session,
        encounter: Encounter<'_>,
    ) -> Result<std::result::Result<Meeting, String>> {
        let own_tables = &self.own_tables;
        session.begin().await?;
        let known = own_tables.look(session, encounter).await?;
        if !known.is_some_and(|known| encounter.is_passed(known)) {
            let progress = own_tables.read(session, encounter.log).await?;
            let standing = standing(encounter.ends(), encounter.change.sequence, &progress);
            if standing == Standing::Before {
                return Ok(Ok(Meeting::Waiting));
            }
            let acts = match encounter.act {
                BarrierAct::CarryOut(acts) => acts,
                BarrierAct::Pause(why) => return Ok(Err(why.clone())),
            };
            if let Standing::Beyond(partition) = standing
                && acts.contains(&TargetAct::Truncate)
            {
                return Ok(Err(format!("{partition} has applied rows from behind the statement, which would go too")));
            }
            fault::point("sqlite.barrier_acting");
            for act in acts {
                evolve::carry_out(session, encounter.mapping, act).await?;
            }
            own_tables.mark(session, encounter, MeetingState::Done, None).await?;
        }
        if let Some(step) = encounter.step() {
            own_tables.save_stream(session, step).await?;
            own_tables.pass(session, encounter).await?;
        }
        session.commit(|| fault::point("sqlite.barrier_commit_sent")).await?;
        fault::point("sqlite.barrier_committed");
        Ok(Ok(Meeting::Done))
    }
}

impl OwnTables {
    /// What is known of the meeting; none if it was never held.
    async fn look(&self, session: &mut Session, encounter: Encounter<'_>) -> Result<Option<MeetingState>> {
        let sql = Arc::clone(&self.meetings.look);
        let rows = session.read(sql, key(encounter), "looking at a barrier").await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let state = MeetingState::from_name(&row.get::<String>("state")?);
        state.map(Some).ok_or_else(|| Error::corrupt("the stored state of a barrier is none"))
    }

    async fn mark(
        &self,
        session: &mut Session,
        encounter: Encounter<'_>,
        state: MeetingState,
        reason: Option<&str>,
    ) -> Result<()> {
        let mut parameters = key(encounter);
        parameters.push(i64::try_from(encounter.number).unwrap_or(i64::MAX).into());
        parameters.extend([text(&encounter.change.statement), text(&encounter.change.place), text(state.name())]);
        parameters.push(reason.map(str::to_owned).into());
        session.write(&self.meetings.mark, parameters, "writing down a meeting at a barrier").await?;
        Ok(())
    }

    /// What an operator let pass is passed.
    async fn pass(&self, session: &mut Session, encounter: Encounter<'_>) -> Result<()> {
        let parameters = vec![text(encounter.log), encounter.change.sequence.to_string().into()];
        session.write(&self.meetings.pass, parameters, "passing a barrier").await?;
        Ok(())
    }

    /// All meetings of the log, ordered; nothing where there are no tables of ours.
    pub(crate) async fn read_meetings(&self, session: &mut Session, log: &str) -> Result<Vec<StoredMeeting>> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(Vec::new());
        }
        let sql = Arc::clone(&self.meetings.read);
        let rows = session.read(sql, vec![text(log)], "reading the meetings at barriers").await?;
        let mut found = rows.iter().map(read_meeting).collect::<Result<Vec<_>>>()?;
        found.sort_by(|one, other| (&one.table, one.sequence).cmp(&(&other.table, other.sequence)));
        Ok(found)
    }

    /// Lets the table go on wherever it waits.
    pub(crate) async fn resume(
        &self,
        session: &mut Session,
        log: &str,
        table: &TableName,
    ) -> Result<Vec<StoredMeeting>> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(Vec::new());
        }
        session.begin().await?;
        let known = self.read_meetings(session, log).await?;
        session.write(&self.meetings.resume, of_table(log, table), "letting a table go on").await?;
        session.commit(|| ()).await?;
        Ok(known.into_iter().filter(|known| known.table == *table && known.paused.is_some()).collect())
    }

    /// Forgets the meeting.
    pub(crate) async fn reopen(
        &self,
        session: &mut Session,
        log: &str,
        table: &TableName,
        change: Sequence,
    ) -> Result<()> {
        let mut parameters = of_table(log, table);
        parameters.push(change.to_string().into());
        session.write(&self.meetings.reopen, parameters, "forgetting a meeting at a barrier").await?;
        Ok(())
    }
}

fn of_table(log: &str, table: &TableName) -> Vec<Value> {
    [log, &table.database, &table.table].map(text).to_vec()
}

fn key(encounter: Encounter<'_>) -> Vec<Value> {
    let mut parameters = of_table(encounter.log, &encounter.mapping.source);
    parameters.push(encounter.change.sequence.to_string().into());
    parameters
}

fn read_meeting(row: &Answer) -> Result<StoredMeeting> {
    let sequence: String = row.get("sequence")?;
    Ok(StoredMeeting {
        table: TableName::new(&row.get::<String>("database")?, &row.get::<String>("table")?),
        sequence: sequence.parse().map_err(|_| Error::corrupt("the stored sequence of a barrier is none"))?,
        number: u64::try_from(row.get::<i64>("number")?).unwrap_or(0),
        statement: row.get("statement")?,
        place: row.get("place")?,
        paused: row.get("paused")?,
        since_micros: row.get("since_micros")?,
    })
}

/// The table itself; of the format that has it.
pub(crate) const CREATE: &str = r#"
CREATE TABLE IF NOT EXISTS $barriers (
  -- Statements of the source that changed a table, and what became of them here. A table that is paused waits: tailrace resume.
  log TEXT NOT NULL,
  database TEXT NOT NULL,
  "table" TEXT NOT NULL,
  sequence TEXT NOT NULL,
  number INTEGER NOT NULL,
  statement TEXT NOT NULL,
  place TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('paused', 'resumed', 'done')),
  reason TEXT,
  since_micros INTEGER NOT NULL,
  PRIMARY KEY (log, database, "table", sequence)
) STRICT, WITHOUT ROWID;"#;

const LOOK: &str = r#"
SELECT state FROM $barriers WHERE log = ?1 AND database = ?2 AND "table" = ?3 AND sequence = ?4"#;

const PASS: &str = "
UPDATE $barriers SET state = 'done', since_micros = CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000
WHERE log = ?1 AND sequence = ?2 AND state = 'resumed'";

const MARK: &str = r#"
INSERT INTO $barriers AS b (log, database, "table", sequence, number, statement, place, state, reason, since_micros)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000)
ON CONFLICT (log, database, "table", sequence) DO UPDATE SET state = excluded.state, reason = coalesce(excluded.reason, b.reason),
  since_micros = CASE WHEN b.state = excluded.state THEN b.since_micros ELSE excluded.since_micros END"#;

const READ: &str = r#"
SELECT database, "table", sequence, number, statement, place, CASE WHEN state = 'paused' THEN coalesce(reason, '') END AS paused,
  since_micros
FROM $barriers WHERE log = ?1"#;

const RESUME: &str = r#"
UPDATE $barriers SET state = 'resumed', since_micros = CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000
WHERE log = ?1 AND database = ?2 AND "table" = ?3 AND state = 'paused'"#;

const REOPEN: &str = r#"
DELETE FROM $barriers WHERE log = ?1 AND database = ?2 AND "table" = ?3 AND sequence = ?4"#;
