//! Tables that begin as copies of captured ones, and what is done to their columns: what gh-ost and pt-online-schema-change build and
//! fill before they give it the captured table's name.
//!
//! The statement that swaps the names tells nothing of columns; those that made the copy do. They are known as far as this stream
//! has read them, and forgotten with it: a copy that is not known is no copy. One that was made otherwise than by its columns, or whose
//! original was changed meanwhile, has an obstacle, and stands for no table. Whether it has the original's rows nobody can tell from
//! here: that is the tools' word.

use std::collections::BTreeMap;

use tailrace_contract::{ColumnStep, TableAct};
use tailrace_row::{TableName, TableSchema};

use super::{
    Captured, Object, Reader, alter::Alteration, dialect::Dialect, text_of, tokens::Token, tokens::Tokens, words::Words,
};
use crate::events::QueryEvent;

const UNIQUE: &str = "a new unique index keeps rows out of its copy";

/// A server on which tables are made without end gives none of them a captured name.
const KEPT_MAX: usize = 256;

/// See the module.
#[derive(Default)]
pub(crate) struct Copies {
    /// By database and name.
    by_name: BTreeMap<(String, String), Copy>,
}

struct Copy {
    of: TableName,
    steps: Vec<ColumnStep>,
    /// Why it does not stand for the original, as the end of a sentence.
    obstacle: Option<String>,
}

