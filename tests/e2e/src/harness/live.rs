//! A shop that is written to while a test goes on, for blocking code.

use std::sync::Arc;

use anyhow::Result;
use lab::writer::{self, Settings, Tally, Writer};

use super::Scene;

/// A running writer of the scene's database.
pub(crate) struct Shop<'a> {
    scene: &'a Scene,
    writer: Writer,
}

impl Scene {
    /// Makes the shop's tables in the scene's database, empty.
    pub(crate) fn make_shop(&self) -> Result<()> {
        self.sql.run(writer::create_shop(&self.servers.mysql.admin_url()?, &self.database))
    }

    /// Begins to write, `rate` transactions a second.
    pub(crate) fn open_shop(&self, rate: u32, seed: u64) -> Result<Shop<'_>> {
        let url = self.servers.mysql.admin_url()?;
        let settings = Settings { url, database: self.database.clone(), connections: 4, rate, seed };
        Ok(Shop { scene: self, writer: self.sql.run(Writer::start(&settings))? })
    }
}

impl Shop<'_> {
    /// Transactions committed so far; an error if the writer has stopped.
    pub(crate) fn transactions(&mut self) -> Result<u64> {
        self.writer.check()?;
        Ok(self.writer.tally().transactions())
    }

    /// Ends it when the transactions in progress have ended.
    pub(crate) fn close(self) -> Result<Arc<Tally>> {
        self.scene.sql.run(self.writer.stop())
    }
}
