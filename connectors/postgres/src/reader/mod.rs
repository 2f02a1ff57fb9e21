//! Rows of the target's table as rows of the source's schema, streamed by COPY in its binary form.
//!
//! Each read is a transaction of REPEATABLE READ of its own. It locks the table against changes of its shape first, then makes sure
//! that the shape is the one that the reader was opened with, and ends with the last row: between reads nothing is held.
//! Rows are asked for in the order of the key's index, so nothing is sorted and nothing but the answer is read.
//!
//! A call that fails or is given up costs its connection. The driver lends its connection to the answer, so both live in one future
//! that runs while rows are asked for, and hands them over in pieces; one is under way, so memory does not grow with the table.
//!
//! The sum: each row is copied once into a piece and decoded there into the batch, some 10 ns a field.

mod decode;
mod literal;
mod numeric;

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
};

use sqlx::{AssertSqlSafe, postgres::PgArguments};
use tailrace_contract::{BoxFuture, Error, ReadLimits, Result, Rows, TableMapping, TableReader};
use tailrace_row::{Field, ImageWriter, Key, Operation, Origin, Record, RecordBatch, TableSchema};
use tokio::sync::mpsc;

use self::decode::{Form, Unreadable};
use crate::{
    catalog::{self, add, get},
    errors::Failure,
    identifier::{quote, quote_table},
    session::Session,
    sink::Target,
    target_type::TargetType,
};

/// What the target answers.
type Answer<T> = std::result::Result<T, Failure>;

/// How many keys one statement asks for.
const KEYS_MAX: usize = 500;
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// Settings of a reading transaction: rows come in the order of an index, for as long as it takes to take them; and what a literal of
/// a key means, its types and operators included, is not the account's to say.
const SETTINGS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL enable_sort = off; SET LOCAL enable_indexscan = on; \
                        SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL search_path = pg_catalog; \
                        SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'";

/// Whether the table is still the one that was compiled.
const STAMP: &str = "
SELECT c.oid::int8 AS oid, (SELECT coalesce(max(a.xmin::text::int8), 0) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0) AS stamp
FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)";

const ESTIMATE: &str =
    "SELECT greatest(reltuples, 0)::int8 AS rows FROM pg_catalog.pg_class WHERE oid = to_regclass($1)";

/// A column of the key as conditions name it.
struct KeyColumn {
    name: String,
    place: usize,
    target_type: TargetType,
}

/// One connection and one table.
pub(crate) struct PostgresTableReader {
    target: Arc<Target>,
    schema: Arc<TableSchema>,
    /// Quoted.
    table: String,
    /// OID and stamp.
    shape: (u32, i64),
    columns: String,
    forms: Vec<Form>,
    key: Vec<KeyColumn>,
    /// None while it copies, and once a call was given up or failed.
    session: Option<Session>,
    read: Option<Read>,
}

/// A connection at work; it comes back when the answer has ended.
type Copying = Pin<Box<dyn Future<Output = (Session, Answer<()>)> + Send>>;

/// A read that is under way.
struct Read {
    copying: Option<Copying>,
    pieces: mpsc::Receiver<Vec<u8>>,
    /// What was received and not yet read, from `at` on.
    piece: Vec<u8>,
    at: usize,
    is_begun: bool,
    pending: VecDeque<String>,
    /// The keys that rows must have, where keys were asked for, without those that have come.
    wanted: Option<HashSet<Key>>,
}

