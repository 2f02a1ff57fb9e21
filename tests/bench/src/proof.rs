//! Rows for proof, a database's own answers to canonical bytes, beside the plain streaming scan of the same rows (see `stores`).

use anyhow::Result;
use tailrace_contract::{ProofBatch, Rows};

use crate::{
    report::Report,
    stores::{LIMITS, Store, Stores},
};

pub(crate) async fn proof(stores: &mut Stores, report: &mut Report) -> Result<()> {
    report.heading("proof: rows of a table → canonical bytes");
    stores.measure("proof", read, report).await
}

async fn read(stores: &Stores, store: Store) -> Result<u64> {
    let mut reader = stores.proof(store).await?;
    reader.read(Rows::ALL).await?;
    let (mut batch, mut rows) = (ProofBatch::new(stores.columns()), 0);
    loop {
        batch.clear();
        let may_have_more = reader.fill(&mut batch, LIMITS).await?;
        rows += batch.len() as u64;
        if !may_have_more {
            return Ok(rows);
        }
    }
}
