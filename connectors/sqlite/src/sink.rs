//! The target as the engine sees it. Each call but the writers' opens a connection of its own: they are rare, and an open
//! connection would only keep the file from being moved.

use std::{path::PathBuf, sync::Arc};

use tailrace_contract::{
    BoxFuture, Capabilities, Encounter, Error, LedgerEntry, LogPartition, Meeting, PartitionProgress, Problem,
    ProofReader, Result, Severity, Sink, SinkWriter, StoredMeeting, StreamProgress, TableMapping, TableReader,
    TargetSettings, TargetState, TargetTable, Unheld,
};
use tailrace_row::{Column, Sequence, TableName, TableSchema};
use tokio::sync::Semaphore;

use crate::{
    catalog, check, config, ddl,
    identifier::quote_table,
    progress::OwnTables,
    proof::SqliteProof,
    reader::SqliteTableReader,
    session::{Access, Session},
    target_type,
    writer::Writer,
};

/// A file of SQLite as a target.
pub struct SqliteSink {
    target: Arc<Target>,
}

/// What the sink and its writers share.
pub(crate) struct Target {
    settings: TargetSettings,
    file: PathBuf,
    pub(crate) own_tables: OwnTables,
    /// One permit, for the writer whose turn it is: a file has one write lock, and who waits for it sleeps and tries again.
    pub(crate) turn: Semaphore,
}

impl SqliteSink {
    /// Checks the settings. Opens nothing.
    pub fn new(settings: TargetSettings) -> Result<Self> {
        let file = config::file(&settings)?;
        let own_tables = OwnTables::new(&settings.schema)?;
        Ok(Self { target: Arc::new(Target { settings, file, own_tables, turn: Semaphore::new(1) }) })
    }

    /// Opens the file, if there is one, and changes nothing.
    async fn look(&self) -> Result<Option<Session>> {
        if !self.target.file.exists() {
            return Ok(None);
        }
        self.target.open(Access::Look).await.map(Some)
    }

    async fn find_table_problems(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<Problem>> {
        let problems = self.target.judge_name(&mapping.target);
        if !problems.is_empty() {
            return Ok(problems);
        }
        let shape = match self.look().await? {
            Some(mut session) => catalog::read_table(&mut session, &mapping.target).await?,
            None => None,
        };
        Ok(match shape {
            Some(shape) => {
                [check::policies::judge_names(schema, mapping), check::judge(schema, mapping, &shape)].concat()
            }
            None => {
                let mend = ddl::create_table(schema, mapping)?;
                let mut problems = vec![Problem { mend: Some(mend), ..check::missing_table(mapping) }];
                problems.extend(check::policies::judge_names(schema, mapping));
                problems.extend(check::policies::judge(schema, mapping, None));
                problems
            }
        })
    }

    async fn find_problems(&self, tables: &[TableMapping]) -> Result<Vec<Problem>> {
        let mut problems: Vec<Problem> =
            tables.iter().flat_map(|mapping| self.target.judge_name(&mapping.target)).collect();
        let mut session = match self.target.reach().await {
            Ok(Some(session)) => session,
            Ok(None) => {
                problems.extend(tables.iter().map(check::missing_table));
                return Ok(problems);
            }
            Err(error) => {
                let mut problem =
                    self.target.problem("target_unreachable", error.to_string(), "a file that can be written");
                problem.mend = error.advice().map(str::to_owned);
                problems.push(problem);
                return Ok(problems);
            }
        };
        if let Err(error) = self.target.own_tables.read_format(&mut session).await {
            let found = error.message().to_owned();
            problems.push(self.target.problem("target_own_tables", found, "tables that this Tailrace knows"));
        }
        for mapping in tables {
            match catalog::read_table(&mut session, &mapping.target).await? {
                Some(shape) => problems.extend(check::judge_alone(mapping, &shape)),
                None => problems.push(check::missing_table(mapping)),
            }
        }
        Ok(problems)
    }

    async fn create(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<bool> {
        let target = &mapping.target;
        let table = self.create_statement(schema, mapping)?;
        let mut session = self.target.open(Access::Make).await?;
        let is_missing = catalog::read_table(&mut session, target).await?.is_none();
        if is_missing {
            let created = session.run(table, &format!("creating the table {target}")).await;
            created.map_err(|error| error.on_table(schema.name().clone()))?;
        }
        session.close().await;
        Ok(is_missing)
    }

    fn create_statement(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<String> {
        match self.target.judge_name(&mapping.target).into_iter().next() {
            Some(problem) => {
                Err(Error::table_failed(schema.name().clone(), problem.found)
                    .hint(format!("needed: {}", problem.needed)))
            }
            None => ddl::create_table(schema, mapping),
        }
    }

    async fn find_state(&self, mapping: &TableMapping) -> Result<TargetState> {
        let Some(mut session) = self.look().await? else { return Ok(TargetState::Missing) };
        if catalog::read_table(&mut session, &mapping.target).await?.is_none() {
            return Ok(TargetState::Missing);
        }
        let doing = format!("looking for rows in {}", mapping.target);
        let sql = format!("SELECT 1 FROM {} LIMIT 1", quote_table(&mapping.target)?);
        if session.read(sql, Vec::new(), &doing).await?.is_empty() {
            return Ok(TargetState::Empty);
        }
        let is_adopted = self.target.own_tables.is_adopted(&mut session, mapping).await?;
        Ok(if is_adopted { TargetState::Known } else { TargetState::Foreign })
    }
}

impl Sink for SqliteSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { has_atomic_progress: true, has_versioned_writes: false }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async { Ok(format!("sqlite:{}", self.target.canonical().display())) })
    }

