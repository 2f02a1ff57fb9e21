//! Our records beside what `mysqlbinlog --verbose --verbose` prints.
//!
//! What it prints otherwise, and what is allowed for it: FLOAT with six digits (its bits are compared with `mysql_cdc`); the
//! error value of YEAR, 0, as 1900; integers in both signs, because it does not know which is meant; the characters of a JSON
//! beyond three bytes as `?`.

use std::io::BufRead;

use lab::Flavor;
use tailrace_row::{Charset, ColumnType, DateTime, Field, Operation, TextForm, Time, Timestamp, Value};

use super::Seen;

pub(super) fn compare<'a>(
    flavor: Flavor,
    printed: impl BufRead,
    database: &str,
    records: impl Iterator<Item = Seen<'a>>,
) {
    let mut lines = Lines { lines: printed.split(b'\n'), database: database.to_owned() };
    for (number, seen) in records.enumerate() {
        let columns = seen.schema().columns();
        let (operation, table) = lines.next_row().unwrap_or_else(|| panic!("mysqlbinlog ends before record {number}"));
        assert_eq!((operation, &*table), (seen.operation(), seen.table()), "record {number}");
        for (image, word) in seen.images().zip(words(operation)) {
            assert_eq!(lines.next_line().unwrap(), word.as_bytes(), "record {number} of {table}");
            for (at, (column, field)) in columns.iter().zip(image.fields()).enumerate() {
                let line = lines.next_line().unwrap();
                let value = value_of(&line, at + 1);
                let agrees = match field {
                    Field::Null => value.starts_with(b"NULL "),
                    Field::Unchanged => false,
                    Field::Value(ours) => agrees(flavor, &column.column_type, ours, value),
                };
                assert!(
                    agrees,
                    "record {number} of {table}, {}: ours is {field:?}, mysqlbinlog prints {}",
                    column.name,
                    String::from_utf8_lossy(&line)
                );
            }
        }
    }
    assert!(lines.next_row().is_none(), "mysqlbinlog prints a row that we don't have");
}

/// What stands before the columns of each image.
fn words(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::Insert => &["SET"],
        Operation::Update => &["WHERE", "SET"],
        Operation::Delete => &["WHERE"],
        Operation::Read => panic!("a stream has no copied rows"),
    }
}

/// The lines that begin with `### `, without it.
struct Lines<R> {
    lines: std::io::Split<R>,
    database: String,
}

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> Option<Vec<u8>> {
        self.lines.find_map(|line| line.unwrap().strip_prefix(b"### ").map(<[u8]>::to_vec))
    }

    /// The next row's operation and table.
    fn next_row(&mut self) -> Option<(Operation, String)> {
        let line = String::from_utf8(self.next_line()?).unwrap();
        let (operation, table) =
            [("INSERT INTO ", Operation::Insert), ("UPDATE ", Operation::Update), ("DELETE FROM ", Operation::Delete)]
                .into_iter()
                .find_map(|(word, operation)| Some((operation, line.strip_prefix(word)?)))
                .unwrap_or_else(|| panic!("no row begins with {line}"));
        let table = table.strip_prefix(&format!("`{}`.`", self.database)).and_then(|rest| rest.strip_suffix('`'));
        Some((operation, table.unwrap_or_else(|| panic!("a table of another database: {line}")).to_owned()))
    }
}

/// What stands behind `  @3=`, up to the end of the line.
fn value_of(line: &[u8], number: usize) -> &[u8] {
    let opening = format!("  @{number}=");
    line.strip_prefix(opening.as_bytes())
        .unwrap_or_else(|| panic!("{opening} expected: {}", String::from_utf8_lossy(line)))
}

fn agrees(flavor: Flavor, column_type: &ColumnType, ours: Value<'_>, printed: &[u8]) -> bool {
    let is = |expected: &str| bare(printed) == expected;
    let is_quoted = |expected: &[u8]| match flavor {
        Flavor::Mysql => quoted(printed) == expected,
        Flavor::Mariadb | Flavor::Mariadb11 => printed.starts_with(&in_quotes(expected)),
    };
    match (column_type, ours) {
        (ColumnType::Integer { bits, .. }, Value::Integer(number)) => is(&integer(*bits, number)),
        (ColumnType::Integer { bits, .. }, Value::Unsigned(number)) => {
            is(&integer(*bits, (number << (64 - bits)).cast_signed() >> (64 - bits)))
        }
        (ColumnType::Float, Value::Float(number)) => {
            bare(printed).parse::<f64>() == format!("{number:.5e}").parse::<f64>()
        }
        (ColumnType::Double, Value::Double(number)) => {
            bare(printed).parse::<f64>().is_ok_and(|printed| printed.to_bits() == number.to_bits())
        }
        (ColumnType::Decimal { .. }, Value::Decimal(decimal)) => is(&decimal_text(decimal.unscaled, decimal.scale)),
        (ColumnType::Bit { length }, Value::Bit(bits)) => {
            is(&format!("b'{bits:0length$b}'", length = usize::from(*length)))
        }
        (ColumnType::Text { charset, .. }, Value::Text(text)) => is_quoted(&in_charset(*charset, text)),
        // The zeros at the end of BINARY are not in the binlog.
        (ColumnType::Bytes { form: TextForm::Fixed, .. }, Value::Bytes(bytes)) => is_quoted(without_zeros(bytes)),
        (ColumnType::Bytes { .. }, Value::Bytes(bytes)) => is_quoted(bytes),
        (ColumnType::Enum { .. }, Value::Enum(index)) => is(&index.to_string()),
        (ColumnType::Set { .. }, Value::Set(bits)) => {
            // Byte by byte, the lowest first.
            let bytes = (0..bare(printed).len() / 8).rev().map(|place| bits >> (8 * place) & 0xff);
            let digits: String = bytes.rev().map(|byte| format!("{byte:08b}")).collect();
            is(&format!("b'{digits}'"))
        }
        (ColumnType::Date, Value::Date(date)) => {
            is_quoted(format!("{:04}:{:02}:{:02}", date.year, date.month, date.day).as_bytes())
        }
        (ColumnType::Time { fraction }, Value::Time(time)) => is_quoted(time_text(time, *fraction).as_bytes()),
        (ColumnType::DateTime { fraction }, Value::DateTime(clock)) => {
            is_quoted(clock_text(clock, *fraction).as_bytes())
        }
        (ColumnType::Timestamp { fraction }, Value::Timestamp(instant)) => {
            let micros = match instant {
                Timestamp::Zero => 0,
                Timestamp::Micros(micros) => micros,
            };
            is(&format!("{}{}", micros / 1_000_000, fraction_text(micros % 1_000_000, *fraction)))
        }
        (ColumnType::Year, Value::Year(year)) => is(&if year == 0 { 1900 } else { year }.to_string()),
        (ColumnType::Json, Value::Json(text)) => {
            let narrowed: String = text.chars().map(|char| if char > '\u{ffff}' { '?' } else { char }).collect();
            is_quoted(text.as_bytes()) || is_quoted(narrowed.as_bytes())
        }
        // Nothing else is written here.
        _ => false,
    }
}

