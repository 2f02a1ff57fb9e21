//! What a statement in the binlog means for the captured tables.
//!
//! Row changes come as rows events; statements are transaction control, DDL, and changes that somebody logged in statement
//! format. The rule: a statement that touches no captured table never stops anything, one that may have touched one always
//! does, by verb and table. Its text is never shown: literals are row values.
//!
//! 1. With `binlog_row_metadata=FULL` each table map carries the table's shape, so CREATE TABLE, CREATE INDEX and the
//!    like need no attention.
//! 2. ALTER, DROP, RENAME and TRUNCATE of a captured table change rows or shape at the target, which can't be followed yet.
//!    Names are read with the statement's own quotes and default database.
//! 3. A change in statement format can reach any table through triggers and functions. The server lists the databases that
//!    the statement writes; if a captured table lies in one of them, or the list is missing, it stops.

mod tokens;

use std::borrow::Cow;

use tailrace_contract::{STATEMENT_BYTES_MAX, TableAct, TableFilter, TablePattern};
use tailrace_row::{Charset, TableName};

use crate::{
    events::QueryEvent,
    row_decoder::charset::{Collations, Encoding, is_common, to_text},
};
use tokens::{Quoting, Token, Tokens};

/// The part that a statement plays in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Begin,
    Commit,
    Rollback,
    /// SAVEPOINT, whose name [`savepoint`] reads.
    Savepoint,
    /// ROLLBACK TO a savepoint: what was changed since is taken back.
    RollbackTo,
    /// RELEASE SAVEPOINT.
    Release,
    XaStart,
    XaEnd,
    /// The second phase of an XA transaction.
    XaCommit,
    XaRollback,
    /// CREATE TABLE … SELECT: rows follow.
    CreateWithRows,
    /// Anything else.
    None,
}

/// What a statement other than control means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It concerns no captured table.
    Harmless,
    /// It changes captured tables in ways that can be followed, or that a table can wait at.
    Changes(Vec<TableAct>),
    /// It concerns this table.
    Table { verb: String, table: TableName },
    /// It may concern captured tables of this database (unknown if empty).
    Database { verb: String, database: String },
}

impl Verdict {
    /// Whether a captured table may look otherwise behind it: rows alone change no table.
    pub(crate) fn may_alter(&self) -> bool {
        match self {
            Self::Harmless => false,
            Self::Changes(_) => true,
            Self::Table { verb, .. } | Self::Database { verb, .. } => !DML_VERBS.contains(&&**verb),
        }
    }
}

/// Which part the statement plays.
pub(crate) fn control(query: &QueryEvent<'_>) -> Control {
    // Both are by far the most frequent, and the server writes them just so.
    match query.text {
        b"BEGIN" => return Control::Begin,
        b"COMMIT" => return Control::Commit,
        _ => {}
    }
    let mut tokens = Tokens::new(query.text, Quoting::of(query.sql_mode));
    let (Some(first), second) = (tokens.next(), tokens.next()) else { return Control::None };
    let second_is = |keyword: &str| second.as_ref().is_some_and(|token| token.is(keyword));
    if first.is("BEGIN") || first.is("START") && second_is("TRANSACTION") {
        Control::Begin
    } else if first.is("COMMIT") {
        Control::Commit
    } else if first.is("ROLLBACK") {
        if second_is("TO") || second_is("WORK") && tokens.any(|token| token.is("TO")) {
            Control::RollbackTo
        } else {
            Control::Rollback
        }
    } else if first.is("SAVEPOINT") {
        Control::Savepoint
    } else if first.is("RELEASE") {
        Control::Release
    } else if first.is("XA") {
        match second {
            Some(word) if word.is("START") || word.is("BEGIN") => Control::XaStart,
            Some(word) if word.is("COMMIT") => Control::XaCommit,
            Some(word) if word.is("ROLLBACK") => Control::XaRollback,
            _ => Control::XaEnd,
        }
    } else if first.is("CREATE") && second_is("TABLE") && ends_with_start_transaction(query.text) {
        Control::CreateWithRows
    } else {
        Control::None
    }
}

/// The name in SAVEPOINT or ROLLBACK TO, in the form in which equal names are equal. It ends the statement.
pub(crate) fn savepoint(query: &QueryEvent<'_>) -> Option<String> {
    let name = match Tokens::new(query.text, Quoting::of(query.sql_mode)).last()? {
        Token::Name(name) => name,
        Token::Word(word) => Cow::Borrowed(word),
        Token::Text | Token::Symbol(_) => return None,
    };
    Some(std::str::from_utf8(&name).ok()?.to_lowercase())
}

