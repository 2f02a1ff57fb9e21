//! Doubles as the server prints them inside JSON.
//!
//! The shortest digits that return the same double; plain notation while the decimal point stands within 15 places of the
//! first digit or between two digits, else an exponent without plus sign or padding; a whole number keeps `.0`.

use std::io::Write as _;

const PLAIN_PLACES_MAX: i32 = 15;

/// Appends the text of a finite double. JSON holds no others.
pub(super) fn write(number: f64, out: &mut Vec<u8>) {
    let mut buffer = Scientific::default();
    let text = buffer.shortest(number);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    out.extend_from_slice(sign.as_bytes());
    let digits = mantissa.bytes().filter(|byte| *byte != b'.');
    // Where the point stands, counted from before the first digit.
    let point = exponent + 1;
    let is_near = (1 - PLAIN_PLACES_MAX..=PLAIN_PLACES_MAX).contains(&point);
    // Digits behind the point are worth showing even if it stands a place further right.
    let has_fraction = usize::try_from(point).is_ok_and(|places| mantissa.len() > places + 1);
    if number == 0.0 || is_near || has_fraction {
        plain(digits, point, out);
    } else {
        out.extend_from_slice(mantissa.as_bytes());
        write!(out, "e{exponent}").expect("invariant: writing to a Vec can't fail");
    }
}

/// A double as `-1.2345e-7`, without allocation.
#[derive(Default)]
struct Scientific {
    bytes: [u8; Self::BYTES_MAX],
}

impl Scientific {
    /// Sign, 17 digits, point, `e-324`.
    const BYTES_MAX: usize = 32;

    /// The shortest digits that return the number. Two of one length can be equally near: Rust then takes the upper one, the
    /// server the even one. They have 15 digits at least, because shorter decimals stand for different doubles.
    fn shortest(&mut self, number: f64) -> &str {
        let length = self.print(format_args!("{number:e}"));
        let digits =
            self.bytes[..length].iter().take_while(|byte| **byte != b'e').filter(|byte| byte.is_ascii_digit()).count();
        if digits < 15 {
            return self.text(length);
        }
        let mut nearest = Self::default();
        let nearest_length = nearest.print(format_args!("{number:.*e}", digits - 1));
        if nearest.text(nearest_length).parse() == Ok(number) {
            *self = nearest;
            return self.text(nearest_length);
        }
        self.text(length)
    }

    fn print(&mut self, number: std::fmt::Arguments<'_>) -> usize {
        let mut rest = &mut self.bytes[..];
        rest.write_fmt(number).expect("invariant: a double has at most 24 characters");
        Self::BYTES_MAX - rest.len()
    }

    fn text(&self, length: usize) -> &str {
        std::str::from_utf8(&self.bytes[..length]).expect("invariant: numbers are ASCII")
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
            (-1_019_532_206_775_845.1, "-1019532206775845.1"),
            (1e15, "1e15"),
            (1e14, "100000000000000.0"),
            (-169_644_996_075_591.12, "-169644996075591.12"),
        ] {
            let mut out = Vec::new();
            write(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }
}
