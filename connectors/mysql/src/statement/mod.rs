//! What a statement in the binlog means for the captured tables.
//!
//! Row changes come as rows events; statements are transaction control, DDL, and changes that somebody logged in statement
//! format. The rule: a statement that touches no captured table never stops anything, one that may have touched one always
//! does, by verb and table. Its text is never shown: literals are row values.
//!
//! 1. With `binlog_row_metadata=FULL` each table map carries the table's shape, so no row depends on what is read here, but for those of
//!    tables without a primary key: `keys` reads what becomes of their indexes. With MINIMAL it does: `reshape` reads what becomes of columns and key, and says where it can't.
//! 2. ALTER, CREATE, DROP, RENAME and TRUNCATE of a captured table are changes of the table, in words of ours ([`TableAct`]). One
//!    that is not understood is such a change too: the table waits for an operator, and the stream goes on. Names are read with the
//!    statement's own quotes and default database.
//! 3. A change in statement format can reach any table through triggers and functions. The server lists the databases that
//!    the statement writes; if a captured table lies in one of them, or the list is missing, it stops.

mod alter;
mod copies;
mod data_type;
mod default;
mod definition;
mod dialect;
mod digest;
mod expression;
mod keys;
mod reshape;
mod tokens;
mod words;

use std::borrow::Cow;

use tailrace_contract::{STATEMENT_BYTES_MAX, TableAct, TableFilter, TablePattern};
use tailrace_row::{Charset, TableName};

use crate::{
    events::QueryEvent,
    row_decoder::charset::{Collations, Encoding, to_text},
};
use alter::Alteration;
pub(crate) use copies::Copies;
use dialect::Dialect;
pub(crate) use expression::is_one_expression;
pub(crate) use keys::{KeyChange, KeyClause};
use tokens::{Quoting, Token, Tokens};
use words::Words;

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
            Self::Changes(acts) => {
                acts.iter().any(|act| !matches!(act, TableAct::Truncate { .. } | TableAct::Create { .. }))
            }
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
    // None of these words is looked for in a comment of MariaDB's own.
    let mut tokens = Tokens::new(query.text, Quoting::of(query.sql_mode, false));
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
    let name = match Tokens::new(query.text, Quoting::of(query.sql_mode, false)).last()? {
        Token::Name(name) => name,
        Token::Word(word) => Cow::Borrowed(word),
        Token::Text(_) | Token::Symbol(_) => return None,
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
    pub(crate) is_mariadb: bool,
    /// Whether what foreign keys change is in the binlog.
    pub(crate) logs_cascades: bool,
}

