//! Random tables, rows and transactions, as SQL.

use std::fmt::Write as _;

use lab::{Flavor, dice::Dice};
use tailrace_row::{Field, RowImage, Value};

/// What the tables may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every type and value.
    Everything,
    /// What `mysql_cdc` can carry: at a TIME below zero, and at bytes of a CHAR, VARCHAR, BINARY or VARBINARY that are not UTF-8,
    /// it ends the stream.
    OfMysqlCdc,
}

impl Reach {
    pub(super) fn database(self) -> &'static str {
        match self {
            Self::Everything => "decoders_all",
            Self::OfMysqlCdc => "decoders_cdc",
        }
    }
}

/// The key of the last row that is written.
const LAST: i64 = 2_000_000_000;
/// Keys are below, so that updates and deletes find rows.
const KEYS: u64 = 40;

/// Whether this is the row that was written last.
pub(super) fn is_last(image: Option<RowImage<'_>>) -> bool {
    image.is_some_and(|image| image.field(0) == Field::Value(Value::Integer(LAST)))
}

/// A table with random columns behind its key `id`.
pub(super) struct RandomTable {
    pub(super) name: String,
    columns: Vec<RandomColumn>,
}

struct RandomColumn {
    declared: String,
    values: Values,
    is_nullable: bool,
}

/// How values of a column are rolled.
#[derive(Clone, Copy)]
enum Values {
    Integer { bits: u32, is_unsigned: bool },
    Decimal { precision: usize, scale: usize },
    Float,
    Double,
    Bit { length: u32 },
    Text { characters_max: u64, alphabet: &'static [&'static str] },
    Bytes { length_max: usize, is_ascii: bool },
    Member { members: u64 },
    Members { members: u64 },
    Date,
    Time { fraction: u32, is_signed: bool },
    DateTime { fraction: u32 },
    Timestamp { fraction: u32 },
    Year,
    Json,
}

const ASCII: &[&str] = &["a", "Z", " ", "0", "\\'", "\\\\", "\\n", "\\0", "\"", "/* x */", "\\t", "%"];
const LATIN: &[&str] = &["a", "é", "ß", "ÿ", "€", " ", "\\'", "\\\\", "ñ"];
const UNICODE: &[&str] = &["a", "é", "😀", "中", "\\'", "\\\\", " ", "\\Z", "\u{301}", "\u{feff}", "ﬀ"];

impl RandomTable {
    pub(super) fn roll(dice: &mut Dice, number: usize, reach: Reach, flavor: Flavor) -> Self {
        let columns = (0..3 + dice.index(12)).map(|_| RandomColumn::roll(dice, reach, flavor)).collect();
        Self { name: format!("random_{number}"), columns }
    }

    pub(super) fn create(&self) -> String {
        let mut sql = format!("CREATE TABLE {} (id INT NOT NULL PRIMARY KEY", self.name);
        for (at, column) in self.columns.iter().enumerate() {
            let null = if column.is_nullable { "NULL" } else { "NOT NULL" };
            write!(sql, ", c{at} {} {null}", column.declared).unwrap();
        }
        // Members are in the table's charset: mysql_cdc takes UTF-8 only.
        sql + ") CHARACTER SET utf8mb4"
    }

    /// The row that [`is_last`] knows.
    pub(super) fn last_insert(&self) -> String {
        format!("INSERT IGNORE INTO {} (id) VALUES ({LAST})", self.name)
    }

    fn insert(&self, dice: &mut Dice) -> String {
        let rows: Vec<String> = (0..=dice.below(3))
            .map(|_| {
                let values: Vec<String> = self.columns.iter().map(|column| column.literal(dice)).collect();
                format!("({}, {})", dice.below(KEYS), values.join(", "))
            })
            .collect();
        format!("REPLACE INTO {} VALUES {}; ", self.name, rows.join(", "))
    }

