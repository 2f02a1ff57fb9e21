//! Decimals in PostgreSQL's base 10,000.
//!
//! `numeric` is sent as groups of four decimal digits around the decimal point, without leading and trailing zero groups. So
//! the unscaled number is first multiplied up to a scale that is a multiple of four, then divided down group by group: in
//! one machine word where it fits (18 digits), else in eight.

/// What the caller may check.
pub(super) struct Written {
    /// Digits before the point, without leading zeros; 0 for numbers below 1.
    pub(super) integer_digits: i32,
}

const GROUP: u64 = 10_000;
const GROUP_DIGITS: i16 = 4;

/// Longest unscaled number: MySQL's 65 digits take 28 bytes.
pub(super) const BYTES_MAX: usize = 30;

/// 30 bytes times 1,000 are at most 76 digits.
const GROUPS_MAX: usize = 19;

/// Groups, the least first.
struct Groups {
    digits: [u16; GROUPS_MAX],
    count: usize,
}

impl Groups {
    fn push(&mut self, digit: u64) {
        self.digits[self.count] = u16::try_from(digit).expect("invariant: a group is below 10,000");
        self.count += 1;
    }
}

/// Appends an integer as a field.
pub(super) fn write_integer(magnitude: u64, is_negative: bool, out: &mut Vec<u8>) -> Written {
    let mut groups = Groups { digits: [0; GROUPS_MAX], count: 0 };
    divide_word(magnitude, &mut groups);
    write_groups(&groups, is_negative, 0, out)
}

/// Appends a decimal as a field. `unscaled` is big-endian two's complement.
pub(super) fn write_decimal(unscaled: &[u8], scale: u8, out: &mut Vec<u8>) -> Written {
    let is_negative = unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
    let filler = 10_u64.pow(u32::from(3 - (scale + 3) % 4));
    let mut groups = Groups { digits: [0; GROUPS_MAX], count: 0 };
    let word = (unscaled.len() <= 8).then(|| magnitude_of_word(unscaled)).and_then(|word| word.checked_mul(filler));
    match word {
        Some(word) => divide_word(word, &mut groups),
        None => divide_limbs(unscaled, is_negative, filler, &mut groups),
    }
    write_groups(&groups, is_negative, scale, out)
}

fn magnitude_of_word(unscaled: &[u8]) -> u64 {
    let sign = if unscaled.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut word = [sign; 8];
    word[8 - unscaled.len()..].copy_from_slice(unscaled);
    i64::from_be_bytes(word).unsigned_abs()
}

fn divide_word(mut word: u64, groups: &mut Groups) {
    while word != 0 {
        groups.push(word % GROUP);
        word /= GROUP;
    }
}

/// 32-bit limbs, the least first: 256 bits, while 30 bytes times 1,000 need 250.
const LIMBS: usize = 8;

fn divide_limbs(unscaled: &[u8], is_negative: bool, filler: u64, groups: &mut Groups) {
    assert!(unscaled.len() <= BYTES_MAX, "the caller has checked the length");
    let mut limbs = [0_u64; LIMBS];
    for (place, byte) in unscaled.iter().rev().enumerate() {
        let byte = if is_negative { !byte } else { *byte };
        limbs[place / 4] |= u64::from(byte) << (place % 4 * 8);
    }
    // Two's complement: the magnitude of a negative number is its inverse plus one.
    let mut carry = u64::from(is_negative);
    for limb in &mut limbs {
        let sum = *limb + carry;
        *limb = sum & 0xffff_ffff;
        carry = sum >> 32;
    }
    carry = 0;
    for limb in &mut limbs {
        let product = *limb * filler + carry;
        *limb = product & 0xffff_ffff;
        carry = product >> 32;
    }
    let mut used = LIMBS;
    loop {
        while used > 0 && limbs[used - 1] == 0 {
            used -= 1;
        }
        if used == 0 {
            return;
        }
        let mut rest = 0;
        for limb in limbs[..used].iter_mut().rev() {
            let dividend = rest << 32 | *limb;
            *limb = dividend / GROUP;
            rest = dividend % GROUP;
        }
        groups.push(rest);
    }
}

fn write_groups(groups: &Groups, is_negative: bool, scale: u8, out: &mut Vec<u8>) -> Written {
    const NEGATIVE: u16 = 0x4000;
    let all = &groups.digits[..groups.count];
    let zeros = all.iter().take_while(|digit| **digit == 0).count();
    let kept = &all[zeros..];
    let fraction_groups = i16::from(scale.div_ceil(4));
    let count = i16::try_from(kept.len()).expect("invariant: there are few groups");
    let total = i16::try_from(groups.count).expect("invariant: there are few groups");
    let weight = if count == 0 { 0 } else { total - fraction_groups - 1 };
    let sign = if is_negative && count > 0 { NEGATIVE } else { 0 };
    let bytes = 8 + 2 * i32::from(count);
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for digit in kept.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
    let top = kept.last().map_or(0, |digit| digits_of(*digit));
    let below = i32::from(weight * GROUP_DIGITS);
    Written { integer_digits: if count == 0 || weight < 0 { 0 } else { below + top } }
}

fn digits_of(group: u16) -> i32 {
    match group {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        1000.. => 4,
    }
}
