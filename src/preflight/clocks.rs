//! Whether a server's clock agrees with ours: lag is told by comparing the two, and a wrong clock makes it a wrong figure.

use std::time::{Duration, Instant, SystemTime};

use tailrace_contract::{Problem, Result, Severity};

use super::Place;

/// Clocks that are set by the network differ by far less; lag is told in seconds.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// Asks a server for its time. One that does not tell is no problem of its clock.
pub(super) async fn check(place: Place, clock: impl Future<Output = Result<Option<SystemTime>>>) -> Option<Problem> {
    let (asked_at, since) = (SystemTime::now(), Instant::now());
    let theirs = clock.await.ok()??;
    skew(place, asked_at..asked_at + since.elapsed(), theirs)
}

/// The server looked at its clock at some moment of ours within `asked`: only what lies outside it counts.
fn skew(place: Place, asked: std::ops::Range<SystemTime>, theirs: SystemTime) -> Option<Problem> {
    let ahead = theirs.duration_since(asked.end).unwrap_or_default();
    let behind = asked.start.duration_since(theirs).unwrap_or_default();
    let found = match () {
        () if ahead > SKEW_MAX => format!("{} s ahead of this machine's", ahead.as_secs()),
        () if behind > SKEW_MAX => format!("{} s behind this machine's", behind.as_secs()),
        () => return None,
    };
    Some(Problem {
        code: "clock_skew",
        severity: Severity::Warning,
        object: format!("clock of the {}'s server", place.name()),
        found,
        needed: format!("at most {} s apart: lag is told by comparing clocks", SKEW_MAX.as_secs()),
        mend: Some("let the network set the clocks of both machines: systemctl enable --now chrony".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_not_be_delay_is_skew() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let check = |theirs, expect: Option<&str>| {
            // The question took from second 100 to second 110.
            let found = skew(Place::Source, at(100)..at(110), at(theirs)).map(|problem| problem.found);
            assert_eq!(found.as_deref(), expect, "{theirs}");
        };
        check(105, None);
        check(95, None);
        check(115, None);
        check(94, Some("6 s behind this machine's"));
        check(116, Some("6 s ahead of this machine's"));
    }
}
