//! What a writer does at random, as text: tables, sessions, statements. No statement here fails but for locks, whatever the rows are.

use lab::mysql::Flavor;
use lab::writer::Dice;

/// Keys that all writers share lie below it.
const SHARED: u64 = 60;
/// Rows of each prepared transaction are its own, so that it keeps nobody waiting.
const SLOT_KEYS: u64 = 10;
/// Tables that `CREATE TABLE … SELECT` makes.
pub(super) const MADE: u64 = 4;

/// What a source can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Abilities {
    pub(super) flavor: Flavor,
    /// Where the captured tables are.
    pub(super) database: String,
    /// Tables with and without transactions in one transaction: MySQL refuses it where it has GTIDs.
    pub(super) can_mix: bool,
    /// Row images that sessions switch to.
    pub(super) images: Vec<&'static str>,
}

impl Abilities {
    pub(super) fn is_mysql(&self) -> bool {
        self.flavor == Flavor::Mysql
    }

    /// The tables, and those that `CREATE TABLE … SELECT` will make: they are here to make their targets.
    pub(super) fn tables(&self) -> String {
        let mut sql = TABLES.to_owned();
        if self.is_mysql() {
            sql.push_str(CASCADES);
        }
        for number in 0..MADE {
            sql.push_str(&format!("; CREATE TABLE made_{number} ({MADE_COLUMNS})"));
        }
        sql
    }

    /// Removes those that are to be made.
    pub(super) fn dropped(&self) -> String {
        let names: Vec<String> = (0..MADE).map(|number| format!("made_{number}")).collect();
        format!("DROP TABLE {}", names.join(", "))
    }
}

const TABLES: &str = "
    CREATE TABLE docs (id INT PRIMARY KEY, owner INT NOT NULL, a INT NOT NULL DEFAULT 7, t TEXT, x BLOB, j JSON, k JSON);
    CREATE TABLE noted (id INT AUTO_INCREMENT PRIMARY KEY, doc INT NOT NULL, a INT NOT NULL);
    CREATE TABLE loose (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) NOT NULL) ENGINE = MyISAM;
    CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(60) CHARACTER SET utf8mb4 NOT NULL);
    CREATE TRIGGER note AFTER UPDATE ON docs FOR EACH ROW
        INSERT INTO noted (doc, a) SELECT NEW.id, NEW.a FROM DUAL WHERE NEW.a % 5 = 0;
    CREATE PROCEDURE work (IN first INT, IN number INT) BEGIN
        DECLARE n INT DEFAULT 0;
        WHILE n < number DO
            INSERT INTO docs VALUES (first + n, -1, n, 'of a procedure', NULL, NULL, '[1, 2]')
                ON DUPLICATE KEY UPDATE a = docs.a + 1, t = 'again';
            SET n = n + 1;
        END WHILE;
    END";

const CASCADES: &str = ";
    CREATE TABLE trees (id INT PRIMARY KEY, v INT NOT NULL);
    CREATE TABLE leaves (id INT PRIMARY KEY, tree INT, v INT NOT NULL,
        FOREIGN KEY (tree) REFERENCES trees (id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE birds (id INT PRIMARY KEY, tree INT, FOREIGN KEY (tree) REFERENCES trees (id) ON DELETE SET NULL)";

const MADE_COLUMNS: &str = "id INT PRIMARY KEY, a INT NOT NULL, t TEXT";

/// Settings of a session for one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) image: &'static str,
    pub(super) is_partial_json: bool,
    pub(super) is_compressed: bool,
}

impl Session {
    /// Everything that the server can do, at random.
    pub(super) fn roll(abilities: &Abilities, dice: &mut Dice) -> Session {
        let image = *dice.pick(&abilities.images);
        // JSON in part needs the document from before.
        let is_partial_json = abilities.is_mysql() && image != "MINIMAL" && dice.once_in(2);
        Session { image, is_partial_json, is_compressed: abilities.is_mysql() && dice.once_in(3) }
    }

    /// The same with whole rows: what changes keys needs them.
    pub(super) fn whole(self) -> Session {
        Session { image: "FULL", ..self }
    }

    pub(super) fn is_partial_image(self) -> bool {
        self.image != "FULL"
    }

    pub(super) fn statement(self, abilities: &Abilities) -> String {
        let mut sql = format!("SET binlog_row_image = {}", self.image);
        if abilities.is_mysql() {
            let options = if self.is_partial_json { "PARTIAL_JSON" } else { "" };
            let compression = if self.is_compressed { "ON" } else { "OFF" };
            sql.push_str(&format!(
                ", binlog_row_value_options = '{options}', binlog_transaction_compression = {compression}"
            ));
        }
        sql
    }
}

/// Keys that a transaction may touch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    first: u64,
    count: u64,
}

impl Keys {
    pub(super) const SHARED: Keys = Keys { first: 0, count: SHARED };

    /// Those of one prepared transaction of a writer.
    pub(super) fn of_slot(writer: u64, slot: u64) -> Keys {
        Keys { first: 100_000 * (writer + 1) + slot * SLOT_KEYS, count: SLOT_KEYS }
    }

