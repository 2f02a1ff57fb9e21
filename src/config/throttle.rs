//! What holds copies up, judged: `[backfill.throttle]` and the rate beside it.

use std::{num::NonZeroU64, time::Duration};

use tailrace_contract::{Endpoint, SourceSettings};

use super::{
    Stores,
    document::Entry,
    moment::zone_minutes,
    problem::{Place, Problems},
    raw::{RawBackfill, RawThrottle},
    secret::Surroundings,
    store::{is_same_server, replica_of},
    values::{duration, given, number, quoted},
};
use crate::backfill::{Hours, ReplicaLimits, ThrottleLimits};

/// What else of the file counts.
pub(super) struct Around<'a> {
    /// None after a problem, and where there is none.
    pub source: Option<&'a SourceSettings>,
    pub has_log: bool,
    pub has_target: bool,
    pub surroundings: &'a Surroundings<'a>,
}

/// Whether capture, which otherwise knows no target, asks it how far apply is.
pub(super) fn asks_target(raw: &RawBackfill, stores: Stores) -> bool {
    let throttle = given(&raw.throttle).map(|(throttle, _)| throttle);
    stores.source && stores.log && throttle.is_some_and(|throttle| !matches!(throttle.apply_lag_max, Entry::Absent))
}

/// A rate is the simplest.
pub(super) fn check_throttle(
    raw: &RawBackfill,
    around: &Around<'_>,
    problems: &mut Problems,
) -> Option<ThrottleLimits> {
    const RATE_MAX: i128 = 1_000_000_000;
    let rows_per_second_max = optional_number(&raw.max_rate, 1..=RATE_MAX, problems);
    let none = RawThrottle::default();
    let raw = match &raw.throttle {
        Entry::Given(raw, _) => raw,
        Entry::Absent => &none,
        Entry::Wrong => return None,
    };
    let running_max = optional_number(&raw.running_max, 1..=1_000_000, problems);
    let history_max = optional_number(&raw.history_max, 1..=i128::from(u32::MAX), problems);
    let query = check_query(raw, problems);
    let file = match &raw.file {
        Entry::Given(typed, _) => Some(Some(around.surroundings.path(typed))),
        Entry::Absent => Some(None),
        Entry::Wrong => None,
    };
    let replicas = check_replicas(raw, around, problems);
    let source_lag_max = optional_duration(&raw.source_lag_max, problems);
    let apply_lag_max = check_apply_lag(raw, around, problems);
    let hours = match &raw.hours {
        Entry::Given(text, place) => check_hours(text, place, problems).map(Some),
        Entry::Absent => Some(None),
        Entry::Wrong => None,
    };
    Some(ThrottleLimits {
        rows_per_second_max: rows_per_second_max?.and_then(NonZeroU64::new),
        running_max: running_max?,
        history_max: history_max?,
        query: query?,
        file: file?,
        replicas: replicas?,
        source_lag_max: source_lag_max?,
        apply_lag_max: apply_lag_max?,
        hours: hours?,
    })
}

fn check_query(raw: &RawThrottle, problems: &mut Problems) -> Option<Option<(String, f64)>> {
    let query_max = number::<u32>(&raw.query_max, 0, 0..=i128::from(u32::MAX), problems);
    match (&raw.query, &raw.query_max) {
        (Entry::Given(query, _), _) => Some(Some((query.clone(), f64::from(query_max?)))),
        (Entry::Absent, Entry::Given(_, place)) => {
            problems.add(place, "a limit without a query", "add query = \"SELECT …\", or leave query_max out");
            None
        }
        (Entry::Absent, Entry::Absent | Entry::Wrong) => Some(None),
        (Entry::Wrong, _) => None,
    }
}

