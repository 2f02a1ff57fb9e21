//! Single values judged: numbers, durations and sizes in their ranges, words out of a list. Defaults and bounds are written
//! as one would type them.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    document::Entry,
    keys::Section,
    nearest::nearest,
    problem::{Place, Problems},
    quantity::{parse_duration, parse_size},
};

/// The value; absent or wrong becomes none, without a word.
pub(super) fn given<T>(entry: &Entry<T>) -> Option<(&T, &Place)> {
    match entry {
        Entry::Given(value, place) => Some((value, place)),
        Entry::Absent | Entry::Wrong => None,
    }
}

/// The value of a key that must be there. `why` follows the line to add.
pub(super) fn required<'e, T>(
    entry: &'e Entry<T>,
    (section, place): (&'static Section, &Place),
    (name, why): (&str, &str),
    problems: &mut Problems,
) -> Option<(&'e T, &'e Place)> {
    if matches!(entry, Entry::Absent) {
        let key = section.key(name).expect("invariant: only listed keys are required");
        problems.add_absent(&place.below(name), "missing", format!("add {name} = {}{why}", key.example));
    }
    given(entry)
}

/// A whole number, or its default.
pub(super) fn number<T: TryFrom<i128>>(
    entry: &Entry<i128>,
    default: T,
    range: RangeInclusive<i128>,
    problems: &mut Problems,
) -> Option<T> {
    let (number, place) = match entry {
        Entry::Given(number, place) => (*number, place),
        Entry::Absent => return Some(default),
        Entry::Wrong => return None,
    };
    if range.contains(&number) {
        return Some(T::try_from(number).ok().expect("invariant: the range fits the type"));
    }
    problems.add(place, "out of range", format!("use a number from {} to {}", range.start(), range.end()));
    None
}

/// A duration, or its default.
pub(super) fn duration(
    entry: &Entry<String>,
    default: &str,
    bounds: [&str; 2],
    problems: &mut Problems,
) -> Option<Duration> {
    let written = "write a whole number and ms, s, m, h or d, as in \"10s\"";
    quantity(entry, default, bounds, (parse_duration, "no duration", written), problems)
}

/// A size in bytes, or its default.
pub(super) fn size(entry: &Entry<String>, default: &str, bounds: [&str; 2], problems: &mut Problems) -> Option<usize> {
    let written = "write a whole number and B, KiB, MiB or GiB, as in \"8MiB\"";
    let bytes = quantity(entry, default, bounds, (parse_size, "no size", written), problems)?;
    Some(usize::try_from(bytes).expect("invariant: the bounds fit the type"))
}

type Parser<T> = (fn(&str) -> Option<T>, &'static str, &'static str);

fn quantity<T: PartialOrd>(
    entry: &Entry<String>,
    default: &str,
    [low, high]: [&str; 2],
    (parse, fault, remedy): Parser<T>,
    problems: &mut Problems,
) -> Option<T> {
    let known = |text: &str| parse(text).expect("invariant: defaults and bounds are well written");
    let (text, place) = match entry {
        Entry::Given(text, place) => (text, place),
        Entry::Absent => return Some(known(default)),
        Entry::Wrong => return None,
    };
    match parse(text) {
        Some(value) if value >= known(low) && value <= known(high) => return Some(value),
        Some(_) => problems.add(place, "out of range", format!("use {low} to {high}")),
        None => problems.add(place, format!("{} is {fault}", quoted(text)), remedy),
    }
    None
}

/// One word of a list.
pub(super) fn choice<T: Copy>(text: &str, place: &Place, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let remedy = match nearest(text, known.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("use {}", list(&known)),
    };
    problems.add(place, format!("{} is not known here", quoted(text)), remedy);
    None
}

/// One word of a list, or the list's first.
pub(super) fn choice_or_first<T: Copy>(
    entry: &Entry<String>,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    match entry {
        Entry::Given(text, place) => choice(text, place, words, problems),
        Entry::Absent => words.first().map(|(_, value)| *value),
        Entry::Wrong => None,
    }
}

/// A typed text as a problem shows it.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        words => words.join(", "),
    }
}
