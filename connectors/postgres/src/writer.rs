//! Applies batches over one connection: deletes, upserts, progress, commit.
//!
//! A batch goes in bulk first. If the server refuses a row there, the batch is written once more in record order
//! (`row_order`), which lets pass what collided only by its order, and else finds the record to blame. Whatever fails, the
//! transaction is rolled back, or the connection dropped, which the server takes for the same.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::AssertSqlSafe;
use tailrace_contract::{
    Applied, ApplyBatch, BoxFuture, Error, PolicyUse, Result, SinkWriter, TableChanges, TargetTable, fault,
};
use tailrace_row::{RecordBatch, RowImage, SchemaId};

use crate::{
    bulk::{Rows, RowsFailure, in_key_order, wants_stage},
    catalog,
    errors::{Failure, TableRefusal},
    plan::Plan,
    session::Session,
    sink::Target,
    writer::fresh::FreshTables,
};

mod fresh;
mod row_order;

/// Compiled tables kept; more than any batch has, and every new source schema adds one.
const PLANS_MAX: usize = 1_000;

/// Stages kept in a session: the server empties each of them at the end of every transaction that used one.
const STAGES_MAX: usize = 32;

/// What the encoding buffer may keep from one batch to the next.
const BUFFER_KEPT_MAX: usize = 4 << 20;

/// A connection that applies batches.
pub(crate) struct Writer {
    target: Arc<Target>,
    log: String,
    session: Option<Session>,
    plans: HashMap<(TargetTable, SchemaId), Arc<Planned>>,
    plans_made: usize,
    stages: HashSet<usize>,
    may_stage: bool,
    fresh: FreshTables,
    /// Kept from batch to batch.
    copy_buffer: Vec<u8>,
}

/// A plan and the number that names its stage.
struct Planned {
    plan: Plan,
    number: usize,
}

/// Why a batch did not go through in bulk.
enum BatchFailure {
    /// The server refused rows of the table with this place in the batch, if it is known which.
    Refused(Option<usize>, TableRefusal),
    /// A row of that table can't be encoded.
    Unencodable(usize),
    /// The progress is not as the batch says.
    Moved,
    /// Anything else.
    Other(Error),
}

/// What a try came to.
enum Outcome {
    Applied(Applied),
    /// The plans don't fit the tables any more; the error that stands if new ones don't either.
    Outdated(Error),
}

impl From<Error> for BatchFailure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for BatchFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Table(refusal) => Self::Refused(None, refusal),
            Failure::Other(error) => Self::Other(error),
        }
    }
}

impl BatchFailure {
    fn of_rows(place: usize, failure: RowsFailure) -> Self {
        match failure {
            RowsFailure::Refused(refusal) => Self::Refused(Some(place), refusal),
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
        Self {
            target,
            log: log.to_owned(),
            session: None,
            plans: HashMap::new(),
            plans_made: 0,
            stages: HashSet::new(),
            may_stage: false,
            fresh: FreshTables::default(),
            copy_buffer: Vec::new(),
        }
    }

    /// Connects, so that a wrong address or password shows before the first batch.
    pub(crate) async fn open(&mut self) -> Result<()> {
        self.session = Some(self.take_session().await?);
        Ok(())
    }

    /// The session while it is in use. A call that is dropped half-way drops it too.
    async fn take_session(&mut self) -> Result<Session> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        self.stages.clear();
        let mut session = self.target.connect().await?;
        self.may_stage = self.target.may_make_temporary_tables(&mut session).await?;
        Ok(session)
    }

    async fn apply_batch(&mut self, batch: ApplyBatch<'_>) -> Result<Applied> {
        let mut session = self.take_session().await?;
        let result = self.apply_with(&mut session, batch).await;
        if session.is_idle() {
            self.session = Some(session);
        }
        result
    }

    /// A table that was altered since its plan was made gets a new one, once.
    async fn apply_with(&mut self, session: &mut Session, batch: ApplyBatch<'_>) -> Result<Applied> {
        match self.try_apply(session, batch).await? {
            Outcome::Applied(applied) => Ok(applied),
            Outcome::Outdated(_) => match self.try_apply(session, batch).await? {
                Outcome::Applied(applied) => Ok(applied),
                Outcome::Outdated(error) => Err(error),
            },
        }
    }

