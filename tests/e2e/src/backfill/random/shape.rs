//! Tables with random keys, and random statements on them. Keys come from small pools, so that each is written many times, in several
//! spellings where its collation takes them for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lab::Flavor;
use lab::writer::Dice;

/// Rows of a table's history are tried that often; keys that are taken are left out.
const HISTORY: usize = 900;
/// Keys in all, over the pools of a key's columns.
const KEYS: f64 = 1_200.0;
/// How often a table is emptied at most.
const TRUNCATIONS: u64 = 2;

const COLLATIONS_OF_BOTH: [&str; 6] = [
    "utf8mb4 COLLATE utf8mb4_general_ci",
    "utf8mb4 COLLATE utf8mb4_bin",
    "utf8mb4 COLLATE utf8mb4_unicode_ci",
    "latin1 COLLATE latin1_swedish_ci",
    "latin1 COLLATE latin1_german2_ci",
    "utf16 COLLATE utf16_unicode_ci",
];
const COLLATIONS_OF_MYSQL: [&str; 4] = [
    "utf8mb4 COLLATE utf8mb4_0900_ai_ci",
    "utf8mb4 COLLATE utf8mb4_0900_as_cs",
    "utf8mb4 COLLATE utf8mb4_0900_bin",
    "utf8mb4 COLLATE utf8mb4_hu_0900_ai_ci",
];
const COLLATIONS_OF_MARIADB: [&str; 3] = [
    "utf8mb4 COLLATE utf8mb4_nopad_bin",
    "utf8mb4 COLLATE utf8mb4_unicode_520_nopad_ci",
    "latin1 COLLATE latin1_swedish_nopad_ci",
];
/// Of which texts are made: cases, accents, and blanks that are padding to some.
const LETTERS: [&str; 16] = ["a", "A", "b", "B", "e", "E", "é", "É", "s", "S", "ß", "ss", " ", " ", "-", "ä"];
const WIDE_LETTERS: [&str; 4] = ["Ω", "ω", "字", "𝄞"];

