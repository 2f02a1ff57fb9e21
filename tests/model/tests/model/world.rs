//! All parts together: what can happen next, and what then holds. `stateright` explores it.

use stateright::{Model, Property};

use crate::{
    log::{Consumer, Log, Record},
    properties,
    rows::{Key, Keys, Rows, Version},
    scene::{Defect, Interruption, Scene, Server, Statement},
    source::{Change, Event, Position, Source, Stage},
    window::{Chunk, Phase, Rules, Window},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) scene: Scene,
    pub(crate) rules: Rules,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) source: Source,
    pub(crate) capture: Capture,
    /// What backfill remembers of its chunks, with the windows that capture has open for them.
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) log: Log,
    pub(crate) interruptions: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Capture {
    /// What the half that reads the stream has, where it reads ahead.
    pub(crate) read: Position,
    /// The decode frontier: what the open log transaction has, and the windows know of.
    pub(crate) decoded: Position,
    /// Records of the open log transaction.
    pub(crate) buffer: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Write(Event),
    /// At capture's server, where that is not the one that was written to.
    Arrive,
    BecomeVisible(u8),
    BecomeExecuted(u8),
    WriteUncommitted(Key),
    RollBack,
    /// Reads the next change from the stream, ahead of what is decoded.
    ReadAhead,
    /// Takes the next change, or the next entry that has none, from the stream.
    Decode,
    Commit,
    Crash,
    Abort,
    /// To a server that has so many entries.
    Failover(u8),
    Gap,
    Open(usize, Window),
    Read(usize, Window),
    Bracket(usize, Window),
    Close(usize),
}

impl Capture {
    fn at(position: Position) -> Self {
        Self { read: position, decoded: position, buffer: Vec::new() }
    }
}

impl World {
    pub(crate) fn new(scene: Scene, defect: Option<Defect>) -> Self {
        Self { scene, rules: Rules::new(&scene, defect) }
    }

    fn start(&self, history: Keys) -> State {
        let ranges =
            if self.scene.chunks == 1 { vec![Keys::ALL] } else { vec![Keys::of(Key::FIRST), Keys::of(Key::SECOND)] };
        State {
            source: Source::new(Rows::history(history)),
            capture: Capture::at(Position::default()),
            chunks: ranges.iter().map(|range| Chunk::new(*range)).collect(),
            log: Log { consumer: Consumer::default(), checkpoint: Position::default(), ledger: ranges, has_gap: false },
            interruptions: 0,
        }
    }

    /// Steps that need neither a new write nor a failure: an idle source and a healthy process take them all.
    pub(crate) fn steps(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions.retain(|action| match action {
            Action::Arrive | Action::BecomeVisible(_) | Action::BecomeExecuted(_) | Action::RollBack => true,
            Action::ReadAhead | Action::Decode | Action::Commit => true,
            Action::Open(..) | Action::Read(..) | Action::Bracket(..) | Action::Close(_) => true,
            Action::Write(_) | Action::WriteUncommitted(_) => false,
            Action::Crash | Action::Abort | Action::Failover(_) | Action::Gap => false,
        });
        actions
    }

    /// Whether the two keys, and the chunks with them, are alike, so that each run has a mirror image of which it
    /// stands for both.
    fn is_symmetric(&self) -> bool {
        let has_order = self.scene.rows_max < Keys::ALL.iter().count();
        !has_order && !self.scene.has_rollbacks
    }

    fn ranges(&self) -> Vec<Keys> {
        self.start(Keys::NONE).log.ledger
    }

