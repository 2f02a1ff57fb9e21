//! The ledger of copying: which rows of each table's history are in the log (or the target), chunk by chunk.
//!
//! | key | document |
//! |---|---|
//! | `table/shop.orders` | [`TableEntry`]: state, and how far each segment of the table is copied |
//! | `chunk/shop.orders/000017` | [`ChunkEntry`]: what was done for one chunk |
//!
//! A document of a chunk and the table's that counts it are stored in the transaction of the chunk's rows, so the ledger never says
//! more than there is. What a ledger says holds only as long as every change of the table was captured since: another epoch, or a
//! time in which the table was not captured, is a *gap*, and the table is not done (E10).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tailrace_contract::{Error, LedgerEntry, Result, TableFilter};
use tailrace_row::{Epoch, Key, TableName};

/// The newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
const TABLE_PREFIX: &str = "table/";
const CHUNK_PREFIX: &str = "chunk/";

/// How far the copy of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// Rows are still to be copied.
    Copying,
    /// An operator holds it.
    Paused,
    /// An operator gave it up.
    Cancelled,
    /// It can't go on; the reason says why.
    Failed,
    /// All rows are copied.
    Done,
    /// Changes of the table were not captured for a while: what was copied says nothing any more.
    Gap,
}

impl CopyState {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Copying => "copying",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Done => "done",
            Self::Gap => "gap",
        }
    }
}

/// A part of a table, in the order of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The last key that is copied, or that does not belong to it; none: nothing is, and it begins with the table.
    pub after: Option<Key>,
    /// The last key that belongs to it; none: it ends with the table.
    pub until: Option<Key>,
    /// Whether all of it is copied.
    pub is_done: bool,
}

/// How far a table is copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableEntry {
    format: u32,
    /// The source's table.
    pub table: TableName,
    /// What became of it.
    pub state: CopyState,
    /// Why, where somebody must act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The lineage in which its changes are captured without a gap.
    pub epoch: Epoch,
    /// In which order of the key the segments lie.
    pub order: String,
    /// The parts of the table.
    pub segments: Vec<Segment>,
    /// Rows that the table had when the copy began, by the source's statistics.
    pub rows_estimated: u64,
    /// Rows that were copied.
    pub rows_written: u64,
    /// Rows that were read and not copied, because a change came in between.
    pub rows_dropped: u64,
    /// Chunks that are done.
    pub chunks: u64,
    /// When the copy began, in seconds since 1970.
    pub begun_at: f64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<f64>,
    /// Whether it had come to its end before: what is copied now is copied once more, and only a part of the table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_again: bool,
}

/// What was done for one chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkEntry {
    format: u32,
    /// The source's table.
    pub table: TableName,
    /// Its number in the table's copy.
    pub number: u64,
    /// The last key that does not belong to it; none: it begins with the table.
    pub after: Option<Key>,
    /// The last key that does; none: it ends with the table.
    pub until: Option<Key>,
    /// The position that its view showed at least, in the source's words.
    pub shown: String,
    /// The place in the source's log at or behind everything that its view showed.
    pub end: String,
    /// Rows that were read.
    pub rows_read: u64,
    /// Rows of them that were copied.
    pub rows_written: u64,
    /// Rows of them that were not, because a change came in between.
    pub rows_dropped: u64,
    /// How often it was read.
    pub tries: u32,
    /// Why the last try before came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How long the read took.
    pub read_seconds: f64,
    /// When its window was closed, in seconds since 1970.
    pub closed_at: f64,
}

/// What a new chunk's document is made of: all that the format does not fix.
pub struct ChunkFacts<'a> {
    /// See [`ChunkEntry`].
    pub after: Option<Key>,
    /// See [`ChunkEntry`].
    pub until: Option<Key>,
    /// See [`ChunkEntry`].
    pub shown: &'a str,
    /// See [`ChunkEntry`].
    pub end: String,
    /// See [`ChunkEntry`].
    pub tries: u32,
    /// See [`ChunkEntry`].
    pub last_error: Option<String>,
    /// See [`ChunkEntry`].
    pub read_seconds: f64,
}