impl PostgresTableReader {
    /// Connects, and finds how the table's columns are read.
    pub(crate) async fn open(target: Arc<Target>, schema: Arc<TableSchema>, mapping: &TableMapping) -> Result<Self> {
        let failed = |what: String| Error::table_failed(schema.name().clone(), format!("{}: {what}", mapping.target));
        mapping.check_readable()?;
        if schema.key().is_empty() {
            return Err(failed("the table has no key to read it by".to_owned()));
        }
        let mut session = target.connect().await?;
        let found = catalog::read_table(&mut session, &mapping.target).await?;
        let shape = found.ok_or_else(|| failed("there is no such table".to_owned()))?;
        let (mut forms, mut names, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for column in schema.columns() {
            let held = shape.column(&column.name);
            let held = held.ok_or_else(|| failed(format!("there is no column {}", column.name)))?;
            let form = held.target_type.and_then(|held| Some((held, Form::of(&column.column_type, held)?)));
            let (target_type, form) =
                form.ok_or_else(|| failed(format!("{} of type {} can't be read", held.name, held.type_name)))?;
            forms.push(form);
            names.push(quote(&column.name)?);
            types.push(target_type);
        }
        let column =
            |place: &usize| KeyColumn { name: names[*place].clone(), place: *place, target_type: types[*place] };
        Ok(Self {
            key: schema.key().iter().map(column).collect(),
            table: quote_table(&mapping.target)?,
            shape: (shape.oid, shape.stamp),
            columns: names.join(", "),
            session: Some(session),
            read: None,
            forms,
            target,
            schema,
        })
    }

    /// The connection, a new one if the last read was given up. From here on none is under way.
    async fn idle(&mut self) -> Result<&mut Session> {
        if self.read.take().is_some() || self.session.as_ref().is_some_and(|session| !session.is_idle()) {
            self.session = None;
        }
        if self.session.is_none() {
            self.session = Some(self.target.connect().await?);
        }
        Ok(self.session.as_mut().expect("invariant: it was just made"))
    }

    fn named(&self) -> PgArguments {
        let mut arguments = PgArguments::default();
        add(&mut arguments, self.table.as_str());
        arguments
    }

    async fn begin_view(&mut self) -> Answer<()> {
        const DOING: &str = "beginning to read a table";
        let (lock, named, shape) =
            (format!("LOCK TABLE {} IN ACCESS SHARE MODE", self.table), self.named(), self.shape);
        let session = self.idle().await?;
        session.begin_view().await?;
        session.run(SETTINGS, DOING).await?;
        session.run(AssertSqlSafe(lock), DOING).await?;
        let rows = session.read(STAMP, named, DOING).await?;
        let found = rows.first().map(|row| Ok::<_, Failure>((get::<i64>(row, "oid")?, get::<i64>(row, "stamp")?)));
        if found.transpose()? != Some((shape.0.into(), shape.1)) {
            let what = "the table is not what the reader was opened with: it was altered";
            return Err(Error::transient(what).into());
        }
        Ok(())
    }

    async fn end_view(&mut self) -> Answer<()> {
        match self.session.as_mut() {
            Some(session) => session.commit(|| {}).await,
            None => Ok(()),
        }
    }

    async fn find_bound(&mut self, after: Option<&Key>, rows: u64) -> Answer<Option<Key>> {
        self.begin_view().await?;
        let Some(skipped) = rows.checked_sub(1) else {
            self.end_view().await?;
            return Ok(None);
        };
        let condition = match after {
            Some(after) => format!(" WHERE {}", self.beside(after, ">")?),
            None => String::new(),
        };
        let sql = format!(
            "SELECT {} FROM {}{condition} ORDER BY {} LIMIT 1 OFFSET {skipped}",
            self.columns,
            self.table,
            self.order()
        );
        self.begin_statements(VecDeque::from([sql]), None);
        let mut found = RecordBatch::new();
        let origin = no_origin();
        self.take_rows(&mut found, &origin, ReadLimits { rows_max: usize::MAX, bytes_max: usize::MAX }).await?;
        let key = |record| found.after(record).map(|image| Key::of(&self.schema, image));
        Ok(found.records().first().and_then(key))
    }

    async fn begin_read(&mut self, rows: Rows<'_>) -> Answer<()> {
        self.begin_view().await?;
        let (statements, wanted) = match rows {
            Rows::Range { after, until } => (VecDeque::from([self.range(after, until)?]), None),
            Rows::Keys(keys) => (self.by_keys(keys), Some(keys.iter().cloned().collect())),
        };
        if statements.is_empty() {
            return self.end_view().await;
        }
        self.begin_statements(statements, wanted);
        Ok(())
    }

    fn range(&self, after: Option<&Key>, until: Option<&Key>) -> Result<String> {
        let bounds = [after.map(|key| self.beside(key, ">")), until.map(|key| self.beside(key, "<="))];
        let bounds: Vec<String> = bounds.into_iter().flatten().collect::<Result<_>>()?;
        let condition = if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) };
        Ok(format!("SELECT {} FROM {}{condition} ORDER BY {}", self.columns, self.table, self.order()))
    }

    fn by_keys(&self, keys: &[Key]) -> VecDeque<String> {
        let mut statements = VecDeque::new();
        let mut rest = keys.iter().filter_map(|key| self.equal(key)).peekable();
        while rest.peek().is_some() {
            let mut sql = format!("SELECT {} FROM {} WHERE ", self.columns, self.table);
            let mut count = 0;
            while let Some(equal) = rest.next_if(|_| count < KEYS_MAX && sql.len() < STATEMENT_BYTES_MAX) {
                sql.push_str(if count == 0 { "" } else { " OR " });
                sql.push_str(&equal);
                count += 1;
            }
            statements.push_back(sql);
        }
        statements
    }

    fn order(&self) -> String {
        self.key.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn literals(&self, key: &Key) -> Option<Vec<String>> {
        let image = key.image();
        let literal = |(number, column): (usize, &KeyColumn)| match image.field(number) {
            Field::Value(value) => {
                let source = &self.schema.columns()[column.place].column_type;
                literal::literal(source, column.target_type, value)
            }
            Field::Null | Field::Unchanged => None,
        };
        self.key.iter().enumerate().map(literal).collect()
    }

    fn beside(&self, key: &Key, operator: &str) -> Result<String> {
        let literals = self.literals(key).ok_or_else(|| {
            Error::table_failed(self.schema.name().clone(), "the target can't hold a key that rows are to be read from")
        })?;
        Ok(format!("({}) {operator} ({})", self.order(), literals.join(", ")))
    }

    /// None: no row of the target can have the key.
    fn equal(&self, key: &Key) -> Option<String> {
        let literals = self.literals(key)?;
        let equal = self.key.iter().zip(literals).map(|(column, literal)| format!("{} = {literal}", column.name));
        Some(format!("({})", equal.collect::<Vec<_>>().join(" AND ")))
    }

    fn begin_statements(&mut self, mut pending: VecDeque<String>, wanted: Option<HashSet<Key>>) {
        let first = pending.pop_front().expect("invariant: there is a statement");
        let (copying, pieces) = self.begin_copy(&first);
        self.read =
            Some(Read { copying: Some(copying), pieces, piece: Vec::new(), at: 0, is_begun: false, pending, wanted });
    }

    fn begin_copy(&mut self, select: &str) -> (Copying, mpsc::Receiver<Vec<u8>>) {
        let mut session = self.session.take().expect("invariant: a view has begun");
        let sql = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
        let (sender, pieces) = mpsc::channel(1);
        let copying = async move {
            let copied = session.copy_out(&sql, &sender).await;
            (session, copied)
        };
        (Box::pin(copying), pieces)
    }

    async fn take_rows(&mut self, out: &mut RecordBatch, origin: &Origin, limits: ReadLimits) -> Answer<bool> {
        let rows_end = out.len().saturating_add(limits.rows_max.max(1));
        let bytes_end = out.byte_len().saturating_add(limits.bytes_max);
        let (schema, origin) = (out.add_schema(&self.schema), out.add_origin(origin.clone()));
        loop {
            let Some(read) = self.read.as_mut() else { return Ok(false) };
            let Some(row) = read.next_row()? else {
                if read.receive(&mut self.session).await? || self.go_on().await? {
                    continue;
                }
                return Ok(false);
            };
            let fields = Fields { bytes: &read.piece[row], forms: &self.forms };
            let image = out.write_image(self.forms.len(), |image| fields.decode(image));
            let after = image.map_err(|bad| bad.error(&self.schema))?;
            let operation = Operation::Read;
            out.push(Record {
                operation,
                schema,
                origin,
                row: 0,
                lane: 0,
                offset: 0,
                before: None,
                after: Some(after),
            });
            let is_wanted = read.wanted.as_mut().is_none_or(|wanted| wanted.remove(&last_key(&self.schema, out)));
            if !is_wanted {
                out.discard_last();
            } else if out.len() >= rows_end || out.byte_len() >= bytes_end {
                return Ok(true);
            }
        }
    }

    /// The answer has ended: goes over to the next statement. False if there is none.
    async fn go_on(&mut self) -> Answer<bool> {
        let next = self.read.as_mut().and_then(|read| read.pending.pop_front());
        let Some(next) = next else {
            self.end_view().await?;
            self.read = None;
            return Ok(false);
        };
        let (copying, pieces) = self.begin_copy(&next);
        if let Some(read) = self.read.as_mut() {
            (read.copying, read.pieces, read.is_begun) = (Some(copying), pieces, false);
        }
        Ok(true)
    }

    async fn ask_estimate(&mut self) -> Answer<u64> {
        let named = self.named();
        let rows = self.idle().await?.read(ESTIMATE, named, "estimating a table").await?;
        let rows: i64 = rows.first().map(|row| get(row, "rows")).transpose()?.unwrap_or(0);
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// What a call comes to. A failure takes the view along, with its connection: nothing of the table is held behind it.
    fn settle<T>(&mut self, result: Answer<T>) -> Result<T> {
        result.map_err(|failure| {
            (self.read, self.session) = (None, None);
            Error::from(failure).on_table(self.schema.name().clone())
        })
    }
}

impl Read {
    /// Where the next complete row lies in the piece, behind its count of fields.
    fn next_row(&mut self) -> Answer<Option<std::ops::Range<usize>>> {
        const HEADER_BYTES: usize = 19;
        const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
        let malformed = || Failure::Other(Error::corrupt("the target sent what COPY does not allow"));
        if !self.is_begun {
            let Some(header) = self.piece[self.at..].get(..HEADER_BYTES) else { return Ok(None) };
            if !header.starts_with(SIGNATURE) || header[SIGNATURE.len()..] != [0; 8] {
                return Err(malformed());
            }
            self.is_begun = true;
            self.at += HEADER_BYTES;
        }
        let rest = &self.piece[self.at..];
        let Some((count, mut fields)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            self.at += 2;
            return if fields.is_empty() { Ok(None) } else { Err(malformed()) };
        }
        for _ in 0..count {
            let Some((length, behind)) = fields.split_first_chunk::<4>() else { return Ok(None) };
            let length = match i32::from_be_bytes(*length) {
                -1 => 0,
                length => usize::try_from(length).map_err(|_| malformed())?,
            };
            let Some(behind) = behind.get(length..) else { return Ok(None) };
            fields = behind;
        }
        let row = self.at + 2..self.at + rest.len() - fields.len();
        self.at = row.end;
        Ok(Some(row))
    }

    /// Waits for more of the answer. False if it has ended; then the connection is back.
    async fn receive(&mut self, session: &mut Option<Session>) -> Answer<bool> {
        loop {
            let piece = match self.copying.as_mut() {
                None => self.pieces.recv().await,
                Some(copying) => {
                    tokio::select! {
                        // Both are safe to be given up: a piece stays in the channel, and the copying goes on where it was.
                        biased;
                        piece = self.pieces.recv() => piece,
                        (returned, copied) = copying => {
                            self.copying = None;
                            *session = Some(returned);
                            copied?;
                            continue;
                        }
                    }
                }
            };
            let Some(piece) = piece else {
                return if self.at == self.piece.len() {
                    Ok(false)
                } else {
                    Err(Error::corrupt("the target's answer ends inside of a row").into())
                };
            };
            if self.at == self.piece.len() {
                self.piece = piece;
            } else {
                self.piece.drain(..self.at);
                self.piece.extend_from_slice(&piece);
            }
            self.at = 0;
            return Ok(true);
        }
    }
}

/// The fields of a row behind their count.
struct Fields<'r> {
    bytes: &'r [u8],
    forms: &'r [Form],
}

