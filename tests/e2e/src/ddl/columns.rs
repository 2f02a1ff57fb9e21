//! The columns of a table that changes at random, and the statements that change it.
//!
//! A statement and what the columns are behind it come together: whoever writes rows takes the columns as they were before or
//! behind it, and the server refuses what does not fit.

use lab::writer::Dice;

/// What stands in a column, each as wide as it begins and as wide as it may become.
const LADDERS: [&[&str]; 6] = [INTEGERS, TEXTS, DECIMALS, TIMES, FLOATS, MEMBERS];
const INTEGERS: &[&str] = &["TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"];
const TEXTS: &[&str] = &["VARCHAR(8)", "VARCHAR(30)", "VARCHAR(200)", "TEXT"];
const DECIMALS: &[&str] = &["DECIMAL(6,2)", "DECIMAL(12,2)", "DECIMAL(20,4)"];
const TIMES: &[&str] = &["DATETIME", "DATETIME(3)", "DATETIME(6)"];
const FLOATS: &[&str] = &["FLOAT", "DOUBLE"];
const MEMBERS: &[&str] = &["ENUM('a','b')", "ENUM('a','b','c ''d')"];

/// Few, so that a column gets the name of one that is gone, and another type.
const NAMES: [&str; 8] = ["a", "b", "c d", "Größe", "select", "x`y", "n_1", "Z"];

const COLUMNS_MAX: usize = 6;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Add,
    Drop,
    Rename,
    Widen,
    /// NULL is allowed where it was not.
    Loosen,
    /// Columns go, get other names, become wider and come in one statement.
    Many,
    Truncate,
    /// What concerns no column: no barrier.
    Index,
}

pub(super) const KINDS: [Kind; 8] =
    [Kind::Add, Kind::Drop, Kind::Rename, Kind::Widen, Kind::Loosen, Kind::Many, Kind::Truncate, Kind::Index];

#[derive(Clone, Debug)]
struct Column {
    name: &'static str,
    ladder: &'static [&'static str],
    step: usize,
    is_nullable: bool,
}

/// The columns of a table beside its key.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    table: &'static str,
    columns: Vec<Column>,
    indexes: u32,
    /// Whether the target changes columns in place.
    pub(super) is_plastic: bool,
}

impl Shape {
    /// A table with a key and two more columns.
    pub(super) fn new(table: &'static str, is_plastic: bool) -> Self {
        let column = |name, ladder, is_nullable| Column { name, ladder, step: 0, is_nullable };
        let columns = vec![column("a", INTEGERS, false), column("b", TEXTS, true)];
        Self { table, columns, indexes: 0, is_plastic }
    }