/// The server ends the statement of an atomic CREATE TABLE … SELECT with these words.
fn ends_with_start_transaction(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let Some(head) = text.len().checked_sub(b"TRANSACTION".len()) else { return false };
    let (head, last) = text.split_at(head);
    last.eq_ignore_ascii_case(b"TRANSACTION")
        && head.trim_ascii_end().last_chunk::<5>().is_some_and(|word| word.eq_ignore_ascii_case(b"START"))
}

/// The captured tables as statements name them.
#[derive(Clone)]
pub(crate) struct Captured<'a> {
    pub(crate) filter: &'a TableFilter,
    pub(crate) collations: &'a Collations,
    /// `lower_case_table_names` is not 0.
    pub(crate) ignores_case: bool,
}

impl Captured<'_> {
    /// Judges a statement that is no transaction control.
    pub(crate) fn judge(&self, query: &QueryEvent<'_>) -> Verdict {
        let Some(charset) = self.client_charset(query) else { return self.judge_by_database(query, "statement") };
        let mut reader = Reader { tokens: Tokens::new(query.text, Quoting::of(query.sql_mode)), query, charset };
        let Some(mut verb) = reader.tokens.next() else { return Verdict::Harmless };
        // MariaDB's settings for one statement stand before it.
        if verb.is("SET") && reader.skip_if("STATEMENT") {
            reader.tokens.by_ref().find(|token| token.is("FOR"));
            verb = reader.tokens.next().unwrap_or(verb);
        }
        let is = |keywords: &[&str]| keywords.iter().any(|keyword| verb.is(keyword));
        if is(&["ALTER"]) {
            self.judge_alter(&mut reader)
        } else if is(&["DROP"]) {
            self.judge_drop(&mut reader)
        } else if is(&["CREATE"]) {
            self.judge_create(&mut reader)
        } else if is(&["RENAME"]) {
            match reader.tokens.next() {
                Some(object) if object.is("TABLE") || object.is("TABLES") => {
                    reader.skip_if_exists();
                    self.judge_list(&mut reader, "RENAME TABLE")
                }
                _ => Verdict::Harmless,
            }
        } else if is(&["TRUNCATE"]) {
            reader.skip_if("TABLE");
            let table = reader.name().and_then(|name| self.table(&name));
            table.map_or(Verdict::Harmless, |table| Verdict::Changes(vec![TableAct::Truncate { table }]))
        } else if is(&["ANALYZE"]) && !ANALYZED.iter().any(|keyword| reader.next_is(keyword)) {
            // MariaDB carries a statement out to analyze it.
            self.judge_by_database(query, "ANALYZE")
        } else if is(&HARMLESS_VERBS) {
            Verdict::Harmless
        } else {
            let verb = DML_VERBS.iter().find(|known| verb.is(known)).copied().unwrap_or("unknown statement");
            self.judge_by_database(query, verb)
        }
    }

    /// The statement for people, cut where it is longer than is kept.
    pub(crate) fn text(&self, query: &QueryEvent<'_>) -> String {
        let text = self.client_charset(query).and_then(|charset| to_text(charset, query.text));
        let mut text = text.unwrap_or_else(|| String::from_utf8_lossy(query.text).into_owned());
        text.truncate(text.floor_char_boundary(STATEMENT_BYTES_MAX));
        text
    }

    fn judge_create(&self, reader: &mut Reader<'_>) -> Verdict {
        let replaces = reader.next_is("OR");
        if reader.find_object() != Some(Object::Table) {
            return Verdict::Harmless;
        }
        reader.skip_if_exists();
        let Some(table) = reader.name().and_then(|name| self.table(&name)) else { return Verdict::Harmless };
        if reader.has_query_expression() {
            return Verdict::Table { verb: "CREATE TABLE … SELECT in statement format".to_owned(), table };
        }
        if replaces {
            return Verdict::Table { verb: "CREATE OR REPLACE TABLE".to_owned(), table };
        }
        Verdict::Harmless
    }

    fn judge_alter(&self, reader: &mut Reader<'_>) -> Verdict {
        if reader.find_object() != Some(Object::Table) {
            return Verdict::Harmless;
        }
        let verb = || "ALTER TABLE".to_owned();
        reader.skip_if_exists();
        if let Some(table) = reader.name().and_then(|name| self.table(&name)) {
            return Verdict::Table { verb: verb(), table };
        }
        // Another table may become a captured one by its new name, or change rows with it.
        while let Some(token) = reader.tokens.next() {
            let has_name = if token.is("RENAME") {
                !["COLUMN", "INDEX", "KEY"].iter().any(|keyword| reader.next_is(keyword))
            } else {
                // EXCHANGE PARTITION … WITH TABLE, and MariaDB's CONVERT TABLE … TO PARTITION, CONVERT PARTITION … TO TABLE.
                ["WITH", "CONVERT", "TO"].iter().any(|keyword| token.is(keyword)) && reader.skip_if("TABLE")
            };
            if !has_name {
                continue;
            }
            reader.skip_if("TO");
            reader.skip_if("AS");
            if let Some(table) = reader.name().and_then(|name| self.table(&name)) {
                return Verdict::Table { verb: verb(), table };
            }
        }
        Verdict::Harmless
    }

    fn judge_drop(&self, reader: &mut Reader<'_>) -> Verdict {
        match reader.find_object() {
            Some(Object::Table) => {
                reader.skip_if_exists();
                self.judge_list(reader, "DROP TABLE")
            }
            Some(Object::Database) => {
                reader.skip_if_exists();
                let Some(database) = reader.identifier() else { return Verdict::Harmless };
                match self.has_tables_in(&database) {
                    true => Verdict::Database { verb: "DROP DATABASE".to_owned(), database },
                    false => Verdict::Harmless,
                }
            }
            None => Verdict::Harmless,
        }
    }

    /// A list of tables, separated by whatever: the first captured one counts.
    fn judge_list(&self, reader: &mut Reader<'_>, verb: &str) -> Verdict {
        loop {
            let Some(name) = reader.name() else { return Verdict::Harmless };
            if let Some(table) = self.table(&name) {
                return Verdict::Table { verb: verb.to_owned(), table };
            }
            reader.skip_wait();
            let is_followed = reader.skip_symbol(b',') || reader.skip_if("TO");
            if !is_followed {
                return Verdict::Harmless;
            }
        }
    }

    /// For statements whose effect does not follow from their words.
    fn judge_by_database(&self, query: &QueryEvent<'_>, verb: &str) -> Verdict {
        let suspect = match &query.updated_databases {
            Some(databases) => {
                databases.iter().map(|name| String::from_utf8_lossy(name)).find(|name| self.has_tables_in(name))
            }
            None => Some(String::from_utf8_lossy(query.database)),
        };
        let Some(database) = suspect else { return Verdict::Harmless };
        match self.find_named_table(query, &database) {
            Some(table) => Verdict::Table { verb: verb.to_owned(), table },
            None => Verdict::Database { verb: verb.to_owned(), database: database.into_owned() },
        }
    }

    /// A captured table that the statement's first words name, for a better error.
    fn find_named_table(&self, query: &QueryEvent<'_>, database: &str) -> Option<TableName> {
        let tokens = Tokens::new(query.text, Quoting::of(query.sql_mode)).take(50);
        let charset = self.client_charset(query)?;
        tokens.filter_map(|token| text_of(&token, charset)).find_map(|name| {
            self.filter.patterns.iter().find_map(|pattern| match pattern {
                TablePattern::Table(table) if self.is_same(&table.database, database) => {
                    self.is_same(&table.table, &name).then(|| table.clone())
                }
                TablePattern::Table(_) | TablePattern::Database(_) => None,
            })
        })
    }

    fn table(&self, (database, table): &(String, String)) -> Option<TableName> {
        self.filter.patterns.iter().find_map(|pattern| match pattern {
            TablePattern::Table(name) => {
                (self.is_same(&name.database, database) && self.is_same(&name.table, table)).then(|| name.clone())
            }
            TablePattern::Database(name) => self.is_same(name, database).then(|| TableName::new(name, table)),
        })
    }

    fn has_tables_in(&self, database: &str) -> bool {
        self.filter.patterns.iter().any(|pattern| match pattern {
            TablePattern::Table(name) => self.is_same(&name.database, database),
            TablePattern::Database(name) => self.is_same(name, database),
        })
    }

    fn is_same(&self, ours: &str, theirs: &str) -> bool {
        ours == theirs || self.ignores_case && ours.to_lowercase() == theirs.to_lowercase()
    }

    /// `None` if the client's charset can't be told into words: it may hide a quote in a letter.
    fn client_charset(&self, query: &QueryEvent<'_>) -> Option<Charset> {
        if query.text.is_ascii() {
            return Some(Charset::Ascii);
        }
        match query.client_collation.map(|collation| self.collations.encoding(u64::from(collation))) {
            None | Some(Encoding::Binary) => Some(Charset::Utf8mb4),
            Some(Encoding::Text(charset)) if is_common(charset) => Some(charset),
            Some(Encoding::Text(_) | Encoding::Unsupported(_)) => None,
        }
    }
}

