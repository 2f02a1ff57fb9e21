//! Charsets whose text takes a table: each server's own answers, written down by `lab::charsets`, and read when the first
//! column of the charset is met.
//!
//! Byte sequences that the servers show as `?` or U+FFFD are in no table: they are no text here, so that their bytes are kept.
//! Where several sequences are one character (the letters that NEC and IBM both added to Shift JIS), all but one are marked: in
//! a key they are no text, because two keys would look alike.

use std::{collections::HashMap, sync::OnceLock};

use tailrace_row::Charset;

/// The characters of one charset.
pub(super) struct Table {
    /// By the byte, for sequences of one.
    one: Box<[Cell]>,
    /// By the first byte, less 0x80, and the second; empty if there are none.
    two: Box<[Cell]>,
    /// The same of the last two bytes, behind 0x8F.
    three: Box<[Cell]>,
    /// Of GB 18030: by the number of the sequence, with how many follow one another.
    four: Box<[(u32, u32, u32)]>,
    /// The sequences by character, made when they are first wanted.
    sequences: OnceLock<HashMap<u32, Vec<u8>>>,
}

/// A character and whether it comes second, or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell(u32);

const NOTHING: Cell = Cell(u32::MAX);
const IS_SECOND: u32 = 1 << 31;
const SINGLES: usize = 0x100;
const PAIRS: usize = 0x80 * 0x100;
/// The byte before sequences of three, of EUC.
const SHIFT: u8 = 0x8f;
/// The number of the sequence of four for U+10000, behind which all of Unicode follows in order.
const BEYOND_START: u32 = linear([0x90, 0x30, 0x81, 0x30]);

impl Table {
    /// The table of a charset that takes one.
    pub(super) fn of(charset: Charset) -> Option<&'static Self> {
        static TABLES: [OnceLock<Option<Table>>; Charset::ALL.len()] = [const { OnceLock::new() }; Charset::ALL.len()];
        TABLES[charset as usize].get_or_init(|| Some(Self::parse(text(charset)?))).as_ref()
    }

    /// Appends the text as UTF-8; false if the bytes are none. `is_key`: sequences that come second are none either.
    pub(super) fn decode(&self, bytes: &[u8], is_key: bool, out: &mut Vec<u8>) -> bool {
        let mut rest = bytes;
        while let [first, behind @ ..] = rest {
            let single = self.one[usize::from(*first)];
            let (code, taken) =
                if single != NOTHING { (single.code(is_key), 1) } else { self.longer(*first, behind, is_key) };
            let Some(char) = code.and_then(char::from_u32) else { return false };
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[taken..];
        }
        true
    }

    /// The character of two to four bytes, and how many they are.
    fn longer(&self, first: u8, behind: &[u8], is_key: bool) -> (Option<u32>, usize) {
        match *behind {
            [second, third, ..] if first == SHIFT && !self.three.is_empty() => {
                (at(&self.three, second, third).code(is_key), 3)
            }
            [second @ 0x30..=0x39, third @ 0x81..=0xff, last @ 0x30..=0x39, ..] if !self.four.is_empty() => {
                (self.of_four(linear([first, second, third, last])), 4)
            }
            [second, ..] => (at(&self.two, first, second).code(is_key), 2),
            [] => (None, 1),
        }
    }

    /// The bytes of a text, each character by the sequence that comes first.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let sequences = self.sequences.get_or_init(|| self.sequences());
        let mut bytes = Vec::new();
        for char in text.chars() {
            match u32::from(char) {
                code @ 0x1_0000.. if !self.four.is_empty() => bytes.extend(of_number(BEYOND_START + code - 0x1_0000)),
                code => bytes.extend_from_slice(sequences.get(&code)?),
            }
        }
        Some(bytes)
    }

    fn sequences(&self) -> HashMap<u32, Vec<u8>> {
        let byte = |number: usize| u8::try_from(number & 0xff).expect("invariant: eight bits");
        let one = self.one.iter().enumerate().map(|(at, cell)| (cell, vec![byte(at)]));
        let two = self.two.iter().enumerate().map(|(at, cell)| (cell, vec![0x80 | byte(at >> 8), byte(at)]));
        let three = self.three.iter().enumerate().map(|(at, cell)| (cell, vec![SHIFT, 0x80 | byte(at >> 8), byte(at)]));
        let cells = one.chain(two).chain(three).filter_map(|(cell, bytes)| Some((cell.code(true)?, bytes)));
        let ranges = self.four.iter().flat_map(|(start, length, code)| {
            (0..*length).map(move |place| (code + place, of_number(start + place).to_vec()))
        });
        cells.chain(ranges).collect()
    }

    fn of_four(&self, number: u32) -> Option<u32> {
        if number >= BEYOND_START {
            return number.checked_sub(BEYOND_START)?.checked_add(0x1_0000);
        }
        let place = self.four.partition_point(|(start, ..)| *start <= number).checked_sub(1)?;
        let (start, length, code) = self.four[place];
        (number - start < length).then_some(code + number - start)
    }

    fn parse(text: &str) -> Self {
        let mut table = Self {
            one: vec![NOTHING; SINGLES].into(),
            two: Box::default(),
            three: Box::default(),
            four: Box::default(),
            sequences: OnceLock::new(),
        };
        let mut four = Vec::new();
        for line in text.lines() {
            let line = Line::parse(line).expect("invariant: the tables are ours, and a test reads all");
            match *line.bytes {
                [byte] => line.fill(&mut table.one, usize::from(byte)),
                [first, second] => line.fill(pairs(&mut table.two), place(first, second)),
                [SHIFT, second, third] => line.fill(pairs(&mut table.three), place(second, third)),
                [a, b, c, d] => four.extend(line.ranges(linear([a, b, c, d]))),
                _ => unreachable!("a sequence of no charset"),
            }
        }
        four.sort_unstable();
        table.four = four.into();
        table
    }
}

