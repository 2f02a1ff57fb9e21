//! A source of which only the chosen columns are seen: values of others are taken out of rows, changes and history alike, before
//! anybody else gets them, so that they reach neither log nor target.
//!
//! 1. Every schema that leaves this source lacks the columns that are left out, and every image is one of such a schema.
//! 2. A name of the configuration that neither the stream's table nor the present one has is a mistake, and may stand for a column that
//!    was to be left out: the stream ends with an error that names it before any row of the table has passed. A column may also have
//!    been dropped or renamed by a statement that the stream has shown; copies wait until it has.
//! 3. A statement about columns that are left out is none to others. One that renames a column from what is moved to what is not, or
//!    back, is refused where the configuration does not name the new name: what it holds would begin or cease to be moved unseen.
//!
//! 4. A choice belongs to one table by its name. What captures its copies under other names (an entry for the whole database) moves all of
//!    their columns; the manual says so.
//!
//! Without any choice the source itself is used, and nothing of this costs anything.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tailrace_contract::{
    BatchEnd, BatchLimits, BoxFuture, ChangeStream, Checkpoint, ChunkRange, ChunkReader, ColumnStep, Endpoint, Error,
    Grant, Load, LoadQuestions, Passed, Position, Problem, ProofReader, ReadLimits, Result, Rows, SchemaChange,
    SeenTable, Source, SourcePlace, SourceState, StartAt, StreamCounts, TableAct, TableFilter, TablePattern,
    TableReader,
};
use tailrace_row::{Key, Origin, Record, RecordBatch, SchemaId, TableName, TableSchema};

use super::{
    TableRules,
    columns::{ColumnChoice, is_same},
    projection::{Names, project_onto, reshape},
};

/// The source as the rules choose its columns.
#[must_use]
pub fn source(inner: Arc<dyn Source>, rules: &TableRules) -> Arc<dyn Source> {
    match rules.as_slice().iter().any(|rule| rule.choice != ColumnChoice::All) {
        true => Arc::new(ChosenSource {
            inner,
            choices: Arc::new(Choices { rules: rules.clone(), gone: Mutex::default() }),
        }),
        false => inner,
    }
}

struct ChosenSource {
    inner: Arc<dyn Source>,
    choices: Arc<Choices>,
}

struct Choices {
    rules: TableRules,
    /// Columns that were there until a statement that a stream has shown.
    gone: Mutex<BTreeSet<(TableName, Box<str>)>>,
}

impl Choices {
    fn of(&self, table: &TableName) -> &ColumnChoice {
        self.rules.choice(table)
    }

    fn gone(&self) -> MutexGuard<'_, BTreeSet<(TableName, Box<str>)>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names that the schema has without what is left out; none if nothing is.
    fn names(&self, schema: &TableSchema) -> Result<Option<Names>> {
        let choice = self.of(schema.name());
        if let Some(column) = choice.lost_key(schema).next() {
            let key = choice.key();
            return Err(Error::refused(format!("{key} leaves out {column}, which is part of the key"))
                .on_table(schema.name().clone())
                .hint(format!("rows can't be told apart without it: change {key} of the table")));
        }
        let name = |column: &tailrace_row::Column| choice.is_moved(&column.name).then(|| column.name.clone());
        let names: Names = schema.columns().iter().map(name).collect();
        Ok(names.iter().any(Option::is_none).then_some(names))
    }

    /// A name of the configuration that the table never had, as far as these know it.
    fn unknown<'a>(&'a self, schemas: &[&'a TableSchema]) -> Option<(&'a ColumnChoice, &'a str)> {
        let table = schemas.first()?.name();
        let choice = self.of(table);
        let gone = self.gone();
        let is_gone = |name: &str| gone.iter().any(|(of, column)| of == table && is_same(column, name));
        let is_unknown = |name: &&str| {
            let lack = |schema: &&TableSchema| choice.unknown(schema).any(|unknown| unknown == *name);
            schemas.iter().all(lack) && !is_gone(name)
        };
        Some((choice, choice.names().iter().map(AsRef::as_ref).find(is_unknown)?))
    }