impl Copies {
    /// Takes note of a statement; `acts` are what it does to captured tables, and `known` the shapes of those that are known. Returns how
    /// the columns of tables that take a captured name differ from those of the ones that had it.
    pub(crate) fn follow<'s>(
        &mut self,
        captured: &Captured<'_>,
        query: &QueryEvent<'_>,
        acts: &[TableAct],
        known: impl Iterator<Item = &'s TableSchema>,
    ) -> Vec<TableAct> {
        let swaps = self.swaps(captured, acts);
        for act in acts.iter().filter(|act| !matches!(act, TableAct::Create { .. })) {
            let is_of = |copy: &&mut Copy| act.names().contains(&&copy.of);
            for copy in self.by_name.values_mut().filter(is_of) {
                copy.refuse("the table itself was changed while its copy was made");
            }
        }
        let Some(text) = captured.utf8(query) else {
            self.by_name.clear();
            return swaps;
        };
        let mut reader = Reader { tokens: Tokens::new(&text, captured.quoting(query)), query };
        let verb = reader.verb();
        self.index(captured, &reader);
        let is = |keyword: &str| verb.as_ref().is_some_and(|verb| verb.is(keyword));
        if is("CREATE") {
            self.create(captured, &mut reader, known);
        } else if is("ALTER") {
            self.alter(captured, &mut reader);
        } else if is("DROP") {
            self.drop(captured, &mut reader);
        } else if is("TRUNCATE") {
            reader.skip_if("TABLE");
            let copy = reader.name().and_then(|name| self.by_name.get_mut(&captured.folded(&name)));
            copy.into_iter().for_each(|copy| copy.refuse("its copy was emptied"));
        } else if is("RENAME") && (reader.skip_if("TABLE") || reader.skip_if("TABLES")) {
            reader.each_rename(|old, new| self.rename(captured, old, new));
        }
        swaps
    }

    fn swaps(&self, captured: &Captured<'_>, acts: &[TableAct]) -> Vec<TableAct> {
        let mut swaps = Vec::new();
        for act in acts {
            let TableAct::Rename { table: copy, to: table } = act else { continue };
            let goes = |act: &TableAct| matches!(act, TableAct::Rename { table: old, .. } if old == table);
            if !acts.iter().any(goes) {
                continue;
            }
            let name = (copy.database.to_string(), copy.table.to_string());
            let table = table.clone();
            let known = self.by_name.get(&captured.folded(&name)).filter(|copy| copy.of == table);
            swaps.push(match known {
                Some(Copy { obstacle: None, steps, .. }) => TableAct::Alter { table, steps: steps.clone() },
                Some(Copy { obstacle: Some(reason), .. }) => {
                    TableAct::Other { table, reason: reason.clone(), hides_changes: false }
                }
                None => {
                    let reason = format!("no statement since the stream was opened made {copy} a copy of it");
                    TableAct::Other { table, reason, hides_changes: false }
                }
            });
        }
        swaps
    }

    fn create<'s>(
        &mut self,
        captured: &Captured<'_>,
        reader: &mut Reader<'_>,
        mut known: impl Iterator<Item = &'s TableSchema>,
    ) {
        if reader.find_object() != Some(Object::Table) {
            return;
        }
        let may_be_there = reader.skip_if_exists();
        let Some(name) = reader.name() else { return };
        let place = captured.folded(&name);
        self.by_name.remove(&place);
        if may_be_there {
            return;
        }
        let rest: Vec<Token<'_>> = reader.tokens.clone().collect();
        let original = match Words::new(&rest).parenthesised() {
            // With the columns of one that it is named after.
            Some(list) if !list.is_next("LIKE") => {
                let columns = columns(&list);
                let is_it = |known: &&TableSchema| {
                    let original = known.name();
                    *original.database == *name.0
                        && name.1.contains(&*original.table)
                        && known.columns().iter().map(|column| &*column.name).eq(columns.iter().map(|name| &**name))
                };
                known.find(is_it).filter(|_| !reader.has_query_expression()).map(|known| known.name().clone())
            }
            Some(_) | None => {
                reader.skip_symbol(b'(');
                reader.skip_if("LIKE").then(|| reader.name()).flatten().and_then(|name| captured.table(&name))
            }
        };
        let Some(of) = original else { return };
        if self.by_name.len() >= KEPT_MAX {
            self.by_name.clear();
        }
        self.by_name.insert(place, Copy { of, steps: Vec::new(), obstacle: None });
    }

    /// CREATE UNIQUE INDEX … ON a copy, or DROP INDEX `PRIMARY` ON one.
    fn index(&mut self, captured: &Captured<'_>, reader: &Reader<'_>) {
        let mut ahead = Reader { tokens: reader.tokens.clone(), query: reader.query };
        let is_unique = ahead.skip_if("UNIQUE");
        if !ahead.skip_if("INDEX") || !ahead.tokens.by_ref().any(|token| token.is("ON")) {
            return;
        }
        let is_primary = || reader.tokens.clone().any(|token| text_of(&token).is_some_and(|name| is_primary(&name)));
        let Some(name) = ahead.name() else { return };
        if let Some(copy) = self.by_name.get_mut(&captured.folded(&name)).filter(|_| is_unique || is_primary()) {
            copy.refuse(UNIQUE);
        }
    }

    fn alter(&mut self, captured: &Captured<'_>, reader: &mut Reader<'_>) {
        let ignores = reader.tokens.clone().take_while(|token| !token.is("TABLE")).any(|token| token.is("IGNORE"));
        if reader.find_object() != Some(Object::Table) {
            return;
        }
        reader.skip_if_exists();
        let Some(name) = reader.name() else { return };
        let Some(copy) = self.by_name.get_mut(&captured.folded(&name)) else { return };
        let clauses: Vec<Token<'_>> = reader.tokens.by_ref().filter(|token| *token != Token::Symbol(b';')).collect();
        let mut alteration = Alteration::read(&Words::new(&clauses), &Dialect::of(reader.query, captured.is_mariadb));
        let renamed = alteration.renamed.take();
        match alteration.act(&copy.of) {
            Some(TableAct::Alter { steps, .. }) => copy.steps.extend(steps),
            Some(TableAct::Other { reason, .. }) => copy.refuse(&reason),
            Some(_) | None => {}
        }
        // The tools copy with INSERT IGNORE.
        if ignores || clauses.iter().any(|token| token.is("UNIQUE")) {
            copy.refuse(UNIQUE);
        }
        if let Some((database, new)) = renamed {
            let database = database.map_or_else(|| reader.default_database(), Into::into);
            self.rename(captured, &name, &(database, new.into()));
        }
    }

    fn drop(&mut self, captured: &Captured<'_>, reader: &mut Reader<'_>) {
        match reader.find_object() {
            Some(Object::Table) => {
                reader.skip_if_exists();
                while let Some(name) = reader.name() {
                    self.by_name.remove(&captured.folded(&name));
                    reader.skip_wait();
                    if !reader.skip_symbol(b',') {
                        break;
                    }
                }
            }
            Some(Object::Database) => self.by_name.clear(),
            None => {}
        }
    }

    fn rename(&mut self, captured: &Captured<'_>, old: &(String, String), new: &(String, String)) {
        let moved = self.by_name.remove(&captured.folded(old));
        self.by_name.remove(&captured.folded(new));
        if let Some(copy) = moved.filter(|copy| captured.table(new).as_ref() != Some(&copy.of)) {
            self.by_name.insert(captured.folded(new), copy);
        }
    }
}

impl Copy {
    fn refuse(&mut self, why: &str) {
        self.obstacle.get_or_insert_with(|| why.to_owned());
    }
}

fn is_primary(name: &str) -> bool {
    name.eq_ignore_ascii_case("PRIMARY")
}

/// The names of the columns in a list of definitions.
fn columns(list: &Words<'_>) -> Vec<Box<str>> {
    const OTHERS: [&str; 9] =
        ["PRIMARY", "KEY", "INDEX", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK"];
    let mut names = Vec::new();
    for mut item in list.split() {
        if !item.is_next_of(&OTHERS) {
            names.extend(item.name());
        }
    }
    names
}