/// What is wrong with a row.
struct BadField {
    column: usize,
    what: Unreadable,
}

impl BadField {
    fn error(&self, schema: &TableSchema) -> Error {
        let column = &schema.columns()[self.column].name;
        Error::table_failed(schema.name().clone(), format!("column {column} of the target holds {}", self.what.0))
    }
}

impl Fields<'_> {
    #[inline]
    fn decode(&self, out: &mut ImageWriter<'_>) -> std::result::Result<(), BadField> {
        let mut rest = self.bytes;
        for (column, form) in self.forms.iter().enumerate() {
            let short = || BadField { column, what: Unreadable("fewer fields than were asked for") };
            let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            rest = behind;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                out.null();
                continue;
            };
            let (field, behind) = rest.split_at_checked(length).ok_or_else(short)?;
            rest = behind;
            form.decode(field, out).map_err(|what| BadField { column, what })?;
        }
        Ok(())
    }
}

fn last_key(schema: &TableSchema, batch: &RecordBatch) -> Key {
    let record = batch.records().last().expect("invariant: a row was just added");
    Key::of(schema, batch.after(record).expect("invariant: a row that was read has its image"))
}

/// For rows whose keys alone are wanted.
fn no_origin() -> Origin {
    Origin {
        epoch: tailrace_row::Epoch(0),
        transaction: 0,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "".into(),
        file_offset: 0,
        server_id: 0,
        thread: None,
    }
}

impl TableReader for PostgresTableReader {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async {
            let estimate = self.ask_estimate().await;
            self.settle(estimate)
        })
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(async move {
            let found = self.find_bound(after, rows).await;
            self.settle(found)
        })
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let begun = self.begin_read(rows).await;
            self.settle(begun)
        })
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let filled = self.take_rows(out, origin, limits).await;
            self.settle(filled)
        })
    }
}