    /// The schema as others see it.
    fn seen(&self, schema: Arc<TableSchema>) -> Result<Arc<TableSchema>> {
        match self.names(&schema)? {
            Some(names) => Ok(reshape(&schema, &names)?.0),
            None => Ok(schema),
        }
    }
}

fn lacks(table: &TableName, choice: &ColumnChoice, name: &str) -> String {
    format!("{table} has no column {name}, which {} names", choice.key())
}

fn filter_of(table: &TableName) -> TableFilter {
    TableFilter { patterns: vec![TablePattern::Table(table.clone())] }
}

impl ChosenSource {
    /// The schema with all columns, of which this one is what others see.
    async fn full(&self, schema: &TableSchema) -> Result<Arc<TableSchema>> {
        let table = schema.name();
        if *self.choices.of(table) == ColumnChoice::All {
            return Ok(Arc::new(schema.clone()));
        }
        let found = self.inner.tables(&filter_of(table)).await?.pop();
        let full = found.ok_or_else(|| Error::transient(format!("the source has no table {table} any more")))?;
        if let Some((choice, name)) = self.choices.unknown(&[&full]) {
            return Err(Error::transient(lacks(table, choice, name)).hint(
                "correct the name; if the column was dropped or renamed, the copy goes on behind that statement",
            ));
        }
        if self.choices.seen(Arc::clone(&full))?.id() == schema.id() {
            return Ok(full);
        }
        Err(Error::transient(format!("the table {table} was altered")))
    }

    async fn open_stream(&self, from: &Checkpoint, filter: Arc<TableFilter>) -> Result<ChosenStream> {
        let chosen = self.choices.rules.as_slice().iter().filter(|rule| rule.choice != ColumnChoice::All);
        let present = TableFilter { patterns: chosen.map(|rule| rule.pattern.clone()).collect() };
        let present = self.inner.tables(&present).await?;
        let inner = self.inner.open(from, filter).await?;
        Ok(ChosenStream { inner, choices: Arc::clone(&self.choices), present, names: HashMap::new() })
    }
}

impl Source for ChosenSource {
    fn check<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check(filter)
    }

    fn grants(&self, filter: &TableFilter) -> Vec<Grant> {
        self.inner.grants(filter)
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>>> {
        self.inner.clock()
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<SeenTable>>> {
        self.inner.inventory()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        self.inner.identity()
    }

    fn check_start<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check_start(start)
    }

    fn position<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Position>> {
        self.inner.position(start)
    }

    fn position_of_debezium<'a>(&'a self, offset: &'a str) -> BoxFuture<'a, Result<Position>> {
        self.inner.position_of_debezium(offset)
    }

    fn state<'a>(&'a self, from: Option<&'a Position>) -> BoxFuture<'a, Result<SourceState>> {
        self.inner.state(from)
    }

    fn tables<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Arc<TableSchema>>>> {
        Box::pin(async {
            let schemas = self.inner.tables(filter).await?;
            schemas.into_iter().map(|schema| self.choices.seen(schema)).collect()
        })
    }

    fn has_rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<bool>> {
        self.inner.has_rows(table)
    }

    fn open<'a>(
        &'a self,
        from: &'a Checkpoint,
        filter: Arc<TableFilter>,
    ) -> BoxFuture<'a, Result<Box<dyn ChangeStream>>> {
        Box::pin(async {
            let stream: Box<dyn ChangeStream> = Box::new(self.open_stream(from, filter).await?);
            Ok(stream)
        })
    }

    fn load<'a>(&'a self, questions: &'a LoadQuestions) -> BoxFuture<'a, Result<Load>> {
        self.inner.load(questions)
    }

    fn check_load<'a>(&'a self, questions: &'a LoadQuestions) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check_load(questions)
    }

    fn load_grants(&self, questions: &LoadQuestions) -> Vec<Grant> {
        self.inner.load_grants(questions)
    }

    fn executed<'a>(&'a self, replica: &'a Endpoint) -> BoxFuture<'a, Result<Position>> {
        self.inner.executed(replica)
    }

    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool> {
        self.inner.covers(reached, wanted)
    }

    fn check_replica<'a>(&'a self, replica: &'a Endpoint) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check_replica(replica)
    }

    fn open_proof(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ProofReader>>> {
        self.inner.open_proof(schema)
    }

    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        Box::pin(async move {
            let full = self.full(&schema).await?;
            let names = self.choices.names(&full)?;
            let inner = self.inner.open_chunks(full).await?;
            let reader: Box<dyn ChunkReader> = Box::new(ChosenReader { inner, names });
            Ok(reader)
        })
    }

    fn open_reader(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(async move {
            let full = self.full(&schema).await?;
            let names = self.choices.names(&full)?;
            let inner = self.inner.open_reader(full).await?;
            let reader: Box<dyn TableReader> = Box::new(ChosenReader { inner, names });
            Ok(reader)
        })
    }
}

