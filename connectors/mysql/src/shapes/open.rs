//! What is known of shapes where a stream begins: what its position carries, and what the dictionary tells.
//!
//! The dictionary tells a shape of now. For which rows it holds follows from three steps, in this order:
//!
//! 1. The end of the binlog is read.
//! 2. Each table is touched by a query of its own. A statement that alters it holds it from before it is logged until the dictionary shows
//!    it: whatever lies before that end is in the dictionary then, also what is logged and not yet visible.
//! 3. The dictionary is read, and then the binlog from the position to its present end. What alters one of the tables before the
//!    first end is counted: behind the last such statement the dictionary's shape holds. One behind it came while the dictionary was
//!    read: all is to be done again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tailrace_contract::{Error, ErrorKind, Result, SourceSettings, TableFilter, TablePattern};
use tailrace_row::TableName;

use super::{Known, Looked, Memory, REMEDY, ReadAt, Shape, Shapes, Wanted};
use crate::{
    events::{HEADER_BYTES, Header, Payload, QueryEvent, Unpacker, kind},
    group::{Walk, Walked},
    history,
    position::{BinlogPosition, FileOffset},
    protocol::{Connection, Malformed, quote_table},
    replication::Logged,
    row_decoder::charset::Collations,
    schema::{self, FoundTable},
    server::Server,
    statement::{self, Captured, Control},
};

/// What of the binlog is to be followed, and how its statements are read.
pub(crate) struct Backlog<'a> {
    pub(crate) settings: &'a SourceSettings,
    pub(crate) filter: &'a TableFilter,
    pub(crate) collations: &'a Collations,
    pub(crate) position: &'a BinlogPosition,
}

/// The files of the binlog. Of one that is written and encrypted the list's size has its header, which offsets of events have not.
pub(crate) async fn read_at(server: &mut Server) -> Result<ReadAt> {
    let mut files = history::binlogs(server).await?;
    let end = server.binlog_end().await?;
    let (name, offset) = (end.text(0), end.number(1)?);
    match files.iter_mut().find(|(file, _)| file == name) {
        Some((_, size)) => *size = offset,
        None => files.push((name.to_owned(), offset)),
    }
    Ok(ReadAt(files))
}

/// The shapes that are known at the position.
pub(crate) async fn open(
    server: &mut Server,
    backlog: &Backlog<'_>,
    memory: Memory,
    wanted: &Arc<Wanted>,
) -> Result<Shapes> {
    let has_names = match server.connection.query_row("SELECT @@GLOBAL.binlog_row_metadata").await {
        Ok(row) => row.text(0) == "FULL",
        // The server is older than the setting, and never sends names.
        Err(error) if error.kind() == ErrorKind::Refused => false,
        Err(error) => return Err(error),
    };
    let read_at = read_at(server).await?;
    let mut known: BTreeMap<TableName, Known> = memory.tables;
    let is_needed = !has_names || !known.is_empty();
    // What is captured no longer was followed no longer.
    known.retain(|table, known| known.is_other || backlog.filter.matches(&table.database, &table.table));
    let mut tables = wanted.take();
    tables.retain(|table| backlog.filter.matches(&table.database, &table.table));
    if !has_names {
        let all = names(&mut server.connection, backlog.filter).await?;
        tables.extend(all.into_iter().filter(|table| !known.contains_key(table)));
    }
    let mut shapes =
        Shapes { known, looked: HashMap::new(), read_at, wanted: Arc::clone(wanted), is_needed, is_changed: true };
    if tables.is_empty() {
        return Ok(shapes);
    }
    let mut told = dictionary(&mut server.connection, &tables).await?;
    let mut ahead = count(server, backlog, &tables, &shapes.read_at).await?;
    for table in tables {
        let gone = || Err(("the server's dictionary does not have it".to_owned(), REMEDY.to_owned()));
        let looked =
            Looked { ahead: ahead.remove(&table).unwrap_or_default(), shape: told.remove(&table).unwrap_or_else(gone) };
        let is_as_told = looked.ahead == 0;
        shapes.looked.insert(table.clone(), looked);
        if is_as_told {
            shapes.take_over(&table);
        }
    }
    Ok(shapes)
}

async fn names(connection: &mut Connection, filter: &TableFilter) -> Result<Vec<TableName>> {
    if filter.patterns.is_empty() {
        return Ok(Vec::new());
    }
    let condition = schema::condition(filter);
    let rows = connection
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND ({condition})"
        ))
        .await?;
    let all = rows.iter().filter(|row| filter.matches(row.text(0), row.text(1)));
    Ok(all.map(|row| TableName::new(row.text(0), row.text(1))).collect())
}

/// A shape, or why there is none and what helps.
type Told = std::result::Result<Shape, (String, String)>;

