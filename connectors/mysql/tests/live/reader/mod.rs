//! Readers of tables. The oracle of values is the change stream: the same row must be the same image by both. The oracle of
//! ranges is the server's count.

mod big_rows;
mod chunks;
mod held_to;
mod kit;
mod ranges;
mod views;

use std::sync::Arc;

use tailrace_contract::{ProofBatch, ProofReader, ReadLimits, Result, Rows, Source, TableReader};
use tailrace_row::{Epoch, Key, Origin, RecordBatch, TableSchema};

use crate::harness::Database;

const LIMITS: ReadLimits = ReadLimits { rows_max: 1_000, bytes_max: 1 << 20 };

fn origin() -> Origin {
    Origin {
        epoch: Epoch(0),
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

/// The table's schema by the dictionary, and a reader of it.
async fn open(db: &Database, table: &str) -> (Arc<TableSchema>, Box<dyn TableReader>) {
    let source = db.source();
    let schema = source.tables(&db.filter(&[table])).await.unwrap().remove(0);
    let reader = source.open_reader(Arc::clone(&schema)).await.unwrap();
    (schema, reader)
}

/// Keys and images, as they come.
async fn read<R: TableReader + ?Sized>(
    reader: &mut R,
    schema: &TableSchema,
    rows: Rows<'_>,
) -> Result<Vec<(Key, Vec<u8>)>> {
    reader.read(rows).await?;
    take(reader, schema).await
}

/// All rows of the read that has begun.
async fn take<R: TableReader + ?Sized>(reader: &mut R, schema: &TableSchema) -> Result<Vec<(Key, Vec<u8>)>> {
    let mut found = Vec::new();
    loop {
        let mut batch = RecordBatch::new();
        let may_have_more = reader.fill(&mut batch, &origin(), LIMITS).await?;
        for record in batch.records() {
            let image = batch.after(record).unwrap();
            found.push((Key::of(schema, image), image.bytes().to_vec()));
        }
        if !may_have_more {
            return Ok(found);
        }
    }
}

/// The rows that proof reads, each as the canonical bytes of its fields.
async fn read_for_proof(
    proof: &mut dyn ProofReader,
    schema: &TableSchema,
    rows: Rows<'_>,
) -> Result<Vec<Vec<Vec<u8>>>> {
    proof.read(rows).await?;
    let columns = schema.columns().len();
    let mut batch = ProofBatch::new(columns);
    while proof.fill(&mut batch, LIMITS).await? {}
    let row = |row: usize| (0..columns).map(|column| batch.field(row, column).to_vec()).collect();
    Ok((0..batch.len()).map(row).collect())
}