/// Takes what is left out off the records of schemas that are new to the batch. Those before are what others see already; where a
/// record stands tells nothing, since a stream may take back some of those that it gave before.
fn keep(out: &mut RecordBatch, schemas: usize, names: impl Fn(&TableSchema) -> Option<Names>) -> Result<()> {
    let is_new = |record: &Record| record.schema as usize >= schemas;
    let first = out.records().iter().position(is_new).unwrap_or(out.len());
    let tail = out.split_off(first, schemas);
    project_onto(out, &tail, |schema, _| names(schema))
}

struct ChosenStream {
    inner: Box<dyn ChangeStream>,
    choices: Arc<Choices>,
    /// The tables as they were when the stream was opened: it may still be far behind.
    present: Vec<Arc<TableSchema>>,
    names: HashMap<SchemaId, Option<Names>>,
}

impl ChosenStream {
    /// Whether any of the schemas has columns that are left out.
    fn learn(&mut self, schemas: &[Arc<TableSchema>]) -> Result<bool> {
        let mut is_concerned = false;
        for schema in schemas {
            if !self.names.contains_key(&schema.id()) {
                let names = self.names_of(schema)?;
                self.names.insert(schema.id(), names);
            }
            is_concerned |= self.names[&schema.id()].is_some();
        }
        Ok(is_concerned)
    }

    fn names_of(&self, schema: &TableSchema) -> Result<Option<Names>> {
        let present = self.present.iter().find(|present| present.name() == schema.name());
        let known: Vec<&TableSchema> = std::iter::once(schema).chain(present.map(AsRef::as_ref)).collect();
        if let Some((choice, name)) = self.choices.unknown(&known) {
            return Err(Error::refused(lacks(schema.name(), choice, name))
                .hint("correct the name; if the column was dropped before, leave it out"));
        }
        self.choices.names(schema)
    }

    /// What a statement does to the columns that are moved; none if that is nothing.
    fn change(&self, change: SchemaChange) -> Result<Option<SchemaChange>> {
        let is_swap = change.acts.iter().any(|act| matches!(act, TableAct::Rename { .. }));
        let mut acts = Vec::new();
        for act in change.acts {
            match act {
                TableAct::Alter { table, steps } if *self.choices.of(&table) != ColumnChoice::All => {
                    acts.extend(self.alter(table, steps, is_swap).map_err(|error| error.at(&change.place))?);
                }
                act => acts.push(act),
            }
        }
        Ok((!acts.is_empty()).then_some(SchemaChange { acts, ..change }))
    }

