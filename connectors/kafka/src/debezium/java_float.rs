//! Floating-point numbers as Java prints them since version 19 (JDK-4511638), which is what Jackson writes.
//!
//! The fewest digits that name the number, but at least two; plain from 10^-3 to below 10^7, else with `E`. Both forms parse
//! back to the same bits. It does not know infinity and NaN: those are no JSON numbers, see `exact`.

use std::io::Write as _;

/// Appends a finite DOUBLE.
pub(super) fn write_f64(out: &mut Vec<u8>, number: f64) {
    debug_assert!(number.is_finite());
    let mut text = Digits::default();
    write!(text, "{number:e}").expect("invariant: 17 digits and an exponent fit");
    if text.is_single_digit() {
        // Of the two-digit forms Java takes the one nearest to the number, not the one ending in zero: 4.9E-324.
        let mut nearest = Digits::default();
        write!(nearest, "{number:.1e}").expect("invariant: two digits and an exponent fit");
        if nearest.as_str().parse() == Ok(number) {
            text = nearest;
        }
    }
    lay_out(out, text.as_str());
}

/// Appends a finite FLOAT.
pub(super) fn write_f32(out: &mut Vec<u8>, number: f32) {
    debug_assert!(number.is_finite());
    let mut text = Digits::default();
    write!(text, "{number:e}").expect("invariant: 9 digits and an exponent fit");
    if text.is_single_digit() {
        let mut nearest = Digits::default();
        write!(nearest, "{number:.1e}").expect("invariant: two digits and an exponent fit");
        if nearest.as_str().parse() == Ok(number) {
            text = nearest;
        }
    }
    lay_out(out, text.as_str());
}

/// A small buffer for `-d.ddde-ddd`, so that a number costs no allocation.
#[derive(Default)]
struct Digits {
    bytes: [u8; 32],
    length: usize,
}

impl Digits {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("invariant: only ASCII is written")
    }

    fn is_single_digit(&self) -> bool {
        !self.bytes[..self.length].contains(&b'.')
    }
}

impl std::io::Write for Digits {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        let length = (&mut self.bytes[self.length..]).write(part)?;
        self.length += length;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Turns `-d.ddde-ddd` into Java's layout.
fn lay_out(out: &mut Vec<u8>, scientific: &str) {
    let (sign, rest) = scientific.strip_prefix('-').map_or(("", scientific), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once('e').expect("invariant: the format has an exponent");
    let (first, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent_number: i32 = exponent.parse().expect("invariant: the exponent is a number");
    out.extend_from_slice(sign.as_bytes());
    match exponent_number {
        1..=6 => {
            let places = usize::try_from(exponent_number).expect("invariant: the match says so");
            let digits = fraction.as_bytes();
            out.extend_from_slice(first.as_bytes());
            out.extend((0..places).map(|place| digits.get(place).copied().unwrap_or(b'0')));
            out.push(b'.');
            out.extend_from_slice(digits.get(places..).filter(|rest| !rest.is_empty()).unwrap_or(b"0"));
        }
        -3..=-1 => {
            out.extend_from_slice(b"0.");
            out.extend((1..-exponent_number).map(|_| b'0'));
            out.extend_from_slice(first.as_bytes());
            // A lone zero behind the point is the format's, not the number's.
            out.extend_from_slice(if fraction == "0" { b"" } else { fraction.as_bytes() });
        }
        _ => {
            out.extend_from_slice(first.as_bytes());
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
            if exponent_number != 0 {
                out.push(b'E');
                out.extend_from_slice(exponent.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text64(number: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    fn text32(number: f32) -> String {
        let mut out = Vec::new();
        write_f32(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_in_java() {
        for (number, expect) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (10.0, "10.0"),
            (123.456, "123.456"),
            (1.6777217E7, "1.6777217E7"),
            (9_999_999.0, "9999999.0"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (1e21, "1.0E21"),
            (1e23, "1.0E23"),
            (2e23, "2.0E23"),
            (1e-3, "0.001"),
            (1.5e-3, "0.0015"),
            (0.012_345, "0.012345"),
            (0.1, "0.1"),
            (1e-4, "1.0E-4"),
            (-2.5e-10, "-2.5E-10"),
            (5e-324, "4.9E-324"),
            (1e-323, "9.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (1.0 / 3.0, "0.3333333333333333"),
            (std::f64::consts::PI, "3.141592653589793"),
        ] {
            assert_eq!(text64(number), expect);
        }
    }

    #[test]
    fn floats_print_as_in_java() {
        for (number, expect) in [
            (f32::MAX, "3.4028235E38"),
            // Java before 19 printed a digit too many here: 1.17549435E-38.
            (f32::MIN_POSITIVE, "1.1754944E-38"),
            (f32::from_bits(1), "1.4E-45"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (16_777_216.0, "1.6777216E7"),
            (123_456.7, "123456.7"),
            (1.5e-5, "1.5E-5"),
        ] {
            assert_eq!(text32(number), expect);
        }
    }

    #[test]
    fn every_number_returns() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let double = f64::from_bits(bits ^ bits >> 29);
            if double.is_finite() {
                assert_eq!(text64(double).parse::<f64>().unwrap().to_bits(), double.to_bits());
            }
            #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
            let float = f32::from_bits((bits >> 20) as u32);
            if float.is_finite() {
                assert_eq!(text32(float).parse::<f32>().unwrap().to_bits(), float.to_bits());
            }
        }
    }
}
