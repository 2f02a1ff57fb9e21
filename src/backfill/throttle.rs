//! What holds copies up, so that the source's own work comes first: a rate, and what is asked of the source once a second.
//!
//! It is asked before each chunk is read; a chunk that is being read goes on to its end. What can't be found out holds the copies up
//! too: nobody takes a source that does not answer for an idle one.

use std::{
    num::NonZeroU64,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tailrace_contract::{Endpoint, Load, LoadQuestions, Result};
use tokio::{sync::Notify, time::Instant};

/// When copies are held up.
#[derive(Clone, Debug, Default)]
pub struct ThrottleLimits {
    /// Rows a second that are copied at most.
    pub rows_per_second_max: Option<NonZeroU64>,
    /// More statements than these run on the source.
    pub running_max: Option<u64>,
    /// The source keeps more old versions than these for views that are open.
    pub history_max: Option<u64>,
    /// The answer to a query of the operator's own is greater.
    pub query: Option<(String, f64)>,
    /// This file is there.
    pub file: Option<PathBuf>,
    /// A replica is behind the source for longer.
    pub replicas: Option<ReplicaLimits>,
    /// What the source has logged was not captured for longer.
    pub source_lag_max: Option<Duration>,
    /// What the log has was not applied for longer.
    pub apply_lag_max: Option<Duration>,
    /// It is another time of the day.
    pub hours: Option<Hours>,
}

/// Which replicas copies wait for.
#[derive(Clone, Debug)]
pub struct ReplicaLimits {
    /// Where they are.
    pub replicas: Vec<Endpoint>,
    /// How far they may be behind.
    pub lag_max: Duration,
}

/// When copies may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// From and until, in minutes since midnight; one that ends before it begins goes over midnight.
    pub spans: Vec<[u16; 2]>,
    /// How far the zone is ahead of UTC.
    pub minutes_ahead: i32,
    /// As it was typed.
    pub text: String,
}

impl Hours {
    /// Minutes of a day.
    pub const DAY: u16 = 24 * 60;

    /// Why copies are held up at this second since 1970.
    pub(super) fn hold_at(&self, second: u64) -> Option<Hold> {
        let minute_of_utc = u16::try_from(second / 60 % u64::from(Self::DAY)).expect("invariant: a day has so many");
        let local = (i32::from(minute_of_utc) + self.minutes_ahead).rem_euclid(i32::from(Self::DAY));
        let minute = u16::try_from(local).expect("invariant: it lies in a day");
        let is_in = |[from, until]: &[u16; 2]| match from < until {
            true => (*from..*until).contains(&minute),
            false => minute >= *from || minute < *until,
        };
        if self.spans.iter().any(is_in) {
            return None;
        }
        let (hour, minute) = (minute / 60, minute % 60);
        Some(Hold { gate: "hours", why: format!("it is {hour:02}:{minute:02}, outside of the hours {}", self.text) })
    }
}

/// Something that holds copies up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Which limit, for metrics.
    pub(crate) gate: &'static str,
    /// For people, with what was found and what is allowed.
    pub(crate) why: String,
}

impl ThrottleLimits {
    /// What the source is asked; none if it need not be.
    pub(crate) fn questions(&self) -> Option<LoadQuestions> {
        let questions = LoadQuestions {
            running: self.running_max.is_some(),
            history: self.history_max.is_some(),
            query: self.query.as_ref().map(|(query, _)| query.clone()),
        };
        (questions != LoadQuestions::default()).then_some(questions)
    }

    /// Whether anything is to be looked at again and again.
    pub(super) fn is_watched(&self) -> bool {
        let has_lags = self.source_lag_max.is_some() || self.apply_lag_max.is_some() || self.replicas.is_some();
        self.questions().is_some() || self.file.is_some() || self.hours.is_some() || has_lags
    }