    fn check<'a>(&'a self, tables: &'a [TableMapping]) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(self.find_problems(tables))
    }

    fn check_table<'a>(
        &'a self,
        schema: &'a TableSchema,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(self.find_table_problems(schema, mapping))
    }

    fn create_statements(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>> {
        Ok(vec![self.create_statement(schema, mapping)?])
    }

    fn create_table<'a>(&'a self, schema: &'a TableSchema, mapping: &'a TableMapping) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.create(schema, mapping))
    }

    fn unheld(&self, schema: &TableSchema) -> Vec<Unheld> {
        let unheld = |source: &Column| {
            let values = target_type::unheld(&source.column_type)?;
            Some(Unheld { column: source.name.clone(), values })
        };
        schema.columns().iter().filter_map(unheld).collect()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let mut session = self.target.open(Access::Make).await?;
            self.target.own_tables.prepare(&mut session).await?;
            session.close().await;
            Ok(())
        })
    }

    fn columns<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<Option<Vec<Box<str>>>>> {
        Box::pin(async move {
            let Some(mut session) = self.look().await? else { return Ok(None) };
            let shape = catalog::read_table(&mut session, &mapping.target).await?;
            Ok(shape.map(|shape| shape.columns.iter().map(|column| column.name.as_str().into()).collect()))
        })
    }

    fn table_state<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<TargetState>> {
        Box::pin(self.find_state(mapping))
    }

    fn adopt_table<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let mut session = self.target.open(Access::Write).await?;
            self.target.own_tables.adopt(&mut session, mapping).await?;
            session.close().await;
            Ok(())
        })
    }

    fn claim<'a>(
        &'a self,
        log: &'a str,
        partitions: &'a [LogPartition],
    ) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            let mut session = self.target.open(Access::Write).await?;
            let claimed = self.target.own_tables.claim(&mut session, log, partitions).await?;
            session.close().await;
            Ok(claimed)
        })
    }

    fn claim_stream<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamProgress>> {
        Box::pin(async move {
            let mut session = self.target.open(Access::Write).await?;
            let claimed = self.target.own_tables.claim_stream(&mut session, stream).await?;
            session.close().await;
            Ok(claimed)
        })
    }

    fn stream_progress<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamProgress>>> {
        Box::pin(async move {
            match self.look().await? {
                Some(mut session) => self.target.own_tables.read_stream(&mut session, stream).await,
                None => Ok(None),
            }
        })
    }

    fn ledger<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<LedgerEntry>>> {
        Box::pin(async move {
            match self.look().await? {
                Some(mut session) => self.target.own_tables.read_ledger(&mut session, stream).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn progress<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            match self.look().await? {
                Some(mut session) => self.target.own_tables.read(&mut session, log).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn meet<'a>(&'a self, encounter: Encounter<'a>) -> BoxFuture<'a, Result<Meeting>> {
        Box::pin(self.target.meet(encounter))
    }

    fn meetings<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(async move {
            match self.look().await? {
                Some(mut session) => self.target.own_tables.read_meetings(&mut session, log).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn resume<'a>(&'a self, log: &'a str, table: &'a TableName) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(async move {
            let mut session = self.target.open(Access::Write).await?;
            let resumed = self.target.own_tables.resume(&mut session, log, table).await?;
            session.close().await;
            Ok(resumed)
        })
    }

    fn reopen<'a>(&'a self, log: &'a str, table: &'a TableName, change: Sequence) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut session = self.target.open(Access::Write).await?;
            self.target.own_tables.reopen(&mut session, log, table, change).await?;
            session.close().await;
            Ok(())
        })
    }

    fn forget<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !self.target.file.exists() {
                return Ok(());
            }
            let mut session = self.target.open(Access::Write).await?;
            self.target.own_tables.forget(&mut session, log).await?;
            session.close().await;
            Ok(())
        })
    }

    fn open_writer<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Box<dyn SinkWriter>>> {
        Box::pin(async move {
            let mut writer = Writer::new(Arc::clone(&self.target), log);
            writer.open().await?;
            Ok(Box::new(writer) as Box<dyn SinkWriter>)
        })
    }

    fn open_proof<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn ProofReader>>> {
        Box::pin(async move {
            let proof = SqliteProof::open(&self.target.file, schema, mapping).await?;
            Ok(Box::new(proof) as Box<dyn ProofReader>)
        })
    }

    fn open_reader<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn TableReader>>> {
        Box::pin(async move {
            let reader = SqliteTableReader::open(&self.target, schema, mapping).await?;
            Ok(Box::new(reader) as Box<dyn TableReader>)
        })
    }
}