    fn update(&self, dice: &mut Dice) -> String {
        let mut sets = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if dice.once_in(2) {
                sets.push(format!("c{at} = {}", column.literal(dice)));
            }
        }
        if dice.once_in(6) || sets.is_empty() {
            // Keys beyond the others, so that none is taken.
            sets.push(format!("id = {}", 1_000 + dice.below(1 << 30)));
        }
        format!("UPDATE {} SET {} WHERE id = {}; ", self.name, sets.join(", "), dice.below(KEYS))
    }

    fn delete(&self, dice: &mut Dice) -> String {
        let from = dice.below(KEYS);
        format!("DELETE FROM {} WHERE id BETWEEN {from} AND {}; ", self.name, from + dice.below(3))
    }
}

/// A few statements between BEGIN and COMMIT.
pub(super) fn transaction(dice: &mut Dice, tables: &[RandomTable]) -> String {
    let mut sql = "BEGIN; ".to_owned();
    for _ in 0..=dice.below(3) {
        let table = &tables[dice.index(tables.len())];
        sql += &match dice.below(5) {
            0..=1 => table.insert(dice),
            2..=3 => table.update(dice),
            _ => table.delete(dice),
        };
    }
    sql + "COMMIT; "
}

impl RandomColumn {
    fn roll(dice: &mut Dice, reach: Reach, flavor: Flavor) -> Self {
        let (declared, values) = match dice.below(4) {
            0 => number(dice),
            1 => text(dice, reach),
            2 => time(dice, reach),
            _ => other(dice, reach, flavor),
        };
        Self { declared, values, is_nullable: dice.once_in(2) }
    }

    fn literal(&self, dice: &mut Dice) -> String {
        if self.is_nullable && dice.once_in(5) { "NULL".to_owned() } else { self.values.literal(dice) }
    }
}