    async fn try_apply(&mut self, session: &mut Session, batch: ApplyBatch<'_>) -> Result<Outcome> {
        let plans = self.plan(session, batch.changes).await?;
        let mut is_fresh = self.fresh.choose(batch, &plans);
        self.make_stages(session, batch, &plans, &is_fresh).await?;
        let mut result = self.apply_in_bulk(session, batch, &plans, &is_fresh).await;
        session.roll_back().await;
        let was_refused = matches!(&result, Err(BatchFailure::Refused(..)));
        self.fresh.learn(&plans, &is_fresh, was_refused);
        if was_refused && is_fresh.contains(&true) {
            // Some of the rows are there, or the table takes no COPY.
            is_fresh.fill(false);
            self.make_stages(session, batch, &plans, &is_fresh).await?;
            result = self.apply_in_bulk(session, batch, &plans, &is_fresh).await;
            session.roll_back().await;
        }
        if matches!(&result, Err(BatchFailure::Refused(_, refusal)) if refusal.is_about_rows()) {
            result = self.apply_in_row_order(session, batch, &plans).await;
            session.roll_back().await;
        }
        match result {
            Ok(applied) => {
                let policy_uses = count_policy_uses(batch, &plans);
                Ok(Outcome::Applied(Applied { policy_uses, ..applied }))
            }
            Err(failure) => {
                // A table is not what its plan was made for, or somebody will alter it now.
                self.plans.clear();
                self.judge(session, failure, batch, &plans).await
            }
        }
    }

    async fn apply_in_bulk(
        &mut self,
        session: &mut Session,
        batch: ApplyBatch<'_>,
        plans: &[Arc<Planned>],
        is_fresh: &[bool],
    ) -> std::result::Result<Applied, BatchFailure> {
        session.begin().await?;
        let mut applied = Applied::default();
        for (place, (changes, planned)) in batch.changes.iter().zip(plans).enumerate() {
            let images = in_key_order(&planned.plan, batch.records, &changes.deletes);
            let deleted = Rows { plan: &planned.plan, images: &images }.delete(session).await;
            applied.deleted += deleted.map_err(|failure| BatchFailure::of_rows(place, failure))?;
        }
        for (place, (changes, planned)) in batch.changes.iter().zip(plans).enumerate() {
            let mut images = in_key_order(&planned.plan, batch.records, &changes.upserts);
            let partial: Vec<RowImage<'_>> = images.extract_if(.., |image| image.is_partial()).collect();
            let updated = Rows { plan: &planned.plan, images: &partial }.update(session).await;
            let updated = updated.map_err(|failure| BatchFailure::of_rows(place, failure))?;
            applied.upserted += images.len() as u64 + updated;
            applied.absent += partial.len() as u64 - updated;
            let upserted = match &planned.plan.insert {
                Some(insert) if is_fresh[place] => {
                    let rows = Rows { plan: &planned.plan, images: &images };
                    rows.insert(session, insert, &mut self.copy_buffer).await
                }
                _ => self.upsert(session, planned, &images).await,
            };
            upserted.map_err(|failure| BatchFailure::of_rows(place, failure))?;
        }
        self.finish(session, batch, plans).await?;
        Ok(applied)
    }

