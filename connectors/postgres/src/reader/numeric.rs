//! `numeric` in binary form to the unscaled number of a scale: what `encode/numeric.rs` does, backwards.

use num_bigint::{BigInt, Sign};

use super::decode::Unreadable;

const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0;
const GROUP: i128 = 10_000;
const GROUP_DIGITS: i32 = 4;

/// Sign and groups of four digits; the first stands at the power `weight` of 10,000.
struct Parts<'f> {
    is_negative: bool,
    weight: i32,
    groups: &'f [[u8; 2]],
}

impl<'f> Parts<'f> {
    fn parse(field: &'f [u8]) -> Option<Self> {
        let (head, rest) = field.split_first_chunk::<8>()?;
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (groups, []) = rest.as_chunks::<2>() else { return None };
        let is_negative = match number(4) {
            NEGATIVE => true,
            POSITIVE => false,
            // NaN and the infinities.
            _ => return None,
        };
        let is_whole = groups.len() == usize::from(number(0));
        is_whole.then_some(Self { is_negative, weight: i32::from(number(2).cast_signed()), groups })
    }

    fn groups(&self) -> impl Iterator<Item = u16> + use<'f> {
        self.groups.iter().map(|group| u16::from_be_bytes(*group))
    }
}

/// Hands the unscaled number to `take`: big-endian two's complement in the fewest bytes.
pub(super) fn unscaled<T>(field: &[u8], scale: u8, take: impl FnOnce(&[u8]) -> T) -> Result<T, Unreadable> {
    let parts = Parts::parse(field).ok_or(Unreadable("a numeric that is no number"))?;
    if parts.groups.is_empty() {
        return Ok(take(&[0]));
    }
    let last =
        parts.weight + 1 - i32::try_from(parts.groups.len()).map_err(|_| Unreadable("a numeric of many digits"))?;
    let exponent = i32::from(scale) + GROUP_DIGITS * last;
    match in_128_bits(&parts, exponent) {
        Some(number) => {
            let repeated = (number ^ number >> 127).leading_zeros() as usize;
            Ok(take(&number.to_be_bytes()[(repeated - 1) / 8..]))
        }
        None => in_any_bits(&parts, exponent).map(|number| take(&number.to_signed_bytes_be())),
    }
}

/// A whole number of 64 bits with or without a sign.
pub(super) fn whole(field: &[u8]) -> Result<i128, Unreadable> {
    let bytes = unscaled(field, 0, <[u8]>::to_vec)?;
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    let start = wide.len().checked_sub(bytes.len()).ok_or(Unreadable("a number out of the source column's range"))?;
    wide[start..].copy_from_slice(&bytes);
    Ok(i128::from_be_bytes(wide))
}

/// None: it takes more, or digits would be lost.
fn in_128_bits(parts: &Parts<'_>, exponent: i32) -> Option<i128> {
    let magnitude =
        parts.groups().try_fold(0_i128, |number, group| number.checked_mul(GROUP)?.checked_add(i128::from(group)))?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let magnitude = match exponent >= 0 {
        true => magnitude.checked_mul(power)?,
        false if magnitude % power == 0 => magnitude / power,
        false => return None,
    };
    Some(if parts.is_negative { -magnitude } else { magnitude })
}

fn in_any_bits(parts: &Parts<'_>, exponent: i32) -> Result<BigInt, Unreadable> {
    // `numeric` goes far beyond what a column of the source can have.
    const EXPONENT_MAX: u32 = 200;
    let power = exponent.unsigned_abs();
    if power > EXPONENT_MAX || parts.groups.len() > 100 {
        return Err(Unreadable("a numeric of many digits"));
    }
    let magnitude = parts.groups().fold(BigInt::ZERO, |number, group| number * 10_000 + group);
    let power = BigInt::from(10).pow(power);
    let magnitude = match exponent >= 0 {
        true => magnitude * power,
        false if (&magnitude % &power).sign() == Sign::NoSign => magnitude / power,
        false => return Err(Unreadable("more digits behind the point than the source's column has")),
    };
    Ok(if parts.is_negative { -magnitude } else { magnitude })
}
