//! DECIMAL in the protocol: its digits as text, all of those behind the point.

use num_bigint::BigInt;
use tailrace_row::Decimal;

use crate::protocol::Malformed;

const BAD: Malformed = Malformed::new("DECIMAL");

/// Digits that fit into 64 and 128 bits with a sign.
const SMALL_DIGITS_MAX: usize = 18;
const WIDE_DIGITS_MAX: usize = 38;

/// Hands the number to `take`, in the form that the binlog's decoder gives it.
#[inline]
pub(super) fn decode<T>(text: &[u8], scale: u8, take: impl FnOnce(Decimal<'_>) -> T) -> Result<T, Malformed> {
    let (is_negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let scale_digits = usize::from(scale);
    let point = unsigned.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
        None => (unsigned, &[][..]),
    };
    let digits = whole.len() + fraction.len();
    let is_number = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !is_number || digits == 0 || fraction.len() != scale_digits {
        return Err(BAD);
    }
    let figures = whole.iter().chain(fraction).map(|figure| figure - b'0');
    if digits <= SMALL_DIGITS_MAX {
        let magnitude = figures.fold(0, |number: i64, figure| number * 10 + i64::from(figure));
        let number = if is_negative { -magnitude } else { magnitude };
        let repeated = (number ^ number >> 63).leading_zeros() as usize;
        return Ok(take(Decimal { unscaled: &number.to_be_bytes()[(repeated - 1) / 8..], scale }));
    }
    if digits <= WIDE_DIGITS_MAX {
        let magnitude = figures.fold(0, |number: i128, figure| number * 10 + i128::from(figure));
        let number = if is_negative { -magnitude } else { magnitude };
        let repeated = (number ^ number >> 127).leading_zeros() as usize;
        return Ok(take(Decimal { unscaled: &number.to_be_bytes()[(repeated - 1) / 8..], scale }));
    }
    let figures: Vec<u8> = figures.collect();
    let magnitude = BigInt::from_radix_be(num_bigint::Sign::Plus, &figures, 10).ok_or(BAD)?;
    let number = if is_negative { -magnitude } else { magnitude };
    Ok(take(Decimal { unscaled: &number.to_signed_bytes_be(), scale }))
}

/// The number as a literal.
pub(super) fn literal(number: Decimal<'_>) -> String {
    let digits = BigInt::from_signed_bytes_be(number.unscaled).to_string();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", &*digits),
    };
    let scale = usize::from(number.scale);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, scale: u8, expect: Option<&[u8]>) {
        let decoded = decode(text.as_bytes(), scale, |number| (number.unscaled.to_vec(), number.scale));
        assert_eq!(decoded.ok(), expect.map(|bytes| (bytes.to_vec(), scale)), "{text}");
    }

    #[test]
    fn digits_become_numbers_and_literals_again() {
        check("0", 0, Some(&[0]));
        check("-0.00", 2, Some(&[0]));
        check("0.01", 2, Some(&[1]));
        check("-1.28", 2, Some(&[0x80]));
        check("00127", 0, Some(&[127]));
        check("128", 0, Some(&[0, 128]));
        check(".5", 1, Some(&[5]));
        for bad in ["", "-", ".", "1.5", "a", "1.2.3", "+1"] {
            check(bad, 0, None);
        }
        for text in [
            "0",
            "-1",
            "99999999999999999",
            "-999999999999999999",
            "9999999999999999999",
            "-99999999999999999999999999999999999999",
            "999999999999999999999999999999999999999",
            "-99999999999999999999999999999999999999999999999999999999999999999",
        ] {
            assert_eq!(decode(text.as_bytes(), 0, literal).unwrap(), text);
            let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
            let scaled = format!("{sign}0.{digits:0>30}");
            if digits.len() <= 30 {
                assert_eq!(decode(scaled.as_bytes(), 30, literal).unwrap(), scaled);
            }
        }
    }
}