    fn alter(&self, table: TableName, steps: Vec<ColumnStep>, is_swap: bool) -> Result<Option<TableAct>> {
        let choice = self.choices.of(&table);
        let mut kept = Vec::new();
        let mut crossing = None;
        let count = steps.len();
        for step in steps {
            if let ColumnStep::Drop { column } | ColumnStep::Rename { column, .. } = &step {
                self.choices.gone().insert((table.clone(), column.clone()));
            }
            let is_moved = match &step {
                ColumnStep::Add { column, .. } | ColumnStep::Change { column } => choice.is_moved(&column.name),
                ColumnStep::Drop { column } => choice.is_moved(column),
                ColumnStep::Rename { column, to } => match (choice.is_moved(column), choice.is_moved(to)) {
                    (true, true) => true,
                    (false, false) => false,
                    (was_moved, _) if choice.is_named(to) => {
                        let becomes = if was_moved { "left out" } else { "moved" };
                        crossing = Some(format!("the column {column} is called {to} from here on, which is {becomes}"));
                        false
                    }
                    (was_moved, _) => return Err(crosses(&table, choice, (column, to), was_moved)),
                },
            };
            if is_moved {
                kept.push(step);
            }
        }
        if let Some(reason) = crossing {
            return Ok(Some(TableAct::Other { table, reason, hides_changes: false }));
        }
        let is_nothing = kept.is_empty() && count > 0 && !is_swap;
        Ok((!is_nothing).then_some(TableAct::Alter { table, steps: kept }))
    }
}

fn crosses(table: &TableName, choice: &ColumnChoice, (column, to): (&str, &str), was_moved: bool) -> Error {
    let (is, would) = if was_moved { ("moved", "left out") } else { ("left out", "moved") };
    Error::refused(format!(
        "the column {column} of {table}, which is {is}, is called {to} from here on and would be {would}"
    ))
    .hint(format!("name {to} beside {column} in {} of the table, or change the list", choice.key()))
}

impl ChangeStream for ChosenStream {
    fn read_batch<'a>(&'a mut self, out: &'a mut RecordBatch, limits: BatchLimits) -> BoxFuture<'a, Result<BatchEnd>> {
        Box::pin(async move {
            let schemas = out.schemas().len();
            let end = self.inner.read_batch(out, limits).await?;
            if self.learn(&out.schemas()[schemas..])? {
                keep(out, schemas, |schema| self.names.get(&schema.id()).cloned().flatten())?;
            }
            let BatchEnd::SchemaChange { mark, change } = end else { return Ok(end) };
            Ok(match self.change(*change)? {
                Some(change) => BatchEnd::SchemaChange { mark, change: Box::new(change) },
                None => BatchEnd::Idle(mark),
            })
        })
    }

    fn place(&self) -> Option<SourcePlace> {
        self.inner.place()
    }

    fn counts(&self) -> StreamCounts {
        self.inner.counts()
    }
}

struct ChosenReader<R: ?Sized> {
    inner: Box<R>,
    names: Option<Names>,
}

impl<R: TableReader + ?Sized> TableReader for ChosenReader<R> {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        self.inner.estimate()
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        self.inner.bound(after, rows)
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        self.inner.read(rows)
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let schemas = out.schemas().len();
            let is_more = self.inner.fill(out, origin, limits).await?;
            if self.names.is_some() {
                keep(out, schemas, |_| self.names.clone())?;
            }
            Ok(is_more)
        })
    }
}

impl<R: ChunkReader + ?Sized> ChunkReader for ChosenReader<R> {
    fn order(&self) -> String {
        self.inner.order()
    }

