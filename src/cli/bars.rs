//! How far the copies of tables are, for who watches: one bar per table on a terminal, else a line of the log now and then.
//!
//! The one thing to know: bars stand below the log, so whatever else goes to that terminal goes through [`Screen::log`]. What is told
//! is what `/status` tells; nothing is counted here. Bars have no colours, and are gone when nothing is left to be copied.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

use super::{shown_name, status::duration_text};
use crate::{
    status::{BackfillStatus, CopyStatus},
    telemetry::Metrics,
};

/// Between two looks where bars are drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Between two lines of the log.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two lines about the same table.
const TABLE_INTERVAL: Duration = Duration::from_secs(5);
/// More bars would push the log off the screen.
const BARS_MAX: usize = 12;
const BAR_CHARS: u64 = 20;
const NAME_CHARS_MAX: usize = 40;

/// Up so many lines, and what stands from there on is gone.
const ERASE: [&str; 2] = ["\x1b[", "A\r\x1b[J"];
/// A line that is too long for the terminal is cut, not wrapped: then each line is one to [`ERASE`].
const UNWRAPPED: [&str; 2] = ["\x1b[?7l", "\x1b[?7h\n"];

/// The terminal below whose log bars may stand; or none.
#[derive(Clone)]
pub(super) struct Screen(Option<Arc<Terminal>>);

struct Terminal {
    write: fn(&[u8]) -> io::Result<()>,
    shown: Mutex<Vec<String>>,
}

impl Screen {
    /// A screen that shows nothing.
    pub(super) fn nobody() -> Self {
        Self(None)
    }

    /// Standard error, if it is a terminal on which lines can be drawn again.
    pub(super) fn stderr() -> Self {
        Self::on(io::stderr().is_terminal(), write_stderr)
    }

    /// Standard output likewise.
    pub(super) fn stdout() -> Self {
        Self::on(io::stdout().is_terminal(), |bytes| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        })
    }

    fn on(is_terminal: bool, write: fn(&[u8]) -> io::Result<()>) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let is_fit = is_terminal && !is_dumb;
        Self(is_fit.then(|| Arc::new(Terminal { write, shown: Mutex::default() })))
    }

    /// Whether anybody sees bars.
    pub(super) fn is_seen(&self) -> bool {
        self.0.is_some()
    }

    /// Shows these lines in place of those before.
    pub(super) fn show(&self, lines: Vec<String>) {
        let Some(terminal) = &self.0 else { return };
        let mut shown = terminal.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown == lines {
            return;
        }
        // A terminal that went away shows nothing; what the process does goes on.
        let _ = (terminal.write)(&frame(shown.len(), b"", &lines));
        *shown = lines;
    }

    /// What the log is written to: standard error, above the bars.
    pub(super) fn log(&self) -> impl Fn() -> Above + Send + Sync + 'static {
        let screen = self.clone();
        move || Above(screen.clone())
    }
}

/// What takes so many lines off a terminal, writes something that stays, and others below it.
fn frame(shown: usize, above: &[u8], lines: &[String]) -> Vec<u8> {
    let mut frame = Vec::new();
    if shown > 0 {
        frame.extend_from_slice(format!("{}{shown}{}", ERASE[0], ERASE[1]).as_bytes());
    }
    frame.extend_from_slice(above);
    for line in lines {
        [UNWRAPPED[0], line, UNWRAPPED[1]].iter().for_each(|part| frame.extend_from_slice(part.as_bytes()));
    }
    frame
}

fn write_stderr(bytes: &[u8]) -> io::Result<()> {
    io::stderr().lock().write_all(bytes)
}

/// Writes above the bars.
pub(super) struct Above(Screen);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.0.0 {
            Some(terminal) => {
                let shown = terminal.shown.lock().unwrap_or_else(PoisonError::into_inner);
                (terminal.write)(&frame(shown.len(), bytes, &shown))
            }
            None => write_stderr(bytes),
        };
        written.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells how far the copies of this process are, as long as it is polled.
pub(super) async fn tell(metrics: Arc<Metrics>, screen: Screen) {
    let mut turns = Turns::default();
    let mut ticks = tokio::time::interval(if screen.is_seen() { DRAW_INTERVAL } else { LINE_INTERVAL });
    // After a stall no lines come in a heap.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(status) = BackfillStatus::of(&metrics.facts.known()) else { continue };
        if screen.is_seen() {
            screen.show(lines(&status));
        } else if let Some(copy) = turns.next(&status, Instant::now()) {
            log(copy, &status.held);
        }
    }
}