    /// Why copies are held up, by what the source answered.
    pub(super) fn holds_by(&self, load: &Result<Load>) -> Vec<Hold> {
        let load = match load {
            Ok(load) => load,
            Err(error) => {
                let why = format!("the load of the source is not known: {error}");
                return vec![Hold { gate: "load", why }];
            }
        };
        let mut holds = Vec::new();
        let mut check = |gate, what: &str, found: Option<u64>, max: Option<u64>| {
            if let (Some(found), Some(max)) = (found, max)
                && found > max
            {
                holds.push(Hold { gate, why: format!("{what}: {found}, more than {max}") });
            }
        };
        check("running", "statements that run on the source", load.running, self.running_max);
        check("history", "old row versions that the source keeps", load.history, self.history_max);
        if let (Some(found), Some((_, max))) = (load.answer, &self.query)
            // What is no number is not below the limit either.
            && !matches!(found.partial_cmp(max), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal))
        {
            holds.push(Hold { gate: "query", why: format!("the operator's query: {found}, more than {max}") });
        }
        holds
    }

    /// Why copies are held up, by a file.
    pub(super) fn hold_by_file(&self) -> Option<Hold> {
        let file = self.file.as_ref()?;
        let why = match file.try_exists() {
            Ok(false) => return None,
            Ok(true) => format!("the file {} is there", file.display()),
            Err(error) => format!("whether the file {} is there is not known: {error}", file.display()),
        };
        Some(Hold { gate: "file", why })
    }
}

/// The gate before each chunk.
#[derive(Debug)]
pub(super) struct Throttle {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    configured: Option<NonZeroU64>,
    by_hand: Option<NonZeroU64>,
    /// When the next chunk may be read, as far as the rate goes.
    next_at: Instant,
    held: Vec<Hold>,
}

impl State {
    fn rate(&self) -> Option<NonZeroU64> {
        self.by_hand.or(self.configured)
    }
}