/// What a column of a key may be.
#[derive(Clone, Copy)]
enum Kind {
    Integer { name: &'static str, bits: u32, is_unsigned: bool },
    Decimal { digits: u64, scale: u64 },
    Varchar,
    Char,
    Varbinary,
    Binary,
    Date,
    Datetime,
    Timestamp,
    Enum,
}

const fn integer(name: &'static str, bits: u32, is_unsigned: bool) -> Kind {
    Kind::Integer { name, bits, is_unsigned }
}

const KINDS: [Kind; 24] = [
    integer("TINYINT", 8, false),
    integer("SMALLINT", 16, false),
    integer("MEDIUMINT", 24, false),
    integer("INT", 32, false),
    integer("BIGINT", 64, false),
    integer("TINYINT", 8, true),
    integer("SMALLINT", 16, true),
    integer("MEDIUMINT", 24, true),
    integer("INT", 32, true),
    integer("BIGINT", 64, true),
    Kind::Decimal { digits: 9, scale: 3 },
    Kind::Decimal { digits: 38, scale: 10 },
    // Where the most can go wrong.
    Kind::Varchar,
    Kind::Varchar,
    Kind::Varchar,
    Kind::Varchar,
    Kind::Char,
    Kind::Char,
    Kind::Varbinary,
    Kind::Binary,
    Kind::Date,
    Kind::Datetime,
    Kind::Timestamp,
    Kind::Enum,
];

/// A column of a key.
struct KeyColumn {
    name: String,
    definition: String,
    is_descending: bool,
    is_text: bool,
    /// What it may be, as literals.
    pool: Vec<String>,
}

/// One table.
pub(super) struct Table {
    pub(super) name: String,
    key: Vec<KeyColumn>,
    truncations: AtomicU64,
}

impl Table {
    pub(super) fn new(number: u64, flavor: Flavor, dice: &mut Dice) -> Arc<Table> {
        let count = *dice.pick(&[1, 1, 1, 2, 2, 3]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        let pool = KEYS.powf(1.0 / f64::from(count)) as u32;
        let column = |number| KeyColumn::new(format!("k{number}"), flavor, pool, dice);
        let key = (0..count).map(column).collect();
        Arc::new(Table { name: format!("t{number}"), key, truncations: AtomicU64::new(0) })
    }

    pub(super) fn create(&self) -> String {
        let columns: String =
            self.key.iter().map(|column| format!("{} {} NOT NULL, ", column.name, column.definition)).collect();
        let part = |column: &KeyColumn| format!("{}{}", column.name, if column.is_descending { " DESC" } else { "" });
        let key: Vec<String> = self.key.iter().map(part).collect();
        let Self { name, .. } = self;
        format!(
            "CREATE TABLE {name} ({columns}n INT NOT NULL, note VARCHAR(300), more BLOB, PRIMARY KEY ({}))",
            key.join(", ")
        )
    }

    /// The rows that are there before anybody copies.
    pub(super) fn history(&self, dice: &mut Dice) -> String {
        const AT_ONCE: usize = 100;
        let rows = dice.index(HISTORY);
        (0..rows / AT_ONCE + 1).map(|_| self.insert(AT_ONCE.min(rows), dice)).collect::<Vec<_>>().join("; ")
    }

    /// One to four changes, mostly one.
    pub(super) fn change(&self, dice: &mut Dice) -> String {
        match dice.below(8) {
            0 => {
                let changes: Vec<String> = (0..2 + dice.below(3)).map(|_| self.one_change(dice)).collect();
                let end = if dice.once_in(4) { "ROLLBACK" } else { "COMMIT" };
                format!("START TRANSACTION; {}; {end}", changes.join("; "))
            }
            _ => self.one_change(dice),
        }
    }

    fn one_change(&self, dice: &mut Dice) -> String {
        let Self { name, .. } = self;
        match dice.below(64) {
            0..12 => self.insert(1 + dice.index(4), dice),
            12..20 => format!("{} ON DUPLICATE KEY UPDATE n = n + 1", self.insert(1, dice).replace(" IGNORE", "")),
            20..36 => format!("UPDATE {name} SET n = n + 1, note = {} WHERE {}", note(dice), self.some(dice)),
            36..44 => self.change_key(dice),
            44..52 => self.change_case(dice),
            52..58 => format!("DELETE FROM {name} WHERE {}", self.some(dice)),
            58..63 => {
                let key = self.literals(dice);
                let is_it: Vec<String> =
                    self.key.iter().zip(&key).map(|(column, value)| format!("{} = {value}", column.name)).collect();
                let columns = self.columns();
                let (is_it, key, note) = (is_it.join(" AND "), key.join(", "), note(dice));
                format!(
                    "DELETE FROM {name} WHERE {is_it}; INSERT IGNORE INTO {name} ({columns}) VALUES ({key}, -1, {note}, NULL)"
                )
            }
            _ if self.truncations.fetch_add(1, Ordering::Relaxed) < TRUNCATIONS => {
                format!("TRUNCATE {name}; {}", self.insert(60, dice))
            }
            _ => self.insert(10, dice),
        }
    }

    fn insert(&self, rows: usize, dice: &mut Dice) -> String {
        let row = |_| {
            let more = hex(dice.index(40), dice);
            format!("({}, {}, {}, {more})", self.literals(dice).join(", "), dice.below(9), note(dice))
        };
        let rows: Vec<String> = (0..rows.max(1)).map(row).collect();
        format!("INSERT IGNORE INTO {} ({}) VALUES {}", self.name, self.columns(), rows.join(", "))
    }

    fn change_key(&self, dice: &mut Dice) -> String {
        let column = &self.key[dice.index(self.key.len())];
        let (name, value) = (&column.name, dice.pick(&column.pool).clone());
        format!("UPDATE IGNORE {} SET {name} = {value}, n = n + 1 WHERE {}", self.name, self.some(dice))
    }

    /// Another spelling of the same key to many collations, another key to the others.
    fn change_case(&self, dice: &mut Dice) -> String {
        let texts: Vec<&KeyColumn> = self.key.iter().filter(|column| column.is_text).collect();
        if texts.is_empty() {
            return self.change_key(dice);
        }
        let name = &texts[dice.index(texts.len())].name;
        let spelling = match dice.below(3) {
            0 => format!("CONCAT(RTRIM({name}), ' ')"),
            _ => format!("IF(BINARY {name} = BINARY UPPER({name}), LOWER({name}), UPPER({name}))"),
        };
        format!("UPDATE IGNORE {} SET {name} = {spelling}, n = n + 1 WHERE {}", self.name, self.some(dice))
    }

    /// A few rows, by one column of the key: one value or a range.
    fn some(&self, dice: &mut Dice) -> String {
        let column = &self.key[dice.index(self.key.len())];
        let (name, one, other) = (&column.name, dice.pick(&column.pool), dice.pick(&column.pool));
        match dice.below(3) {
            0 => format!("{name} BETWEEN {one} AND {other} LIMIT 6"),
            1 => format!("{name} >= {one} LIMIT 3"),
            _ => format!("{name} = {one} LIMIT 8"),
        }
    }

    fn literals(&self, dice: &mut Dice) -> Vec<String> {
        self.key.iter().map(|column| dice.pick(&column.pool).clone()).collect()
    }

    fn columns(&self) -> String {
        self.key.iter().map(|column| format!("{}, ", column.name)).collect::<String>() + "n, note, more"
    }
}

impl KeyColumn {
    fn new(name: String, flavor: Flavor, pool: u32, dice: &mut Dice) -> KeyColumn {
        let kind = *dice.pick(&KINDS);
        let own: &[&str] = match flavor {
            Flavor::Mysql => &COLLATIONS_OF_MYSQL,
            Flavor::Mariadb | Flavor::Mariadb11 => &COLLATIONS_OF_MARIADB,
        };
        let collation = if dice.once_in(2) { *dice.pick(own) } else { *dice.pick(&COLLATIONS_OF_BOTH) };
        let is_wide = !collation.starts_with("latin1");
        let definition = match kind {
            Kind::Integer { name, is_unsigned, .. } => format!("{name}{}", if is_unsigned { " UNSIGNED" } else { "" }),
            Kind::Decimal { digits, scale } => format!("DECIMAL({digits},{scale})"),
            Kind::Varchar => format!("VARCHAR(20) CHARACTER SET {collation}"),
            Kind::Char => format!("CHAR(20) CHARACTER SET {collation}"),
            Kind::Varbinary => "VARBINARY(9)".to_owned(),
            Kind::Binary => "BINARY(6)".to_owned(),
            Kind::Date => "DATE".to_owned(),
            Kind::Datetime => "DATETIME(6)".to_owned(),
            Kind::Timestamp => "TIMESTAMP(3)".to_owned(),
            Kind::Enum => "ENUM('late', 'early', 'Zeta', '')".to_owned(),
        };
        KeyColumn {
            name,
            definition,
            is_descending: dice.once_in(5),
            is_text: matches!(kind, Kind::Varchar | Kind::Char),
            pool: (0..pool).map(|_| kind.literal(is_wide, dice)).collect(),
        }
    }
}

impl Kind {
    fn literal(self, is_wide: bool, dice: &mut Dice) -> String {
        match self {
            Kind::Integer { bits, is_unsigned, .. } => whole_number(bits, is_unsigned, dice).to_string(),
            Kind::Decimal { digits, scale } => {
                let sign = *dice.pick(&["", "-"]);
                let before = if dice.once_in(3) { 1 } else { digits - scale };
                format!("{sign}{}.{}", decimal_digits(before, dice), decimal_digits(scale, dice))
            }
            Kind::Varchar | Kind::Char => {
                let length = dice.index(7);
                let letter = |_| match dice.below(12) {
                    0 if is_wide => *dice.pick(&WIDE_LETTERS),
                    _ => *dice.pick(&LETTERS),
                };
                format!("'{}'", (0..length).map(letter).collect::<String>())
            }
            Kind::Varbinary => hex(dice.index(10), dice),
            Kind::Binary => hex(dice.index(7), dice),
            Kind::Date => format!("'{}'", date(1_000, 9_000, dice)),
            Kind::Datetime => format!("'{} {}'", date(1_900, 300, dice), time(dice)),
            Kind::Timestamp => format!("'{} {}'", date(1_971, 60, dice), time(dice)),
            Kind::Enum => format!("'{}'", dice.pick(&["late", "early", "Zeta", ""])),
        }
    }
}

/// At the ends of the range, around 0, or anywhere.
fn whole_number(bits: u32, is_unsigned: bool, dice: &mut Dice) -> i128 {
    let count = 1_i128 << bits;
    let least = if is_unsigned { 0 } else { -count / 2 };
    let most = least + count - 1;
    match dice.below(40) {
        0 => least,
        1 => most,
        2..12 => (i128::from(dice.below(100)) - 50).clamp(least, most),
        _ => least + i128::from(dice.roll()) % count,
    }
}

fn decimal_digits(count: u64, dice: &mut Dice) -> String {
    (0..count).map(|_| dice.below(10).to_string()).collect()
}

fn date(first_year: u64, years: u64, dice: &mut Dice) -> String {
    format!("{:04}-{:02}-{:02}", first_year + dice.below(years), 1 + dice.below(12), 1 + dice.below(28))
}

fn time(dice: &mut Dice) -> String {
    let fraction = *dice.pick(&["", ".5", ".001", ".999"]);
    format!("{:02}:{:02}:{:02}{fraction}", dice.below(24), dice.below(60), dice.below(60))
}

fn hex(bytes: usize, dice: &mut Dice) -> String {
    let digits: String = dice.bytes(bytes).iter().map(|byte| format!("{:02X}", byte & 0xC3)).collect();
    format!("X'{digits}'")
}

fn note(dice: &mut Dice) -> String {
    match dice.below(5) {
        0 => "NULL".to_owned(),
        _ => format!("'{}'", "x".repeat(dice.index(200))),
    }
}