fn log(copy: &CopyStatus, held: &[String]) {
    tracing::info!(
        table = copy.table,
        rows = copy.rows_done,
        of = copy.rows_estimated,
        chunks = copy.chunks,
        rows_per_second = copy.rows_per_second.round(),
        seconds_left = copy.eta_seconds.map(f64::round),
        windows_open = copy.windows_open,
        retries = copy.retries,
        held = (!held.is_empty()).then(|| held.join("; ")),
        "copying the history of the table"
    );
}

/// Whose turn it is to be told of.
#[derive(Default)]
pub(super) struct Turns {
    told: BTreeMap<String, Told>,
}

struct Told {
    at: Instant,
    moved: (u64, u64, u64),
}

impl Turns {
    /// Of the tables that moved, or are held up, the one that was not told of for longest; none if that was a moment ago.
    pub(super) fn next<'a>(&mut self, status: &'a BackfillStatus, now: Instant) -> Option<&'a CopyStatus> {
        let moved = |copy: &CopyStatus| (copy.rows_done, copy.chunks, copy.retries);
        let is_due = |copy: &&CopyStatus| match self.told.get(&copy.table) {
            None => copy.chunks > 0 || copy.retries > 0 || !status.held.is_empty(),
            Some(told) => {
                now.duration_since(told.at) >= TABLE_INTERVAL && (told.moved != moved(copy) || !status.held.is_empty())
            }
        };
        let copying = status.tables.iter().filter(|copy| copy.state == "copying");
        let next = copying.filter(is_due).min_by_key(|copy| self.told.get(&copy.table).map(|told| told.at))?;
        self.told.insert(next.table.clone(), Told { at: now, moved: moved(next) });
        Some(next)
    }
}

/// Whether something is still to be copied.
pub(super) fn is_left(copy: &CopyStatus) -> bool {
    ["waiting", "copying", "paused"].contains(&copy.state.as_str())
}

/// What a terminal shows: a line per table that is not done, those at work first, and what holds them up.
pub(super) fn lines(status: &BackfillStatus) -> Vec<String> {
    let is_waiting = |copy: &&CopyStatus| copy.state == "waiting";
    let (waiting, begun): (Vec<_>, Vec<_>) =
        status.tables.iter().filter(|copy| is_left(copy)).partition(|copy| is_waiting(copy));
    let left: Vec<&CopyStatus> = begun.into_iter().chain(waiting).collect();
    if left.is_empty() {
        return Vec::new();
    }
    let barred = &left[..left.len().min(BARS_MAX)];
    let width = barred.iter().map(|copy| name(copy).chars().count()).max().unwrap_or(0);
    let mut lines: Vec<String> = barred.iter().map(|copy| format!("{:<width$} {}", name(copy), line(copy))).collect();
    if left.len() > barred.len() {
        lines.push(format!("and {} tables more", left.len() - barred.len()));
    }
    lines.extend(status.rows_per_second_max.map(|rate| format!("at most {rate} rows a second are copied")));
    lines.extend(status.held.iter().map(|why| format!("held up: {}", shown_name(why))));
    lines
}

/// The same of one table, where nothing can be drawn again.
pub(super) fn of_table(copy: &CopyStatus, held: &[String]) -> String {
    let held = held.iter().map(|why| format!(", held up: {}", shown_name(why)));
    format!("{} {}{}", name(copy), line(copy), held.collect::<String>())
}

