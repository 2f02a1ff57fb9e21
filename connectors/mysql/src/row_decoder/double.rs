//! Doubles as the server prints them inside JSON.
//!
//! The shortest digits that return the same double; plain notation while the decimal point stands within 15 places of the
//! first digit, else an exponent without plus sign or padding; a whole number keeps `.0`.

use std::io::Write as _;

const PLAIN_PLACES_MAX: i32 = 15;

/// Appends the text of a finite double. JSON holds no others.
pub(super) fn write(number: f64, out: &mut Vec<u8>) {
    // Rust's scientific form has the shortest digits: `-1.2345e-7`.
    let mut scientific = [0; 40];
    let mut rest = &mut scientific[..];
    write!(rest, "{number:e}").expect("invariant: a double has at most 24 characters");
    let length = 40 - rest.len();
    let text = std::str::from_utf8(&scientific[..length]).expect("invariant: numbers are ASCII");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    out.extend_from_slice(sign.as_bytes());
    let digits = mantissa.bytes().filter(|byte| *byte != b'.');
    // Where the point stands, counted from before the first digit.
    let point = exponent + 1;
    if number == 0.0 || (1 - PLAIN_PLACES_MAX..=PLAIN_PLACES_MAX).contains(&point) {
        plain(digits, point, out);
    } else {
        out.extend_from_slice(mantissa.as_bytes());
        write!(out, "e{exponent}").expect("invariant: writing to a Vec can't fail");
    }
}

fn plain(digits: impl Iterator<Item = u8>, point: i32, out: &mut Vec<u8>) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        (point..0).for_each(|_| out.push(b'0'));
        out.extend(digits);
        return;
    }
    let mut places = 0;
    for digit in digits {
        if places == point {
            out.push(b'.');
        }
        out.push(digit);
        places += 1;
    }
    (places..point).for_each(|_| out.push(b'0'));
    if places <= point {
        out.extend_from_slice(b".0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (number, expect) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (123.456, "123.456"),
            (0.1, "0.1"),
            (0.00001, "0.00001"),
        ] {
            let mut out = Vec::new();
            write(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }
}