    fn restrict<'a>(&'a mut self, condition: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.restrict(condition)
    }

    fn read_chunk<'a>(&'a mut self, shown: &'a Position, range: ChunkRange<'a>) -> BoxFuture<'a, Result<()>> {
        self.inner.read_chunk(shown, range)
    }

    fn passed(&self) -> Option<Passed> {
        self.inner.passed()
    }

    fn read_keys<'a>(&'a mut self, shown: &'a Position, keys: &'a [Key]) -> BoxFuture<'a, Result<()>> {
        self.inner.read_keys(shown, keys)
    }

    fn bound_within<'a>(&'a mut self, range: ChunkRange<'a>) -> BoxFuture<'a, Result<Option<Key>>> {
        self.inner.bound_within(range)
    }

    fn key_before<'a>(&'a mut self, key: &'a Key) -> BoxFuture<'a, Result<Option<Key>>> {
        self.inner.key_before(key)
    }

    fn end_of_view(&mut self) -> BoxFuture<'_, Result<SourcePlace>> {
        self.inner.end_of_view()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tailrace_contract::{Fill, Mark, TableMapping, TargetTable};
    use tailrace_row::{Column, ColumnType, Epoch, Operation, Sequence, Value};

    use super::*;
    use crate::mapping::{TableRule, TargetRule, evolve};

    fn table(name: &str) -> TableName {
        TableName::new("shop", name)
    }

    fn column(name: &str) -> Column {
        Column { name: name.into(), column_type: ColumnType::Integer { bits: 64, unsigned: false }, nullable: true }
    }

    fn schema(of: &str, names: &[&str]) -> Arc<TableSchema> {
        Arc::new(TableSchema::new(table(of), names.iter().map(|name| column(name)).collect::<Vec<_>>(), [0]).unwrap())
    }

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn choices(choice: ColumnChoice) -> Arc<Choices> {
        let rule = |of: &str, choice| TableRule {
            choice,
            ..TableRule::new(TablePattern::Table(table(of)), TargetRule::SameName)
        };
        let rules = TableRules::new(vec![rule("orders", choice), rule("items", ColumnChoice::All)]);
        Arc::new(Choices { rules, gone: Mutex::default() })
    }

    /// Gives a row of each of these schemas at every call, whose values are 7000 and up; the first call takes back what is there.
    struct Rows {
        schemas: Vec<Arc<TableSchema>>,
        takes_back: bool,
    }

    impl ChangeStream for Rows {
        fn read_batch<'a>(&'a mut self, out: &'a mut RecordBatch, _: BatchLimits) -> BoxFuture<'a, Result<BatchEnd>> {
            if self.takes_back && !out.is_empty() {
                out.discard_last();
            }
            for known in &self.schemas {
                let origin = Origin {
                    epoch: Epoch(1),
                    transaction: 1 + out.len() as u64,
                    event: 0,
                    committed_at_micros: 0,
                    transaction_name: None,
                    file: "".into(),
                    file_offset: 0,
                    server_id: 0,
                    thread: None,
                };
                let (schema, origin) = (out.add_schema(known), out.add_origin(origin));
                let columns = known.columns().len();
                let after = out.write_image::<Infallible>(columns, |writer| {
                    (0..columns).for_each(|place| writer.value(Value::Integer(7_000 + place as i64)));
                    Ok(())
                });
                let (operation, after) = (Operation::Insert, after.ok());
                out.push(Record { operation, schema, origin, row: 0, lane: 0, offset: 0, before: None, after });
            }
            let position = Position::new("1");
            Box::pin(async { Ok(BatchEnd::TransactionEnd(Mark { position, transactions: 1 })) })
        }
    }

    fn stream(choice: ColumnChoice, schemas: Vec<Arc<TableSchema>>, takes_back: bool) -> ChosenStream {
        let inner = Box::new(Rows { schemas, takes_back });
        ChosenStream { inner, choices: choices(choice), present: Vec::new(), names: HashMap::new() }
    }

    fn read(stream: &mut ChosenStream, out: &mut RecordBatch) -> Result<()> {
        let limits = BatchLimits { bytes_max: 1, records_max: 1, wait_max: std::time::Duration::ZERO };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(stream.read_batch(out, limits)).map(drop)
    }

    /// Each record as the names of its columns with their values.
    fn shown(batch: &RecordBatch) -> Vec<String> {
        let one = |record: &Record| {
            let image = batch.after(record).unwrap();
            let columns = batch.schema(record).columns().iter().zip(image.fields());
            let columns: Vec<String> = columns.map(|(column, field)| format!("{} {field:?}", column.name)).collect();
            format!("{}: {}", batch.origin(record).transaction, columns.join(", "))
        };
        batch.records().iter().map(one).collect()
    }

    #[test]
    fn no_image_has_what_is_left_out() {
        for takes_back in [false, true] {
            let all = vec![schema("items", &["id", "secret"]), schema("orders", &["id", "secret", "total"])];
            let mut stream = stream(ColumnChoice::Except(names(&["Secret"])), all, takes_back);
            let mut batch = RecordBatch::new();
            for call in 1..=3 {
                read(&mut stream, &mut batch).unwrap();
                let orders: Vec<&Arc<TableSchema>> =
                    batch.schemas().iter().filter(|schema| schema.name().table.as_ref() == "orders").collect();
                assert_eq!(orders, [&schema("orders", &["id", "total"])], "call {call}");
                let lines = shown(&batch);
                assert_eq!(lines.len(), if takes_back { call + 1 } else { 2 * call });
                for (number, line) in (1..).zip(&lines) {
                    let is_whole = line.contains("7000")
                        && (line.contains("secret") || line.contains("total Value(Integer(7002))"));
                    assert!(line.starts_with(&format!("{number}: ")) && is_whole, "{line}");
                }
            }
        }
    }

    #[test]
    fn names_of_no_column_end_the_stream_before_a_row_passes() {
        let orders = schema("orders", &["id", "secret"]);
        let check = |choice: ColumnChoice, present: &[&str], gone: &str, expect: Option<&str>| {
            let mut stream = stream(choice, vec![Arc::clone(&orders)], false);
            stream.present = vec![schema("orders", present)];
            stream.choices.gone().insert((table("orders"), gone.into()));
            let mut batch = RecordBatch::new();
            let found = read(&mut stream, &mut batch).err().map(|error| error.to_string());
            match (found, expect) {
                (None, None) => {}
                (Some(found), Some(expect)) => assert!(found.contains(expect), "{found}"),
                (found, expect) => panic!("{found:?} instead of {expect:?}"),
            }
        };
        let except = |list: &[&str]| ColumnChoice::Except(names(list));
        check(except(&["secret"]), &["id"], "", None);
        check(except(&["secrte"]), &["id"], "", Some("shop.orders has no column secrte, which exclude_columns names"));
        check(except(&["secret", "open"]), &["id", "OPEN"], "", None);
        check(except(&["secret", "open"]), &["id"], "open", None);
        check(
            ColumnChoice::Only(names(&["id", "totl"])),
            &["id"],
            "",
            Some("no column totl, which only_columns names"),
        );
        check(except(&["id"]), &["id"], "", Some("leaves out id, which is part of the key"));
        check(ColumnChoice::Only(names(&["secret"])), &["id"], "", Some("leaves out id, which is part of the key"));
    }

    /// What becomes of an ALTER of these steps: of the statement, or words of what ends the stream.
    fn check(choice: &ColumnChoice, steps: Vec<ColumnStep>, expect: std::result::Result<Option<TableAct>, &str>) {
        let stream = stream(choice.clone(), Vec::new(), false);
        let acts = vec![TableAct::Alter { table: table("orders"), steps: steps.clone() }];
        let change = SchemaChange {
            sequence: Sequence::default(),
            place: "u:7".into(),
            committed_at_micros: 0,
            statement: "ALTER".into(),
            acts,
        };
        match (stream.change(change), expect) {
            (Ok(found), Ok(expect)) => {
                assert_eq!(found.map(|change| change.acts), expect.map(|act| vec![act]), "{steps:?}")
            }
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, expect) => panic!("{steps:?}: {found:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn statements_about_what_is_left_out_are_none() {
        let except = ColumnChoice::Except(names(&["secret", "hidden"]));
        let only = ColumnChoice::Only(names(&["id", "total"]));
        let add = |name: &str| ColumnStep::Add { column: column(name), fill: Fill::Null };
        let change = |name: &str| ColumnStep::Change { column: column(name) };
        let drop = |name: &str| ColumnStep::Drop { column: name.into() };
        let rename = |name: &str, to: &str| ColumnStep::Rename { column: name.into(), to: to.into() };
        let alter = |steps| Ok(Some(TableAct::Alter { table: table("orders"), steps }));
        check(&except, vec![change("SECRET"), drop("hidden"), rename("secret", "hidden")], Ok(None));
        check(&only, vec![add("more"), drop("other"), change("some"), rename("other", "another")], Ok(None));
        check(&except, vec![drop("secret"), add("more")], alter(vec![add("more")]));
        check(&only, vec![drop("total"), add("more")], alter(vec![drop("total")]));
        check(&except, Vec::new(), alter(Vec::new()));
        check(&except, vec![rename("a", "b")], alter(vec![rename("a", "b")]));
        // Where the new name is named somebody has decided, and the target waits for him; where it is not, nobody has.
        let other = |reason: &str| {
            Ok(Some(TableAct::Other { table: table("orders"), reason: reason.to_owned(), hides_changes: false }))
        };
        check(
            &except,
            vec![rename("a", "secret")],
            other("the column a is called secret from here on, which is left out"),
        );
        check(&only, vec![rename("a", "total")], other("the column a is called total from here on, which is moved"));
        check(&except, vec![rename("secret", "open")], Err("name open beside secret in exclude_columns"));
        check(
            &only,
            vec![rename("total", "sum")],
            Err("which is moved, is called sum from here on and would be left out"),
        );
    }

    #[test]
    fn a_swap_is_told_even_where_only_what_is_left_out_differs() {
        let stream = stream(ColumnChoice::Except(names(&["secret"])), Vec::new(), false);
        let rename = |from: &str, to: &str| TableAct::Rename { table: table(from), to: table(to) };
        let steps = vec![ColumnStep::Drop { column: "secret".into() }];
        let acts =
            vec![rename("orders", "_old"), rename("_new", "orders"), TableAct::Alter { table: table("orders"), steps }];
        let statement = "RENAME".into();
        let swap = SchemaChange {
            sequence: Sequence::default(),
            place: "u:7".into(),
            committed_at_micros: 0,
            statement,
            acts,
        };
        let told = stream.change(swap).unwrap().unwrap();
        let target = TargetTable { schema: "public".into(), table: "orders".into() };
        let on_ddl = tailrace_contract::DdlPolicy::EvolveSwaps;
        let mapping = TableMapping { on_ddl, ..TableMapping::new(table("orders"), target) };
        assert_eq!(evolve::act(&told, &mapping), tailrace_contract::BarrierAct::CarryOut(Vec::new()));
    }

    /// A call with a default of its own that is not passed on would be answered by nobody.
    #[test]
    fn every_call_is_passed_on() {
        let own = include_str!("chosen.rs").split("#[cfg(test)]").next().unwrap();
        let contract = [
            (include_str!("../../connectors/contract/src/source.rs"), vec!["Source", "ChangeStream"]),
            (include_str!("../../connectors/contract/src/reader.rs"), vec!["TableReader"]),
            (include_str!("../../connectors/contract/src/chunk.rs"), vec!["ChunkReader"]),
        ];
        for (text, name) in
            contract.into_iter().flat_map(|(text, names)| names.into_iter().map(move |name| (text, name)))
        {
            let (_, rest) = text.split_once(&format!("pub trait {name}: ")).unwrap();
            let (body, _) = rest.split_once("\n}\n").unwrap();
            let (_, rest) = own.split_once(&format!("{name} for Chosen")).unwrap();
            let (passed, _) = rest.split_once("\n}\n").unwrap();
            let calls = body.lines().filter_map(|line| line.strip_prefix("    fn ")?.split(['(', '<']).next());
            let calls: Vec<&str> = calls.collect();
            assert!(!calls.is_empty());
            for call in calls {
                assert!(passed.contains(&format!("    fn {call}")), "{name}::{call} is not passed on");
            }
        }
    }
}
