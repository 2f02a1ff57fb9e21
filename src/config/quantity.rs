//! Durations and sizes as one types them: a whole number and a unit.

use std::time::Duration;

/// `250ms`, `10s`, `5m`, `12h`, `7d`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// `512B`, `64KiB`, `8MiB`, `1GiB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let check = |text: &str, milliseconds: Option<u64>| {
            assert_eq!(parse_duration(text), milliseconds.map(Duration::from_millis), "{text}");
        };
        check("250ms", Some(250));
        check("10s", Some(10_000));
        check("10 s", Some(10_000));
        check("5m", Some(300_000));
        check("12h", Some(43_200_000));
        check("7d", Some(604_800_000));
        check("0s", Some(0));
        for wrong in
            ["", "10", "s", "-1s", "1.5s", "10sec", "10S", "1h30m", "99999999999999999999s", "18446744073709551615d"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(parse_size(text), bytes, "{text}");
        check("512B", Some(512));
        check("64KiB", Some(65_536));
        check("8 MiB", Some(8_388_608));
        check("1GiB", Some(1_073_741_824));
        for wrong in ["", "8", "8MB", "8mib", "MiB", "-1B", "18446744073709551615KiB"] {
            check(wrong, None);
        }
    }
}