impl Cell {
    fn code(self, is_key: bool) -> Option<u32> {
        let is_second = self.0 & IS_SECOND != 0;
        (self != NOTHING && !(is_key && is_second)).then_some(self.0 & !IS_SECOND)
    }
}

fn at(cells: &[Cell], first: u8, second: u8) -> Cell {
    if first < 0x80 { NOTHING } else { cells.get(place(first, second)).copied().unwrap_or(NOTHING) }
}

fn place(first: u8, second: u8) -> usize {
    usize::from(first - 0x80) << 8 | usize::from(second)
}

fn pairs(cells: &mut Box<[Cell]>) -> &mut [Cell] {
    if cells.is_empty() {
        *cells = vec![NOTHING; PAIRS].into();
    }
    cells
}

/// The number of a sequence of four bytes, as GB 18030 counts them.
const fn linear([a, b, c, d]: [u8; 4]) -> u32 {
    (((a as u32 - 0x80) * 10 + (b as u32 - 0x30)) * 126 + (c as u32 - 0x81)) * 10 + (d as u32 - 0x30)
}

/// The sequence of that number.
fn of_number(number: u32) -> [u8; 4] {
    let digit = |start: u8, digit: u32| start + u8::try_from(digit).expect("invariant: a digit is small");
    let (rest, d) = (number / 10, number % 10);
    let (rest, c) = (rest / 126, rest % 126);
    let (a, b) = (rest / 10, rest % 10);
    [digit(0x80, a), digit(0x30, b), digit(0x81, c), digit(0x30, d)]
}

/// One line of a table: sequences that follow one another, and their characters.
struct Line {
    bytes: Vec<u8>,
    codes: Vec<u32>,
    is_second: bool,
}

impl Line {
    /// `8140 丂丄丅`, `81308130 U+0080 36`; `~` before it if the sequences come second.
    fn parse(line: &str) -> Option<Self> {
        let (sequence, chars) = line.split_once(' ')?;
        let (hex, is_second) = sequence.strip_prefix('~').map_or((sequence, false), |hex| (hex, true));
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?;
        let codes = match chars.strip_prefix("U+") {
            Some(range) => {
                let (first, count) = range.split_once(' ')?;
                let first = u32::from_str_radix(first, 16).ok()?;
                (first..first + count.parse::<u32>().ok()?).collect()
            }
            None => chars.chars().map(u32::from).collect(),
        };
        Some(Self { bytes, codes, is_second })
    }

    fn fill(&self, cells: &mut [Cell], start: usize) {
        let mark = if self.is_second { IS_SECOND } else { 0 };
        for (cell, code) in cells[start..].iter_mut().zip(&self.codes) {
            *cell = Cell(code | mark);
        }
    }

    fn ranges(&self, start: u32) -> impl Iterator<Item = (u32, u32, u32)> + use<'_> {
        let first = self.codes[0];
        let is_range = (first..).zip(&self.codes).all(|(expected, code)| expected == *code);
        let length = u32::try_from(self.codes.len()).expect("invariant: a line is short");
        let whole = is_range.then_some((start, length, first));
        let each = (start..).zip(&self.codes).map(|(number, code)| (number, 1, *code));
        whole.into_iter().chain(each.filter(move |_| !is_range))
    }
}

