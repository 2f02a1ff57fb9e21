//! What must hold in every state, and what must happen in some, else the exploration proves nothing.
//!
//! The log may be committed after every change and after every close, so each prefix of it is the committed log of some
//! state.

use stateright::Property;

use crate::{
    log::Record,
    scene::{Interruption, Scene},
    source::{Event, Position, Stage},
    window::{Chunk, Phase, Window},
    world::{State, World},
};

/// A row of a chunk equals the source's as of the place in the log where it lies: not ahead of the stream, not behind
/// it.
pub(crate) const READ_IS_TRUE: &str = "a row that was read equals the source's where it lies";
/// Nor does a row come back behind its delete.
pub(crate) const NO_OLDER_IMAGE: &str = "no older image of a key follows a newer one";
/// No row is lost, none is there that the source has not.
pub(crate) const COMPLETE_IS_EQUAL: &str = "once all chunks are done, the last values of the log are the source's";
pub(crate) const LEDGER_IS_FIRST: &str = "a chunk counts as done only if the log's ledger says so";
/// Whatever was written, windows close and the backfill ends without any further write.
pub(crate) const NEVER_STUCK: &str = "an idle source and a process that lives on end the backfill";

pub(crate) const COMPLETES: &str = "the backfill is complete";
pub(crate) const DROPS: &str = "a window drops a row";
pub(crate) const WAITS: &str = "a read waits for what was delivered and is not visible";
pub(crate) const READS_AHEAD: &str = "a read sees what the stream has not brought";
pub(crate) const SPLITS: &str = "a transaction is split between two log transactions";
pub(crate) const VOIDS: &str = "a statement on the table meets an open window";
pub(crate) const READS_AGAIN: &str = "a window ends with keys that must be read again";
pub(crate) const RECOVERS: &str = "the backfill is complete after an interruption";
pub(crate) const INTERRUPTS: &str = "an interruption meets a chunk that is closed and not committed";
pub(crate) const LOSES: &str = "a failover can lose a transaction that a read has seen";
pub(crate) const REMOVES: &str = "a row that is no more in the source lies in a log with a gap";

type Condition = fn(&World, &State) -> bool;

pub(crate) fn of(scene: &Scene) -> Vec<Property<World>> {
    let mut properties = vec![
        Property::always(READ_IS_TRUE, read_is_true),
        Property::always(NO_OLDER_IMAGE, no_older_image),
        Property::always(COMPLETE_IS_EQUAL, complete_is_equal),
        Property::always(LEDGER_IS_FIRST, ledger_is_first),
        Property::always(NEVER_STUCK, never_stuck),
    ];
    let sometimes: [(&'static str, Condition); 11] = [
        (COMPLETES, |_, state| is_complete(state)),
        (DROPS, drops),
        (WAITS, waits),
        (READS_AHEAD, reads_ahead),
        (SPLITS, |_, state| !state.log.checkpoint.is_between_transactions()),
        (VOIDS, voids),
        (READS_AGAIN, reads_again),
        (RECOVERS, |_, state| is_complete(state) && state.interruptions > 0),
        (INTERRUPTS, interrupts),
        (LOSES, loses),
        (REMOVES, removes),
    ];
    let met = sometimes.into_iter().filter(|(name, _)| *name == COMPLETES || scene.meets.contains(name));
    properties.extend(met.map(|(name, condition)| Property::sometimes(name, condition)));
    properties
}

pub(crate) fn is_complete(state: &State) -> bool {
    state.chunks.iter().all(Chunk::is_done)
}

fn read_is_true(_: &World, state: &State) -> bool {
    state.capture.buffer.iter().all(|record| match *record {
        Record::Read { key, image, at } => state.source.rows_at(at).get(key) == image,
        Record::Change { .. } | Record::Patch { .. } | Record::Truncate { .. } => true,
    })
}

fn no_older_image(_: &World, state: &State) -> bool {
    let mut consumer = state.log.consumer;
    state.capture.buffer.iter().all(|record| {
        let is_newer = match *record {
            Record::Change { key, by, .. } | Record::Patch { key, by } => by >= consumer.last(key).by,
            Record::Read { key, image, .. } => image.is_none_or(|image| image >= consumer.last(key).by),
            Record::Truncate { .. } => true,
        };
        consumer.take(*record);
        is_newer
    })
}

fn complete_is_equal(_: &World, state: &State) -> bool {
    !is_complete(state) || state.log.consumer.rows() == state.source.rows_at(state.log.checkpoint)
}

fn ledger_is_first(_: &World, state: &State) -> bool {
    state.chunks.iter().zip(&state.log.ledger).all(|(chunk, left)| !chunk.is_done() || left.is_empty())
}

fn never_stuck(world: &World, state: &State) -> bool {
    let is_behind = state.capture.decoded.entries < state.source.end() || state.capture.decoded != state.log.checkpoint;
    is_behind || is_complete(state) || !world.steps(state).is_empty()
}

fn drops(world: &World, state: &State) -> bool {
    any_window(state, |chunk, window| {
        let view = window.view.unwrap_or_default();
        let can_close = world.rules.can_close(window, &state.capture, &state.source);
        can_close && !view.keys().common(chunk.left).has_none_of(window.touched)
    })
}

fn waits(world: &World, state: &State) -> bool {
    any_window(state, |chunk, window| {
        window.view.is_none() && world.rules.read(window, chunk.left, &state.source).is_none()
    })
}

fn reads_ahead(_: &World, state: &State) -> bool {
    let known = state.source.rows_at(state.capture.decoded);
    any_window(state, |chunk, window| {
        window.view.is_some_and(|view| chunk.left.iter().any(|key| view.get(key) > known.get(key)))
    })
}

fn voids(_: &World, state: &State) -> bool {
    let next = state.source.entry(state.capture.decoded.entries);
    next.is_some_and(|entry| entry.event == Event::Truncate) && any_window(state, |_, window| window.view.is_some())
}

fn reads_again(world: &World, state: &State) -> bool {
    any_window(state, |chunk, window| {
        let (_, left) = world.rules.close(window, chunk.left, false, Position::default());
        !left.has_none_of(window.range) && world.rules.can_close(window, &state.capture, &state.source)
    })
}

fn interrupts(world: &World, state: &State) -> bool {
    let is_closed = |chunk: &Chunk| chunk.phase == Phase::Closed;
    state.interruptions < world.scene.interruptions_max && state.chunks.iter().any(is_closed)
}

fn loses(world: &World, state: &State) -> bool {
    let can_fail_over = world.scene.interruptions.contains(&Interruption::Failover);
    let is_unlogged = |index: u8| index >= state.log.checkpoint.entries;
    let seen = (0..state.source.end()).filter(|index| is_unlogged(*index)).any(|index| {
        let entry = state.source.entry(index).filter(|entry| entry.stage >= Stage::Visible);
        let version = entry.map(|entry| entry.version(Position::behind(index)));
        any_window(state, |chunk, window| {
            let view = window.view.unwrap_or_default();
            version.is_some() && chunk.left.iter().any(|key| view.get(key) == version)
        })
    });
    can_fail_over && state.interruptions < world.scene.interruptions_max && seen
}

fn removes(_: &World, state: &State) -> bool {
    let (here, there) = (state.source.rows_at(state.log.checkpoint).keys(), state.log.consumer.rows().keys());
    state.log.has_gap && there.iter().any(|key| !here.has(key))
}

fn any_window(state: &State, condition: impl Fn(&Chunk, &Window) -> bool) -> bool {
    state.chunks.iter().any(|chunk| chunk.window().is_some_and(|window| condition(chunk, window)))
}
