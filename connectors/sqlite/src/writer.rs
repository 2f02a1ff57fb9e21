//! Applies batches over one connection: deletes, upserts, progress, commit.
//!
//! The transaction takes the file's write lock first, so that from then on nobody can change tables or progress; plans are
//! made anew there if the file's schema has changed since. A batch goes in bulk first. If SQLite refuses a row there, the
//! batch is written once more in record order (`row_order`), which lets pass what collided only by its order, and else finds
//! the record to blame. Whatever fails, the transaction is rolled back, or the connection dropped, which SQLite takes for the
//! same.

use std::{collections::HashMap, sync::Arc};

use tailrace_contract::{
    Applied, ApplyBatch, BoxFuture, Error, PolicyUse, Result, SinkWriter, TableChanges, TargetTable, fault,
};
use tailrace_row::{RowImage, SchemaId};

use crate::{
    bulk::{Rows, RowsFailure, in_key_order},
    catalog,
    errors::TableRefusal,
    plan::Plan,
    progress::OwnTables,
    session::{Access, Session},
    sink::Target,
};

mod row_order;

/// Compiled tables kept; more than any batch has, and every new source schema adds one.
const PLANS_MAX: usize = 1_000;

/// A connection that applies batches.
pub(crate) struct Writer {
    target: Arc<Target>,
    log: String,
    session: Option<Session>,
    plans: HashMap<(TargetTable, SchemaId), Arc<Plan>>,
    /// What SQLite counted when the plans were made: every change of any table counts.
    schema_version: i64,
}

/// Why a batch did not go through.
enum BatchFailure {
    /// SQLite refused rows of the table with this place in the batch.
    Refused(usize, TableRefusal),
    /// A row of that table can't be encoded.
    Unencodable(usize),
    /// Anything else.
    Other(Error),
}

impl From<Error> for BatchFailure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl BatchFailure {
    fn of_rows(place: usize, failure: RowsFailure) -> Self {
        match failure {
            RowsFailure::Refused(refusal) => Self::Refused(place, refusal),
            RowsFailure::Unencodable => Self::Unencodable(place),
            RowsFailure::Other(error) => Self::Other(error),
        }
    }
}

impl SinkWriter for Writer {
    fn apply<'a>(&'a mut self, batch: ApplyBatch<'a>) -> BoxFuture<'a, Result<Applied>> {
        Box::pin(self.apply_batch(batch))
    }
}

impl Writer {
    pub(crate) fn new(target: Arc<Target>, log: &str) -> Self {
        Self { target, log: log.to_owned(), session: None, plans: HashMap::new(), schema_version: 0 }
    }

    /// Opens the file, so that a wrong path shows before the first batch.
    pub(crate) async fn open(&mut self) -> Result<()> {
        self.session = Some(self.take_session().await?);
        Ok(())
    }

