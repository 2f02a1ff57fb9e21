//! The live display: a few lines drawn over and over on a terminal, one line every two seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::board::{Board, Role, View};
use super::lag::percentile;
use crate::wait;

/// Draws until it is told to end.
pub(super) struct Screen {
    thread: JoinHandle<()>,
    must_end: Arc<AtomicBool>,
}

/// What is needed to draw a rate.
struct Last {
    transactions: u64,
    at: Instant,
}

impl Screen {
    pub(super) fn start(board: Arc<Board>) -> Screen {
        let must_end = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&must_end);
        let thread = std::thread::spawn(move || draw(&board, &end));
        Screen { thread, must_end }
    }

    pub(super) fn end(self) {
        self.must_end.store(true, Ordering::SeqCst);
        // A panic in it has been printed; the demo's result does not depend on it.
        drop(self.thread.join());
    }
}

fn draw(board: &Board, must_end: &AtomicBool) {
    let is_terminal = std::io::stderr().is_terminal();
    let step = if is_terminal { Duration::from_millis(250) } else { Duration::from_secs(2) };
    let mut last = Last { transactions: 0, at: Instant::now() };
    let mut drawn = 0;
    while !wait::until(step, || must_end.load(Ordering::SeqCst)) {
        let view = board.view();
        let text = if is_terminal { lines(&view, &mut last) } else { vec![plain(&view, &mut last)] };
        let mut out = std::io::stderr().lock();
        let up = if is_terminal && drawn > 0 { format!("\x1b[{drawn}A") } else { String::new() };
        let clear = if is_terminal { "\x1b[K" } else { "" };
        let body: String = text.iter().map(|line| format!("{line}{clear}\n")).collect();
        // Nobody looks any more: the demo goes on.
        let _ = write!(out, "{up}{body}");
        drawn = text.len();
    }
}

fn lines(view: &View, last: &mut Last) -> Vec<String> {
    let mut lines = vec![
        format!("tailrace demo  {}", phase(view)),
        format!(
            "writer         {:>6.0} transactions/s   {} in all, {} rolled back",
            rate(view, last),
            view.transactions,
            view.rollbacks
        ),
    ];
    for role in Role::BOTH {
        let state = view.processes[role as usize].map_or("not running".to_owned(), |pid| format!("process {pid}"));
        let kills = view.kills[role as usize];
        lines.push(format!("{:<14} {state:<16} {}", role.name(), kill_words(kills.all, kills.in_flight)));
    }
    lines.push(format!("lag            {}", lag_words(view)));
    lines.push(format!("               {}", view.note));
    lines
}

fn plain(view: &View, last: &mut Last) -> String {
    let kills = view.kills.map(|kills| format!("{}/{}", kills.all, kills.in_flight));
    format!(
        "{:<18} {:>6.0} tx/s {:>8} in all   kills/in flight: capture {} apply {}   lag {}   {}",
        phase(view),
        rate(view, last),
        view.transactions,
        kills[0],
        kills[1],
        lag_words(view),
        view.note
    )
}

fn phase(view: &View) -> String {
    view.phase.map_or(String::new(), |(phase, since)| format!("{} {} s", phase.name(), since.elapsed().as_secs()))
}

fn kill_words(all: u32, in_flight: u32) -> String {
    format!("killed {all} times, {in_flight} with a batch in flight")
}

fn lag_words(view: &View) -> String {
    match (percentile(&view.lags, 50), percentile(&view.lags, 99)) {
        (Some(half), Some(most)) => format!("p50 {} ms, p99 {} ms", half.as_millis(), most.as_millis()),
        _ => "-".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn rate(view: &View, last: &mut Last) -> f64 {
    let now = Instant::now();
    let rate = (view.transactions - last.transactions) as f64 / (now - last.at).as_secs_f64().max(0.001);
    *last = Last { transactions: view.transactions, at: now };
    rate
}
