//! Texts of numbers, JSON, dates and times brought to one exact form. Nothing is rounded and nothing is shared with the
//! product: digits stay digits, and what can't be read is an error of the test.

use anyhow::{Context, Result, bail, ensure};

/// A decimal number as `[-]digits e exponent`, without zeros at either end: equal exactly if the numbers (and the sign of a
/// zero) are.
pub(super) fn number(text: &str) -> Result<String> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().context("an exponent")?),
        None => (text, 0),
    };
    let (sign, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = format!("{whole}{fraction}");
    ensure!(!all.is_empty() && all.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no number");
    let significant = all.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return Ok(format!("{sign}0"));
    }
    let dropped = i64::try_from(significant.len() - digits.len()).context("few digits")?;
    let behind_point = i64::try_from(fraction.len()).context("few digits")?;
    Ok(format!("{sign}{digits}e{}", exponent - behind_point + dropped))
}

/// A time of day or a duration in microseconds: `[-]H…:MM:SS[.f…]`.
pub(super) fn time_micros(text: &str) -> Result<i64> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let parts: Vec<&str> = unsigned.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { bail!("{text:?} is no time") };
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    ensure!(fraction.len() <= 6, "{text:?} is finer than a microsecond");
    let whole = |digits: &str| digits.parse::<i64>().with_context(|| format!("{text:?} is no time"));
    let micros = whole(&format!("{fraction:0<6}"))?;
    Ok(sign * (((whole(hours)? * 60 + whole(minutes)?) * 60 + whole(seconds)?) * 1_000_000 + micros))
}

/// A day as `year-month-day`, the year as astronomers count: PostgreSQL's year 1 BC is MySQL's year 0000.
pub(super) fn day(text: &str) -> Result<String> {
    let (text, is_before_christ) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { bail!("{text:?} is no day") };
    ensure!(month.len() == 2 && day.len() == 2, "{text:?} is no day");
    let year: i64 = year.parse().context("a year")?;
    Ok(format!("{}-{month}-{day}", if is_before_christ { 1 - year } else { year }))
}

/// A wall clock: day and microseconds of the day.
pub(super) fn day_and_time(text: &str) -> Result<String> {
    let (text, suffix) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, " BC"),
        None => (text, ""),
    };
    let (date, time) = text.split_once(' ').with_context(|| format!("{text:?} is no day and time"))?;
    Ok(format!("{} {}", day(&format!("{date}{suffix}"))?, time_micros(time)?))
}

/// A geometry as MySQL stores it, in hex digits: four bytes of SRID, the lowest first, then well-known binary.
pub(super) fn stored_geometry(hex: &str) -> Result<String> {
    let (srid, wkb) = hex.split_at_checked(8).context("a geometry's SRID")?;
    let srid = u32::from_str_radix(srid, 16).context("an SRID")?.swap_bytes();
    Ok(format!("SRID {srid} {}", wkb.to_ascii_lowercase()))
}

/// A geometry as EWKB in hex digits, little-endian: a bit of the type says that an SRID follows it.
pub(super) fn ewkb(hex: &str) -> Result<String> {
    let hex = hex.to_ascii_lowercase();
    let (head, rest) = hex.split_at_checked(10).context("the type of a geometry")?;
    ensure!(head.starts_with("01"), "the geometry is not little-endian");
    let Some(kind) = head.strip_suffix("20") else { return Ok(format!("SRID 0 {hex}")) };
    let (srid, rest) = rest.split_at_checked(8).context("a geometry's SRID")?;
    let srid = u32::from_str_radix(srid, 16).context("an SRID")?.swap_bytes();
    Ok(format!("SRID {srid} {kind}00{rest}"))
}

/// Numbers of four bytes in hex digits, each with its bytes turned around.
pub(super) fn turned_around(hex: &str) -> Result<String> {
    ensure!(hex.len().is_multiple_of(8), "{} hex digits are no numbers of 32 bits", hex.len());
    let numbers = (0..hex.len()).step_by(8).map(|at| u32::from_str_radix(&hex[at..at + 8], 16));
    let turned = numbers.map(|number| Ok(format!("{:08x}", number?.swap_bytes())));
    turned.collect()
}

/// Whether a JSON number keeps its form: PostgreSQL's jsonb writes `1e2` as `100`, json keeps the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberForm {
    /// `1` and `1.0` differ: an integer and a double in MySQL.
    Kept,
    /// Only the number counts.
    Free,
}

/// A JSON text as a tree in one spelling: members ordered by name, numbers exact, texts unescaped.
pub(super) fn json(text: &str, form: NumberForm) -> Result<String> {
    let mut reader = JsonReader { rest: text, form };
    let tree = reader.value()?;
    reader.skip_blanks();
    ensure!(reader.rest.is_empty(), "JSON goes on behind its end");
    Ok(tree)
}

struct JsonReader<'a> {
    rest: &'a str,
    form: NumberForm,
}

