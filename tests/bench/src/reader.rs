//! Readers of tables, rows to typed images, beside the plain streaming scan of the same rows (see `stores`). `cargo bench -p
//! tailrace-sqlite` does SQLite's alone.

use anyhow::Result;
use tailrace_contract::Rows;
use tailrace_row::{Epoch, Origin, RecordBatch};

use crate::{
    report::Report,
    stores::{LIMITS, Store, Stores},
};

pub(crate) async fn reader(stores: &mut Stores, report: &mut Report) -> Result<()> {
    report.heading("reader: rows of a table → typed rows (goal: 80 % of the plain scan)");
    stores.measure("reader", read, report).await
}

async fn read(stores: &Stores, store: Store) -> Result<u64> {
    let mut reader = stores.reader(store).await?;
    reader.read(Rows::ALL).await?;
    let (mut batch, mut rows) = (RecordBatch::new(), 0);
    loop {
        batch.clear();
        let may_have_more = reader.fill(&mut batch, &origin(), LIMITS).await?;
        rows += batch.len() as u64;
        if !may_have_more {
            return Ok(rows);
        }
    }
}

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
