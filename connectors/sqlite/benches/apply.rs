//! Rows per second of the sink beside the best upsert by hand of the same rows: one prepared statement for one row, run row by
//! row in one transaction, on SQLite's own interface without a driver's thread between. The two take turns batch by batch,
//! each on a file of its own, so that a busy machine is fair to both. Then the rows are read again, by the reader and by a plain loop
//! that looks at every value.
//!
//! `cargo bench -p tailrace-sqlite`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for a person in front of a terminal")]
#![allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tailrace_contract::{
    ApplyBatch, Endpoint, LogPartition, PartitionProgress, ProgressStep, ReadLimits, RowRef, Rows as Wanted, Sink as _,
    SinkWriter, TableChanges, TableMapping, TargetSettings, TargetTable, Tls,
};
use tailrace_row::{
    Charset, Column, ColumnType, DateTime, Decimal, Epoch, Operation, Origin, Record, RecordBatch, TableName,
    TableSchema, TextForm, Timestamp, Value,
};
use tailrace_sqlite::SqliteSink;

const ROWS: usize = 200_000;
const SIZES: [usize; 3] = [500, 10_000, 50_000];
const NOTE: &str = "a note of about one hundred bytes, which is what such columns tend to hold, give or take";

/// Ten columns, about 290 bytes a row.
fn schema() -> Arc<TableSchema> {
    let text = |form, bytes_max| ColumnType::Text { form, bytes_max, charset: Charset::Utf8mb4 };
    let columns = [
        ("id", ColumnType::Integer { bits: 64, unsigned: false }),
        ("quantity", ColumnType::Integer { bits: 32, unsigned: false }),
        ("name", text(TextForm::Varying, 400)),
        ("total", ColumnType::Decimal { precision: 20, scale: 4 }),
        ("created_at", ColumnType::DateTime { fraction: 6 }),
        ("changed_at", ColumnType::Timestamp { fraction: 0 }),
        ("tags", ColumnType::Json),
        ("digest", ColumnType::Bytes { form: TextForm::Varying, bytes_max: 32 }),
        ("weight", ColumnType::Double),
        ("note", text(TextForm::Large, 65_535)),
    ];
    let column = |(name, column_type): &(&str, ColumnType)| Column {
        name: (*name).into(),
        column_type: column_type.clone(),
        nullable: *name != "id",
    };
    Arc::new(
        TableSchema::new(TableName::new("shop", "orders"), columns.iter().map(column).collect::<Vec<_>>(), [0])
            .unwrap(),
    )
}

/// The number that orders keys at random, each once: multiplication by an odd number modulo a power of two.
fn shuffled(number: usize) -> usize {
    const ROOM: usize = 1 << 18;
    let mut place = number;
    loop {
        place = place.wrapping_mul(0x9e37_79b1) % ROOM;
        if place < ROWS {
            return place;
        }
    }
}

struct Rows {
    records: RecordBatch,
    upserts: Vec<RowRef>,
}

impl Rows {
    fn new(schema: &Arc<TableSchema>, ids: impl Iterator<Item = usize>, round: u8) -> Self {
        let mut rows = Self { records: RecordBatch::new(), upserts: Vec::new() };
        let schema = rows.records.add_schema(schema);
        let origin = rows.records.add_origin(origin());
        for id in ids {
            let number = u32::try_from(rows.records.len()).unwrap();
            let image = rows.records.write_image(10, |image| {
                let id = i64::try_from(id).unwrap();
                let name = format!("customer number {id}, round {round}");
                let unscaled = (id * 12_345).to_be_bytes();
                let tags = format!("{{\"tags\": [\"a\", \"b\", \"{id}\"], \"round\": {round}}}");
                let clock = DateTime::from_micros_since_epoch(1_700_000_000_000_000 + id * 1_000_001).unwrap();
                image.value(Value::Integer(id));
                image.value(Value::Integer(id % 1_000));
                image.value(Value::Text(&name));
                image.value(Value::Decimal(Decimal { unscaled: &unscaled, scale: 4 }));
                image.value(Value::DateTime(clock));
                image.value(Value::Timestamp(Timestamp::Micros(1_700_000_000_000_000 + id * 1_000_000)));
                image.value(Value::Json(&tags));
                image.value(Value::Bytes(&[round; 20]));
                image.value(Value::Double(id as f64 / 7.0));
                image.value(Value::Text(NOTE));
                Ok::<(), std::convert::Infallible>(())
            });
            let (operation, after) = (Operation::Insert, Some(image.unwrap()));
            rows.records.push(Record { operation, schema, origin, row: 0, lane: 0, offset: 0, before: None, after });
            rows.upserts.push(RowRef::After(number));
        }
        rows
    }
}

