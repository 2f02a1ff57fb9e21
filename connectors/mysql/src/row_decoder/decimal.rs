//! DECIMAL: the server's packed digits to a big-endian two's complement number.
//!
//! The packed form has the digits before the point right-aligned and those behind it left-aligned, in groups of nine digits
//! (four bytes) with shorter groups at the outer ends. The sign is the first bit, inverted; a negative number has all its
//! bits inverted. Up to 18 digits are gathered in 64 bits, up to 38 in 128, more in 256.

use tailrace_row::Decimal;

use crate::protocol::{Cursor, Malformed};

const BAD: Malformed = Malformed::new("DECIMAL");

/// Bytes of 0 to 9 digits.
const GROUP_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const POWERS: [u64; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Precision and scale of a column, and the groups that follow from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecimalForm {
    scale: u8,
    /// Digits of the shorter group at the front and at the end.
    front_digits: u8,
    end_digits: u8,
    whole_groups: u8,
    digits: u8,
    bytes: u8,
}

/// Of MariaDB; MySQL ends at 30.
const SCALE_MAX: u8 = 38;

impl DecimalForm {
    /// `None` if no column can have them.
    pub(crate) fn new(precision: u8, scale: u8) -> Option<Self> {
        if precision > 65 { None } else { Self::in_json(precision, scale) }
    }

    /// The form inside JSON, where the server rounds the digits before the point up to whole groups: 65 become 72.
    #[expect(clippy::cast_possible_truncation, reason = "72 digits take 36 bytes at most")]
    pub(crate) fn in_json(precision: u8, scale: u8) -> Option<Self> {
        if !(1..=72).contains(&precision) || scale > SCALE_MAX || scale > precision {
            return None;
        }
        let integral = precision - scale;
        let (front_digits, end_digits) = (integral % 9, scale % 9);
        let whole_groups = integral / 9 + scale / 9;
        let bytes = GROUP_BYTES[usize::from(front_digits)] + GROUP_BYTES[usize::from(end_digits)];
        let bytes = bytes as u8 + whole_groups * 4;
        Some(Self { scale, front_digits, end_digits, whole_groups, digits: precision, bytes })
    }

    /// Length of a value.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        usize::from(self.bytes)
    }

    /// Decodes a value of exactly [`Self::bytes`] bytes and hands it to `take`.
    #[inline]
    pub(crate) fn decode<T>(self, packed: &[u8], take: impl FnOnce(Decimal<'_>) -> T) -> Result<T, Malformed> {
        let is_negative = packed.first().ok_or(BAD)? & 0x80 == 0;
        let scale = self.scale;
        if self.digits <= 18 {
            let magnitude = self.gather(packed, is_negative, 0u64, |number, power, group| number * power + group)?;
            let signed = if is_negative { -magnitude.cast_signed() } else { magnitude.cast_signed() };
            let repeated = (signed ^ signed >> 63).leading_zeros();
            return Ok(take(Decimal { unscaled: &signed.to_be_bytes()[(repeated as usize - 1) / 8..], scale }));
        }
        if self.digits <= 38 {
            let widen = |number: u128, power, group| number * u128::from(power) + u128::from(group);
            let magnitude = self.gather(packed, is_negative, 0u128, widen)?;
            let signed = if is_negative { -magnitude.cast_signed() } else { magnitude.cast_signed() };
            let repeated = (signed ^ signed >> 127).leading_zeros();
            return Ok(take(Decimal { unscaled: &signed.to_be_bytes()[(repeated as usize - 1) / 8..], scale }));
        }
        let limbs = self.gather(packed, is_negative, [0u64; 4], multiply_add)?;
        let mut number = [0; 32];
        limbs
            .iter()
            .rev()
            .zip(number.chunks_exact_mut(8))
            .for_each(|(limb, to)| to.copy_from_slice(&limb.to_be_bytes()));
        if is_negative {
            negate(&mut number);
        }
        Ok(take(Decimal { unscaled: shortest(&number), scale }))
    }

    /// Appends the value as the server prints it: all digits behind the point, no zeros in front.
    pub(crate) fn write_text(self, packed: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let is_negative = packed.first().ok_or(BAD)? & 0x80 == 0;
        let mut digits = [b'0'; 9 * 10];
        let mut length = 0;
        self.gather(packed, is_negative, (), |(), power, group| {
            let mut group = group;
            let count = power.ilog10() as usize;
            for digit in digits[length..length + count].iter_mut().rev() {
                *digit = b'0' + (group % 10) as u8;
                group /= 10;
            }
            length += count;
        })?;
        let (integral, fraction) = digits[..length].split_at(length - usize::from(self.scale));
        let zeros = integral.iter().take_while(|digit| **digit == b'0').count().min(integral.len().saturating_sub(1));
        out.extend_from_slice(if is_negative { b"-" } else { b"" });
        out.extend_from_slice(if integral.is_empty() { b"0" } else { &integral[zeros..] });
        if self.scale > 0 {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
        Ok(())
    }

    /// Feeds the groups from the front to `add`, which multiplies by the power and adds the group.
    #[inline]
    fn gather<N>(
        self,
        packed: &[u8],
        is_negative: bool,
        zero: N,
        mut add: impl FnMut(N, u64, u64) -> N,
    ) -> Result<N, Malformed> {
        let inversion = if is_negative { u64::MAX } else { 0 };
        let mut rest = Cursor::new(packed);
        // The very first bit is the sign's; it is set in the value's place, whatever the sign.
        let mut sign_bit = 0x80;
        let mut group = |digits: usize| -> Result<u64, Malformed> {
            let bytes = GROUP_BYTES[digits];
            let bits = 8 * bytes;
            let stored =
                if bytes == 4 { rest.array().map(u32::from_be_bytes)?.into() } else { rest.big_endian(bytes)? };
            let group = (stored ^ inversion) & ((1 << bits) - 1) ^ std::mem::take(&mut sign_bit) << (bits - 8);
            if group < POWERS[digits] { Ok(group) } else { Err(BAD) }
        };
        let mut number = zero;
        let (front, end) = (usize::from(self.front_digits), usize::from(self.end_digits));
        if front > 0 {
            number = add(number, POWERS[front], group(front)?);
        }
        for _ in 0..self.whole_groups {
            number = add(number, POWERS[9], group(9)?);
        }
        if end > 0 {
            number = add(number, POWERS[end], group(end)?);
        }
        Ok(number)
    }
}

/// 256 bits, the lowest limb first. 65 digits take 216 bits, so nothing is carried out.
fn multiply_add(limbs: [u64; 4], power: u64, group: u64) -> [u64; 4] {
    let mut carry = u128::from(group);
    limbs.map(|limb| {
        let product = u128::from(limb) * u128::from(power) + carry;
        carry = product >> 64;
        #[expect(clippy::cast_possible_truncation, reason = "the high half is the carry")]
        let low = product as u64;
        low
    })
}

/// The two's complement of a big-endian number.
fn negate(number: &mut [u8; 32]) {
    let mut carry = true;
    for byte in number.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// Leaves out the bytes in front that only repeat the sign.
fn shortest(number: &[u8; 32]) -> &[u8] {
    let sign = if number[0] & 0x80 == 0 { 0 } else { 0xff };
    let repeated = number.iter().take_while(|byte| **byte == sign).count();
    // The byte that follows must show the sign by itself.
    let is_shown = number.get(repeated).is_some_and(|byte| (byte ^ sign) & 0x80 == 0);
    &number[if is_shown { repeated } else { repeated - 1 }..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs a decimal literal as the server does, by the same rules read in the other direction.
    fn pack(precision: u8, scale: u8, literal: &str) -> Vec<u8> {
        let (is_negative, literal) = literal.strip_prefix('-').map_or((false, literal), |rest| (true, rest));
        let (integral, fraction) = literal.split_once('.').unwrap_or((literal, ""));
        let integral = format!("{integral:0>width$}", width = usize::from(precision - scale));
        let fraction = format!("{fraction:0<width$}", width = usize::from(scale));
        let front = integral.len() % 9;
        let mut groups = vec![&integral[..front]];
        groups.extend(integral.as_bytes()[front..].chunks(9).map(|group| std::str::from_utf8(group).unwrap()));
        groups.extend(fraction.as_bytes().chunks(9).map(|group| std::str::from_utf8(group).unwrap()));
        let mut bytes = Vec::new();
        for group in groups {
            let value: u32 = if group.is_empty() { 0 } else { group.parse().unwrap() };
            bytes.extend_from_slice(&value.to_be_bytes()[4 - GROUP_BYTES[group.len()]..]);
        }
        bytes[0] ^= 0x80;
        if is_negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes
    }

    fn check(precision: u8, scale: u8, literal: &str, expect: &[u8]) {
        let form = DecimalForm::new(precision, scale).unwrap();
        let packed = pack(precision, scale, literal);
        assert_eq!(packed.len(), form.bytes(), "{literal}");
        let unscaled = form.decode(&packed, |decimal| {
            assert_eq!(decimal.scale, scale);
            decimal.unscaled.to_vec()
        });
        assert_eq!(unscaled.unwrap(), expect, "{literal} as DECIMAL({precision},{scale})");
    }

    #[test]
    fn unscaled_numbers_have_the_fewest_bytes() {
        check(3, 2, "3.14", &[1, 0x3a]);
        check(1, 0, "0", &[0]);
        check(5, 0, "127", &[0x7f]);
        check(5, 0, "128", &[0, 0x80]);
        check(5, 0, "-128", &[0x80]);
        check(5, 0, "-129", &[0xff, 0x7f]);
        check(5, 0, "-1", &[0xff]);
        check(5, 0, "-256", &[0xff, 0]);
        check(5, 0, "-0", &[0]);
        check(4, 4, "-.0001", &[0xff]);
        check(20, 4, "12345.6789", &[0x07, 0x5b, 0xcd, 0x15]);
    }

    /// The expected bytes are those of Python's `int.to_bytes(signed=True)`.
    #[test]
    fn the_largest_of_each_width() {
        for (digits, scale, positive, negative) in [
            (18, 0, "0de0b6b3a763ffff", "f21f494c589c0001"),
            (38, 0, "4b3b4ca85a86c47a098a223fffffffff", "b4c4b357a5793b85f675ddc000000001"),
            (65, 0, LARGEST, SMALLEST),
            (65, 30, LARGEST, SMALLEST),
        ] {
            let nines = "9".repeat(digits);
            let (integral, fraction) = nines.split_at(digits - scale);
            let (precision, scale) = (u8::try_from(digits).unwrap(), u8::try_from(scale).unwrap());
            check(precision, scale, &format!("{integral}.{fraction}"), &from_hex(positive));
            check(precision, scale, &format!("-{integral}.{fraction}"), &from_hex(negative));
        }
    }

    const LARGEST: &str = "00f316271c7fc3908a8bef464e3945ef7a253609ffffffffffffffff";
    const SMALLEST: &str = "ff0ce9d8e3803c6f757410b9b1c6ba1085dac9f60000000000000001";

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// `CAST(REPEAT('9', 65) AS DECIMAL(65))` inside JSON_ARRAY.
    #[test]
    fn json_counts_whole_groups() {
        let form = DecimalForm::in_json(72, 0).unwrap();
        let nines = "9".repeat(65);
        let mut text = Vec::new();
        form.write_text(&pack(72, 0, &nines), &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), nines);
        assert_eq!(DecimalForm::in_json(73, 0), None);
    }

    #[test]
    fn impossible_columns_and_digits_are_refused() {
        assert!([(0, 0), (66, 0), (65, 39), (3, 4)].iter().all(|(p, s)| DecimalForm::new(*p, *s).is_none()));
        let form = DecimalForm::new(9, 0).unwrap();
        assert!(form.decode(&[0xff, 0xff, 0xff, 0xff], |_| ()).is_err(), "a group beyond nine nines");
        assert!(form.decode(&[0x80, 0, 0], |_| ()).is_err(), "cut");
    }
}
