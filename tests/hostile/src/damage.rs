//! Damage: bytes changed, cut out, doubled, taken from other inputs, and the numbers that break lengths.

/// A generator so small that a seed tells the whole damage.
pub struct Dice(u64);

/// Numbers at the ends of what lengths and counts can be.
const NUMBERS: [u64; 16] =
    [0, 1, 2, 3, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];

impl Dice {
    /// Begins at a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the limit; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from((self.0 >> 11) % limit).unwrap_or_default()
    }

    /// One of the inputs, damaged in one to four places.
    pub fn damaged(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            self.damage(&mut bytes, inputs);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        const BITS: usize = 8;
        let at = self.below(bytes.len());
        let end = (at + self.below(16)).min(bytes.len());
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(BITS),
            1 if at < bytes.len() => bytes[at] = low_byte(self.below(256)),
            2 => {
                let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 3, 4, 8][self.below(5)];
                for (place, byte) in bytes.iter_mut().skip(at).zip(&number[..width]) {
                    *place = *byte;
                }
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled).for_each(drop);
            }
            6 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len());
                let to = (from + self.below(40)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied()).for_each(drop);
            }
            7 => {
                let random: Vec<u8> = (0..self.below(9)).map(|_| low_byte(self.below(256))).collect();
                bytes.splice(at..at, random).for_each(drop);
            }
            // A step up or down: lengths that are wrong by one.
            _ if at < bytes.len() => bytes[at] = bytes[at].wrapping_add([1, 255][self.below(2)]),
            _ => {}
        }
    }
}

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}