/// Statements about accounts, plugins and caches.
const HARMLESS_VERBS: [&str; 11] =
    ["GRANT", "REVOKE", "SET", "FLUSH", "ANALYZE", "OPTIMIZE", "REPAIR", "CHECK", "INSTALL", "UNINSTALL", "PURGE"];

/// What stands behind ANALYZE where it means tables.
const ANALYZED: [&str; 4] = ["TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"];

/// Statements that change rows, or may.
const DML_VERBS: [&str; 10] =
    ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "CALL", "SELECT", "DO", "WITH", "IMPORT"];

/// The objects of DDL that hold rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Table,
    Database,
}

/// Reads names where the grammar has them.
struct Reader<'a> {
    tokens: Tokens<'a>,
    query: &'a QueryEvent<'a>,
    charset: Charset,
}

impl Reader<'_> {
    /// The object of CREATE, ALTER or DROP. `None` if it holds no rows, or is a temporary table.
    fn find_object(&mut self) -> Option<Object> {
        const OTHERS: [&str; 20] = [
            "VIEW",
            "PROCEDURE",
            "FUNCTION",
            "TRIGGER",
            "EVENT",
            "INDEX",
            "USER",
            "ROLE",
            "SERVER",
            "TABLESPACE",
            "LOGFILE",
            "RESOURCE",
            "REFERENCE",
            "INSTANCE",
            "LIBRARY",
            "TEMPORARY",
            "PREPARE",
            "MATERIALIZED",
            "SEQUENCE",
            "PACKAGE",
        ];
        for token in self.tokens.by_ref() {
            if token.is("TABLE") || token.is("TABLES") {
                return Some(Object::Table);
            }
            if token.is("DATABASE") || token.is("SCHEMA") {
                return Some(Object::Database);
            }
            if OTHERS.iter().any(|other| token.is(other)) {
                return None;
            }
        }
        None
    }

    fn next_is(&self, keyword: &str) -> bool {
        self.tokens.clone().next().is_some_and(|token| token.is(keyword))
    }

    fn skip_if(&mut self, keyword: &str) -> bool {
        let is_next = self.next_is(keyword);
        if is_next {
            self.tokens.next();
        }
        is_next
    }

    fn skip_symbol(&mut self, symbol: u8) -> bool {
        let is_next = self.tokens.clone().next() == Some(Token::Symbol(symbol));
        if is_next {
            self.tokens.next();
        }
        is_next
    }

    fn skip_if_exists(&mut self) {
        if self.skip_if("IF") {
            self.skip_if("NOT");
            self.skip_if("EXISTS");
        }
    }

    /// MariaDB's limit to waiting for a lock.
    fn skip_wait(&mut self) {
        if self.skip_if("WAIT") {
            self.tokens.next();
        }
        self.skip_if("NOWAIT");
    }

    fn identifier(&mut self) -> Option<String> {
        let token = self.tokens.next()?;
        text_of(&token, self.charset)
    }

    /// A table's name with its database, the default one if none stands there.
    fn name(&mut self) -> Option<(String, String)> {
        let first = self.identifier()?;
        if !self.skip_symbol(b'.') {
            return Some((String::from_utf8_lossy(self.query.database).into_owned(), first));
        }
        Some((first, self.identifier()?))
    }

    /// Whether the rest holds a query whose rows would fill the table.
    fn has_query_expression(&mut self) -> bool {
        while let Some(token) = self.tokens.next() {
            if token.is("SELECT") || token.is("TABLE") || token.is("VALUES") && self.next_is("ROW") {
                return true;
            }
        }
        false
    }
}

/// A name in the client's charset as text.
fn text_of(token: &Token<'_>, charset: Charset) -> Option<String> {
    let bytes: Cow<'_, [u8]> = match token {
        Token::Word(word) => Cow::Borrowed(word),
        Token::Name(name) => Cow::Borrowed(name),
        Token::Text | Token::Symbol(_) => return None,
    };
    to_text(charset, &bytes).or_else(|| Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests;
