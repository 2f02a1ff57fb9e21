//! The known word that a mistyped one probably meant.

/// The candidate with the fewest typing errors, if they are few enough for it to be meant. The first one wins a tie.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.to_lowercase().chars().take(LENGTH_MAX + 1).collect();
    if typed.len() > LENGTH_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&typed, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, candidate)| *distance <= errors_max(candidate.chars().count().max(typed.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// No word of ours is longer; a longer one is not compared.
const LENGTH_MAX: usize = 64;

/// How many typing errors a word of that length may have.
fn errors_max(length: usize) -> usize {
    (length / 3).max(1)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_typing_errors_are_forgiven() {
        let check = |typed: &str, expect: Option<&str>| {
            let known = ["url", "password", "server_id", "start", "heartbeat"];
            assert_eq!(nearest(typed, known), expect, "{typed}");
        };
        check("pasword", Some("password"));
        check("passwrod", Some("password"));
        check("serverid", Some("server_id"));
        check("server-id", Some("server_id"));
        check("URL", Some("url"));
        check("ulr", Some("url"));
        check("strat", Some("start"));
        check("hart_beat", Some("heartbeat"));
        check("x", None);
        check("", None);
        check("colour", None);
        check(&"password".repeat(20), None);
    }
}