fn text(charset: Charset) -> Option<&'static str> {
    Some(match charset {
        Charset::Armscii8 => include_str!("../../../charsets/armscii8.txt"),
        Charset::Big5 => include_str!("../../../charsets/big5.txt"),
        Charset::Cp1250 => include_str!("../../../charsets/cp1250.txt"),
        Charset::Cp1251 => include_str!("../../../charsets/cp1251.txt"),
        Charset::Cp1256 => include_str!("../../../charsets/cp1256.txt"),
        Charset::Cp1257 => include_str!("../../../charsets/cp1257.txt"),
        Charset::Cp850 => include_str!("../../../charsets/cp850.txt"),
        Charset::Cp852 => include_str!("../../../charsets/cp852.txt"),
        Charset::Cp866 => include_str!("../../../charsets/cp866.txt"),
        Charset::Cp932 => include_str!("../../../charsets/cp932.txt"),
        Charset::Dec8 => include_str!("../../../charsets/dec8.txt"),
        Charset::Eucjpms => include_str!("../../../charsets/eucjpms.txt"),
        Charset::Euckr => include_str!("../../../charsets/euckr.txt"),
        Charset::Gb18030 => include_str!("../../../charsets/gb18030.txt"),
        Charset::Gb2312 => include_str!("../../../charsets/gb2312.txt"),
        Charset::Gbk => include_str!("../../../charsets/gbk.txt"),
        Charset::Geostd8 => include_str!("../../../charsets/geostd8.txt"),
        Charset::Greek => include_str!("../../../charsets/greek.txt"),
        Charset::Hebrew => include_str!("../../../charsets/hebrew.txt"),
        Charset::Hp8 => include_str!("../../../charsets/hp8.txt"),
        Charset::Keybcs2 => include_str!("../../../charsets/keybcs2.txt"),
        Charset::Koi8R => include_str!("../../../charsets/koi8r.txt"),
        Charset::Koi8U => include_str!("../../../charsets/koi8u.txt"),
        Charset::Latin2 => include_str!("../../../charsets/latin2.txt"),
        Charset::Latin5 => include_str!("../../../charsets/latin5.txt"),
        Charset::Latin7 => include_str!("../../../charsets/latin7.txt"),
        Charset::Macce => include_str!("../../../charsets/macce.txt"),
        Charset::Macroman => include_str!("../../../charsets/macroman.txt"),
        Charset::Sjis => include_str!("../../../charsets/sjis.txt"),
        Charset::Swe7 => include_str!("../../../charsets/swe7.txt"),
        Charset::Tis620 => include_str!("../../../charsets/tis620.txt"),
        Charset::Ujis => include_str!("../../../charsets/ujis.txt"),
        Charset::Utf8mb4
        | Charset::Utf8mb3
        | Charset::Latin1
        | Charset::Ascii
        | Charset::Ucs2
        | Charset::Utf16
        | Charset::Utf16Le
        | Charset::Utf32 => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// In a key no two byte sequences are one character.
    #[test]
    fn no_character_stands_twice_in_a_key() {
        let mut tables = 0;
        for table in Charset::ALL.into_iter().filter_map(Table::of) {
            tables += 1;
            let cells = [&table.one, &table.two, &table.three].into_iter().flatten();
            let ranges = table.four.iter().flat_map(|(_, length, first)| *first..first + length);
            let codes: Vec<u32> = cells.filter_map(|cell| cell.code(true)).chain(ranges).collect();
            assert_eq!(codes.len(), codes.iter().collect::<HashSet<_>>().len());
            assert!(codes.len() > 100 && codes.iter().all(|code| char::from_u32(*code).is_some()));
        }
        assert_eq!(tables, 32);
    }

    /// A key is found again by the bytes from which it was read.
    #[test]
    fn keys_return_to_their_bytes() {
        for charset in Charset::ALL {
            let Some(table) = Table::of(charset) else { continue };
            for (code, bytes) in table.sequences() {
                let mut text = Vec::new();
                assert!(table.decode(&bytes, true, &mut text), "{charset:?} {code:x}");
                assert_eq!(table.encode(std::str::from_utf8(&text).unwrap()), Some(bytes), "{charset:?} {code:x}");
            }
        }
        assert_eq!(Table::of(Charset::Gb18030).unwrap().encode("\u{10ffff}"), Some(b"\xe3\x32\x9a\x35".to_vec()));
        assert_eq!(Table::of(Charset::Gbk).unwrap().encode("\u{10ffff}"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_found() {
        let check = |charset, bytes: &[u8], is_key, expect: Option<&str>| {
            let mut out = Vec::new();
            let is_text = Table::of(charset).unwrap().decode(bytes, is_key, &mut out);
            assert_eq!(is_text.then(|| String::from_utf8(out).unwrap()).as_deref(), expect, "{charset:?} {bytes:x?}");
        };
        check(Charset::Gbk, b"a\xd6\xd0\xce\xc4", false, Some("a中文"));
        check(Charset::Gbk, b"\xd6", false, None);
        check(Charset::Gbk, b"\xfe\xa0", false, None);
        check(Charset::Cp932, b"\x87\x90", false, Some("≒"));
        check(Charset::Cp932, b"\x87\x90", true, None);
        check(Charset::Cp932, b"\x81\xe0", true, Some("≒"));
        check(Charset::Ujis, b"\x8f\xb0\xa1\x8e\xb1", false, Some("丂ｱ"));
        check(Charset::Ujis, b"\x8f\xb0", false, None);
        check(
            Charset::Gb18030,
            b"\x81\x30\x81\x30\x90\x30\x81\x30\xe3\x32\x9a\x35",
            false,
            Some("\u{80}\u{10000}\u{10ffff}"),
        );
        check(Charset::Gb18030, b"\xe3\x32\x9a\x36", false, None);
        check(Charset::Gb18030, b"\x81\x35\xf4\x37\xa8\xbc", false, Some("\u{e7c7}\u{1e3f}"));
        check(Charset::Swe7, b"[\\]", false, Some("ÄÖÅ"));
        check(Charset::Tis620, b"\xa0", false, None);
    }
}