impl TableEntry {
    /// A copy that begins now, with the whole table as one segment.
    #[must_use]
    pub fn new(table: TableName, epoch: Epoch, order: String, rows_estimated: u64, now: f64) -> Self {
        Self {
            format: FORMAT,
            table,
            state: CopyState::Copying,
            reason: None,
            epoch,
            order,
            segments: vec![Segment { after: None, until: None, is_done: false }],
            rows_estimated,
            rows_written: 0,
            rows_dropped: 0,
            chunks: 0,
            begun_at: now,
            ended_at: None,
            is_again: false,
        }
    }

    /// Its document.
    #[must_use]
    pub fn to_entry(&self) -> LedgerEntry {
        entry(table_key(&self.table), self)
    }

    /// The document that forgets it.
    #[must_use]
    pub fn forget(&self) -> LedgerEntry {
        LedgerEntry { key: table_key(&self.table), value: None }
    }

    /// Copies a part of the table once more.
    pub fn copy_again(&mut self, after: Option<Key>, until: Option<Key>) {
        if self.state == CopyState::Done {
            (self.state, self.ended_at, self.is_again) = (CopyState::Copying, None, true);
        }
        self.segments.push(Segment { after, until, is_done: false });
    }

    /// Whether every row of the table that is not there yet is still to be copied.
    #[must_use]
    pub fn brings_all(&self) -> bool {
        matches!(self.state, CopyState::Copying | CopyState::Paused) && !self.is_again
    }

    /// Ends a segment at a key; what was behind it is a segment of its own, in the place of one that is done if there is such a place.
    pub fn split(&mut self, segment: usize, at: &Key, place: Option<usize>) {
        let until = self.segments[segment].until.replace(at.clone());
        let behind = Segment { after: Some(at.clone()), until, is_done: false };
        match place {
            Some(place) => self.segments[place] = behind,
            None => self.segments.push(behind),
        }
    }

    /// Whether the segment goes on behind this key.
    #[must_use]
    pub fn awaits(&self, segment: usize, after: Option<&Key>) -> bool {
        let is_wanted = matches!(self.state, CopyState::Copying | CopyState::Paused);
        let goes_on = |segment: &Segment| !segment.is_done && segment.after.as_ref() == after;
        is_wanted && self.segments.get(segment).is_some_and(goes_on)
    }

    /// The documents that forget its chunks.
    #[must_use]
    pub fn forget_chunks(&self) -> Vec<LedgerEntry> {
        (1..=self.chunks).map(|number| LedgerEntry { key: chunk_key(&self.table, number), value: None }).collect()
    }

    /// Counts a chunk that is written with this document: its segment is copied up to its last key.
    #[must_use]
    pub fn count_chunk(
        &mut self,
        segment: usize,
        facts: ChunkFacts<'_>,
        written: u64,
        dropped: u64,
        now: f64,
    ) -> ChunkEntry {
        self.chunks += 1;
        self.rows_written += written;
        self.rows_dropped += dropped;
        let place = &mut self.segments[segment];
        place.is_done = facts.until == place.until;
        place.after.clone_from(&facts.until);
        if self.segments.iter().all(|segment| segment.is_done) {
            self.state = CopyState::Done;
            self.ended_at = Some(now);
        }
        let ChunkFacts { after, until, shown, end, tries, last_error, read_seconds } = facts;
        ChunkEntry {
            format: FORMAT,
            table: self.table.clone(),
            number: self.chunks,
            after,
            until,
            shown: shown.to_owned(),
            end,
            rows_read: written + dropped,
            rows_written: written,
            rows_dropped: dropped,
            tries,
            last_error,
            read_seconds,
            closed_at: now,
        }
    }
}

impl ChunkEntry {
    /// Its document.
    #[must_use]
    pub fn to_entry(&self) -> LedgerEntry {
        entry(chunk_key(&self.table, self.number), self)
    }
}

