//! Statements that change tables while writers go on: followed at their barrier, waited at, or let pass.

mod columns;
mod lagging;
mod policies;
mod random;
mod swap;
mod truncate;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::process::Tailrace;

/// How long anything but draining may take.
const LIMIT: Duration = Duration::from_secs(60);

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(LIMIT)?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}