    fn source_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (scene, source) = (&self.scene, &state.source);
        let count = |is_kind: fn(&Event) -> bool| source.binlog.iter().filter(|entry| is_kind(&entry.event)).count();
        if count(|event| matches!(event, Event::Transaction(..))) < scene.transactions {
            self.transactions(state, actions);
        }
        if count(|event| *event == Event::Truncate) < scene.truncates && source.locked().is_empty() {
            actions.push(Action::Write(Event::Truncate));
        }
        if count(|event| *event == Event::Rotate) < scene.rotations {
            actions.push(Action::Write(Event::Rotate));
        }
        if source.arrived < source.end() {
            actions.push(Action::Arrive);
        }
        for index in 0..source.end() {
            if self.can_show(source, index) {
                actions.push(Action::BecomeVisible(index));
            }
            let has_gtids = matches!(scene.server, Server::Mysql | Server::MysqlReplica);
            if has_gtids && source.entry(index).is_some_and(|entry| entry.stage == Stage::Visible) {
                actions.push(Action::BecomeExecuted(index));
            }
        }
        if scene.has_rollbacks {
            let keys = Keys::ALL.iter().filter(|key| !source.locked().has(*key));
            match source.uncommitted {
                Some(_) => actions.push(Action::RollBack),
                None => actions.extend(keys.map(Action::WriteUncommitted)),
            }
        }
    }

    fn can_show(&self, source: &Source, index: u8) -> bool {
        let is_next = source.snapshot_position() == index;
        source.can_show(index) && (is_next || self.scene.server != Server::MariaDb)
    }

    /// All transactions that may commit now. Those that wait for a row lock commit later.
    fn transactions(&self, state: &State, actions: &mut Vec<Action>) {
        let source = &state.source;
        let rows = source.rows();
        let locked = if self.scene.server == Server::MysqlReplica { Keys::NONE } else { source.locked() };
        let is_transaction = |event: Event| matches!(event, Event::Transaction(..));
        let is_first = source.epoch == 0 && !source.binlog.iter().any(|entry| is_transaction(entry.event));
        // Both keys are alike until one is changed, and so are the chunks: the other half are mirror images.
        let is_mirrored = is_first && self.is_symmetric() && rows.get(Key::FIRST) == rows.get(Key::SECOND);
        for first in self.changes(&rows).filter(|change| change.keys().has_none_of(locked)) {
            if is_mirrored && !first.keys().has(Key::FIRST) {
                continue;
            }
            actions.push(Action::Write(Event::Transaction(first, None)));
            if self.scene.statements_each < 2 {
                continue;
            }
            let after = first.outcome(rows);
            let second = self.changes(&after).filter(|change| change.keys().has_none_of(locked));
            actions.extend(second.map(|second| Action::Write(Event::Transaction(first, Some(second)))));
        }
    }

    /// What one statement can do to these rows.
    fn changes(&self, rows: &Rows) -> impl Iterator<Item = Change> {
        let rows = *rows;
        let statements = self.scene.statements.iter();
        statements.flat_map(move |statement| {
            Keys::ALL.iter().filter_map(move |key| {
                let is_there = rows.get(key).is_some();
                let to = key.other();
                match statement {
                    Statement::Put => Some(Change::Put(key)),
                    Statement::Patch => is_there.then_some(Change::Patch(key)),
                    Statement::Delete => is_there.then_some(Change::Delete(key)),
                    Statement::Move => (is_there && rows.get(to).is_none()).then_some(Change::Move { from: key, to }),
                }
            })
        })
    }

    fn capture_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let capture = &state.capture;
        let has_more = capture.read.entries < state.source.arrived;
        if has_more && self.scene.reads_ahead {
            actions.push(Action::ReadAhead);
        }
        if (has_more && !self.scene.reads_ahead) || capture.decoded < capture.read {
            actions.push(Action::Decode);
        }
        let is_closed = |chunk: &Chunk| chunk.phase == Phase::Closed;
        if state.capture.decoded != state.log.checkpoint || state.chunks.iter().any(is_closed) {
            actions.push(Action::Commit);
        }
        if state.interruptions >= self.scene.interruptions_max {
            return;
        }
        for interruption in self.scene.interruptions {
            match interruption {
                Interruption::Crash => actions.push(Action::Crash),
                Interruption::Abort => actions.push(Action::Abort),
                // One that lacks what the log has is refused: capture stops.
                Interruption::Failover => {
                    let logged =
                        state.log.checkpoint.entries + u8::from(!state.log.checkpoint.is_between_transactions());
                    actions.extend((logged..=state.source.end()).map(Action::Failover));
                }
                Interruption::Gap => actions.push(Action::Gap),
            }
        }
    }

    fn window_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (source, capture) = (&state.source, &state.capture);
        for (index, chunk) in state.chunks.iter().enumerate() {
            if chunk.phase == Phase::Pending {
                actions
                    .extend(self.rules.open(capture, state.log.checkpoint).map(|window| Action::Open(index, window)));
            }
            let Some(window) = chunk.window() else { continue };
            actions.extend(self.rules.read(window, chunk.left, source).map(|window| Action::Read(index, window)));
            actions.extend(self.rules.bracket(window, source).map(|window| Action::Bracket(index, window)));
            if self.rules.can_close(window, capture, source) {
                actions.push(Action::Close(index));
            }
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut histories = vec![Keys::NONE, Keys::of(Key::FIRST), Keys::ALL];
        if !self.is_symmetric() {
            histories.push(Keys::of(Key::SECOND));
        }
        histories.into_iter().map(|history| self.start(history)).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.source_actions(state, actions);
        self.capture_actions(state, actions);
        self.window_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write(event) => state.write(event, &self.rules),
            Action::Arrive => state.source.arrive(),
            Action::BecomeVisible(index) => state.source.binlog[usize::from(index)].stage = Stage::Visible,
            Action::BecomeExecuted(index) => state.source.binlog[usize::from(index)].stage = Stage::Executed,
            Action::WriteUncommitted(key) => state.source.uncommitted = Some(key),
            Action::RollBack => state.source.uncommitted = None,
            Action::ReadAhead => state.read_ahead(&self.rules),
            Action::Decode => state.decode(&self.rules),
            Action::Commit => state.commit(),
            Action::Crash => state.restart(),
            Action::Abort => state.abort(&self.rules),
            Action::Failover(entries) => state.fail_over(entries, &self.rules),
            Action::Gap => state.leave_gap(self.ranges(), &self.rules),
            Action::Open(chunk, window) | Action::Read(chunk, window) | Action::Bracket(chunk, window) => {
                state.chunks[chunk].phase = Phase::Open(window);
            }
            Action::Close(chunk) => state.close(chunk, &self.rules),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.scene)
    }
}