impl Captured<'_> {
    /// Judges a statement that is no transaction control.
    pub(crate) fn judge(&self, query: &QueryEvent<'_>) -> Verdict {
        let Some(text) = self.utf8(query) else { return self.judge_by_database(query, "statement") };
        let mut reader = Reader { tokens: Tokens::new(&text, self.quoting(query)), query };
        let Some(verb) = reader.verb() else { return Verdict::Harmless };
        let is = |keywords: &[&str]| keywords.iter().any(|keyword| verb.is(keyword));
        if is(&["ALTER"]) {
            self.judge_alter(&mut reader)
        } else if is(&["DROP"]) {
            self.judge_drop(&mut reader)
        } else if is(&["CREATE"]) {
            self.judge_create(&mut reader)
        } else if is(&["RENAME"]) {
            changes(self.renames(&mut reader))
        } else if is(&["TRUNCATE"]) {
            reader.skip_if("TABLE");
            let table = reader.name().and_then(|name| self.table(&name));
            changes(table.map(|table| TableAct::Truncate { table }))
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

    /// The statement for people, cut where it is longer than is kept, or where a password may follow: tables of some engines have one.
    pub(crate) fn text(&self, query: &QueryEvent<'_>) -> String {
        let text = self.utf8(query).unwrap_or(Cow::Borrowed(query.text));
        let mut text = String::from_utf8_lossy(&text).into_owned();
        let upper = text.to_ascii_uppercase();
        if let Some(secret) = ["CONNECTION", "PASSWORD"].iter().filter_map(|word| upper.find(word)).min() {
            text.truncate(secret);
            text.push('…');
        }
        text.truncate(text.floor_char_boundary(STATEMENT_BYTES_MAX));
        text
    }

    /// A table's name in the form in which equal names are equal.
    fn folded(&self, (database, table): &(String, String)) -> (String, String) {
        match self.ignores_case {
            true => (database.to_lowercase(), table.to_lowercase()),
            false => (database.clone(), table.clone()),
        }
    }

    fn judge_create(&self, reader: &mut Reader<'_>) -> Verdict {
        let replaces = reader.next_is("OR");
        if reader.find_object() != Some(Object::Table) {
            return Verdict::Harmless;
        }
        let may_be_there = reader.skip_if_exists();
        let Some(table) = reader.name().and_then(|name| self.table(&name)) else { return Verdict::Harmless };
        let clauses: Vec<Token<'_>> = reader.tokens.clone().collect();
        if reader.has_query_expression() {
            return Verdict::Table { verb: "CREATE TABLE … SELECT in statement format".to_owned(), table };
        }
        let unseen = self.unseen_cascade(&table, &clauses);
        // Whether the table was there is not said. If it was not, it has no rows either way; but cascades it has from now on.
        if may_be_there {
            return changes(unseen);
        }
        let replaced = replaces.then(|| TableAct::Drop { table: table.clone() });
        changes(replaced.into_iter().chain([TableAct::Create { table }]).chain(unseen))
    }

    fn judge_alter(&self, reader: &mut Reader<'_>) -> Verdict {
        let may_lose_rows =
            reader.tokens.clone().take_while(|token| !token.is("TABLE")).any(|token| token.is("IGNORE"));
        if reader.find_object() != Some(Object::Table) {
            return Verdict::Harmless;
        }
        reader.skip_if_exists();
        let Some(name) = reader.name() else { return Verdict::Harmless };
        let table = self.table(&name);
        let clauses: Vec<Token<'_>> = reader.tokens.by_ref().filter(|token| *token != Token::Symbol(b';')).collect();
        let mut acts = self.exchanges(&clauses, reader.query);
        let mut alteration = Alteration::read(&Words::new(&clauses), &Dialect::of(reader.query, self.is_mariadb));
        let renamed = alteration
            .renamed
            .take()
            .map(|(database, new)| (database.map_or_else(|| reader.default_database(), Into::into), new.into()));
        match &table {
            Some(table) if may_lose_rows => {
                let reason = "IGNORE may remove rows".to_owned();
                acts.push(TableAct::Other { table: table.clone(), reason, hides_changes: false });
            }
            Some(table) => acts.extend(self.unseen_cascade(table, &clauses).or_else(|| alteration.act(table))),
            None => {}
        }
        acts.extend(renamed.and_then(|renamed| self.rename(&name, &renamed)));
        changes(acts)
    }

    /// The table gets a foreign key that changes its rows unseen.
    fn unseen_cascade(&self, table: &TableName, clauses: &[Token<'_>]) -> Option<TableAct> {
        let mut words = Words::new(clauses);
        let changes_rows = |words: &mut Words<'_>| {
            let is_rule = words.skip_all(&["ON", "DELETE"]) || words.skip_all(&["ON", "UPDATE"]);
            is_rule
                && (words.is_next("CASCADE") || words.are_next(&["SET", "NULL"]) || words.are_next(&["SET", "DEFAULT"]))
        };
        let mut has_cascade = changes_rows(&mut words);
        while !has_cascade && words.next().is_some() {
            has_cascade = changes_rows(&mut words);
        }
        let reason = "its foreign key changes rows without a trace in this server's binlog".to_owned();
        (has_cascade && !self.logs_cascades).then(|| TableAct::Other {
            table: table.clone(),
            reason,
            hides_changes: true,
        })
    }

    /// Captured tables whose rows move to or from a partition: EXCHANGE PARTITION … WITH TABLE, and MariaDB's CONVERT TABLE … TO
    /// PARTITION, CONVERT PARTITION … TO TABLE.
    fn exchanges(&self, clauses: &[Token<'_>], query: &QueryEvent<'_>) -> Vec<TableAct> {
        let mut words = Words::new(clauses);
        let mut acts = Vec::new();
        while let Some(token) = words.next() {
            let has_name = ["WITH", "CONVERT", "TO"].iter().any(|keyword| token.is(keyword)) && words.skip("TABLE");
            let Some(first) = (if has_name { words.name() } else { None }) else { continue };
            let name = match words.skip_symbol(b'.') {
                true => words.name().map(|table| (first.into(), table.into())),
                false => Some((String::from_utf8_lossy(query.database).into_owned(), first.into())),
            };
            if let Some(table) = name.and_then(|name| self.table(&name)) {
                let reason = "its rows move to or from another table".to_owned();
                acts.push(TableAct::Other { table, reason, hides_changes: false });
            }
        }
        acts
    }

    fn judge_drop(&self, reader: &mut Reader<'_>) -> Verdict {
        if let Some(table) = self.loses_primary_key(reader) {
            let reason = "it removes the primary key".to_owned();
            return changes([TableAct::Other { table, reason, hides_changes: false }]);
        }
        match reader.find_object() {
            Some(Object::Table) => {
                reader.skip_if_exists();
                let mut acts = Vec::new();
                while let Some(name) = reader.name() {
                    acts.extend(self.table(&name).map(|table| TableAct::Drop { table }));
                    reader.skip_wait();
                    if !reader.skip_symbol(b',') {
                        break;
                    }
                }
                changes(acts)
            }
            Some(Object::Database) => {
                reader.skip_if_exists();
                reader.identifier().map_or(Verdict::Harmless, |database| self.judge_drop_database(database))
            }
            None => Verdict::Harmless,
        }
    }

    /// DROP INDEX `PRIMARY` ON a table.
    fn loses_primary_key(&self, reader: &Reader<'_>) -> Option<TableName> {
        let mut ahead = Reader { tokens: reader.tokens.clone(), query: reader.query };
        if !ahead.skip_if("INDEX") {
            return None;
        }
        ahead.skip_if_exists();
        let is_primary = ahead.identifier()?.eq_ignore_ascii_case("PRIMARY");
        (is_primary && ahead.skip_if("ON")).then(|| ahead.name()).flatten().and_then(|name| self.table(&name))
    }

    fn judge_drop_database(&self, database: String) -> Verdict {
        let mut acts = Vec::new();
        for pattern in &self.filter.patterns {
            match pattern {
                TablePattern::Table(table) if self.is_same(&table.database, &database) => {
                    acts.push(TableAct::Drop { table: table.clone() });
                }
                // Which tables were in it is not known.
                TablePattern::Database(name) if self.is_same(name, &database) => {
                    return Verdict::Database { verb: "DROP DATABASE".to_owned(), database };
                }
                TablePattern::Table(_) | TablePattern::Database(_) => {}
            }
        }
        changes(acts)
    }

    /// RENAME TABLE: one after the other.
    fn renames(&self, reader: &mut Reader<'_>) -> Vec<TableAct> {
        let mut acts = Vec::new();
        if !reader.skip_if("TABLE") && !reader.skip_if("TABLES") {
            return acts;
        }
        reader.each_rename(|old, new| acts.extend(self.rename(old, new)));
        acts
    }

    /// What a new name means, if one of the two is captured.
    fn rename(&self, old: &(String, String), new: &(String, String)) -> Option<TableAct> {
        let (from, into) = (self.table(old), self.table(new));
        if from.is_none() && into.is_none() {
            return None;
        }
        let named = |(database, table): &(String, String)| TableName::new(database, table);
        Some(TableAct::Rename { table: from.unwrap_or_else(|| named(old)), to: into.unwrap_or_else(|| named(new)) })
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
        let text = self.utf8(query)?;
        let tokens = Tokens::new(&text, self.quoting(query)).take(50);
        tokens.filter_map(|token| text_of(&token)).find_map(|name| {
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
            TablePattern::Database(name) => self.is_same(name, database).then(|| match self.ignores_case {
                true => TableName::new(name, &table.to_lowercase()),
                false => TableName::new(name, table),
            }),
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

    fn quoting(&self, query: &QueryEvent<'_>) -> Quoting {
        Quoting::of(query.sql_mode, self.is_mariadb)
    }

    /// The statement in UTF-8, so that no letter hides a quote. `None` if the client's charset is not known, or it is no text in it.
    fn utf8<'q>(&self, query: &QueryEvent<'q>) -> Option<Cow<'q, [u8]>> {
        if query.text.is_ascii() {
            return Some(Cow::Borrowed(query.text));
        }
        match query.client_collation.map(|collation| self.collations.encoding(u64::from(collation))) {
            None | Some(Encoding::Binary | Encoding::Text(Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Ascii)) => {
                Some(Cow::Borrowed(query.text))
            }
            Some(Encoding::Text(charset)) => to_text(charset, query.text).map(|text| Cow::Owned(text.into_bytes())),
            Some(Encoding::Unsupported(_)) => None,
        }
    }
}

fn changes(acts: impl IntoIterator<Item = TableAct>) -> Verdict {
    let acts: Vec<TableAct> = acts.into_iter().collect();
    if acts.is_empty() { Verdict::Harmless } else { Verdict::Changes(acts) }
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
}

impl<'a> Reader<'a> {
    /// The first word that counts: MariaDB's settings for one statement stand before it.
    fn verb(&mut self) -> Option<Token<'a>> {
        let verb = self.tokens.next()?;
        if !verb.is("SET") || !self.skip_if("STATEMENT") {
            return Some(verb);
        }
        self.tokens.by_ref().find(|token| token.is("FOR"));
        Some(self.tokens.next().unwrap_or(verb))
    }

    /// The pairs of names behind RENAME TABLE.
    fn each_rename(&mut self, mut each: impl FnMut(&(String, String), &(String, String))) {
        self.skip_if_exists();
        while let Some(old) = self.name() {
            self.skip_wait();
            self.skip_if("TO");
            let Some(new) = self.name() else { break };
            each(&old, &new);
            self.skip_wait();
            if !self.skip_symbol(b',') {
                break;
            }
        }
    }

    fn default_database(&self) -> String {
        String::from_utf8_lossy(self.query.database).into_owned()
    }

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

    fn skip_if_exists(&mut self) -> bool {
        let is_there = self.skip_if("IF");
        if is_there {
            self.skip_if("NOT");
            self.skip_if("EXISTS");
        }
        is_there
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
        text_of(&token)
    }

    /// A table's name with its database, the default one if none stands there.
    fn name(&mut self) -> Option<(String, String)> {
        let first = self.identifier()?;
        if !self.skip_symbol(b'.') {
            return Some((self.default_database(), first));
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

/// A name as text.
fn text_of(token: &Token<'_>) -> Option<String> {
    match token {
        Token::Word(word) => Some(String::from_utf8_lossy(word).into_owned()),
        Token::Name(name) => Some(String::from_utf8_lossy(name).into_owned()),
        Token::Text(_) | Token::Symbol(_) => None,
    }
}

#[cfg(test)]
mod tests;