fn origin() -> Origin {
    Origin {
        epoch: Epoch(0),
        transaction: 1,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "bench.000001".into(),
        file_offset: 4,
        server_id: 1,
        thread: None,
    }
}

/// The sink and its table.
struct Ours {
    sink: SqliteSink,
    writer: Box<dyn SinkWriter>,
    mapping: Arc<TableMapping>,
    schema: Arc<TableSchema>,
    progress: PartitionProgress,
}

impl Ours {
    async fn open(file: &Path) -> Self {
        let endpoint = Endpoint {
            scheme: "sqlite".into(),
            host: String::new(),
            port: 0,
            user: String::new(),
            password: None,
            database: file.to_str().unwrap().into(),
            tls: Tls::default(),
        };
        let statement_timeout = Duration::from_secs(60);
        let sink = SqliteSink::new(TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout }).unwrap();
        let schema = schema();
        let target = TargetTable { schema: "main".into(), table: "orders".into() };
        sink.prepare().await.unwrap();
        let mapping = Arc::new(TableMapping::new(schema.name().clone(), target));
        sink.create_table(&schema, &mapping).await.unwrap();
        let partition = LogPartition { table: schema.name().clone(), index: 0 };
        Self {
            writer: sink.open_writer("bench").await.unwrap(),
            mapping,
            schema,
            progress: sink.claim("bench", &[partition]).await.unwrap().remove(0),
            sink,
        }
    }

    async fn read(&self) -> Duration {
        let mut reader = self.sink.open_reader(Arc::clone(&self.schema), &self.mapping).await.unwrap();
        let limits = ReadLimits { rows_max: 20_000, bytes_max: 2 << 20 };
        let (mut batch, mut rows) = (RecordBatch::new(), 0);
        let begin = Instant::now();
        reader.read(Wanted::ALL).await.unwrap();
        loop {
            batch.clear();
            let may_have_more = reader.fill(&mut batch, &origin(), limits).await.unwrap();
            rows += batch.len();
            if !may_have_more {
                assert_eq!(rows, ROWS);
                return begin.elapsed();
            }
        }
    }

    async fn apply(&mut self, rows: &Rows) -> Duration {
        let changes = [TableChanges {
            mapping: Arc::clone(&self.mapping),
            schema: Arc::clone(&self.schema),
            deletes: Vec::new(),
            upserts: rows.upserts.clone(),
        }];
        let next_offset = self.progress.next_offset.unwrap_or(0) + 1;
        let progress = [ProgressStep { from: self.progress.clone(), next_offset, sequence: None }];
        let begin = Instant::now();
        let batch = ApplyBatch { records: &rows.records, changes: &changes, progress: &progress, stream: None };
        self.writer.apply(batch).await.unwrap();
        self.progress.next_offset = Some(next_offset);
        begin.elapsed()
    }
}

/// One row as SQLite takes it, made beforehand.
struct HandRow {
    id: i64,
    name: String,
    total: String,
    created_at: String,
    changed_at: String,
    tags: String,
    digest: [u8; 20],
    weight: f64,
}

/// The same by hand.
struct ByHand {
    connection: Connection,
    upsert: String,
}

