//! Capture and apply under random faults, kills, rewinds and rivals, over the fakes in memory: thousands of runs in seconds.
//!
//! A run follows from its seed alone. A failure prints the seed; `SIM_SEED=17 cargo test -p sim` replays that run with a
//! trace of all calls, `SIM_SEEDS=20000` tries more. The wrappers of `defects` prove that the properties can fail.

mod copies;
mod copy_defects;
mod defects;
mod embedded;
mod life;
mod oracle;
mod plan;
mod process;
mod random;
mod run;
mod script;
mod situations;
mod verdict;
mod world;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    defects::Defect,
    plan::Case,
    process::Moment,
    run::{Counts, Report, run_on_threads, run_seed},
    world::{Property, Trace, Violation},
};

/// Seeds of the property test, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1_500;

/// Seeds that also run on threads and by the clock; all at once, they mostly wait.
const REAL_TIME_SEEDS: u64 = 24;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The run once more, with everything that happened in it.
fn describe(report: &Report, seed: u64, defect: Option<Defect>) -> String {
    let again = run_seed(report.plan.case(), seed, defect, Some(Trace::default()));
    let lines = again.trace.map(|trace| trace.lines).unwrap_or_default();
    let last = lines.len().saturating_sub(if std::env::var_os("SIM_SEED").is_some() { usize::MAX } else { 60 });
    format!(
        "seed {seed}: {:?}\n{:#?}\nthe same again: {:?}\n{}\nreplay with SIM_SEED={seed} cargo test -p sim every_",
        report.verdict,
        report.plan,
        again.verdict,
        lines[last..].join("\n")
    )
}