    /// Through the stage if there are many rows and there is one: we may be forbidden to make it.
    async fn upsert(
        &mut self,
        session: &mut Session,
        planned: &Planned,
        images: &[RowImage<'_>],
    ) -> std::result::Result<(), RowsFailure> {
        let rows = Rows { plan: &planned.plan, images };
        if self.stages.contains(&planned.number) && wants_stage(images.len(), || rows.byte_len()) {
            rows.upsert_staged(session, &mut self.copy_buffer).await
        } else {
            rows.upsert(session).await
        }
    }

    /// Moves the progress and commits.
    async fn finish(
        &mut self,
        session: &mut Session,
        batch: ApplyBatch<'_>,
        plans: &[Arc<Planned>],
    ) -> std::result::Result<(), BatchFailure> {
        let own_tables = &self.target.own_tables;
        let shapes = shapes(plans);
        if !batch.progress.is_empty() && !own_tables.step(session, &self.log, batch.progress, &shapes).await? {
            return Err(BatchFailure::Moved);
        }
        if let Some(step) = batch.stream
            && !own_tables.save_stream(session, step, &shapes).await?
        {
            return Err(BatchFailure::Moved);
        }
        session.commit(|| fault::point("postgres.commit_sent")).await?;
        fault::point("postgres.committed");
        let bytes = batch.records.byte_len();
        session.shrink(bytes);
        self.copy_buffer.clear();
        self.copy_buffer.shrink_to(BUFFER_KEPT_MAX);
        Ok(())
    }

    /// The plan of each table, made where it is missing, with its stage where the batch needs it.
    async fn plan(&mut self, session: &mut Session, changes: &[TableChanges]) -> Result<Vec<Arc<Planned>>> {
        let mut plans = Vec::with_capacity(changes.len());
        for changes in changes {
            let key = (changes.mapping.target.clone(), changes.schema.id());
            if !self.plans.contains_key(&key) {
                let planned = self.make_plan(session, changes).await?;
                self.remember(key.clone(), planned);
            }
            let planned = Arc::clone(&self.plans[&key]);
            plans.push(planned);
        }
        Ok(plans)
    }

    fn remember(&mut self, key: (TargetTable, SchemaId), planned: Planned) {
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(key, Arc::new(planned));
    }

    async fn make_plan(&mut self, session: &mut Session, changes: &TableChanges) -> Result<Planned> {
        let number = self.plans_made;
        self.plans_made += 1;
        let shape = catalog::read_table(session, &changes.mapping.target).await?;
        let Some(shape) = shape else {
            let source = changes.schema.name().clone();
            let message = format!("the target has no table {}", changes.mapping.target);
            return Err(Error::table_failed(source, message).hint("make it with `tailrace schema --apply`"));
        };
        Ok(Planned { plan: Plan::new(&changes.schema, &changes.mapping, &shape, number)?, number })
    }

    /// Makes the stages that the batch needs, outside of its transaction, so that they outlive its rollback.
    async fn make_stages(
        &mut self,
        session: &mut Session,
        batch: ApplyBatch<'_>,
        plans: &[Arc<Planned>],
        is_fresh: &[bool],
    ) -> Result<()> {
        if !self.may_stage {
            return Ok(());
        }
        for ((changes, planned), is_fresh) in batch.changes.iter().zip(plans).zip(is_fresh) {
            if *is_fresh || self.stages.contains(&planned.number) || !is_many(changes, batch.records) {
                continue;
            }
            if self.stages.len() >= STAGES_MAX {
                self.stages.clear();
                session.run("DISCARD TEMPORARY", "dropping stages").await?;
            }
            let create = AssertSqlSafe(planned.plan.stage.create.as_str());
            session.run(create, "creating a stage").await?;
            self.stages.insert(planned.number);
        }
        Ok(())
    }

    /// Who moved or took what the batch's progress goes on from.
    async fn find_rival(&self, session: &mut Session, batch: ApplyBatch<'_>) -> Result<Option<Error>> {
        let own_tables = &self.target.own_tables;
        let rival = own_tables.find_rival(session, &self.log, batch.progress).await?;
        match (rival, batch.stream) {
            (None, Some(step)) => own_tables.find_stream_rival(session, step).await,
            (rival, _) => Ok(rival),
        }
    }

    /// What a failure means; the transaction is rolled back.
    async fn judge(
        &mut self,
        session: &mut Session,
        failure: BatchFailure,
        batch: ApplyBatch<'_>,
        plans: &[Arc<Planned>],
    ) -> Result<Outcome> {
        match failure {
            BatchFailure::Refused(place, refusal) => {
                let error = blame_table(batch, place, &refusal);
                if refusal.is_about_rows() { Err(error) } else { Ok(Outcome::Outdated(error)) }
            }
            BatchFailure::Unencodable(place) => Err(row_order::find_unencodable(batch, place, &plans[place].plan)),
            BatchFailure::Moved => match self.find_rival(session, batch).await? {
                Some(rival) => Err(rival),
                None => Ok(Outcome::Outdated(Error::transient("a target table is being altered"))),
            },
            BatchFailure::Other(error) => Err(error),
        }
    }
}

/// Whether so many rows of a table come that they are better copied than sent as arrays.
fn is_many(changes: &TableChanges, records: &RecordBatch) -> bool {
    wants_stage(changes.upserts.len(), || changes.upserts.iter().map(|row| row.image(records).bytes().len()).sum())
}

/// The tables of the plans, each once, with what tells that they were altered.
fn shapes(plans: &[Arc<Planned>]) -> Vec<(u32, i64)> {
    let mut shapes: Vec<(u32, i64)> = plans.iter().map(|planned| (planned.plan.oid, planned.plan.stamp)).collect();
    shapes.sort_unstable();
    shapes.dedup();
    shapes
}

/// What the policies of the tables did for rows that are committed: counted from the rows alone, however often they were tried.
fn count_policy_uses(batch: ApplyBatch<'_>, plans: &[Arc<Planned>]) -> Vec<PolicyUse> {
    let tables = batch.changes.iter().zip(plans);
    let of_table = |(changes, planned): (&TableChanges, &Arc<Planned>)| {
        let images = changes.upserts.iter().map(|row| row.image(batch.records));
        planned.plan.count_policy_uses(changes.schema.name(), images)
    };
    tables.flat_map(of_table).collect()
}

/// The error where no record is known to be the one.
fn blame_table(batch: ApplyBatch<'_>, place: Option<usize>, refusal: &TableRefusal) -> Error {
    let is_named = |changes: &&TableChanges| refusal.table.as_deref() == Some(&*changes.mapping.target.table);
    let by_place = place.and_then(|place| batch.changes.get(place));
    match by_place.or_else(|| batch.changes.iter().find(is_named)) {
        Some(changes) => Error::table_failed(changes.schema.name().clone(), refusal.to_string()),
        None => Error::refused(refusal.to_string()),
    }
}