impl ByHand {
    /// A copy of our file, before anything was written to it, with the same settings.
    fn open(ours: &Path, file: &Path) -> Self {
        Connection::open(ours).unwrap().execute("VACUUM INTO ?1", [file.to_str().unwrap()]).unwrap();
        let connection = Connection::open(file).unwrap();
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; \
                        PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY";
        connection.execute_batch(settings).unwrap();
        let names: Vec<String> = schema().columns().iter().map(|column| column.name.to_string()).collect();
        let updates: Vec<String> = names[1..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let (names, updates) = (names.join(", "), updates.join(", "));
        let upsert = format!(
            "INSERT INTO orders ({names}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO UPDATE SET {updates}"
        );
        Self { connection, upsert }
    }

    fn read(&self) -> Duration {
        let begin = Instant::now();
        let mut statement = self.connection.prepare("SELECT * FROM orders ORDER BY id").unwrap();
        let (mut rows, mut count, mut texts) = (statement.query(()).unwrap(), 0, 0);
        while let Some(row) = rows.next().unwrap() {
            texts += (0..10).filter(|column| row.get_ref(*column).unwrap().as_str().is_ok()).count();
            count += 1;
        }
        assert_eq!((count, texts), (ROWS, 6 * ROWS));
        begin.elapsed()
    }

    fn apply(&mut self, rows: &[HandRow]) -> Duration {
        let begin = Instant::now();
        let transaction = self.connection.transaction().unwrap();
        {
            let mut statement = transaction.prepare_cached(&self.upsert).unwrap();
            for row in rows {
                let HandRow { id, name, total, created_at, changed_at, tags, digest, weight } = row;
                let quantity = id % 1_000;
                statement
                    .execute(params![id, quantity, name, total, created_at, changed_at, tags, digest, weight, NOTE])
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
        begin.elapsed()
    }
}

fn hand_row(id: usize, round: u8) -> HandRow {
    let id = i64::try_from(id).unwrap();
    let unscaled = id * 12_345;
    HandRow {
        id,
        name: format!("customer number {id}, round {round}"),
        total: format!("{}.{:04}", unscaled / 10_000, unscaled % 10_000),
        created_at: "2023-11-14 22:13:20.000001".into(),
        changed_at: "2023-11-14 22:13:20Z".into(),
        tags: format!("{{\"tags\": [\"a\", \"b\", \"{id}\"], \"round\": {round}}}"),
        digest: [round; 20],
        weight: id as f64 / 7.0,
    }
}

#[tokio::main]
async fn main() {
    println!("{ROWS} rows of ten columns; rows/s: sink | by hand | sink in % of by hand");
    for size in SIZES {
        measure(size).await;
    }
}

async fn measure(size: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut ours = Ours::open(&folder.path().join("ours.db")).await;
    let mut by_hand = ByHand::open(&folder.path().join("ours.db"), &folder.path().join("by_hand.db"));
    let schema = schema();
    for (round, name) in (0..).zip(["new keys", "existing keys", "existing, shuffled"]) {
        let (mut our_time, mut hand_time) = (Duration::ZERO, Duration::ZERO);
        for first in (0..ROWS).step_by(size) {
            let ids: Vec<usize> =
                (first..(first + size).min(ROWS)).map(|n| if round == 2 { shuffled(n) } else { n }).collect();
            let rows = Rows::new(&schema, ids.iter().copied(), round);
            let hand_rows: Vec<HandRow> = ids.iter().map(|id| hand_row(*id, round)).collect();
            our_time += ours.apply(&rows).await;
            hand_time += by_hand.apply(&hand_rows);
        }
        let rate = |time: Duration| ROWS as f64 / time.as_secs_f64();
        let (ours, hand) = (rate(our_time), rate(hand_time));
        println!("batches of {size:>6}, {name:<18}: {ours:>8.0} | {hand:>8.0} | {:>4.0} %", 100.0 * ours / hand);
    }
    let (mut our_time, mut hand_time) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        our_time += ours.read().await;
        hand_time += by_hand.read();
    }
    let rate = |time: Duration| 3.0 * ROWS as f64 / time.as_secs_f64();
    let (ours, hand) = (rate(our_time), rate(hand_time));
    println!("reading                             : {ours:>8.0} | {hand:>8.0} | {:>4.0} %", 100.0 * ours / hand);
}
