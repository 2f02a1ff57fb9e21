//! Tables at barriers. What is asked is copied before the call can be lost, so that it can be done later as a server would.

use tailrace_contract::{
    BarrierAct, BarrierPlace, Encounter, Meeting, MeetingState, PartitionEnd, PartitionProgress, Result, SchemaChange,
    Standing, StoredMeeting, TableMapping, TargetAct, standing,
};
use tailrace_row::{Sequence, TableName};

use crate::{
    sink::SinkState,
    sink_writer::{OwnedStep, check_stream_step},
};

/// What a meeting is known by: log, table, the change's sequence.
pub(crate) type MeetingKey = (String, TableName, Sequence);

/// An encounter of its own.
pub(crate) struct OwnedEncounter {
    log: String,
    mapping: TableMapping,
    number: u64,
    change: SchemaChange,
    act: BarrierAct,
    ends: Vec<PartitionEnd>,
    stream: Option<OwnedStep>,
    is_in_log: bool,
}

/// A meeting as the target knows it.
pub(crate) struct KnownMeeting {
    stored: StoredMeeting,
    state: MeetingState,
}

impl OwnedEncounter {
    pub(crate) fn copy(encounter: Encounter<'_>) -> Self {
        Self {
            log: encounter.log.to_owned(),
            mapping: encounter.mapping.clone(),
            number: encounter.number,
            change: encounter.change.clone(),
            act: encounter.act.clone(),
            ends: encounter.ends().to_vec(),
            stream: encounter.step().map(OwnedStep::copy),
            is_in_log: matches!(encounter.place, BarrierPlace::Log(_)),
        }
    }

    /// All of it, or nothing and why.
    pub(crate) fn execute(self, state: &mut SinkState) -> Result<Meeting> {
        if let Some(step) = &self.stream {
            check_stream_step(state.streams.get(&step.stream), step)?;
        }
        let known = state.meetings.get(&self.key()).map(|known| known.state);
        let is_passed = known == Some(MeetingState::Resumed) || (self.is_in_log && known == Some(MeetingState::Done));
        if !is_passed {
            match self.judge(state) {
                Standing::Before => return Ok(Meeting::Waiting),
                Standing::Beyond(partition) if self.empties() => {
                    let why = format!("{partition} has applied rows from behind the statement, which would go too");
                    return Ok(self.pause(state, why));
                }
                Standing::There | Standing::Beyond(_) => {}
            }
            match self.carry_out(state) {
                Ok(()) => self.store(state, None),
                Err(why) => return Ok(self.pause(state, why)),
            }
        }
        if let Some(step) = self.stream {
            step.save(state);
            let (log, sequence) = (&self.log, self.change.sequence);
            let of_statement = |(of, _, at): &MeetingKey| of == log && *at == sequence;
            let resumed = state.meetings.iter_mut().filter(|(key, _)| of_statement(key));
            resumed.filter(|(_, known)| known.state == MeetingState::Resumed).for_each(|(_, known)| {
                known.state = MeetingState::Done;
            });
        }
        state.commits += 1;
        Ok(Meeting::Done)
    }

    fn key(&self) -> MeetingKey {
        (self.log.clone(), self.mapping.source.clone(), self.change.sequence)
    }

    fn judge(&self, state: &SinkState) -> Standing {
        let of_log = state.progress.iter().filter(|((log, _), _)| *log == self.log);
        let progress: Vec<PartitionProgress> = of_log.map(|(_, progress)| progress.clone()).collect();
        standing(&self.ends, self.change.sequence, &progress)
    }

    fn empties(&self) -> bool {
        matches!(&self.act, BarrierAct::CarryOut(acts) if acts.contains(&TargetAct::Truncate))
    }

    fn carry_out(&self, state: &mut SinkState) -> std::result::Result<(), String> {
        let acts = match &self.act {
            BarrierAct::Pause(why) => return Err(why.clone()),
            BarrierAct::CarryOut(acts) => acts,
        };
        if let Some(act) = acts.iter().find(|act| **act != TargetAct::Truncate) {
            return Err(format!("the table can't be changed so: {act:?}"));
        }
        if acts.is_empty() {
            return Ok(());
        }
        let table = state.tables.get_mut(&self.mapping.target);
        table.ok_or("the target table does not exist")?.rows.clear();
        Ok(())
    }

    fn pause(&self, state: &mut SinkState, why: String) -> Meeting {
        self.store(state, Some(why.clone()));
        Meeting::Paused(why)
    }

    fn store(&self, state: &mut SinkState, paused: Option<String>) {
        let stored = StoredMeeting {
            table: self.mapping.source.clone(),
            sequence: self.change.sequence,
            number: self.number,
            statement: self.change.statement.to_string(),
            place: self.change.place.to_string(),
            paused,
            since_micros: self.change.committed_at_micros,
        };
        let of = if stored.paused.is_some() { MeetingState::Paused } else { MeetingState::Done };
        state.meetings.insert(self.key(), KnownMeeting { stored, state: of });
    }
}

/// Lets the tables that wait go on.
pub(crate) fn resume(state: &mut SinkState, log: &str, table: &TableName) -> Vec<StoredMeeting> {
    let of_table = |(of, name, _): &MeetingKey| of == log && name == table;
    let waiting = state.meetings.iter_mut().filter(|(key, known)| of_table(key) && known.stored.paused.is_some());
    let let_go = |(_, known): (&MeetingKey, &mut KnownMeeting)| {
        let before = known.stored.clone();
        known.stored.paused = None;
        known.state = MeetingState::Resumed;
        before
    };
    waiting.map(let_go).collect()
}

/// The meetings of a log.
pub(crate) fn of_log(state: &SinkState, log: &str) -> Vec<StoredMeeting> {
    state.meetings.iter().filter(|((of, ..), _)| of == log).map(|(_, known)| known.stored.clone()).collect()
}