/// The value before the blank that ends it.
fn bare(printed: &[u8]) -> &str {
    let end = printed.windows(3).position(|window| window == b" /*").unwrap_or(printed.len());
    std::str::from_utf8(&printed[..end]).unwrap().trim_end()
}

/// How MariaDB's program prints bytes, which can't be read back: neither quotes nor backslashes are marked.
fn in_quotes(bytes: &[u8]) -> Vec<u8> {
    let mut printed = vec![b'\''];
    for byte in bytes {
        match byte {
            0..0x20 => printed.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            other => printed.push(*other),
        }
    }
    printed.extend_from_slice(b"' /*");
    printed
}

/// The bytes between the quotes of MySQL's program, with what stands behind backslashes undone.
fn quoted(printed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest =
        printed.strip_prefix(b"'").unwrap_or_else(|| panic!("no quote: {}", String::from_utf8_lossy(printed)));
    loop {
        let [byte, behind @ ..] = rest else { panic!("no closing quote: {}", String::from_utf8_lossy(printed)) };
        rest = behind;
        match byte {
            b'\'' => return bytes,
            b'\\' => {
                let [escape, behind @ ..] = rest else { panic!("an escape at the end") };
                rest = behind;
                bytes.push(match escape {
                    b'x' => {
                        let (hex, behind) = rest.split_at(2);
                        rest = behind;
                        u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap()
                    }
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    b'v' => 11,
                    b'a' => 7,
                    b'0' => 0,
                    other => *other,
                });
            }
            other => bytes.push(*other),
        }
    }
}

/// Below zero it adds what the same bits mean without a sign.
fn integer(bits: u8, number: i64) -> String {
    match number {
        0.. => number.to_string(),
        _ => format!("{number} ({})", number.cast_unsigned() << (64 - bits) >> (64 - bits)),
    }
}

/// Digits out of an unscaled integer, by long division.
pub(super) fn decimal_text(unscaled: &[u8], scale: u8) -> String {
    let is_negative = unscaled[0] >= 0x80;
    let mut magnitude = unscaled.to_vec();
    if is_negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut remainder = 0_u16;
        for byte in &mut magnitude {
            let part = remainder << 8 | u16::from(*byte);
            *byte = u8::try_from(part / 10).unwrap();
            remainder = part % 10;
        }
        digits.push(b'0' + u8::try_from(remainder).unwrap());
    }
    let scale = usize::from(scale);
    while digits.len() <= scale {
        digits.push(b'0');
    }
    digits.reverse();
    let text = String::from_utf8(digits).unwrap();
    let (whole, behind) = text.split_at(text.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{}{whole}{point}{behind}", if is_negative { "-" } else { "" })
}

/// The text as the column keeps it. Of latin1 only what the random texts hold.
fn in_charset(charset: Charset, text: &str) -> Vec<u8> {
    let latin1 = |char: char| match char {
        '€' => 0x80,
        other => u8::try_from(u32::from(other)).unwrap(),
    };
    match charset {
        Charset::Latin1 => text.chars().map(latin1).collect(),
        Charset::Utf8mb4 | Charset::Ascii => text.as_bytes().to_vec(),
        other => panic!("no random text is {other:?}"),
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &bytes[..end]
}

fn time_text(time: Time, fraction: u8) -> String {
    let sign = if time.micros < 0 { "-" } else { "" };
    let micros = time.micros.abs();
    let seconds = micros / 1_000_000;
    format!(
        "{sign}{:02}:{:02}:{:02}{}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        fraction_text(micros % 1_000_000, fraction)
    )
}

fn clock_text(clock: DateTime, fraction: u8) -> String {
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
        clock.date.year,
        clock.date.month,
        clock.date.day,
        clock.hour,
        clock.minute,
        clock.second,
        fraction_text(clock.micros.into(), fraction)
    )
}

fn fraction_text(micros: i64, digits: u8) -> String {
    match usize::from(digits) {
        0 => String::new(),
        digits => format!(".{}", &format!("{micros:06}")[..digits]),
    }
}
