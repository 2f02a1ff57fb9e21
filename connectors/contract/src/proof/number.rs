//! Numbers by their exact decimal digits: nothing is rounded, whatever their length.

/// What becomes of the sign of a zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroSign {
    /// -0 is 0: no decimal type has two zeros.
    Dropped,
    /// -0 differs from 0, as in a JSON text.
    Kept,
}

/// More digits of an exponent than these are no number of any database.
const EXPONENT_DIGITS_MAX: usize = 9;

/// Appends `[-]digits e exponent` without zeros at either end: equal exactly if the numbers are. None if it reads unlike
/// `[+-]digits[.digits][e[+-]digits]`; what was appended by then is the caller's to forget.
pub(super) fn write(text: &[u8], zero: ZeroSign, out: &mut Vec<u8>) -> Option<()> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (is_negative, unsigned) = match mantissa {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (whole, fraction) = match unsigned.iter().position(|byte| *byte == b'.') {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    if !is_digits(whole) || !fraction.is_none_or(is_digits) {
        return None;
    }
    let fraction = fraction.unwrap_or_default();
    let start = out.len();
    if is_negative {
        out.push(b'-');
    }
    let digits_start = out.len();
    let significant = whole.iter().chain(fraction).skip_while(|digit| **digit == b'0');
    out.extend(significant);
    let written = out.len();
    while out.len() > digits_start && out.last() == Some(&b'0') {
        out.pop();
    }
    if out.len() == digits_start {
        if zero == ZeroSign::Dropped {
            out.truncate(start);
        }
        out.push(b'0');
        return Some(());
    }
    let dropped = i64::try_from(written - out.len()).ok()?;
    let behind_point = i64::try_from(fraction.len()).ok()?;
    out.push(b'e');
    write_integer(exponent - behind_point + dropped, out);
    Some(())
}

pub(super) fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    let is_short = is_digits(digits) && digits.len() <= EXPONENT_DIGITS_MAX;
    is_short.then(|| sign * digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

fn write_integer(number: i64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    write!(out, "{number}").expect("invariant: writing to a Vec can't fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str, zero: ZeroSign) -> Option<String> {
        let mut out = Vec::new();
        write(text.as_bytes(), zero, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_number_has_one_form() {
        for same in [
            &["1", "1.0", "1.000", "001", "+1", "10e-1", "0.1e1", "0.1E+1"][..],
            &["-1200", "-1.2e3", "-12e2", "-0001200.00"],
            &["0", "-0", "0.000", "-0.00", "0e9", "000"],
            &["0.00001", "1e-5", "1e-05", "0.000010"],
            &["18446744073709551616.0000000001", "184467440737095516160000000001e-10"],
        ] {
            let forms: Vec<_> = same.iter().map(|text| form(text, ZeroSign::Dropped).unwrap()).collect();
            assert!(forms.iter().all(|form| *form == forms[0]), "{same:?}: {forms:?}");
        }
        assert_ne!(form("-0.0", ZeroSign::Kept), form("0.0", ZeroSign::Kept));
        assert_ne!(form("1.10", ZeroSign::Dropped), form("1.0", ZeroSign::Dropped));
        assert_ne!(form("10", ZeroSign::Dropped), form("1", ZeroSign::Dropped));
        assert_ne!(form("-1", ZeroSign::Dropped), form("1", ZeroSign::Dropped));
    }

    #[test]
    fn what_is_no_number_has_none() {
        for text in
            ["", "-", ".5", "5.", "1e", "1e+", "1.2.3", "0x10", " 1", "1 ", "NaN", "Infinity", "--1", "1e1234567890"]
        {
            assert_eq!(form(text, ZeroSign::Kept), None, "{text}");
        }
    }
}