fn check_replicas(raw: &RawThrottle, around: &Around<'_>, problems: &mut Problems) -> Option<Option<ReplicaLimits>> {
    let lag_max = lag(&raw.replica_lag_max, "10s", problems);
    let read = around.source.and_then(|source| source.read.as_ref());
    let none = Vec::new();
    let (urls, place) = match (&raw.replicas, &raw.replica_lag_max) {
        (Entry::Given(urls, place), _) => (urls, place),
        (Entry::Absent, Entry::Given(_, place)) if read.is_none() => {
            let remedy = "add replicas = [\"mysql://ACCOUNT@HOST:PORT\"], or leave replica_lag_max out";
            problems.add(place, "a limit without replicas", remedy);
            return None;
        }
        (Entry::Absent, _) => (&none, &Place::default()),
        (Entry::Wrong, _) => return None,
    };
    if urls.is_empty() && read.is_none() {
        return Some(None);
    }
    // What is wrong with the source is told there.
    let source = &around.source?.endpoint;
    let replicas: Vec<Option<Endpoint>> = urls.iter().map(|url| replica_of(source, url, place, problems)).collect();
    let mut replicas = replicas.into_iter().collect::<Option<Vec<_>>>()?;
    // A window stays open until what is read there has come to where it was opened.
    replicas.extend(read.filter(|read| !replicas.iter().any(|other| is_same_server(other, read))).cloned());
    Some(Some(ReplicaLimits { replicas, lag_max: lag_max? }))
}

fn check_apply_lag(raw: &RawThrottle, around: &Around<'_>, problems: &mut Problems) -> Option<Option<Duration>> {
    let lag_max = optional_duration(&raw.apply_lag_max, problems);
    let Entry::Given(_, place) = &raw.apply_lag_max else { return lag_max };
    if !around.has_log {
        let remedy = "leave it out: without [log] what is captured is written at once, and source_lag_max covers it";
        problems.add(place, "there is no log that apply could be behind", remedy);
        return None;
    }
    if !around.has_target {
        problems.add(place, "the target knows how far apply is, and there is none", "add [target] with url");
        return None;
    }
    lag_max
}

/// `22:00-06:00`, more behind commas, then a zone.
fn check_hours(text: &str, place: &Place, problems: &mut Problems) -> Option<Hours> {
    let mut words = text.split_whitespace();
    let spans = words.next().and_then(|spans| spans.split(',').map(parse_span).collect::<Option<Vec<_>>>());
    let zone = match words.next() {
        None | Some("UTC") => Some(0),
        Some(zone) => zone_minutes(zone),
    };
    match (spans, zone, words.next()) {
        (Some(spans), Some(minutes_ahead), None) => Some(Hours { spans, minutes_ahead, text: text.trim().to_owned() }),
        _ => {
            let remedy = "write when copies may run, in UTC or behind it the zone, as in \"22:00-06:00\" or \"22:00-06:00,12:00-13:30 +01:00\"";
            problems.add(place, format!("{} are no hours", quoted(text)), remedy);
            None
        }
    }
}

fn parse_span(text: &str) -> Option<[u16; 2]> {
    let (from, until) = text.split_once('-')?;
    let span = [parse_minute(from)?, parse_minute(until)?];
    (span[0] != span[1] && span[0] < Hours::DAY).then_some(span)
}

/// Minutes since midnight; a day ends at 24:00.
fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_plain = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(hour) || !is_plain(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= Hours::DAY).then_some(minutes)
}

/// The outer option is none after a problem, the inner one where the key is absent.
fn optional_duration(entry: &Entry<String>, problems: &mut Problems) -> Option<Option<Duration>> {
    match entry {
        Entry::Absent => Some(None),
        Entry::Given(..) | Entry::Wrong => lag(entry, "1s", problems).map(Some),
    }
}

/// It is looked at once a second.
fn lag(entry: &Entry<String>, default: &str, problems: &mut Problems) -> Option<Duration> {
    duration(entry, default, ["1s", "7d"], problems)
}

/// The outer option is none after a problem, the inner one where the key is absent.
fn optional_number(
    entry: &Entry<i128>,
    range: std::ops::RangeInclusive<i128>,
    problems: &mut Problems,
) -> Option<Option<u64>> {
    match entry {
        Entry::Absent => Some(None),
        Entry::Given(..) | Entry::Wrong => number(entry, 0, range, problems).map(Some),
    }
}
