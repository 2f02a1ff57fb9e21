//! Which tables a statement may have altered between a stream's begin and now.
//!
//! What MariaDB's table maps keep to themselves is read from the dictionary, which says how a table looks today. Rows that lie
//! before a statement which altered their table may have been of other types. So that part of the binlog is looked through for
//! such statements before it is followed. As a rule one look at its first transaction is enough: the server says when each table
//! was altered last, and what was logged later is behind that.

use std::collections::HashSet;

use tailrace_contract::{Error, Result, SourceSettings, TableFilter, TablePattern};
use tailrace_row::TableName;

use super::domains;
use crate::{
    events::{CHECKSUM_BYTES, Format, HEADER_BYTES, Header, QueryEvent, has_valid_checksum, kind, unpack_event},
    gtid::GtidList,
    position::BinlogPosition,
    protocol::{Connection, Malformed},
    replication,
    row_decoder::charset::Collations,
    schema,
    server::Server,
    statement::{self, Captured, Control},
};

/// Seconds by which events may be dated too late, against the server's files: a replica logs its source's times.
const CLOCKS_APART_MAX: u32 = 3600;

/// What of the binlog is to be followed.
pub(crate) struct Backlog<'a> {
    pub(crate) settings: &'a SourceSettings,
    pub(crate) collations: &'a Collations,
    pub(crate) list: &'a GtidList,
}

/// Those of the tables that were altered, or may have been. The dictionary was read before.
pub(crate) async fn find(
    server: &mut Server,
    backlog: Backlog<'_>,
    tables: Vec<TableName>,
) -> Result<HashSet<TableName>> {
    if tables.is_empty() || domains::logged(server).await? == *backlog.list {
        return Ok(HashSet::new());
    }
    let mut look = Look {
        ignores_case: server.facts.ignores_case,
        collations: backlog.collations,
        altered_until: altered_last(&mut server.connection, &tables).await?,
        has_checksums: false,
        unpacked: Vec::new(),
        filters: tables.into_iter().map(|name| TableFilter { patterns: vec![TablePattern::Table(name)] }).collect(),
        altered: HashSet::new(),
    };
    let mut connection = Connection::open(&backlog.settings.endpoint).await?;
    let position = BinlogPosition::Domains { list: backlog.list.clone(), seen_at: None };
    replication::request_present(&mut connection, backlog.settings, &position).await?;
    loop {
        let Some(packet) = connection.buffered()? else {
            connection.fill().await?;
            continue;
        };
        let is_done = match connection.bytes(&packet) {
            [0, event @ ..] => look.event(event).map_err(|malformed| {
                Error::corrupt("the binlog can't be looked through for altered tables").caused_by(malformed)
            })?,
            [0xfe, ..] => true,
            other => return Err(Connection::error_of(other)),
        };
        if is_done {
            return Ok(look.altered);
        }
    }
}

/// When the last of them was altered, in seconds since 1970.
async fn altered_last(connection: &mut Connection, tables: &[TableName]) -> Result<u32> {
    let filter = TableFilter { patterns: tables.iter().cloned().map(TablePattern::Table).collect() };
    let row = connection
        .query_row(&format!(
            "SELECT COUNT(CREATE_TIME), UNIX_TIMESTAMP(MAX(CREATE_TIME)) FROM information_schema.TABLES WHERE {}",
            schema::condition(&filter)
        ))
        .await?;
    let are_all_known = row.number::<usize>(0)? == tables.len();
    if are_all_known { row.number(1) } else { Ok(u32::MAX) }
}

struct Look<'a> {
    ignores_case: bool,
    collations: &'a Collations,
    /// Behind this second nothing was altered.
    altered_until: u32,
    has_checksums: bool,
    unpacked: Vec<u8>,
    /// Each table that was not found altered. A statement on several tables is judged for each.
    filters: Vec<TableFilter>,
    altered: HashSet<TableName>,
}

impl Look<'_> {
    /// Takes the next event; tells whether nothing behind it matters.
    fn event(&mut self, event: &[u8]) -> std::result::Result<bool, Malformed> {
        let header = Header::parse(event)?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.has_checksums = Format::parse(event)?.has_checksums;
            return Ok(false);
        }
        if header.timestamp > self.altered_until.saturating_add(CLOCKS_APART_MAX) {
            return Ok(true);
        }
        if !matches!(header.kind, kind::QUERY | kind::QUERY_COMPRESSED) {
            return Ok(false);
        }
        if self.has_checksums && !has_valid_checksum(event) {
            return Err(Malformed::new("event: its checksum is wrong"));
        }
        let checksum = if self.has_checksums { CHECKSUM_BYTES } else { 0 };
        let body = event.get(HEADER_BYTES..event.len().saturating_sub(checksum));
        let query = QueryEvent::parse(body.ok_or(Malformed::new("event: it is too short"))?)?;
        if header.kind == kind::QUERY {
            self.statement(&query);
        } else {
            let mut unpacked = std::mem::take(&mut self.unpacked);
            unpack_event(query.text, &mut unpacked)?;
            self.statement(&QueryEvent { text: &unpacked, ..query });
            self.unpacked = unpacked;
        }
        Ok(self.filters.is_empty())
    }

    fn statement(&mut self, query: &QueryEvent<'_>) {
        if !matches!(statement::control(query), Control::None | Control::CreateWithRows) {
            return;
        }
        let (collations, ignores_case) = (self.collations, self.ignores_case);
        let altered = self
            .filters
            .extract_if(.., |filter| Captured { filter, collations, ignores_case }.judge(query).may_alter());
        let names = altered.flat_map(|filter| filter.patterns).filter_map(|pattern| match pattern {
            TablePattern::Table(name) => Some(name),
            TablePattern::Database(_) => None,
        });
        self.altered.extend(names);
    }
}
