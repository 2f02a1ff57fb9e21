//! A decimal number digit for digit: its unscaled two's complement becomes text.

use tailrace_row::Decimal;

/// Nine decimal digits at a time.
const GROUP: u64 = 1_000_000_000;

/// Appends the number with as many digits behind the point as its scale says.
pub fn write(number: Decimal<'_>, out: &mut String) {
    let is_negative = number.unscaled[0] & 0x80 != 0;
    if is_negative {
        out.push('-');
    }
    let digits = match number.unscaled.len() {
        ..=8 => i64::from_be_bytes(widened(number.unscaled)).unsigned_abs().to_string(),
        _ => digits_of(magnitude(number.unscaled, is_negative)),
    };
    let scale = usize::from(number.scale);
    let leading = (scale + 1).saturating_sub(digits.len());
    let padded = digits.len() + leading;
    for (place, digit) in std::iter::repeat_n('0', leading).chain(digits.chars()).enumerate() {
        if scale > 0 && place == padded - scale {
            out.push('.');
        }
        out.push(digit);
    }
}

/// The same number in eight bytes.
fn widened(bytes: &[u8]) -> [u8; 8] {
    let mut wide = [if bytes[0] & 0x80 == 0 { 0 } else { 0xff }; 8];
    wide[8 - bytes.len()..].copy_from_slice(bytes);
    wide
}

/// The absolute value, in big-endian words.
fn magnitude(unscaled: &[u8], is_negative: bool) -> Vec<u32> {
    let sign = if is_negative { 0xff } else { 0 };
    let missing = unscaled.len().next_multiple_of(4) - unscaled.len();
    let bytes: Vec<u8> = std::iter::repeat_n(sign, missing).chain(unscaled.iter().copied()).collect();
    let mut words: Vec<u32> =
        bytes.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
    if is_negative {
        let mut carry = true;
        for word in words.iter_mut().rev() {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    words
}

/// Divides by nine digits at a time until nothing is left.
fn digits_of(mut words: Vec<u32>) -> String {
    let mut groups = Vec::new();
    while words.iter().any(|word| *word != 0) {
        let mut remainder = 0;
        for word in &mut words {
            let dividend = remainder << 32 | u64::from(*word);
            *word = u32::try_from(dividend / GROUP).expect("invariant: the remainder is below the divisor");
            remainder = dividend % GROUP;
        }
        groups.push(remainder);
    }
    let mut digits = groups.pop().unwrap_or(0).to_string();
    for group in groups.into_iter().rev() {
        digits.push_str(&format!("{group:09}"));
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unscaled: &[u8], scale: u8, expect: &str) {
        let mut text = String::new();
        write(Decimal { unscaled, scale }, &mut text);
        assert_eq!(text, expect);
    }

    #[test]
    fn numbers_of_every_width_print_their_digits() {
        check(&[0], 0, "0");
        check(&[0], 2, "0.00");
        check(&[110], 2, "1.10");
        check(&[0xfb], 2, "-0.05");
        check(&[0x80], 0, "-128");
        check(&i64::MIN.to_be_bytes(), 4, "-922337203685477.5808");
        check(&i64::MAX.to_be_bytes(), 0, "9223372036854775807");
        check(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0], 0, "9223372036854775808");
        check(&i128::MIN.to_be_bytes(), 30, "-170141183.460469231731687303715884105728");
        check(&i128::MAX.to_be_bytes(), 0, "170141183460469231731687303715884105727");
        check(&(1_000_000_000_i128 * 1_000_000_000 * 1_000_000_000).to_be_bytes(), 0, "1000000000000000000000000000");
    }

    #[test]
    fn wide_and_narrow_numbers_go_the_same_way() {
        for number in [0_i64, 1, -1, 999_999_999, -1_000_000_000, i64::MAX, i64::MIN] {
            let (mut narrow, mut wide) = (String::new(), String::new());
            write(Decimal { unscaled: &number.to_be_bytes(), scale: 3 }, &mut narrow);
            write(Decimal { unscaled: &i128::from(number).to_be_bytes(), scale: 3 }, &mut wide);
            assert_eq!(narrow, wide);
        }
    }
}