impl Throttle {
    /// Nothing holds anything up but a rate.
    pub(super) fn new(configured: Option<NonZeroU64>) -> Self {
        let state = State { configured, by_hand: None, next_at: Instant::now(), held: Vec::new() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Sets the rate by hand, or takes it back; returns the one in force.
    pub(super) fn set_by_hand(&self, rows_per_second_max: Option<NonZeroU64>) -> Option<NonZeroU64> {
        let mut state = self.lock();
        (state.by_hand, state.next_at) = (rows_per_second_max, Instant::now());
        let rate = state.rate();
        drop(state);
        self.changed.notify_waiters();
        rate
    }

    /// The rate in force.
    pub(super) fn rate(&self) -> Option<NonZeroU64> {
        self.lock().rate()
    }

    /// This holds copies up from now on; nothing if it is empty. True if that is news.
    pub(super) fn hold(&self, held: Vec<Hold>) -> bool {
        let mut state = self.lock();
        let is_news = state.held != held;
        state.held = held;
        drop(state);
        self.changed.notify_waiters();
        is_news
    }

    /// Rows of a chunk: no more than come in a second.
    pub(super) fn at_once(&self, rows: u64) -> u64 {
        const ROWS_MIN: u64 = 10;
        self.rate().map_or(rows, |rate| rows.min(rate.get().max(ROWS_MIN)))
    }

    /// Takes the right to read so many rows, if a chunk may be read now.
    pub(super) fn take(&self, rows: u64) -> bool {
        self.take_at(rows, Instant::now())
    }

    fn take_at(&self, rows: u64, now: Instant) -> bool {
        let mut state = self.lock();
        if !state.held.is_empty() || state.next_at > now {
            return false;
        }
        if let Some(rate) = state.rate() {
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
            let pause = Duration::from_secs_f64(rows as f64 / rate.get() as f64);
            state.next_at = now + pause;
        }
        true
    }

    /// Waits until a chunk may be read. Cancel-safe.
    pub(super) async fn opened(&self) {
        loop {
            let changed = self.changed.notified();
            let (is_held, next_at) = {
                let state = self.lock();
                (!state.held.is_empty(), state.next_at)
            };
            if is_held {
                changed.await;
                continue;
            }
            if next_at <= Instant::now() {
                return;
            }
            // Cancel-safe: both branches only wait.
            tokio::select! {
                () = tokio::time::sleep_until(next_at) => {}
                () = changed => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tailrace_contract::Error;

    use super::*;

    fn why(holds: impl IntoIterator<Item = Hold>) -> Vec<String> {
        holds.into_iter().map(|hold| format!("{}: {}", hold.gate, hold.why)).collect()
    }

    #[test]
    fn each_limit_holds_and_says_why() {
        let limits = ThrottleLimits {
            running_max: Some(20),
            history_max: Some(1_000),
            query: Some(("SELECT 1".to_owned(), 2.5)),
            ..ThrottleLimits::default()
        };
        let check = |running, history, answer, expect: &[&str]| {
            let load = Load { running: Some(running), history: Some(history), answer: Some(answer) };
            assert_eq!(why(limits.holds_by(&Ok(load))), expect);
        };
        check(20, 1_000, 2.5, &[]);
        check(21, 1_000, 2.5, &["running: statements that run on the source: 21, more than 20"]);
        check(0, 1_001, 0.0, &["history: old row versions that the source keeps: 1001, more than 1000"]);
        check(0, 0, 2.6, &["query: the operator's query: 2.6, more than 2.5"]);
        check(0, 0, f64::NAN, &["query: the operator's query: NaN, more than 2.5"]);
        assert_eq!(
            why(limits.holds_by(&Err(Error::transient("connection refused")))),
            ["load: the load of the source is not known: connection refused"]
        );
        assert_eq!(ThrottleLimits::default().questions(), None);
    }

    #[test]
    fn copies_run_in_their_hours() {
        const AT_NOON: u64 = 1_769_860_800;
        let check = |spans: &[[u16; 2]], minutes_ahead, minutes: u64, expect: &[&str]| {
            let hours = Hours { spans: spans.to_vec(), minutes_ahead, text: "H".to_owned() };
            assert_eq!(why(hours.hold_at(AT_NOON + minutes * 60)), expect, "{spans:?} {minutes_ahead} {minutes}");
        };
        let (night, day) = ([22 * 60, 6 * 60], [9 * 60, 12 * 60 + 5]);
        check(&[night], 0, 0, &["hours: it is 12:00, outside of the hours H"]);
        check(&[night], 0, 9 * 60 + 59, &["hours: it is 21:59, outside of the hours H"]);
        check(&[night], 0, 10 * 60, &[]);
        check(&[night], 0, 17 * 60 + 59, &[]);
        check(&[night], 0, 18 * 60, &["hours: it is 06:00, outside of the hours H"]);
        check(&[night, day], 0, 4, &[]);
        check(&[night, day], 0, 5, &["hours: it is 12:05, outside of the hours H"]);
        check(&[night], 600, 0, &[]);
        check(&[night], -810, 0, &[]);
        check(&[day], -810, 0, &["hours: it is 22:30, outside of the hours H"]);
        check(&[[0, Hours::DAY]], 0, 12 * 60 - 1, &[]);
    }

    #[test]
    fn a_file_holds_as_long_as_it_is_there() {
        let file = std::env::temp_dir().join(format!("tailrace-throttle-{}", std::process::id()));
        let limits = ThrottleLimits { file: Some(file.clone()), ..ThrottleLimits::default() };
        assert!(limits.is_watched() && limits.hold_by_file().is_none());
        std::fs::write(&file, "").unwrap();
        assert_eq!(why(limits.hold_by_file()), [format!("file: the file {} is there", file.display())]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(limits.hold_by_file(), None);
    }

    #[test]
    fn no_more_rows_come_than_the_rate_allows() {
        let throttle = Throttle::new(NonZeroU64::new(100));
        assert_eq!((throttle.at_once(50), throttle.at_once(5_000)), (50, 100));
        let begun = Instant::now();
        let taken = (0..50).filter(|tenth| throttle.take_at(100, begun + Duration::from_millis(100 * tenth)));
        assert_eq!(taken.collect::<Vec<_>>(), [0, 10, 20, 30, 40], "the first at once, then one a second");
        assert_eq!(throttle.set_by_hand(NonZeroU64::new(1_000)), NonZeroU64::new(1_000));
        assert!(throttle.take_at(1_000, Instant::now()), "what was owed at another rate is forgotten");
        assert_eq!(throttle.set_by_hand(None), NonZeroU64::new(100), "the one that is configured is in force again");
    }

    #[tokio::test]
    async fn who_is_held_goes_on_when_nothing_holds_any_more() {
        let throttle = Throttle::new(None);
        let busy = || vec![Hold { gate: "running", why: "busy".to_owned() }];
        assert!(throttle.hold(busy()) && !throttle.hold(busy()));
        assert!(!throttle.take(1));
        tokio::join!(throttle.opened(), async {
            tokio::task::yield_now().await;
            throttle.hold(Vec::new());
        });
        assert!(throttle.take(1) && throttle.take(1_000_000));
    }
}
