//! GTIDs and sets as the server writes and takes them: `uuid:1-5:7:tag:1-3,uuid:…`.

use std::fmt;

use uuid::Uuid;

use super::{Gtid, GtidSet, NUMBER_MAX, Origin, Tag};

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin.uuid)?;
        if !self.origin.tag.is_empty() {
            write!(f, ":{}", self.origin.tag.as_str())?;
        }
        write!(f, ":{}", self.number)
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last: Option<Uuid> = None;
        for (origin, intervals) in &self.origins {
            if last != Some(origin.uuid) {
                f.write_str(if last.is_some() { "," } else { "" })?;
                write!(f, "{}", origin.uuid)?;
                last = Some(origin.uuid);
            }
            if !origin.tag.is_empty() {
                write!(f, ":{}", origin.tag.as_str())?;
            }
            for (start, end) in &intervals.0 {
                match end - start {
                    1 => write!(f, ":{start}")?,
                    _ => write!(f, ":{start}-{}", end - 1)?,
                }
            }
        }
        Ok(())
    }
}

/// Why a text is no GTID set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GtidParseError {
    part: String,
}

impl GtidParseError {
    fn new(part: &str) -> Self {
        Self { part: part.chars().take(80).collect() }
    }
}

impl fmt::Display for GtidParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no part of a GTID set, which looks like 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7",
            self.part
        )
    }
}

impl std::error::Error for GtidParseError {}

impl std::str::FromStr for Gtid {
    type Err = GtidParseError;

    fn from_str(text: &str) -> Result<Self, GtidParseError> {
        let parse = || {
            let (origin, number) = text.rsplit_once(':')?;
            let (uuid, tag) = match origin.split_once(':') {
                Some((uuid, tag)) => (uuid, Tag::new(tag)?),
                None => (origin, Tag::default()),
            };
            let number = number.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number))?;
            Some(Self { origin: Origin { uuid: parse_uuid(uuid)?, tag }, number })
        };
        parse().ok_or_else(|| GtidParseError::new(text))
    }
}

impl std::str::FromStr for GtidSet {
    type Err = GtidParseError;

    fn from_str(text: &str) -> Result<Self, GtidParseError> {
        let mut set = Self::new();
        for server in text.split(',') {
            let mut parts = server.split(':').map(str::trim);
            let first = parts.next().unwrap_or_default();
            // The server itself writes and takes an empty set, a comma at the end and line breaks.
            if first.is_empty() && parts.clone().next().is_none() {
                continue;
            }
            let uuid = parse_uuid(first).ok_or_else(|| GtidParseError::new(first))?;
            let mut origin = Origin { uuid, tag: Tag::default() };
            for part in parts {
                match part.bytes().next() {
                    Some(b'0'..=b'9') => {
                        let (start, end) = parse_interval(part).ok_or_else(|| GtidParseError::new(part))?;
                        set.add_interval(origin, start, end);
                    }
                    Some(_) => origin.tag = Tag::new(part).ok_or_else(|| GtidParseError::new(part))?,
                    None => return Err(GtidParseError::new(server)),
                }
            }
        }
        Ok(set)
    }
}

/// Only the two forms that the server takes: 32 digits, with hyphens or without.
fn parse_uuid(text: &str) -> Option<Uuid> {
    matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

fn parse_interval(text: &str) -> Option<(u64, u64)> {
    let (start, last) = text.split_once('-').map_or((text, text), |(start, last)| (start.trim(), last.trim()));
    let (start, last): (u64, u64) = (start.parse().ok()?, last.parse().ok()?);
    (1 <= start && start <= last && last <= NUMBER_MAX).then(|| (start, last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "6fb8b52e-e699-11f1-93b3-02fc00000001";

    fn check(text: &str, expect: &str) {
        assert_eq!(text.parse::<GtidSet>().unwrap().to_string(), expect);
    }

    #[test]
    fn sets_are_read_as_the_server_reads_them() {
        check("", "");
        check(&format!("{A}:1"), &format!("{A}:1"));
        check(&format!(" {B}:5-7:1-4 ,\n{A}:2:1 "), &format!("{A}:1-2,{B}:1-7"));
        check(&format!("{}:1", A.to_uppercase()), &format!("{A}:1"));
        check(&format!("{}:1", A.replace('-', "")), &format!("{A}:1"));
        check(&format!("{A}:1-3:Blue:1-2:4:red:9,{A}:4"), &format!("{A}:1-4:blue:1-2:4:red:9"));
        check(&format!("{A}:1,"), &format!("{A}:1"));
    }

    #[test]
    fn everything_else_is_refused() {
        let bad = [
            "x",
            ":1",
            "binlog.000001:4",
            &format!("{A}:0"),
            &format!("{A}:3-1"),
            &format!("{A}:1-"),
            &format!("{A}::1"),
            &format!("{A}:9223372036854775807"),
            &format!("{A}:1x"),
            &format!("{A}:a-b:1"),
            &format!("{{{A}}}:1"),
        ];
        for text in bad {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }
}