/// The tables of a ledger, ordered by key.
pub fn tables(ledger: &[LedgerEntry]) -> Result<Vec<TableEntry>> {
    read(ledger, TABLE_PREFIX)
}

/// The tables that documents forget.
pub fn forgotten(ledger: &[LedgerEntry]) -> impl Iterator<Item = &str> {
    ledger.iter().filter(|entry| entry.value.is_none()).filter_map(|entry| entry.key.strip_prefix(TABLE_PREFIX))
}

/// The chunks of a ledger, ordered by key.
pub fn chunks(ledger: &[LedgerEntry]) -> Result<Vec<ChunkEntry>> {
    read(ledger, CHUNK_PREFIX)
}

/// The documents that forget a table's chunks: its copy begins anew.
#[must_use]
pub fn forget_chunks(ledger: &[LedgerEntry], table: &TableName) -> Vec<LedgerEntry> {
    let prefix = format!("{CHUNK_PREFIX}{table}/");
    let of_table = ledger.iter().filter(|entry| entry.key.starts_with(&prefix));
    of_table.map(|entry| LedgerEntry { key: entry.key.clone(), value: None }).collect()
}

/// Notes the tables of which changes are missing, in the ledger itself; returns the documents that changed. They must be stored before
/// anything else is: from then on the log lacks changes of them.
pub fn gaps(ledger: &mut [LedgerEntry], epoch: Epoch, filter: &TableFilter) -> Result<Vec<LedgerEntry>> {
    let mut changed = Vec::new();
    for mut table in tables(ledger)? {
        let reason =
            match (table.state, table.epoch == epoch, filter.matches(&table.table.database, &table.table.table)) {
                (CopyState::Gap | CopyState::Cancelled, ..) | (_, true, true) => continue,
                (_, false, _) => "capture was begun anew since",
                (_, true, false) => "the table was out of the configuration, and its changes were not captured",
            };
        table.state = CopyState::Gap;
        table.reason = Some(reason.to_owned());
        let entry = table.to_entry();
        if let Some(known) = ledger.iter_mut().find(|known| known.key == entry.key) {
            known.clone_from(&entry);
        }
        changed.push(entry);
    }
    Ok(changed)
}

fn table_key(table: &TableName) -> Box<str> {
    format!("{TABLE_PREFIX}{table}").into()
}

fn chunk_key(table: &TableName, number: u64) -> Box<str> {
    format!("{CHUNK_PREFIX}{table}/{number:06}").into()
}

fn entry(key: Box<str>, document: &impl Serialize) -> LedgerEntry {
    let text = serde_json::to_string(document).expect("invariant: plain documents have a JSON form");
    LedgerEntry { key, value: Some(text.into()) }
}

/// What every document has, whatever its format.
#[derive(Deserialize)]
struct AnyDocument {
    format: u32,
}

fn read<T: DeserializeOwned>(ledger: &[LedgerEntry], prefix: &str) -> Result<Vec<T>> {
    let of_kind = ledger.iter().filter(|entry| entry.key.starts_with(prefix));
    let documents = of_kind.filter_map(|entry| Some((&entry.key, entry.value.as_deref()?)));
    documents.map(|(key, text)| read_document(key, text)).collect()
}

fn read_document<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    let unreadable = |error: serde_json::Error| {
        // The text of a parser's error may hold a part of the document, and so a key.
        Error::refused(format!(
            "the ledger's document {key} can't be read (line {}, column {})",
            error.line(),
            error.column()
        ))
        .hint("something else wrote it: restore it, or copy the table anew")
    };
    let AnyDocument { format } = serde_json::from_str(text).map_err(unreadable)?;
    if format != FORMAT {
        let what = format!("the ledger's document {key} has format {format}, this version of Tailrace knows {FORMAT}");
        return Err(Error::refused(what).hint("use the version of Tailrace that wrote it, or a newer one"));
    }
    serde_json::from_str(text).map_err(unreadable)
}
