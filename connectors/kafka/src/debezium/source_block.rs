//! The `source` block of a record: where the change stood in the source.
//!
//! All records of a rows event share it but for `row`, so it is rendered once per event (about 330 bytes) and copied: that
//! copy is the largest single part of most records, and lz4 makes next to nothing of it. What the origin does not know is
//! null, as Debezium writes it.

use serde::Deserialize;
use tailrace_row::{Origin, TableName};

use super::json_text::write_string;

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
    /// From the opening brace up to `ts_ms`.
    opening: Box<[u8]>,
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
        let version = format!("{{\"version\":\"{}\",\"connector\":\"mysql\",\"name\":", env!("CARGO_PKG_VERSION"));
        Self {
            opening: named(&version, prefix, ",\"ts_ms\":"),
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
        head.extend_from_slice(&table.opening);
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
