//! A million damaged inputs for each parser: no panic, an end, no more memory than allowed. And the same test finds planted defects.
//!
//! A failure prints the seed and the input. `TAILRACE_SEED` repeats a run.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::mpsc,
    time::Duration,
};

use hostile::{Counting, Dice, TARGETS, Target, most_since, start_counting, target};
use tailrace_mysql::hostile::{Defect, first_phases_read, plant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Executions of each parser.
const EXECUTIONS: usize = 1_000_000;

/// A parser that takes longer for one input hangs: the inputs are a few thousand bytes.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// The defect and the target that a child process is to try.
const PLANTED: &str = "TAILRACE_PLANTED";

fn seed() -> u64 {
    std::env::var("TAILRACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123)
}

/// Feeds the target; panics with the input at the first that is not borne.
fn feed(target: &Target, executions: usize, seed: u64) {
    let inputs = (target.inputs)();
    assert!(inputs.len() > 2, "{}: the recordings have {} inputs", target.name, inputs.len());
    for input in &inputs {
        (target.entry)(input);
    }
    let mut dice = Dice::new(seed);
    for execution in 0..executions {
        let input = dice.damaged(&inputs);
        start_counting();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.entry)(&input)));
        let most = most_since();
        let allowed = (target.memory_max)(input.len());
        assert!(outcome.is_ok(), "{} panics (execution {execution}, seed {seed}): {}", target.name, hex(&input));
        assert!(
            most <= allowed,
            "{} takes {most} bytes for {} (execution {execution}, seed {seed}): {}",
            target.name,
            input.len(),
            hex(&input)
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Feeds it in a thread that is watched: progress of a thousand inputs must come in time.
fn survives(name: &'static str) {
    let (done, waiting) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        const PART: usize = 1_000;
        for part in 0..EXECUTIONS / PART {
            feed(target(name), PART, seed().wrapping_add(part as u64));
            let _ = done.send(part);
        }
    });
    let mut parts = 0;
    loop {
        match waiting.recv_timeout(HANGS_AFTER) {
            Ok(_) => parts += 1,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name} hangs behind part {parts}, seed {}", seed()),
        }
    }
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn packets() {
    survives("packets");
}

#[test]
fn events() {
    survives("events");
}

#[test]
fn first_phases() {
    survives("first_phase");
}

#[test]
fn table_maps() {
    survives("table_map");
}

#[test]
fn documents() {
    survives("json");
}

#[test]
fn changes_of_documents() {
    survives("json_changes");
}

#[test]
fn prepared() {
    survives("prepared");
}

#[test]
fn witnesses() {
    survives("witness");
}

#[test]
fn memories() {
    survives("memory");
}

#[test]
fn gtids() {
    survives("gtids");
}

#[test]
fn statements() {
    survives("statement");
}

#[test]
fn compressed() {
    survives("compressed");
}

#[test]
fn records() {
    survives("records");
}

#[test]
fn documents_of_topics() {
    survives("documents");
}

#[test]
fn every_target_is_tried() {
    let source = include_str!("damage.rs");
    for Target { name, .. } in TARGETS {
        assert!(source.contains(&format!("survives(\"{name}\")")), "{name}");
    }
}

/// Else damage would be done to what is refused at once.
#[test]
fn undamaged_first_phases_are_read_to_their_end() {
    let inputs = (target("first_phase").inputs)();
    let read: Vec<u32> = inputs.iter().map(|input| first_phases_read(input)).collect();
    let ended = read.iter().filter(|read| **read == 1).count();
    assert!(ended > 10 && ended * 2 > read.len(), "{read:?}");
}

const DEFECTS: [(&str, Defect, &str); 4] = [
    ("length", Defect::LengthNotChecked, "events"),
    ("length in a text", Defect::LengthNotChecked, "witness"),
    ("recursion", Defect::RecursionWithoutLimit, "json"),
    ("ratio", Defect::RatioWithoutLimit, "compressed"),
];

/// Runs only in a child process: with the defect that it was told.
#[test]
fn planted() {
    let Ok(wanted) = std::env::var(PLANTED) else { return };
    let (_, defect, name) = DEFECTS.iter().find(|(name, ..)| *name == wanted).expect("a defect of the list");
    plant(*defect);
    feed(target(name), EXECUTIONS, seed());
}

/// Each planted defect ends its process: by a panic, by the end of the stack, or by too much memory.
#[test]
fn planted_defects_are_found() {
    for (name, ..) in DEFECTS {
        let mut child = Command::new(std::env::current_exe().expect("this test's program"));
        let output =
            child.args(["planted", "--exact", "--nocapture"]).env(PLANTED, name).output().expect("a child runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "the defect {name} is not found");
        let is_told =
            text.contains("panics (execution") || text.contains("overflowed its stack") || text.contains(" bytes for ");
        assert!(is_told, "{name} ends for another reason: {text}");
    }
}