impl Target {
    /// A new connection.
    pub(crate) async fn open(&self, access: Access) -> Result<Session> {
        Session::open(&self.file, self.settings.statement_timeout, access).await
    }

    /// The file, and how long a statement may take.
    pub(crate) fn place(&self) -> (PathBuf, std::time::Duration) {
        (self.file.clone(), self.settings.statement_timeout)
    }

    /// A connection that could write, if the file is there; an error if it could not, or could not be made.
    async fn reach(&self) -> Result<Option<Session>> {
        if self.file.exists() {
            let mut session = self.open(Access::Look).await?;
            session.begin().await?;
            session.roll_back().await;
            return Ok(Some(session));
        }
        match self.file.parent() {
            Some(folder) if folder.is_dir() => Ok(None),
            Some(folder) => Err(Error::refused(format!("the folder {} does not exist", folder.display()))
                .hint(format!("mkdir -p {}", folder.display()))),
            None => Err(Error::refused("the target's file is a folder")),
        }
    }

    /// The file's one path, whatever links lead to it; its folder's if it is not there yet.
    fn canonical(&self) -> PathBuf {
        let by_folder = || {
            let folder = self.file.parent()?.canonicalize().ok()?;
            Some(folder.join(self.file.file_name()?))
        };
        self.file.canonicalize().ok().or_else(by_folder).unwrap_or_else(|| self.file.clone())
    }

    fn problem(&self, code: &'static str, found: String, needed: &str) -> Problem {
        let object = self.settings.endpoint.to_string();
        Problem { code, severity: Severity::Error, object, found, needed: needed.into(), mend: None }
    }

    /// What is wrong with the table's name alone.
    fn judge_name(&self, target: &TargetTable) -> Vec<Problem> {
        let found = match quote_table(target) {
            Err(error) => error.message().to_owned(),
            Ok(_) if self.own_tables.has(&target.table) => format!("{target} is a table of Tailrace's own"),
            Ok(_) => return Vec::new(),
        };
        let problem = self.problem("target_table_name", found, "another name for the table in the target");
        vec![Problem { object: target.to_string(), ..problem }]
    }
}