impl State {
    fn write(&mut self, event: Event, rules: &Rules) {
        self.source.append(event);
        if !rules.lack(Defect::ReadsUpstream) {
            self.source.arrive();
        }
    }

    fn read_ahead(&mut self, rules: &Rules) {
        let read = self.capture.read;
        self.capture.read = self.source.next(read);
        if rules.lack(Defect::RemembersAsRead) {
            self.remember(read, rules);
        }
    }

    /// The next entry, or one change of it, becomes records of the open log transaction, and windows remember its keys.
    fn decode(&mut self, rules: &Rules) {
        let decoded = self.capture.decoded;
        let entry = *self.source.entry(decoded.entries).expect("invariant: decoding goes on before the end alone");
        let by = entry.version(decoded);
        if let Some(change) = entry.event.change(decoded.changes) {
            self.capture.buffer.extend(records(change, by));
        }
        if entry.event == Event::Truncate {
            self.capture.buffer.push(Record::Truncate { by });
        }
        if !rules.lack(Defect::RemembersAsRead) {
            self.remember(decoded, rules);
        }
        self.capture.decoded = self.source.next(decoded);
        self.capture.read = self.capture.read.max(self.capture.decoded);
    }

    /// What the change at a position means to windows.
    fn remember(&mut self, position: Position, rules: &Rules) {
        let entry = self.source.entry(position.entries).expect("invariant: it was read");
        if let Some(change) = entry.event.change(position.changes) {
            self.chunks.iter_mut().for_each(|chunk| chunk.touch(change, rules));
        }
        if entry.event == Event::Truncate && !rules.lack(Defect::TruncateKeepsWindows) {
            self.chunks.iter_mut().for_each(Chunk::void);
        }
    }

