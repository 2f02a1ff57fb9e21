//! Rows per second of the sink beside the best upsert by hand of the same rows: COPY BINARY of bytes that were encoded
//! beforehand, into a temporary table, then INSERT … SELECT … ON CONFLICT, then COMMIT, on one connection. The two take
//! turns batch by batch, each on a table of its own, so that a busy machine is fair to both.
//!
//! `cargo bench -p tailrace-postgres`; the server is the laboratory's.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for a person in front of a terminal")]
#![allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tailrace_contract::{
    ApplyBatch, Endpoint, LogPartition, PartitionProgress, ProgressStep, RowRef, Secret, Sink as _, SinkWriter,
    TableChanges, TableMapping, TargetSettings, TargetTable, Tls, TlsMode,
};
use tailrace_postgres::PostgresSink;
use tailrace_row::{
    Charset, Column, ColumnType, DateTime, Decimal, Epoch, Operation, Origin, Record, RecordBatch, TableName,
    TableSchema, TextForm, Timestamp, Value,
};

const ROWS: usize = 300_000;
const SIZES: [usize; 4] = [500, 2_000, 5_000, 50_000];

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
    const ROOM: usize = 1 << 19;
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
                image.value(Value::Text(
                    "a note of about one hundred bytes, which is what such columns tend to hold, give or take",
                ));
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
    writer: Box<dyn SinkWriter>,
    mapping: Arc<TableMapping>,
    schema: Arc<TableSchema>,
    progress: PartitionProgress,
}

impl Ours {
    /// Time on the clock, and CPU time of ours: encoding and sending.
    async fn apply(&mut self, rows: &Rows) -> (Duration, Duration) {
        let changes = [TableChanges {
            mapping: Arc::clone(&self.mapping),
            schema: Arc::clone(&self.schema),
            deletes: Vec::new(),
            upserts: rows.upserts.clone(),
        }];
        let next_offset = self.progress.next_offset.unwrap_or(0) + 1;
        let progress = [ProgressStep { from: self.progress.clone(), next_offset, sequence: None }];
        let (begin, cpu) = (Instant::now(), cpu_time());
        self.writer
            .apply(ApplyBatch { records: &rows.records, changes: &changes, progress: &progress, stream: None })
            .await
            .unwrap();
        self.progress.next_offset = Some(next_offset);
        (begin.elapsed(), cpu_time() - cpu)
    }
}

/// CPU time of the main thread, on which everything here runs.
fn cpu_time() -> Duration {
    let status = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(status.split(' ').next().unwrap().parse().unwrap())
}

/// The same by hand.
struct ByHand {
    connection: PgConnection,
    upsert: String,
}

impl ByHand {
    async fn apply(&mut self, copy: &[u8]) -> Duration {
        let begin = Instant::now();
        self.connection.execute("BEGIN").await.unwrap();
        let mut sending = self.connection.copy_in_raw("COPY stage FROM STDIN (FORMAT binary)").await.unwrap();
        sending.send(copy).await.unwrap();
        sending.finish().await.unwrap();
        self.connection.execute(sqlx::raw_sql(AssertSqlSafe(self.upsert.as_str()))).await.unwrap();
        self.connection.execute("COMMIT").await.unwrap();
        begin.elapsed()
    }

    /// The rows as the server itself writes them out: no encoder of ours is involved.
    async fn encoded(&mut self, ids: &[usize]) -> Vec<u8> {
        use futures_util::TryStreamExt as _;
        let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let sql = format!(
            "COPY (SELECT t.* FROM shop.ours t JOIN unnest('{{{list}}}'::int8[]) WITH ORDINALITY AS i (id, n) USING (id) ORDER BY n) \
             TO STDOUT (FORMAT binary)"
        );
        let chunks: Vec<_> = self.connection.copy_out_raw(&sql).await.unwrap().try_collect().await.unwrap();
        chunks.concat()
    }
}

#[tokio::main]
async fn main() {
    let server = lab::Postgres::fresh("apply-bench", &[]).unwrap();
    let mut admin = PgConnection::connect(&server.admin_url("postgres").unwrap()).await.unwrap();
    println!(
        "{ROWS} rows of ten columns; rows/s: sink | by hand | sink in % of by hand | CPU of the sink's process per row"
    );
    for size in SIZES {
        admin.execute("DROP DATABASE IF EXISTS apply_bench WITH (FORCE)").await.unwrap();
        admin.execute("CREATE DATABASE apply_bench OWNER tailrace").await.unwrap();
        measure(&server, size).await;
        admin.execute("CHECKPOINT").await.unwrap();
    }
    server.remove().unwrap();
}

async fn measure(server: &lab::Postgres, size: usize) {
    let endpoint = Endpoint {
        scheme: "postgres".into(),
        host: "127.0.0.1".into(),
        port: server.port().unwrap(),
        user: "tailrace".into(),
        password: Some(Secret::new(lab::TAILRACE_PASSWORD.into())),
        database: "apply_bench".into(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    let settings = TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(300) };
    let sink = PostgresSink::new(settings).unwrap();
    let schema = schema();
    let target = TargetTable { schema: "shop".into(), table: "ours".into() };
    sink.prepare().await.unwrap();
    let mapping = Arc::new(TableMapping::new(schema.name().clone(), target));
    sink.create_table(&schema, &mapping).await.unwrap();
    let partition = LogPartition { table: schema.name().clone(), index: 0 };
    let mut ours = Ours {
        writer: sink.open_writer("bench").await.unwrap(),
        mapping,
        schema: Arc::clone(&schema),
        progress: sink.claim("bench", &[partition]).await.unwrap().remove(0),
    };
    let mut connection = PgConnection::connect(&server.owner_url("apply_bench").unwrap()).await.unwrap();
    let prepare = "CREATE TABLE shop.by_hand (LIKE shop.ours INCLUDING ALL);
                   CREATE TEMPORARY TABLE stage (LIKE shop.ours) ON COMMIT DELETE ROWS";
    connection.execute(sqlx::raw_sql(prepare)).await.unwrap();
    let updates: Vec<String> =
        schema.columns()[1..].iter().map(|column| format!("{0} = excluded.{0}", column.name)).collect();
    let upsert =
        format!("INSERT INTO shop.by_hand SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {}", updates.join(", "));
    let mut by_hand = ByHand { connection, upsert };
    for (round, name) in ["new keys", "existing keys", "existing, shuffled"].into_iter().enumerate() {
        let (mut our_time, mut our_cpu, mut hand_time) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for first in (0..ROWS).step_by(size) {
            let ids: Vec<usize> =
                (first..(first + size).min(ROWS)).map(|n| if round == 2 { shuffled(n) } else { n }).collect();
            let rows = Rows::new(&schema, ids.iter().copied(), u8::try_from(round).unwrap());
            let (time, cpu) = ours.apply(&rows).await;
            our_time += time;
            our_cpu += cpu;
            let copy = by_hand.encoded(&ids).await;
            hand_time += by_hand.apply(&copy).await;
        }
        let rate = |time: Duration| ROWS as f64 / time.as_secs_f64();
        let share = 100.0 * rate(our_time) / rate(hand_time);
        let cpu = our_cpu.as_nanos() / ROWS as u128;
        let (ours, hand) = (rate(our_time), rate(hand_time));
        println!("batches of {size:>6}, {name:<18}: {ours:>8.0} | {hand:>8.0} | {share:>4.0} % | {cpu:>5} ns");
    }
}
