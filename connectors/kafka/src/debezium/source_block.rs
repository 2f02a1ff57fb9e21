//! The `source` block of a record: where the change stood in the source.
//!
//! All records of a rows event share it but for `row`, so it is rendered once per event (about 330 bytes) and copied: that
//! copy is the largest single part of most records, and lz4 makes next to nothing of it. What the origin does not know is
//! null, as Debezium writes it.

use serde::Deserialize;
use tailrace_row::{Origin, TableName};

use super::json_text::write_string;

/// Which of Debezium's connectors writes such a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connector {
    Mysql,
    Mariadb,
}

impl Connector {
    pub(super) const ALL: [Self; 2] = [Self::Mysql, Self::Mariadb];

    /// MariaDB names every transaction, and never with the colon that all of MySQL's names have.
    #[inline]
    pub(super) fn of(origin: &Origin) -> Self {
        match &origin.transaction_name {
            Some(name) if !name.contains(':') => Self::Mariadb,
            Some(_) | None => Self::Mysql,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }
}

/// What the block says of `snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// A change from the stream.
    No,
    /// A row copied by backfill.
    Incremental,
}

/// The parts that all records of a table share.
pub(super) struct TableSource {
    /// From the opening brace up to `ts_ms`, of each connector.
    openings: [Box<[u8]>; 2],
    /// `"db":…,"sequence":null,`
    database: Box<[u8]>,
    /// `"table":…,"server_id":`
    table: Box<[u8]>,
}

impl TableSource {
    pub(super) fn new(prefix: &str, table: &TableName) -> Self {
        let named = |before: &str, name: &str, after: &str| {
            let mut out = before.as_bytes().to_vec();
            write_string(&mut out, name);
            out.extend_from_slice(after.as_bytes());
            out.into_boxed_slice()
        };
        let opening = |connector: Connector| {
            let (version, connector) = (env!("CARGO_PKG_VERSION"), connector.name());
            let before = format!("{{\"version\":\"{version}\",\"connector\":\"{connector}\",\"name\":");
            named(&before, prefix, ",\"ts_ms\":")
        };
        Self {
            openings: Connector::ALL.map(opening),
            database: named("\"db\":", &table.database, ",\"sequence\":null,\"ts_us\":"),
            table: named(",\"table\":", &table.table, ",\"server_id\":"),
        }
    }
}

/// The block of one rows event, rendered but for the number of the row.
#[derive(Default)]
pub(super) struct SourceBlock {
    /// Up to `"row":`.
    head: Vec<u8>,
    /// From the comma behind the row's number.
    tail: Vec<u8>,
}

impl SourceBlock {
    /// Renders the block of another rows event.
    pub(super) fn render(&mut self, table: &TableSource, origin: &Origin, snapshot: Snapshot) {
        let mut number = itoa::Buffer::new();
        let micros = origin.committed_at_micros;
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(&table.openings[Connector::of(origin) as usize]);
        head.extend_from_slice(number.format(micros.div_euclid(1000)).as_bytes());
        head.extend_from_slice(match snapshot {
            Snapshot::No => b",\"snapshot\":\"false\",",
            Snapshot::Incremental => b",\"snapshot\":\"incremental\",",
        });
        head.extend_from_slice(&table.database);
        head.extend_from_slice(number.format(micros).as_bytes());
        head.extend_from_slice(b",\"ts_ns\":");
        // Years beyond 2262 do not fit: they saturate, `ts_us` has the truth.
        head.extend_from_slice(number.format(micros.saturating_mul(1000)).as_bytes());
        head.extend_from_slice(&table.table);
        head.extend_from_slice(number.format(origin.server_id).as_bytes());
        head.extend_from_slice(b",\"gtid\":");
        match &origin.transaction_name {
            Some(name) => write_string(head, name),
            None => head.extend_from_slice(b"null"),
        }
        head.extend_from_slice(b",\"file\":");
        write_string(head, &origin.file);
        head.extend_from_slice(b",\"pos\":");
        head.extend_from_slice(number.format(origin.file_offset).as_bytes());
        head.extend_from_slice(b",\"row\":");
        let tail = &mut self.tail;
        tail.clear();
        tail.extend_from_slice(b",\"thread\":");
        match origin.thread {
            Some(thread) => tail.extend_from_slice(number.format(thread).as_bytes()),
            None => tail.extend_from_slice(b"null"),
        }
        tail.extend_from_slice(b",\"query\":null}");
    }

    /// Appends the block of the row with this number in its event.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, row: u32) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(itoa::Buffer::new().format(row).as_bytes());
        out.extend_from_slice(&self.tail);
    }
}

/// The part of the block that a reader needs to tell the origin. Other fields are not looked at.
#[derive(Deserialize)]
pub(super) struct ReadSource {
    #[serde(default)]
    pub(super) ts_us: i64,
    pub(super) table: String,
    pub(super) db: String,
    pub(super) server_id: u32,
    pub(super) gtid: Option<String>,
    pub(super) file: String,
    pub(super) pos: u64,
    pub(super) thread: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debezium::sample;

    #[test]
    fn the_connector_follows_from_the_transactions_name() {
        let check = |name: Option<&str>, expect: &str| {
            let origin = Origin { transaction_name: name.map(Into::into), ..sample::origin(1) };
            let mut block = SourceBlock::default();
            block.render(&TableSource::new("shop", &TableName::new("a", "b")), &origin, Snapshot::No);
            let mut out = Vec::new();
            block.write(&mut out, 0);
            let text = String::from_utf8(out).expect("JSON is UTF-8");
            assert!(text.contains(&format!("\"connector\":\"{expect}\",\"name\":\"shop\"")), "{text}");
        };
        check(None, "mysql");
        check(Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:7"), "mysql");
        check(Some("0-1-100"), "mariadb");
    }
}