fn name(copy: &CopyStatus) -> String {
    let name = shown_name(&copy.table);
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// The bar of a table and what is to be known of it, the most wanted first: terminals cut the end off.
fn line(copy: &CopyStatus) -> String {
    let of = copy.rows_estimated.max(copy.rows_done);
    let part = |whole: u64| match of {
        0 => 0,
        of => u64::try_from(u128::from(copy.rows_done) * u128::from(whole) / u128::from(of)).unwrap_or(whole),
    };
    let filled = part(BAR_CHARS);
    let bar: String = (0..BAR_CHARS).map(|place| if place < filled { '#' } else { '.' }).collect();
    let mut line = format!("[{bar}] {:>3} %", part(100));
    let mut add = |text: String| line.push_str(&format!(", {text}"));
    if copy.state != "copying" {
        add(copy.state.clone());
    }
    copy.eta_seconds.iter().for_each(|eta| add(format!("{} left", duration_text(*eta))));
    if copy.rows_per_second > 0.0 {
        add(format!("{:.0} rows/s", copy.rows_per_second));
    }
    add(format!("{} of {of} rows", copy.rows_done));
    add(format!("{} chunks", copy.chunks));
    if copy.windows_open > 0 {
        add(format!("{} windows open", copy.windows_open));
    }
    if copy.retries > 0 {
        add(format!("{} retries", copy.retries));
    }
    copy.reason.iter().for_each(|reason| add(shown_name(reason)));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(table: &str, state: &str, rows_done: u64) -> CopyStatus {
        CopyStatus {
            table: table.to_owned(),
            state: state.to_owned(),
            reason: None,
            rows_done,
            rows_estimated: 2_000,
            rows_dropped: 0,
            chunks: rows_done / 100,
            windows_open: usize::from(state == "copying"),
            readers: 0,
            retries: 0,
            rows_per_second: if state == "copying" { 250.4 } else { 0.0 },
            eta_seconds: (state == "copying").then_some(6.0),
        }
    }

    fn status(tables: Vec<CopyStatus>, held: &[&str]) -> BackfillStatus {
        BackfillStatus { held: held.iter().map(|why| (*why).to_owned()).collect(), rows_per_second_max: None, tables }
    }

    #[test]
    fn each_table_that_is_not_done_has_a_line() {
        let trouble =
            CopyStatus { retries: 2, reason: Some("a\nlost connection".to_owned()), ..copy("shop.b", "copying", 0) };
        let more = CopyStatus { rows_estimated: 100, ..copy("shop.more", "paused", 150) };
        let told = status(
            vec![
                copy("shop.z", "waiting", 0),
                copy("shop.done", "done", 7),
                copy("shop.a", "copying", 500),
                trouble,
                more,
            ],
            &["statements that run on the source: 21, more than 20"],
        );
        let told = BackfillStatus { rows_per_second_max: Some(300), ..told };
        assert_eq!(
            lines(&told),
            [
                "shop.a    [#####...............]  25 %, 6.0 s left, 250 rows/s, 500 of 2000 rows, 5 chunks, 1 windows open",
                "shop.b    [....................]   0 %, 6.0 s left, 250 rows/s, 0 of 2000 rows, 0 chunks, 1 windows open, \
                 2 retries, a lost connection",
                "shop.more [####################] 100 %, paused, 150 of 150 rows, 1 chunks",
                "shop.z    [....................]   0 %, waiting, 0 of 2000 rows, 0 chunks",
                "at most 300 rows a second are copied",
                "held up: statements that run on the source: 21, more than 20",
            ]
        );
    }

    #[test]
    fn nothing_is_left_of_it_when_all_is_done() {
        let over = ["done", "cancelled", "failed", "gap"].map(|state| copy("shop.a", state, 5));
        assert_eq!(lines(&status(over.to_vec(), &["a file"])), Vec::<String>::new());
    }

    #[test]
    fn many_tables_and_long_names_fit_on_a_screen() {
        let mut tables: Vec<CopyStatus> =
            (0..40).map(|number| copy(&format!("shop.t{number}"), "waiting", 0)).collect();
        tables.push(copy(&format!("shop.{}", "é".repeat(60)), "copying", 1));
        let lines = lines(&status(tables, &[]));
        assert_eq!(lines.len(), BARS_MAX + 1);
        assert!(lines[0].starts_with("shop.éé") && lines[0].contains("é… ["), "{}", lines[0]);
        assert_eq!(lines[BARS_MAX], "and 29 tables more");
    }

    #[test]
    fn tables_are_told_of_in_turn_and_only_when_they_moved() {
        let begin = Instant::now();
        let mut turns = Turns::default();
        let mut check = |second: u64, rows: [u64; 2], held: &[&str], expect: Option<&str>| {
            let told = status(vec![copy("a", "copying", rows[0]), copy("b", "copying", rows[1])], held);
            let next = turns.next(&told, begin + Duration::from_secs(second)).map(|copy| copy.table.as_str());
            assert_eq!(next, expect, "at {second} s");
        };
        check(0, [0, 0], &[], None);
        check(1, [100, 100], &[], Some("a"));
        check(2, [200, 100], &[], Some("b"));
        check(3, [300, 200], &[], None);
        check(6, [400, 100], &[], Some("a"));
        check(7, [500, 100], &[], None);
        check(8, [500, 200], &[], Some("b"));
        check(20, [400, 200], &[], None);
        check(21, [400, 200], &["a file"], Some("a"));
        check(22, [400, 200], &["a file"], Some("b"));
        check(23, [400, 200], &["a file"], None);
    }
}