impl JsonReader<'_> {
    fn value(&mut self) -> Result<String> {
        self.skip_blanks();
        for word in ["null", "true", "false"] {
            if self.take(word) {
                return Ok(word.to_owned());
            }
        }
        match self.rest.chars().next() {
            Some('"') => Ok(format!("{:?}", self.text()?)),
            Some('[') => self.array(),
            Some('{') => self.object(),
            Some('-' | '0'..='9') => self.number(),
            _ => bail!("no JSON value at {:?}", self.rest.chars().take(20).collect::<String>()),
        }
    }

    fn array(&mut self) -> Result<String> {
        let mut items = Vec::new();
        self.expect("[")?;
        self.skip_blanks();
        while !self.take("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value()?);
            self.skip_blanks();
        }
        Ok(format!("[{}]", items.join(",")))
    }

    fn object(&mut self) -> Result<String> {
        let mut members = Vec::new();
        self.expect("{")?;
        self.skip_blanks();
        while !self.take("}") {
            if !members.is_empty() {
                self.expect(",")?;
            }
            self.skip_blanks();
            let name = self.text()?;
            self.skip_blanks();
            self.expect(":")?;
            members.push(format!("{name:?}:{}", self.value()?));
            self.skip_blanks();
        }
        members.sort();
        Ok(format!("{{{}}}", members.join(",")))
    }

    fn number(&mut self) -> Result<String> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let is_whole = !text.contains(['.', 'e', 'E']);
        let mark = if is_whole && self.form == NumberForm::Kept { "i" } else { "" };
        Ok(format!("{}{mark}", number(text)?))
    }

    fn text(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let mut chars = self.rest.chars();
            let next = chars.next().context("a JSON text has no end")?;
            self.rest = chars.as_str();
            match next {
                '"' => return String::from_utf16(&units).context("a JSON text of half characters"),
                '\\' => units.push(self.escape()?),
                other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escape(&mut self) -> Result<u16> {
        let mut chars = self.rest.chars();
        let kind = chars.next().context("a JSON text has no end")?;
        self.rest = chars.as_str();
        let plain = match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let digits = self.rest.get(..4).context("an escape is too short")?;
                self.rest = &self.rest[4..];
                return u16::from_str_radix(digits, 16).context("an escape");
            }
            other => bail!("unknown escape {other:?}"),
        };
        u16::try_from(u32::from(plain)).context("a short escape")
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        ensure!(self.take(word), "{word:?} expected in JSON");
        Ok(())
    }
}

#[test]
fn equal_values_have_one_form_and_others_do_not() {
    for (one, other, is_equal) in [
        ("1.50", "1.5", true),
        ("0.10", "1e-1", true),
        ("100", "1E+2", true),
        ("1", "1.0000000000000000000000000001", false),
        ("-0.0", "0", false),
        ("18446744073709551615", "18446744073709551616", false),
    ] {
        assert_eq!(number(one).unwrap() == number(other).unwrap(), is_equal, "{one} {other}");
    }
    assert_eq!(stored_geometry("110F000001010000007F").unwrap(), ewkb("0101000020110f00007f").unwrap());
    assert_ne!(stored_geometry("0000000001010000007F").unwrap(), ewkb("0101000020110f00007f").unwrap());
    assert_eq!(turned_around("3f80000080000000").unwrap(), "0000803f00000080");
    for bad in ["", "-", ".", "abc", "1 2", "Infinity"] {
        assert!(number(bad).is_err(), "{bad}");
    }
    assert_eq!(time_micros("-838:59:59.5").unwrap(), -3_020_399_500_000);
    assert_ne!(time_micros("-00:00:00.000001").unwrap(), time_micros("00:00:00").unwrap());
    assert_eq!(day("0000-01-01").unwrap(), day("0001-01-01 BC").unwrap());
    assert_eq!(day_and_time("2024-02-29 12:34:56.10").unwrap(), day_and_time("2024-02-29 12:34:56.1").unwrap());
}

#[test]
fn json_is_compared_as_a_tree() {
    let kept = |text: &str| json(text, NumberForm::Kept).unwrap();
    assert_eq!(kept(r#"{"a": 1, "b": [true, null]}"#), kept(r#"{"b":[true,null],"a":1}"#));
    assert_eq!(kept(r#""é😀\n""#), kept(r#""\u00e9\ud83d\ude00\u000a""#));
    assert_ne!(kept("1"), kept("1.0"));
    assert_eq!(json("1", NumberForm::Free).unwrap(), json("1.0", NumberForm::Free).unwrap());
    assert_ne!(kept("[1, 2]"), kept("[2, 1]"));
    assert_ne!(kept("0.1"), kept("0.10000000000000001"));
    for bad in ["", "[1", "{\"a\"}", "1 2", "nul", "\"\\x\""] {
        assert!(json(bad, NumberForm::Kept).is_err(), "{bad}");
    }
}