    /// The statement that makes it.
    pub(super) fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(Column::definition).collect();
        format!("CREATE TABLE {} (id BIGINT PRIMARY KEY, {})", self.table, columns.join(", "))
    }

    /// A statement of that kind, and the columns behind it; none if it has no column for it.
    pub(super) fn change(&self, kind: Kind, dice: &mut Dice) -> Option<(String, Self)> {
        let mut behind = self.clone();
        let clauses = match kind {
            Kind::Truncate => return Some((format!("TRUNCATE TABLE {}", self.table), behind)),
            Kind::Index => vec![behind.index()],
            Kind::Add => vec![behind.add(dice)?],
            Kind::Drop => vec![behind.drop(dice)?],
            Kind::Rename => vec![behind.rename(dice)?],
            Kind::Widen => vec![behind.widen(dice)?],
            Kind::Loosen => vec![behind.loosen(dice)?],
            Kind::Many => behind.many(dice)?,
        };
        Some((format!("ALTER TABLE {} {}", self.table, clauses.join(", ")), behind))
    }

    fn index(&mut self) -> String {
        self.indexes += 1;
        let drop = if self.indexes > 1 { format!("DROP INDEX i{}, ", self.indexes - 1) } else { String::new() };
        format!("{drop}ADD INDEX i{} (id), COMMENT = 'drop column a, (add b'", self.indexes)
    }

    fn free_name(&self, dice: &mut Dice) -> Option<&'static str> {
        let is_free = |name: &&&str| self.columns.iter().all(|column| column.name != **name);
        let free: Vec<&&str> = NAMES.iter().filter(is_free).collect();
        (!free.is_empty()).then(|| **dice.pick(&free))
    }

    fn add(&mut self, dice: &mut Dice) -> Option<String> {
        if self.columns.len() >= COLUMNS_MAX {
            return None;
        }
        let ladder = *dice.pick(&LADDERS);
        let step = dice.index(ladder.len());
        let column = Column { name: self.free_name(dice)?, ladder, step, is_nullable: dice.once_in(2) };
        // A column of text takes no such default.
        let has_default = column.sql_type() != "TEXT" && !dice.once_in(3);
        let default = if has_default { format!(" DEFAULT {}", column.some_value(dice)) } else { String::new() };
        // Without any, what rows get of a time that is not NULL depends on the mode of the session.
        let column = Column { is_nullable: column.is_nullable || !has_default && ladder == TIMES, ..column };
        let place = match dice.below(3) {
            0 => " FIRST".to_owned(),
            1 => self.columns.first().map_or(String::new(), |first| format!(" AFTER {}", quote(first.name))),
            _ => String::new(),
        };
        let clause = format!("ADD COLUMN {}{default}{place}", column.definition());
        self.columns.push(column);
        Some(clause)
    }

    fn drop(&mut self, dice: &mut Dice) -> Option<String> {
        if self.columns.len() < 2 {
            return None;
        }
        let column = self.columns.remove(dice.index(self.columns.len()));
        Some(format!("DROP COLUMN {}", quote(column.name)))
    }

    fn rename(&mut self, dice: &mut Dice) -> Option<String> {
        let to = self.free_name(dice)?;
        let place = dice.index(self.columns.len());
        let column = &mut self.columns[place];
        let from = std::mem::replace(&mut column.name, to);
        Some(format!("RENAME COLUMN {} TO {}", quote(from), quote(to)))
    }

    fn widen(&mut self, dice: &mut Dice) -> Option<String> {
        let is_plastic = self.is_plastic;
        let may_grow = |column: &&mut Column| {
            column.step + 1 < column.ladder.len() && (is_plastic || [INTEGERS, TEXTS].contains(&column.ladder))
        };
        let mut candidates: Vec<&mut Column> = self.columns.iter_mut().filter(may_grow).collect();
        if candidates.is_empty() {
            return None;
        }
        let place = dice.index(candidates.len());
        let column = &mut candidates[place];
        column.step += 1 + dice.index(column.ladder.len() - column.step - 1);
        Some(format!("MODIFY COLUMN {}", column.definition()))
    }

    fn loosen(&mut self, dice: &mut Dice) -> Option<String> {
        let mut candidates: Vec<&mut Column> = self.columns.iter_mut().filter(|column| !column.is_nullable).collect();
        if candidates.is_empty() || !self.is_plastic {
            return None;
        }
        let place = dice.index(candidates.len());
        let column = &mut candidates[place];
        column.is_nullable = true;
        Some(format!("MODIFY COLUMN {}", column.definition()))
    }

    /// Names in the clauses are those from before the statement: each column is in one of them at most.
    fn many(&mut self, dice: &mut Dice) -> Option<Vec<String>> {
        if self.columns.len() < 3 {
            return None;
        }
        let mut rest = Self { columns: self.columns.split_off(1), ..self.clone() };
        let dropped = rest.drop(dice)?;
        let mut one = Self { columns: vec![rest.columns.remove(0)], ..rest.clone() };
        let renamed = one.columns[0].name;
        let changed = one.widen(dice);
        let all = [&self.columns[..], &rest.columns, &one.columns].concat();
        let to = Self { columns: all, ..self.clone() }.free_name(dice)?;
        // A name that is given up in the same statement may be taken only by a new column.
        one.columns[0].name = to;
        let renamed = match changed {
            Some(_) => format!("CHANGE COLUMN {} {}", quote(renamed), one.columns[0].definition()),
            None => format!("RENAME COLUMN {} TO {}", quote(renamed), quote(to)),
        };
        self.columns.extend(rest.columns);
        self.columns.extend(one.columns);
        let added = self.add(dice)?;
        Some(vec![added.replace(" FIRST", "").split(" AFTER ").next()?.to_owned(), renamed, dropped])
    }

    /// A statement that changes some rows.
    pub(super) fn write(&self, keys: u64, dice: &mut Dice) -> String {
        let table = self.table;
        let (id, other) = (dice.below(keys), dice.below(keys));
        let column = dice.pick(&self.columns);
        let (name, value) = (quote(column.name), column.value(dice));
        match dice.below(10) {
            0..5 => {
                let names: Vec<String> = self.columns.iter().map(|column| quote(column.name)).collect();
                let values: Vec<String> = self.columns.iter().map(|column| column.value(dice)).collect();
                format!(
                    "INSERT INTO {table} (id, {}) VALUES ({id}, {}) ON DUPLICATE KEY UPDATE {name} = {value}",
                    names.join(", "),
                    values.join(", ")
                )
            }
            5..7 => format!("UPDATE {table} SET {name} = {value} WHERE id BETWEEN {id} AND {id} + 3"),
            7..9 => format!("DELETE FROM {table} WHERE id = {id}"),
            // Another key; nothing happens where that one is taken.
            _ => format!("UPDATE IGNORE {table} SET id = {other} WHERE id = {id}"),
        }
    }
}