fn number(dice: &mut Dice) -> (String, Values) {
    let fraction = dice.index(31);
    match dice.below(5) {
        0..=1 => {
            let (name, bits) =
                *dice.pick(&[("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)]);
            let is_unsigned = dice.once_in(2);
            let unsigned = if is_unsigned { " UNSIGNED" } else { "" };
            (format!("{name}{unsigned}"), Values::Integer { bits, is_unsigned })
        }
        2 => {
            let precision = (fraction + dice.index(36)).clamp(1, 65);
            let scale = fraction.min(precision);
            (format!("DECIMAL({precision},{scale})"), Values::Decimal { precision, scale })
        }
        3 => ("FLOAT".to_owned(), Values::Float),
        _ => ("DOUBLE".to_owned(), Values::Double),
    }
}

fn text(dice: &mut Dice, reach: Reach) -> (String, Values) {
    let (charset, alphabet) = match reach {
        Reach::Everything => *dice.pick(&[("utf8mb4", UNICODE), ("latin1", LATIN), ("ascii", ASCII)]),
        Reach::OfMysqlCdc => *dice.pick(&[("utf8mb4", UNICODE), ("latin1", ASCII), ("ascii", ASCII)]),
    };
    let characters_max = *dice.pick(&[1, 7, 63, 64, 255]);
    let declared = match dice.below(4) {
        0 => format!("CHAR({characters_max}) CHARACTER SET {charset}"),
        1..=2 => format!("VARCHAR({characters_max}) CHARACTER SET {charset}"),
        _ => format!("{} CHARACTER SET {charset}", dice.pick(&["TEXT", "MEDIUMTEXT", "LONGTEXT"])),
    };
    (declared, Values::Text { characters_max, alphabet })
}

fn time(dice: &mut Dice, reach: Reach) -> (String, Values) {
    let fraction = *dice.pick(&[0, 1, 2, 3, 4, 5, 6]);
    match dice.below(5) {
        0 => ("DATE".to_owned(), Values::Date),
        1 => (format!("TIME({fraction})"), Values::Time { fraction, is_signed: reach == Reach::Everything }),
        2 => (format!("DATETIME({fraction})"), Values::DateTime { fraction }),
        3 => (format!("TIMESTAMP({fraction})"), Values::Timestamp { fraction }),
        _ => ("YEAR".to_owned(), Values::Year),
    }
}

fn other(dice: &mut Dice, reach: Reach, flavor: Flavor) -> (String, Values) {
    let length_max = *dice.pick(&[1, 8, 200]);
    let is_ascii = reach == Reach::OfMysqlCdc;
    let members = *dice.pick(&[1, 3, 9, 17, 33, 64]);
    let names: Vec<String> = (0..members).map(|number| format!("'m{number}é'")).collect();
    // MariaDB's JSON is a text.
    let kinds = if flavor == Flavor::Mysql { 7 } else { 6 };
    match dice.below(kinds) {
        0 => (format!("BINARY({length_max})"), Values::Bytes { length_max, is_ascii }),
        1 => (format!("VARBINARY({length_max})"), Values::Bytes { length_max, is_ascii }),
        2 => {
            let (name, length_max) = *dice.pick(&[("TINYBLOB", 255), ("BLOB", 300), ("LONGBLOB", 2_000)]);
            (name.to_owned(), Values::Bytes { length_max, is_ascii: false })
        }
        3 => (format!("ENUM({})", names.join(", ")), Values::Member { members }),
        4 => (format!("SET({})", names.join(", ")), Values::Members { members }),
        5 => {
            let length = *dice.pick(&[1, 5, 8, 9, 33, 64]);
            (format!("BIT({length})"), Values::Bit { length })
        }
        _ => ("JSON".to_owned(), Values::Json),
    }
}

impl Values {
    fn literal(self, dice: &mut Dice) -> String {
        match self {
            Self::Integer { bits, is_unsigned: true } => (edge(dice) >> (64 - bits)).to_string(),
            Self::Integer { bits, is_unsigned: false } => (edge(dice).cast_signed() >> (64 - bits)).to_string(),
            Self::Decimal { precision, scale } => decimal(dice, precision, scale),
            Self::Float => finite(f64::from(f32::from_bits(u32::try_from(dice.below(1 << 32)).unwrap()))),
            Self::Double => finite(f64::from_bits(dice.roll())),
            Self::Bit { length } => (edge(dice) >> (64 - length)).to_string(),
            Self::Text { characters_max, alphabet } => {
                let count = dice.below(characters_max + 1).min(dice.below(400));
                // An alphabet's entry may be several characters: the server cuts what is too long.
                format!("'{}'", (0..count).map(|_| *dice.pick(alphabet)).collect::<String>())
            }
            Self::Bytes { length_max, is_ascii } => {
                let count = dice.index(length_max + 1);
                let hex: String = dice
                    .bytes(count)
                    .iter()
                    .map(|byte| format!("{:02x}", if is_ascii { byte & 0x7f } else { *byte }))
                    .collect();
                format!("X'{hex}'")
            }
            // One above is no member: the server stores index 0.
            Self::Member { members } => dice.below(members + 2).to_string(),
            Self::Members { members } => (dice.roll() >> (64 - members)).to_string(),
            Self::Date => format!("'{}'", date(dice)),
            Self::Time { fraction, is_signed } => {
                let sign = if is_signed && dice.once_in(2) { "-" } else { "" };
                let hours = *dice.pick(&[0, 1, 23, 24, 99, 100, 837]);
                format!("'{sign}{hours}:{}:{}{}'", dice.below(60), dice.below(60), digits(dice, fraction))
            }
            Self::DateTime { fraction } => {
                format!(
                    "'{} {}:{}:{}{}'",
                    date(dice),
                    dice.below(24),
                    dice.below(60),
                    dice.below(60),
                    digits(dice, fraction)
                )
            }
            Self::Timestamp { fraction } => {
                if dice.once_in(8) {
                    return "'0000-00-00'".to_owned();
                }
                let seconds = 1 + dice.below((1 << 31) - 2);
                format!("FROM_UNIXTIME({seconds}{})", digits(dice, fraction))
            }
            Self::Year => dice.pick(&["0", "1901", "1970", "2000", "2155"]).to_string(),
            Self::Json => json(dice, 3),
        }
    }
}

/// 64 bits: any, or those near an end of a range.
fn edge(dice: &mut Dice) -> u64 {
    match dice.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 63,
        3 => (1 << 63) - 1,
        _ => dice.roll(),
    }
}

fn decimal(dice: &mut Dice, precision: usize, scale: usize) -> String {
    let sign = if dice.once_in(2) { "-" } else { "" };
    let zeros = if dice.once_in(3) { dice.index(precision + 1) } else { 0 };
    let nines = dice.once_in(5);
    let digit = |dice: &mut Dice, at: usize| match nines {
        true => '9',
        false if at < zeros => '0',
        false => char::from(b'0' + u8::try_from(dice.below(10)).unwrap()),
    };
    let all: String = (0..precision).map(|at| digit(dice, at)).collect();
    let (whole, behind) = all.split_at(precision - scale);
    format!("{sign}0{whole}.{behind}0")
}

fn finite(number: f64) -> String {
    if number.is_finite() { format!("{number:e}") } else { "0".to_owned() }
}

fn date(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => "0000-00-00".to_owned(),
        1 => "9999-12-31".to_owned(),
        // With ALLOW_INVALID_DATES off and no NO_ZERO_IN_DATE parts may be zero.
        2 => format!("{:04}-00-00", dice.below(10_000)),
        3 => format!("{:04}-{:02}-00", dice.below(10_000), dice.below(13)),
        _ => format!("{:04}-{:02}-{:02}", dice.below(10_000), 1 + dice.below(12), 1 + dice.below(28)),
    }
}

/// A point and so many digits; nothing for none.
fn digits(dice: &mut Dice, count: u32) -> String {
    match count {
        0 => String::new(),
        count => {
            let count = usize::try_from(count).unwrap();
            format!(".{:0count$}", dice.below(10_u64.pow(u32::try_from(count).unwrap())))
        }
    }
}

fn json(dice: &mut Dice, depth: u32) -> String {
    let scalars: &[&str] = &[
        "CAST('null' AS JSON)",
        "CAST('true' AS JSON)",
        "CAST('\"é😀 \\\\\" \\\\\\\\ \\\\n\"' AS JSON)",
        "CAST('18446744073709551615' AS JSON)",
        "CAST('-9223372036854775808' AS JSON)",
        "CAST('1.5e300' AS JSON)",
        "CAST(CAST('123456789012345678901234567890.12345' AS DECIMAL(40,5)) AS JSON)",
        "CAST(TIME'-838:59:59' AS JSON)",
        "CAST(TIMESTAMP'2024-02-29 01:02:03.000004' AS JSON)",
        "CAST(DATE'2024-02-29' AS JSON)",
        "'text'",
        "65536",
        "-32769",
        "0.1e0",
        "X'00ff'",
    ];
    match if depth == 0 { 2 } else { dice.below(4) } {
        0 => {
            let members: Vec<String> = (0..dice.below(5))
                .map(|at| format!("'{}{at}', {}", dice.pick(&["k", "é", "long name "]), json(dice, depth - 1)))
                .collect();
            format!("JSON_OBJECT({})", members.join(", "))
        }
        1 => {
            let items: Vec<String> = (0..dice.below(5)).map(|_| json(dice, depth - 1)).collect();
            format!("JSON_ARRAY({})", items.join(", "))
        }
        _ if depth == 3 => format!("JSON_ARRAY({})", dice.pick(scalars)),
        _ => (*dice.pick(scalars)).to_owned(),
    }
}