    /// The session while it is in use. A call that is dropped half-way drops it too.
    async fn take_session(&mut self) -> Result<Session> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => {
                // The path may name another file by now, whose schema has the same number.
                self.plans.clear();
                self.target.open(Access::Write).await
            }
        }
    }

    async fn apply_batch(&mut self, batch: ApplyBatch<'_>) -> Result<Applied> {
        let target = Arc::clone(&self.target);
        let turn = target.turn.acquire().await.expect("invariant: the semaphore is never closed");
        let mut session = self.take_session().await?;
        let result = self.apply_with(&mut session, batch).await;
        session.roll_back().await;
        drop(turn);
        if session.is_idle() {
            self.session = Some(session);
        }
        result
    }

    async fn apply_with(&mut self, session: &mut Session, batch: ApplyBatch<'_>) -> Result<Applied> {
        let mut plans = self.begin(session, batch.changes).await?;
        let mut result = self.apply_in_bulk(session, batch, &plans).await;
        if let Err(BatchFailure::Refused(..)) = result {
            session.roll_back().await;
            plans = self.begin(session, batch.changes).await?;
            result = self.apply_in_row_order(session, batch, &plans).await;
        }
        let counted = |applied| Applied { policy_uses: count_policy_uses(batch, &plans), ..applied };
        result.map(counted).map_err(|failure| match failure {
            BatchFailure::Refused(place, refusal) => {
                Error::table_failed(batch.changes[place].schema.name().clone(), refusal.to_string())
            }
            BatchFailure::Unencodable(place) => row_order::find_unencodable(batch, place, &plans[place]),
            BatchFailure::Other(error) => error,
        })
    }

    /// Begins the transaction and returns the plan of each table as it is in it.
    async fn begin(&mut self, session: &mut Session, changes: &[TableChanges]) -> Result<Vec<Arc<Plan>>> {
        session.check_file()?;
        session.begin().await?;
        let version = session.read_one("PRAGMA main.schema_version", "reading the file's schema version").await?;
        if version != self.schema_version || self.plans.len() >= PLANS_MAX {
            self.plans.clear();
            self.schema_version = version;
        }
        let mut plans = Vec::with_capacity(changes.len());
        for changes in changes {
            let key = (changes.mapping.target.clone(), changes.schema.id());
            if !self.plans.contains_key(&key) {
                let plan = make_plan(session, &self.target.own_tables, changes).await?;
                self.plans.insert(key.clone(), Arc::new(plan));
            }
            let plan = Arc::clone(&self.plans[&key]);
            plans.push(plan);
        }
        Ok(plans)
    }

    async fn apply_in_bulk(
        &mut self,
        session: &mut Session,
        batch: ApplyBatch<'_>,
        plans: &[Arc<Plan>],
    ) -> std::result::Result<Applied, BatchFailure> {
        let mut applied = Applied::default();
        for (place, (changes, plan)) in batch.changes.iter().zip(plans).enumerate() {
            let images = in_key_order(plan, batch.records, &changes.deletes);
            let deleted = Rows { plan, images: &images }.delete(session).await;
            applied.deleted += deleted.map_err(|failure| BatchFailure::of_rows(place, failure))?;
        }
        for (place, (changes, plan)) in batch.changes.iter().zip(plans).enumerate() {
            let mut images = in_key_order(plan, batch.records, &changes.upserts);
            let partial: Vec<RowImage<'_>> = images.extract_if(.., |image| image.is_partial()).collect();
            let updated = Rows { plan, images: &partial }.update(session).await;
            let updated = updated.map_err(|failure| BatchFailure::of_rows(place, failure))?;
            applied.upserted += images.len() as u64 + updated;
            applied.absent += partial.len() as u64 - updated;
            let upserted = Rows { plan, images: &images }.upsert(session).await;
            upserted.map_err(|failure| BatchFailure::of_rows(place, failure))?;
        }
        self.finish(session, batch).await?;
        Ok(applied)
    }

    /// Moves the progress, or saves the stream's checkpoint, and commits.
    async fn finish(&mut self, session: &mut Session, batch: ApplyBatch<'_>) -> Result<()> {
        self.target.own_tables.step(session, &self.log, batch.progress).await?;
        if let Some(step) = batch.stream {
            self.target.own_tables.save_stream(session, step).await?;
        }
        session.commit(|| fault::point("sqlite.commit_sent")).await?;
        fault::point("sqlite.committed");
        Ok(())
    }
}

/// What the policies of the tables did for rows that are committed: counted from the rows alone, however often they were tried.
fn count_policy_uses(batch: ApplyBatch<'_>, plans: &[Arc<Plan>]) -> Vec<PolicyUse> {
    let of_table = |(changes, plan): (&TableChanges, &Arc<Plan>)| {
        let images = changes.upserts.iter().map(|row| row.image(batch.records));
        plan.count_policy_uses(changes.schema.name(), images)
    };
    batch.changes.iter().zip(plans).flat_map(of_table).collect()
}

async fn make_plan(session: &mut Session, own_tables: &OwnTables, changes: &TableChanges) -> Result<Plan> {
    let target = &changes.mapping.target;
    if own_tables.has(&target.table) {
        let message = format!("{target} is a table of Tailrace's own");
        return Err(Error::table_failed(changes.schema.name().clone(), message).hint("name another target"));
    }
    match catalog::read_table(session, target).await? {
        Some(shape) => Plan::new(&changes.schema, &changes.mapping, &shape),
        None => {
            let source = changes.schema.name().clone();
            Err(Error::table_failed(source, format!("the target has no table {target}"))
                .hint("make it with `tailrace schema --apply`"))
        }
    }
}