impl Column {
    fn sql_type(&self) -> &'static str {
        self.ladder[self.step]
    }

    fn definition(&self) -> String {
        let null = if self.is_nullable { "NULL" } else { "NOT NULL" };
        format!("{} {} {null}", quote(self.name), self.sql_type())
    }

    fn value(&self, dice: &mut Dice) -> String {
        if self.is_nullable && dice.once_in(5) { "NULL".to_owned() } else { self.some_value(dice) }
    }

    /// A literal that the type holds as it is.
    fn some_value(&self, dice: &mut Dice) -> String {
        const CHARACTERS: [char; 10] = ['a', 'Z', ' ', 'ä', '€', '😀', '-', '0', '%', '"'];
        let sign = if dice.once_in(2) { "-" } else { "" };
        match self.sql_type() {
            "TINYINT" => format!("{sign}{}", dice.below(128)),
            "SMALLINT" => format!("{sign}{}", dice.below(1 << 15)),
            "MEDIUMINT" => format!("{sign}{}", dice.below(1 << 23)),
            "INT" => format!("{sign}{}", dice.below(1 << 31)),
            "BIGINT" => format!("{sign}{}", dice.below(1 << 63)),
            "DECIMAL(6,2)" => format!("{sign}{}.{:02}", dice.below(10_000), dice.below(100)),
            "DECIMAL(12,2)" => format!("{sign}{}.{:02}", dice.below(10_000_000_000), dice.below(100)),
            "DECIMAL(20,4)" => format!("{sign}{}.{:04}", dice.below(10_000_000_000_000_000), dice.below(10_000)),
            "FLOAT" => format!("{sign}{}.5", dice.below(1 << 20)),
            // All databases print as many digits.
            "DOUBLE" => format!("{sign}{}.{:05}", dice.below(1 << 30), dice.below(100_000)),
            "DATETIME" => format!("'{}'", moment(dice)),
            "DATETIME(3)" => format!("'{}.{:03}'", moment(dice), dice.below(1_000)),
            "DATETIME(6)" => format!("'{}.{:06}'", moment(dice), dice.below(1_000_000)),
            "VARCHAR(8)" => text(8, &CHARACTERS, dice),
            "VARCHAR(30)" => text(30, &CHARACTERS, dice),
            "VARCHAR(200)" | "TEXT" => text(200, &CHARACTERS, dice),
            _ => if self.step > 0 && dice.once_in(2) { "'c ''d'" } else { "'b'" }.to_owned(),
        }
    }
}

fn moment(dice: &mut Dice) -> String {
    let (month, day, hour) = (1 + dice.below(12), 1 + dice.below(28), dice.below(24));
    format!("{}-{month:02}-{day:02} {hour:02}:{:02}:59", 1_000 + dice.below(9_000), dice.below(60))
}

fn text(characters_max: usize, characters: &[char], dice: &mut Dice) -> String {
    let text: String = (0..dice.index(characters_max + 1)).map(|_| *dice.pick(characters)).collect();
    format!("'{text}'")
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
