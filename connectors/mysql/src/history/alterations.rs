//! What statements did to tables between a stream's begin and now.
//!
//! What MariaDB's table maps keep to themselves is read from the dictionary, which says how a table looks today. Rows that lie
//! before a statement which altered their table may have been of other types. So that part of the binlog is looked through for
//! such statements before it is followed, and from the dictionary on it is reckoned back what each of them found.
//! As a rule one look at its first transaction is enough: the server says when each table
//! was altered last, and what was logged later is behind that.

use std::collections::HashMap;

use tailrace_contract::{Error, Result, SourceSettings, TableAct, TableFilter, TablePattern};
use tailrace_row::TableName;

use super::domains;
use crate::{
    events::{
        CHECKSUM_BYTES, DomainGtidEvent, Format, HEADER_BYTES, Header, QueryEvent, Rotate, has_valid_checksum, kind,
        unpack_event,
    },
    gtid::GtidList,
    position::BinlogPosition,
    protocol::{Connection, Malformed},
    replication,
    row_decoder::charset::Collations,
    schema,
    server::Server,
    statement::{self, Captured, Control, KeyChange, Verdict},
};

/// Seconds by which events may be dated too late, against the server's files: a replica logs its source's times.
const CLOCKS_APART_MAX: u32 = 3600;

/// What of the binlog is to be followed.
pub(crate) struct Backlog<'a> {
    pub(crate) settings: &'a SourceSettings,
    pub(crate) collations: &'a Collations,
    pub(crate) list: &'a GtidList,
    /// The last file of the binlog and its size before the dictionary was read.
    pub(crate) end: Option<(String, u64)>,
}

/// What was done to tables.
#[derive(Default)]
pub(crate) struct Altered {
    /// In order.
    pub(crate) acts: HashMap<TableName, Vec<TableAct>>,
    /// How many statements may have changed the keys of each.
    pub(crate) rekeyed: HashMap<TableName, usize>,
}

/// What was done to each of the tables. The dictionary was read before; one that was altered since is to be read again.
pub(crate) async fn find(server: &mut Server, backlog: Backlog<'_>, tables: Vec<TableName>) -> Result<Altered> {
    if tables.is_empty() || domains::logged(server).await? == *backlog.list {
        return Ok(Altered::default());
    }
    let mut look = Look {
        ignores_case: server.facts.ignores_case,
        collations: backlog.collations,
        altered_until: altered_last(&mut server.connection, &tables).await?,
        has_checksums: true,
        unpacked: Vec::new(),
        filters: tables
            .into_iter()
            .map(|name| (TableFilter { patterns: vec![TablePattern::Table(name.clone())] }, name))
            .collect(),
        altered: Altered::default(),
        end: backlog.end,
        is_beyond: false,
        is_last: false,
        was_last: false,
        has_late_act: false,
        is_unfinished: false,
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
        if look.has_late_act {
            return Err(Error::transient("a table was altered while the dictionary was read"));
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
    /// Until the format says so they have: the server makes what comes before it as it was asked to.
    has_checksums: bool,
    unpacked: Vec<u8>,
    /// A statement on several tables is judged for each.
    filters: Vec<(TableFilter, TableName)>,
    altered: Altered,
    /// What lies behind it may be missing in the dictionary.
    end: Option<(String, u64)>,
    is_beyond: bool,
    /// The file is that one; it was.
    is_last: bool,
    was_last: bool,
    has_late_act: bool,
    /// The transaction is the first part of an alteration in two.
    is_unfinished: bool,
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
        if self.has_checksums && !has_valid_checksum(event) {
            return Err(Malformed::new("event: its checksum is wrong"));
        }
        let checksum = if self.has_checksums { CHECKSUM_BYTES } else { 0 };
        let body = event.get(HEADER_BYTES..event.len().saturating_sub(checksum));
        let body = body.ok_or(Malformed::new("event: it is too short"))?;
        self.pass(&header, body)?;
        if !matches!(header.kind, kind::QUERY | kind::QUERY_COMPRESSED) || self.is_unfinished {
            return Ok(false);
        }
        let query = QueryEvent::parse(body)?;
        if header.kind == kind::QUERY {
            self.statement(&query);
        } else {
            let mut unpacked = std::mem::take(&mut self.unpacked);
            unpack_event(query.text, &mut unpacked)?;
            self.statement(&QueryEvent { text: &unpacked, ..query });
            self.unpacked = unpacked;
        }
        Ok(false)
    }

    /// Notes where it is, and in what transaction.
    fn pass(&mut self, header: &Header, body: &[u8]) -> std::result::Result<(), Malformed> {
        if header.kind == kind::ROTATE {
            let rotate = Rotate::parse(body)?;
            self.is_last = self.end.as_ref().is_some_and(|(file, _)| **file == *rotate.file);
            self.is_beyond |= self.was_last && !self.is_last;
            self.was_last |= self.is_last;
        } else if header.kind == kind::DOMAIN_GTID {
            self.is_unfinished = DomainGtidEvent::parse(header.server_id, body)?.is_unfinished_alter;
        }
        let end = self.end.as_ref().map_or(u64::MAX, |(_, size)| *size);
        self.is_beyond |= self.is_last && u64::from(header.end) > end;
        Ok(())
    }

    fn statement(&mut self, query: &QueryEvent<'_>) {
        if !matches!(statement::control(query), Control::None | Control::CreateWithRows) {
            return;
        }
        let (collations, ignores_case) = (self.collations, self.ignores_case);
        for (filter, name) in &self.filters {
            let captured = Captured { filter, collations, ignores_case, is_mariadb: true, logs_cascades: false };
            let touches = |change: &KeyChange| change.touches(name, ignores_case);
            let rekeyed = captured.key_changes(query).iter().filter(|change| touches(change)).count();
            if rekeyed > 0 {
                self.has_late_act |= self.is_beyond;
                *self.altered.rekeyed.entry(name.clone()).or_default() += rekeyed;
            }
            let acts = match captured.judge(query) {
                Verdict::Changes(acts) => acts,
                verdict if verdict.may_alter() => {
                    vec![TableAct::Other {
                        table: name.clone(),
                        reason: "it is not understood".to_owned(),
                        hides_changes: false,
                    }]
                }
                Verdict::Harmless | Verdict::Table { .. } | Verdict::Database { .. } => continue,
            };
            self.has_late_act |= self.is_beyond;
            self.altered.acts.entry(name.clone()).or_default().extend(acts);
        }
    }
}