async fn dictionary(connection: &mut Connection, tables: &BTreeSet<TableName>) -> Result<HashMap<TableName, Told>> {
    let mut unsettled = BTreeSet::new();
    // Whoever holds a table for long keeps its writers waiting too.
    connection.execute("SET SESSION lock_wait_timeout = 20").await?;
    for table in tables {
        match connection.query(&format!("SELECT 1 FROM {} LIMIT 0", quote_table(table))).await {
            Ok(_) => {}
            // It is not there, or must not be read.
            Err(error) if error.kind() == ErrorKind::Refused => drop(unsettled.insert(table)),
            Err(error) => return Err(error),
        }
    }
    let filter = TableFilter { patterns: tables.iter().cloned().map(TablePattern::Table).collect() };
    let found = schema::find(connection, &filter).await?;
    let told = |found: FoundTable| {
        let told = match found.schema {
            Ok(_) if found.is_keyless => Err((
                "it has no primary key, and its rows are logged without the columns' names (binlog_row_metadata=MINIMAL)".to_owned(),
                REMEDY.to_owned(),
            )),
            _ if unsettled.contains(&found.name) => {
                let advice = format!("GRANT SELECT ON {} to the account of [source]", quote_table(&found.name));
                Err(("it can't be read, and so its shape can't be told".to_owned(), advice))
            }
            Ok(schema) => match schema::doubtful_members(&schema) {
                None => Ok(Shape::of(&schema)),
                Some(column) => Err((
                    format!(
                        "the server's dictionary may not show the members of its column {} as they are",
                        column.name
                    ),
                    REMEDY.to_owned(),
                )),
            },
            Err(error) => Err((error.message().to_owned(), error.advice().unwrap_or(REMEDY).to_owned())),
        };
        (found.name, told)
    };
    Ok(found.into_iter().map(told).collect())
}

/// How many statements between the position and the dictionary's reading change the shape of each of the tables.
async fn count(
    server: &Server,
    backlog: &Backlog<'_>,
    tables: &BTreeSet<TableName>,
    read_at: &ReadAt,
) -> Result<HashMap<TableName, usize>> {
    let mut counted = HashMap::new();
    let note = |captured: &Captured<'_>, query: &QueryEvent<'_>| {
        let mut is_changed = false;
        for reshape in captured.reshapes(query) {
            for table in tables.iter().filter(|table| reshape.concerns(table, captured.ignores_case)) {
                *counted.entry(table.clone()).or_default() += 1;
                is_changed = true;
            }
        }
        is_changed
    };
    each_statement(server, backlog, read_at, note).await?;
    Ok(counted)
}

/// Goes through the statements between the position and the present end of the binlog. What they tell of counts only if it was there
/// when the dictionary was read.
pub(crate) async fn each_statement(
    server: &Server,
    backlog: &Backlog<'_>,
    read_at: &ReadAt,
    note: impl FnMut(&Captured<'_>, &QueryEvent<'_>) -> bool,
) -> Result<()> {
    let from = match backlog.position {
        BinlogPosition::Gtids { set, .. } => Logged::Behind(set),
        BinlogPosition::File { at, .. } => Logged::File(at),
        BinlogPosition::Domains { .. } => return Err(Error::refused("positions of MariaDB tell no shapes")),
    };
    let mut statements = Statements { note, unpacker: Unpacker::default() };
    let ignores_case = server.facts.ignores_case;
    let captured = Captured {
        filter: backlog.filter,
        collations: backlog.collations,
        ignores_case,
        is_mariadb: false,
        logs_cascades: true,
    };
    let connection = Connection::open(&backlog.settings.endpoint).await?;
    let mut walk = Walk::on(connection, backlog.settings, from).await?;
    while let Walked::Event { header, event, start, .. } = walk.next().await? {
        let place = FileOffset { file: walk.file().into(), offset: start };
        if matches!(backlog.position, BinlogPosition::File { at, .. } if at.file == place.file && start < at.offset) {
            continue;
        }
        let body = &walk.bytes(&event)[HEADER_BYTES..];
        let is_changed = statements.event(&captured, header, body).map_err(|malformed| {
            Error::corrupt("the binlog can't be looked through for altered tables").at(&place).caused_by(malformed)
        })?;
        if is_changed && !read_at.covers(&place) {
            return Err(Error::transient("a table was altered while the dictionary was read"));
        }
    }
    Ok(())
}

struct Statements<N> {
    note: N,
    unpacker: Unpacker,
}

impl<N: FnMut(&Captured<'_>, &QueryEvent<'_>) -> bool> Statements<N> {
    /// Takes an event; tells whether it changes one of the tables.
    fn event(&mut self, captured: &Captured<'_>, header: Header, body: &[u8]) -> std::result::Result<bool, Malformed> {
        match header.kind {
            kind::QUERY => Ok(self.statement(captured, &QueryEvent::parse(body)?)),
            kind::TRANSACTION_PAYLOAD => {
                // Of statements on tables only CREATE TABLE … SELECT has rows behind it, and it comes first.
                let payload = Payload::parse(body)?;
                let mut unpacker = std::mem::take(&mut self.unpacker);
                unpacker.begin(&payload);
                let is_changed = match unpacker.next(&body[payload.packed_at..])? {
                    Some(first) if Header::parse(first)?.kind == kind::QUERY => {
                        self.statement(captured, &QueryEvent::parse(&first[HEADER_BYTES..])?)
                    }
                    Some(_) | None => false,
                };
                self.unpacker = unpacker;
                Ok(is_changed)
            }
            _ => Ok(false),
        }
    }

    fn statement(&mut self, captured: &Captured<'_>, query: &QueryEvent<'_>) -> bool {
        matches!(statement::control(query), Control::None | Control::CreateWithRows) && (self.note)(captured, query)
    }
}