/// Runs the seeds on all cores until one fails.
fn run_seeds(case: Case, seeds: std::ops::Range<u64>) -> Result<Counts, Box<(u64, Report)>> {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Ok(Counts::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run_seed(case, seed, None, None);
            let mut total = total.lock().expect("no run panics while it holds the total");
            match (total.as_mut(), &report.verdict) {
                (Ok(counts), Ok(())) => counts.add(&report.counts),
                (Ok(_), Err(_)) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    *total = Err(Box::new((seed, report)));
                }
                (Err(_), _) => return,
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    total.into_inner().expect("no run panics while it holds the total")
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match number_from_environment("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from_environment("SIM_SEEDS").unwrap_or(count),
    }
}

#[test]
fn every_embedded_run_moves_every_change() {
    let seeds = seeds(SEEDS);
    let count = seeds.end - seeds.start;
    let counts = match run_seeds(Case::EMBEDDED, seeds) {
        Err(failed) => panic!("{}", describe(&failed.1, failed.0, None)),
        Ok(counts) => counts,
    };
    println!("{counts:#?}");
    if count >= 1_000 {
        let met = [counts.faults, counts.sink_commits, counts.splits, counts.rewinds, counts.fences, counts.barriers];
        assert!(met.iter().all(|count| *count > 50), "the runs met too little: {counts:?}");
        check_deaths(&counts, &["stream.read", "sink.claim_stream", "sink.open_writer", "sink.apply"]);
    }
}

/// Seeds of the test of copies in each form, unless `SIM_SEEDS` says otherwise.
const SEEDS_OF_COPIES: u64 = 500;

#[test]
fn every_row_is_copied_among_its_changes() {
    for case in [Case::LOG_COPIES, Case::EMBEDDED_COPIES] {
        let seeds = seeds(SEEDS_OF_COPIES);
        let count = seeds.end - seeds.start;
        let counts = match run_seeds(case, seeds) {
            Err(failed) => panic!("{}", describe(&failed.1, failed.0, None)),
            Ok(counts) => counts,
        };
        println!("{counts:#?}");
        if count >= SEEDS_OF_COPIES {
            let met = [
                counts.faults,
                counts.copied,
                counts.dropped,
                counts.chunks,
                counts.shared,
                counts.barriers,
                counts.absent,
            ];
            assert!(met.iter().all(|count| *count > 100), "the runs met too little: {counts:?}");
            check_deaths(&counts, &["chunks.read_chunk", "chunks.fill", "chunks.end_of_view", "chunks.bound_within"]);
        }
    }
}

#[test]
fn every_run_moves_every_change_exactly_once() {
    let seeds = seeds(SEEDS);
    let count = seeds.end - seeds.start;
    let counts = match run_seeds(Case::LOG, seeds) {
        Err(failed) => panic!("{}", describe(&failed.1, failed.0, None)),
        Ok(counts) => counts,
    };
    println!("{counts:#?}");
    if count >= 1_000 {
        check_met(&counts);
    }
}

/// Runs that meet nothing prove nothing.
fn check_met(counts: &Counts) {
    let met = [
        counts.faults,
        counts.records,
        counts.splits,
        counts.torn,
        counts.duplicates,
        counts.reapplied,
        counts.barriers,
    ];
    assert!(met.iter().all(|count| *count > 100), "the runs met too little: {counts:?}");
    let calls = [
        "stream.read",
        "log.open_writer",
        "log.append",
        "log.commit",
        "log.commit_barrier",
        "log.read",
        "log.read_barriers",
        "sink.meet",
        "sink.claim",
        "sink.open_writer",
        "sink.apply",
    ];
    check_deaths(counts, &calls);
}

fn check_deaths(counts: &Counts, calls: &[&'static str]) {
    for call in calls {
        for moment in [Moment::Before, Moment::After] {
            assert!(counts.deaths.contains_key(&(*call, moment)), "nobody died {moment:?} {call}: {counts:?}");
        }
    }
}

#[test]
fn runs_on_real_threads_end_alike() {
    for (seed, report) in run_on_threads(0..REAL_TIME_SEEDS) {
        assert!(report.verdict.is_ok(), "seed {seed}: {report:?}");
    }
}

#[test]
fn a_seed_decides_everything() {
    for (seed, case) in (0..20).zip([Case::LOG, Case::LOG_COPIES, Case::EMBEDDED_COPIES].into_iter().cycle()) {
        let [one, two] = [(); 2].map(|()| run_seed(case, seed, None, Some(Trace::default())).trace.expect("traced"));
        let differs = one.lines.iter().zip(&two.lines).find(|(one, two)| one != two);
        assert!(one.lines.len() > 20 && one.digest() == two.digest(), "seed {seed}: {differs:?}");
    }
}

/// Runs seeds until the defect is found, and by the property that it breaks.
fn check_found(defect: Defect, within: u64, properties: &[Property]) {
    check_found_in(Case::LOG, defect, within, properties);
}

/// Whether a change in part has stopped its table because its row is not there (E11): a row that a copy lost may show so first.
fn is_row_missed(violation: &Violation) -> bool {
    violation.property == Property::NoUnexpectedError && violation.what.contains("is not there to be updated")
}

fn check_found_in(case: Case, defect: Defect, within: u64, properties: &[Property]) {
    for seed in 0..within {
        if let Err(violation) = run_seed(case, seed, Some(defect), None).verdict {
            let is_found = properties.contains(&violation.property) || case.has_copies && is_row_missed(&violation);
            assert!(is_found, "{defect:?} was found by chance: {violation:?}");
            return;
        }
    }
    panic!("{defect:?} was not found within {within} seeds");
}

#[test]
fn progress_before_rows_is_found() {
    check_found(Defect::ProgressBeforeRows, 100, &[Property::RowsMatchProgress]);
}

#[test]
fn progress_that_is_not_compared_is_found() {
    check_found(Defect::ProgressIsNotCompared, 300, &[Property::RowsMatchProgress, Property::TargetEqualsSource]);
}

#[test]
fn a_forgotten_sequence_is_found() {
    check_found(Defect::SequenceIsForgotten, 300, &[Property::RowsMatchProgress]);
}

#[test]
fn a_lost_row_is_found() {
    check_found(Defect::RowIsLost, 100, &[Property::RowsMatchProgress]);
}

#[test]
fn an_old_checkpoint_is_found() {
    check_found(Defect::CheckpointIsOld, 100, &[Property::CheckpointMatchesRecords]);
}

#[test]
fn records_without_checkpoint_are_found() {
    check_found(Defect::RecordsWithoutCheckpoint, 100, &[Property::CheckpointMatchesRecords, Property::NoHang]);
}

#[test]
fn a_checkpoint_without_records_is_found() {
    check_found(Defect::CheckpointWithoutRecords, 100, &[Property::CheckpointMatchesRecords]);
}

#[test]
fn a_forgotten_split_is_found() {
    check_found(Defect::SplitIsForgotten, 100, &[Property::CheckpointMatchesRecords]);
}

#[test]
fn reading_on_behind_a_barrier_is_found() {
    let properties = [Property::RowsMatchProgress, Property::TargetEqualsSource, Property::NoHang];
    check_found(Defect::NoStopAtBarriers, 100, &properties);
}

#[test]
fn a_checkpoint_before_its_rows_is_found() {
    check_found_in(Case::EMBEDDED, Defect::ProgressBeforeRows, 100, &[Property::RowsMatchProgress]);
}

#[test]
fn a_checkpoint_that_is_not_compared_is_found() {
    let properties = [Property::RowsMatchProgress, Property::TargetEqualsSource];
    check_found_in(Case::EMBEDDED, Defect::ProgressIsNotCompared, 300, &properties);
}

#[test]
fn a_lost_row_is_found_without_a_log() {
    check_found_in(Case::EMBEDDED, Defect::RowIsLost, 100, &[Property::RowsMatchProgress]);
}

#[test]
fn a_forgotten_split_is_found_without_a_log() {
    let properties = [Property::RowsMatchProgress, Property::TargetEqualsSource];
    check_found_in(Case::EMBEDDED, Defect::SplitIsForgotten, 300, &properties);
}

/// Defects of copies are found in both forms.
fn check_found_copying(defect: Defect, within: u64, properties: &[Property]) {
    for case in [Case::LOG_COPIES, Case::EMBEDDED_COPIES] {
        check_found_in(case, defect, within, properties);
    }
}

/// A row that is older or newer than what lies around it.
const OUT_OF_TIME: [Property; 3] = [Property::LogIsExact, Property::RowsMatchProgress, Property::TargetEqualsSource];

#[test]
fn a_read_that_does_not_wait_is_found() {
    check_found_copying(Defect::NoWaitForVisibility, 300, &OUT_OF_TIME);
}

#[test]
fn an_end_by_what_is_executed_is_found() {
    check_found_copying(Defect::EndIsExecuted, 500, &OUT_OF_TIME);
}

#[test]
fn an_end_that_is_told_too_early_is_found() {
    check_found_copying(Defect::EndIsTooEarly, 500, &OUT_OF_TIME);
}

#[test]
fn a_row_that_is_skipped_at_a_bound_is_found() {
    check_found_copying(Defect::RowIsSkippedAtBound, 100, &[Property::TargetEqualsSource]);
}

#[test]
fn a_row_that_is_skipped_where_a_table_is_split_is_found() {
    check_found_copying(Defect::RowIsSkippedAtEnd, 300, &[Property::TargetEqualsSource]);
}

/// E11: rows that are not copied yet are missing where they are changed in part.
#[test]
fn e11_a_mark_that_is_lost_is_found() {
    check_found_copying(Defect::MarkIsLost, 300, &[Property::RowsMatchProgress]);
}

#[test]
fn a_ledger_without_its_rows_is_found() {
    check_found_copying(Defect::LedgerWithoutRows, 100, &[Property::TargetEqualsSource]);
}

#[test]
fn a_chunk_that_is_told_and_not_written_is_found() {
    let properties = [Property::LedgerIsExact, Property::TargetEqualsSource, Property::NoHang];
    check_found_copying(Defect::ChunkIsToldUnwritten, 100, &properties);
}
