//! Decimal digits → the unscaled integer of a DECIMAL, digit for digit: Java's plain and its scientific text.

/// More digits than any DECIMAL has, and more zeros than any exponent of one adds.
const DIGITS_MAX: usize = 200;

/// Writes the big-endian two's complement of `text · 10^scale` into `out`, replacing its content. None if that is no whole
/// number, or the text is none.
pub(super) fn unscaled(text: &str, scale: u8, out: &mut Vec<u8>) -> Option<()> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let count = whole.len() + fraction.len();
    if whole.is_empty() || count > DIGITS_MAX || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let exponent: i64 = exponent.parse().ok()?;
    let shift = i64::from(scale).checked_add(exponent)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let added = usize::try_from(shift).unwrap_or(0);
    let dropped = usize::try_from(shift.checked_neg()?).unwrap_or(0).min(count);
    if added > DIGITS_MAX || digits().skip(count - dropped).any(|digit| digit != b'0') {
        // A zero stays zero, however small its unit.
        return if added > DIGITS_MAX { None } else { zero(digits(), out) };
    }
    out.clear();
    // 256 bits: DECIMAL's 65 digits take 216.
    out.resize(32, 0);
    for digit in digits().take(count - dropped).chain(std::iter::repeat_n(b'0', added)) {
        times_ten_plus(out, digit - b'0')?;
    }
    if is_negative {
        negate(out);
    }
    Some(())
}

fn zero(mut digits: impl Iterator<Item = u8>, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.push(0);
    digits.all(|digit| digit == b'0').then_some(())
}

/// None if it takes more than 255 bits.
fn times_ten_plus(bytes: &mut [u8], digit: u8) -> Option<()> {
    let mut carry = u16::from(digit);
    for byte in bytes.iter_mut().rev() {
        let sum = u16::from(*byte) * 10 + carry;
        let [high, low] = sum.to_be_bytes();
        *byte = low;
        carry = u16::from(high);
    }
    (carry == 0 && bytes[0] < 0x80).then_some(())
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (negated, overflows) = (!*byte).overflowing_add(u8::from(carry));
        *byte = negated;
        carry = overflows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, scale: u8, expect: Option<i128>) {
        let mut out = Vec::new();
        let number = unscaled(text, scale, &mut out).map(|()| {
            let fill = if out[0] >= 0x80 { 0xff } else { 0 };
            let mut wide = vec![fill; 32];
            wide.extend_from_slice(&out);
            i128::from_be_bytes(*wide.last_chunk().expect("16 bytes"))
        });
        assert_eq!(number, expect, "{text} {scale}");
    }

    #[test]
    fn digits_are_kept() {
        check("0", 0, Some(0));
        check("-0.00", 2, Some(0));
        check("1.10", 2, Some(110));
        check("-0.50", 2, Some(-50));
        check("1.5", 3, Some(1500));
        check("100", 0, Some(100));
        check("1E+3", 1, Some(10_000));
        check("0E-30", 30, Some(0));
        check("0E-40", 30, Some(0));
        check("1.2E-7", 9, Some(120));
        check("1.00", 1, Some(10));
        check("18446744073709551615", 0, Some(18_446_744_073_709_551_615));
        check("170141183460469231731687303715884105727", 0, Some(i128::MAX));
    }

    #[test]
    fn what_does_not_fit_is_none() {
        for bad in ["", "-", ".5", "1.", "x", "1x", "1e", "1e99999999999999999999", "--1", "1e300", "+1", " 1", "1.1.1"]
        {
            // "1." is what Java never writes, and means one.
            check(bad, 0, if bad == "1." { Some(1) } else { None });
        }
        check("0.001", 2, None);
        check("1e-1", 0, None);
        let many = "9".repeat(78);
        check(&many, 0, None);
    }
}