    fn last(self) -> u64 {
        self.first + self.count - 1
    }

    fn roll(self, dice: &mut Dice) -> u64 {
        self.first + dice.below(self.count)
    }
}

/// One to four changes of documents.
pub(super) fn changes(abilities: &Abilities, session: Session, keys: Keys, dice: &mut Dice) -> String {
    let count = 1 + dice.below(4);
    let changes: Vec<String> = (0..count).map(|_| change(abilities, session, keys, dice)).collect();
    changes.join("; ")
}

fn change(abilities: &Abilities, session: Session, keys: Keys, dice: &mut Dice) -> String {
    let (id, number) = (keys.roll(dice), dice.below(1 << 30));
    let path = *dice.pick(&["$.a", "$.list[1]", "$.list[9]", "$.new", "$.new.deep", "$.\"odd name\"", "$.text"]);
    let column = *dice.pick(&["j", "k"]);
    let document = "JSON_OBJECT('a', 1, 'list', JSON_ARRAY(1, 'two', NULL), 'text', REPEAT('j', 300))";
    match dice.below(12) {
        // All columns: MINIMAL leaves out the others, and their defaults are not told.
        0..4 => {
            let verb = *dice.pick(&["REPLACE", "INSERT IGNORE"]);
            let text = if dice.once_in(5) { "NULL".to_owned() } else { format!("REPEAT('text {number} ', 20)") };
            format!(
                "{verb} INTO docs (id, owner, a, t, x, j, k) VALUES \
                 ({id}, {owner}, {a}, {text}, REPEAT(x'00ff', {count}), {document}, {document})",
                owner = number % 7,
                a = number % 1000,
                count = number % 200
            )
        }
        4 => format!("DELETE FROM docs WHERE id = {id}"),
        5 => format!(
            "UPDATE docs SET a = a + 1, t = CONCAT('all ', a) WHERE id BETWEEN {id} AND {}",
            keys.last().min(id + 5)
        ),
        6 => format!("UPDATE docs SET t = 'é {number}' WHERE id = {id}"),
        7 => format!("UPDATE docs SET x = REPEAT(x'01', {}), owner = owner + 1 WHERE id = {id}", number % 300),
        8 if abilities.is_mysql() && session.image != "MINIMAL" => {
            format!("UPDATE docs SET {column} = JSON_REMOVE({column}, '{path}') WHERE id = {id}")
        }
        _ => format!("UPDATE docs SET {column} = JSON_SET({column}, '{path}', {number}), a = a + 1 WHERE id = {id}"),
    }
}

/// Another key; nothing happens where that one is taken.
pub(super) fn key_change(dice: &mut Dice) -> String {
    let (from, to) = (Keys::SHARED.roll(dice), Keys::SHARED.roll(dice));
    format!("UPDATE IGNORE docs SET id = {to}, a = a + 1 WHERE id = {from}")
}

/// Parents that move and go, with children that were just made for them.
pub(super) fn cascade(dice: &mut Dice) -> String {
    let (tree, moved, leaf) = (dice.below(40), 100 + dice.below(1 << 20), dice.below(1 << 20));
    let ends = [
        format!("UPDATE IGNORE trees SET id = {moved} WHERE id = {tree}"),
        format!("DELETE FROM trees WHERE id = {tree}"),
        format!("DELETE FROM trees WHERE id IN ({tree}, {tree} + 1); INSERT IGNORE INTO trees VALUES ({tree}, 2)"),
    ];
    let end = dice.pick(&ends);
    format!(
        "INSERT IGNORE INTO trees VALUES ({tree}, 1); INSERT IGNORE INTO leaves VALUES ({leaf}, {tree}, 1), ({leaf} + 1, {tree}, 2); \
         INSERT IGNORE INTO birds VALUES ({leaf}, {tree}); {end}"
    )
}

pub(super) fn loose_rows(dice: &mut Dice) -> String {
    let number = dice.below(1 << 30);
    match dice.below(4) {
        0 => format!("UPDATE loose SET v = 'changed {number}' WHERE id % 10 = {}", number % 10),
        1 => format!("DELETE FROM loose WHERE id % 20 = {}", number % 20),
        _ => format!("INSERT INTO loose (v) VALUES ('stays {number}'), ('stays too')"),
    }
}

pub(super) fn procedure(dice: &mut Dice) -> String {
    format!("CALL work({}, {})", Keys::SHARED.roll(dice), 1 + dice.below(6))
}

pub(super) fn made(number: u64) -> String {
    format!("CREATE TABLE made_{number} ({MADE_COLUMNS}) SELECT id, a, t FROM docs")
}

/// A file for LOAD DATA, and the statement that takes it.
pub(super) fn file(dice: &mut Dice) -> (String, &'static str) {
    let lines = (0..1 + dice.below(30)).map(|_| format!("{}\tgeladen é {}\n", dice.below(500), dice.below(1 << 30)));
    (lines.collect(), "LOAD DATA LOCAL INFILE 'rows' REPLACE INTO TABLE loaded CHARACTER SET utf8mb4")
}