    /// Records, checkpoint and ledger at once. It may lie inside a transaction of the source, which is split then.
    fn commit(&mut self) {
        for record in self.capture.buffer.drain(..) {
            self.log.consumer.take(record);
        }
        self.log.checkpoint = self.capture.decoded;
        for (chunk, entry) in self.chunks.iter_mut().zip(&mut self.log.ledger) {
            if chunk.phase == Phase::Closed {
                *entry = chunk.left;
                *chunk = Chunk::new(chunk.left);
            }
        }
    }

    /// Step 5 of the protocol.
    fn close(&mut self, index: usize, rules: &Rules) {
        let at = self.capture.decoded;
        let chunk = &mut self.chunks[index];
        let window = chunk.window().expect("invariant: open windows close");
        let (records, left) = rules.close(window, chunk.left, self.log.has_gap, at);
        *chunk = Chunk { left, phase: Phase::Closed };
        self.capture.buffer.extend(records);
        if rules.lack(Defect::LedgerBeforeRows) {
            self.log.ledger[index] = left;
        }
    }

    /// What is not committed is forgotten: the stream begins at the checkpoint, backfill with the ledger, and no window
    /// is open.
    fn restart(&mut self) {
        self.restart_but(|_| None);
    }

    /// The same, but for what a defect keeps of a chunk.
    fn restart_but(&mut self, kept: impl Fn(&Chunk) -> Option<Chunk>) {
        self.capture = Capture::at(self.log.checkpoint);
        for (chunk, left) in self.chunks.iter_mut().zip(&self.log.ledger) {
            *chunk = kept(chunk).unwrap_or_else(|| Chunk::new(*left));
        }
        self.interruptions += 1;
    }

    fn abort(&mut self, rules: &Rules) {
        self.restart_but(|chunk| match &chunk.phase {
            Phase::Closed if rules.lack(Defect::AbortKeepsClosed) => Some(Chunk::new(chunk.left)),
            Phase::Open(_) if rules.lack(Defect::AbortKeepsWindows) => Some(chunk.clone()),
            Phase::Open(window) if rules.lack(Defect::AbortForgetsKeys) => {
                let window = Window { touched: Keys::NONE, ..window.clone() };
                Some(Chunk { phase: Phase::Open(window), ..chunk.clone() })
            }
            Phase::Pending | Phase::Open(_) | Phase::Closed | Phase::Done => None,
        });
    }

    fn fail_over(&mut self, entries: u8, rules: &Rules) {
        let is_kept = |chunk: &Chunk| chunk.window().is_some() && rules.lack(Defect::FailoverKeepsWindows);
        self.source.fail_over(entries);
        self.restart_but(|chunk| is_kept(chunk).then(|| chunk.clone()));
    }

    /// Capture goes on from the end of the binlog; nothing that was copied counts any more.
    fn leave_gap(&mut self, ranges: Vec<Keys>, rules: &Rules) {
        self.log.checkpoint = Position::behind(self.source.end());
        self.log.has_gap = true;
        if !rules.lack(Defect::LedgerOutlivesGap) {
            self.log.ledger = ranges;
        }
        self.restart();
    }
}

fn records(change: Change, by: Version) -> impl Iterator<Item = Record> {
    let put = |key: Key| Record::Change { key, image: Some(by), by };
    let delete = |key: Key| Record::Change { key, image: None, by };
    let (first, second) = match change {
        Change::Put(key) => (put(key), None),
        Change::Patch(key) => (Record::Patch { key, by }, None),
        Change::Delete(key) => (delete(key), None),
        Change::Move { from, to } => (delete(from), Some(put(to))),
    };
    [Some(first), second].into_iter().flatten()
}
