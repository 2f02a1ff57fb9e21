//! The window protocol as a model: source, capture, windows, log and failures, and every order in which their steps can
//! come.
//!
//! The argument, of which each step names the defect that is found without it:
//!
//! 1. A window is opened between two transactions, at P, what capture has decoded; from there on it remembers the keys
//!    of all records of the table, as they join the log transaction. (`e01_…`: inside a transaction, at the checkpoint,
//!    or while records wait between two halves of capture, there are some that P does not cover and the window does not
//!    know.)
//! 2. The read waits until P is executed. Delivered is not visible: else the read shows what records before the opening
//!    have replaced, and nobody remembers their keys. (`a_chunk_read_before_…`, `e04_…`)
//! 3. The chunk is read in a fresh view of committed rows. (`e02_…`, `e03_…`)
//! 4. H is the end of the binlog of capture's server, after the read: whatever the read saw lies before it. Visible is
//!    not yet executed, so the executed GTID set won't do. (`the_executed_gtid_set_…`, `e09_…`; where a lock stands for
//!    the wait, `e13_…`)
//! 5. When capture stands at or behind H (`e06_…`), it drops the rows whose keys it remembers and writes the rest, with
//!    the ledger's entry, in one log transaction. Such a row was changed by no record since the opening, the read
//!    covers all records before, and has seen nothing that is still to come: so it is what the source holds at this
//!    place. (`touched_keys_…`, `a_window_closed_before_…`, `the_old_key_…`, `a_ledger_entry_…`)
//! 6. What took the ground from under a window voids it: a statement on the table, another server, a log transaction
//!    that was aborted, the end of the process. (`a_window_that_…`, `e16_…`)
//! 7. What the stream is trusted with must be in it. A key that it has in part only is read again (`e11_…`); after a
//!    gap nothing is done, and the copy removes what is not there any more (`e10_…`, `the_new_key_…`).
//!
//! In the embedded form the log is the target itself: rows, checkpoint and ledger are one transaction there, which is
//! what `Commit` does here. What is not modelled: collations (the database compares bounds), how much a window may
//! hold, statements that change columns, and time.
//!
//! `cargo test -p model -- --nocapture` tells the states explored, and the shortest way to what each defect breaks.

mod defects;
mod log;
mod properties;
mod rows;
mod scene;
mod scenes;
mod source;
mod window;
mod world;

use std::{collections::BTreeSet, fmt::Write, time::Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use crate::{
    scene::{Defect, Scene},
    world::{Action, State, World},
};

/// What an exploration came to.
struct Explored {
    states: usize,
    summary: String,
    /// Properties that do not hold, with the way there; and what never happened.
    failures: Vec<String>,
}

/// Explores a scene to its end.
fn explore(scene: Scene, defect: Option<Defect>) -> Explored {
    let begin = Instant::now();
    let world = World::new(scene, defect);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = world.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut failures = Vec::new();
    for property in world.properties() {
        let discovery = checker.discovery(property.name);
        match (property.expectation, discovery) {
            (Expectation::Sometimes, Some(_)) | (Expectation::Always | Expectation::Eventually, None) => {}
            (Expectation::Sometimes, None) => failures.push(format!("{}: never {}", scene.name, property.name)),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                failures.push(format!("{}: not {}\n{}", scene.name, property.name, story(path)));
            }
        }
    }
    let (states, steps, time) = (checker.unique_state_count(), checker.state_count(), begin.elapsed().as_secs_f64());
    Explored {
        states,
        summary: format!("{states:>9} states, {steps:>9} steps, {time:>5.1} s: {}", scene.name),
        failures,
    }
}

/// Explores a scene with a defect until the property does not hold, as it must; the way there.
fn find(scene: Scene, defect: Defect, property: &'static str) -> String {
    let until = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checker = World::new(scene, Some(defect)).checker().finish_when(until).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{defect:?} does no harm in {:?}: {property:?} holds in all {states} states", scene.name);
    };
    format!("{defect:?} breaks {property:?} in {:?}, found among {states} states:\n{}", scene.name, story(path))
}

fn story(path: Path<State, Action>) -> String {
    path.into_actions().iter().fold(String::new(), |mut story, action| {
        writeln!(story, "    {action:?}").expect("a string takes everything");
        story
    })
}

#[test]
fn every_state_of_every_scene_holds() {
    let explored = scenes::ALL.map(|scene| explore(scene, None));
    for one in &explored {
        println!("{}", one.summary);
    }
    let states: usize = explored.iter().map(|one| one.states).sum();
    println!("{states:>9} states in {} scenes", explored.len());
    let failures: Vec<String> = explored.into_iter().flat_map(|one| one.failures).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Rules that the rows of a copy do not rest on: leaving one out does them no harm.
#[test]
fn what_the_argument_does_not_rest_on() {
    // A row under its new key is an insert: a read has it as the stream has it, or not at all. It matters where what a
    // read does not see is removed, and to those who compare.
    harmless(scenes::CHUNKS, Defect::NewKeyIsForgotten);
    // Waiting for more than P is for nothing, and shows no less.
    harmless(scenes::QUEUE, Defect::LowIsRead);
    // Rows equal the source there too. Barriers must not lie inside a transaction (E33), so windows wait for its end.
    harmless(scenes::ROTATION, Defect::ClosesInsideTransaction);
}

fn harmless(scene: Scene, defect: Defect) {
    let explored = explore(scene, Some(defect));
    assert!(explored.failures.is_empty(), "{defect:?}: {}", explored.failures.join("\n"));
}
