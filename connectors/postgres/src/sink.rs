//! The target as the engine sees it. Each call but the writers' opens a connection of its own: they are rare, and an idle
//! connection would only be one more thing that can break.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use sqlx::{
    AssertSqlSafe,
    postgres::{PgArguments, PgConnectOptions},
};
use tailrace_contract::{
    BoxFuture, Capabilities, Encounter, Error, ErrorKind, Grant, LedgerEntry, LogPartition, Meeting, PartitionProgress,
    Problem, ProofReader, Result, Severity, Sink, SinkWriter, StoredMeeting, StreamProgress, TableMapping, TableReader,
    TargetScope, TargetSettings, TargetState, TargetTable, Unheld,
};
use tailrace_row::{Column, Sequence, TableName, TableSchema};

use crate::{
    catalog::{self, add, get},
    check, config, ddl,
    errors::Failure,
    grants,
    identifier::quote_table,
    progress::OwnTables,
    proof::PostgresProof,
    reader::PostgresTableReader,
    session::Session,
    target_type,
    writer::Writer,
};

/// The oldest server whose catalog we read (deterministic collations, generated columns).
const SERVER_VERSION_MIN: u32 = 12_00_00;

/// A PostgreSQL database as a target.
pub struct PostgresSink {
    target: Arc<Target>,
}

/// What the sink and its writers share.
pub(crate) struct Target {
    settings: TargetSettings,
    options: PgConnectOptions,
    pub(crate) own_tables: OwnTables,
}

impl PostgresSink {
    /// Checks the settings. Connects to nothing.
    pub fn new(settings: TargetSettings) -> Result<Self> {
        let options = config::connect_options(&settings)?;
        let own_tables = OwnTables::new(&settings.schema)?;
        Ok(Self { target: Arc::new(Target { settings, options, own_tables }) })
    }

    async fn find_table_problems(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<Problem>> {
        let mut session = self.target.connect().await?;
        Ok(match read_table(&mut session, &mapping.target).await? {
            Some(shape) => {
                [check::policies::judge_names(schema, mapping), check::judge(schema, mapping, &shape)].concat()
            }
            None => {
                let mend = ddl::create_statements(schema, mapping)?.join(";\n");
                let mut problems = vec![Problem { mend: Some(mend), ..check::missing_table(mapping) }];
                problems.extend(check::policies::judge_names(schema, mapping));
                problems.extend(check::policies::judge(schema, mapping, None));
                problems.extend(judge_place(&mut session, &mapping.target.schema).await?);
                problems
            }
        })
    }

    async fn find_problems(&self, tables: &[TableMapping]) -> Result<Vec<Problem>> {
        let mut session = match self.target.connect().await {
            Ok(session) => session,
            Err(error) => return Ok(vec![self.target.unreachable(&error)]),
        };
        let mut problems = self.target.judge_server(&mut session).await?;
        let privileges = self.target.judge_own_tables(&mut session).await?;
        if !privileges.is_empty() {
            problems.extend(privileges);
        } else if let Err(error) = self.target.own_tables.read_format(&mut session).await {
            problems.push(self.target.problem(
                "target_own_tables",
                error.message().to_owned(),
                "tables that this Tailrace knows",
            ));
        }
        for mapping in tables {
            match read_table(&mut session, &mapping.target).await? {
                Some(shape) => problems.extend(check::judge_alone(mapping, &shape)),
                None => problems.push(check::missing_table(mapping)),
            }
        }
        Ok(problems)
    }

    async fn create(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<bool> {
        let target = &mapping.target;
        let table = ddl::create_table(schema, mapping)?;
        let mut session = self.target.connect().await?;
        if read_table(&mut session, target).await?.is_some() {
            return Ok(false);
        }
        let doing = format!("creating the table {target}");
        let on_table = |failure: Failure| Error::from(failure).on_table(schema.name().clone());
        if !has_schema(&mut session, &target.schema).await? {
            session.run(AssertSqlSafe(ddl::create_schema(target)?), &doing).await.map_err(on_table)?;
        }
        session.run(AssertSqlSafe(table), &doing).await.map_err(on_table)?;
        Ok(true)
    }

    async fn find_state(&self, mapping: &TableMapping) -> Result<TargetState> {
        let mut session = self.target.connect().await?;
        if read_table(&mut session, &mapping.target).await?.is_none() {
            return Ok(TargetState::Missing);
        }
        let doing = format!("looking for rows in {}", mapping.target);
        let sql = format!("SELECT FROM {} LIMIT 1", quote_table(&mapping.target)?);
        if session.read(AssertSqlSafe(sql), PgArguments::default(), &doing).await?.is_empty() {
            return Ok(TargetState::Empty);
        }
        let is_adopted = self.target.own_tables.is_adopted(&mut session, mapping).await?;
        Ok(if is_adopted { TargetState::Known } else { TargetState::Foreign })
    }
}

impl Sink for PostgresSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { has_atomic_progress: true, has_versioned_writes: false }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            let mut session = self.target.connect().await?;
            Ok(self.target.identify(&mut session).await)
        })
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

    fn grants(&self, scopes: &[TargetScope]) -> Vec<Grant> {
        let endpoint = &self.target.settings.endpoint;
        grants::least(&endpoint.user, &endpoint.database, &self.target.own_tables.schema, scopes)
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>>> {
        const SQL: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS microseconds";
        Box::pin(async {
            let mut session = self.target.connect().await?;
            let rows = session.read(SQL, PgArguments::default(), "reading the clock").await.map_err(Error::from)?;
            let row = rows.first().ok_or_else(|| Error::refused("reading the clock: no answer"))?;
            let microseconds: i64 = get(row, "microseconds").map_err(Error::from)?;
            Ok(u64::try_from(microseconds).ok().map(|passed| SystemTime::UNIX_EPOCH + Duration::from_micros(passed)))
        })
    }

    fn create_statements(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>> {
        ddl::create_statements(schema, mapping)
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
            let mut session = self.target.connect().await?;
            self.target.own_tables.prepare(&mut session).await
        })
    }

    fn columns<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<Option<Vec<Box<str>>>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            let shape = read_table(&mut session, &mapping.target).await?;
            Ok(shape.map(|shape| shape.columns.iter().map(|column| column.name.as_str().into()).collect()))
        })
    }

    fn table_state<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<TargetState>> {
        Box::pin(self.find_state(mapping))
    }

    fn adopt_table<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let mut session = self.target.connect().await?;
            self.target.own_tables.adopt(&mut session, mapping).await
        })
    }

    fn claim<'a>(
        &'a self,
        log: &'a str,
        partitions: &'a [LogPartition],
    ) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.claim(&mut session, log, partitions).await
        })
    }

    fn claim_stream<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamProgress>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.claim_stream(&mut session, stream).await
        })
    }

    fn stream_progress<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamProgress>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.read_stream(&mut session, stream).await
        })
    }

    fn ledger<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<LedgerEntry>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.read_ledger(&mut session, stream).await
        })
    }

    fn progress<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.read(&mut session, log).await
        })
    }

    fn meet<'a>(&'a self, encounter: Encounter<'a>) -> BoxFuture<'a, Result<Meeting>> {
        Box::pin(self.target.meet(encounter))
    }

    fn meetings<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.read_meetings(&mut session, log).await
        })
    }

    fn resume<'a>(&'a self, log: &'a str, table: &'a TableName) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.resume(&mut session, log, table).await
        })
    }

    fn reopen<'a>(&'a self, log: &'a str, table: &'a TableName, change: Sequence) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.reopen(&mut session, log, table, change).await
        })
    }

    fn forget<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut session = self.target.connect().await?;
            self.target.own_tables.forget(&mut session, log).await?;
            self.target.own_tables.forget_meetings(&mut session, log).await?;
            self.target.own_tables.forget_stream(&mut session, log).await
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
            let proof = PostgresProof::open(&self.target.options, schema, mapping).await?;
            Ok(Box::new(proof) as Box<dyn ProofReader>)
        })
    }

    fn open_reader<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn TableReader>>> {
        Box::pin(async move {
            let reader = PostgresTableReader::open(Arc::clone(&self.target), schema, mapping).await?;
            Ok(Box::new(reader) as Box<dyn TableReader>)
        })
    }
}

impl Target {
    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Session> {
        Ok(Session::open(&self.options, self.settings.statement_timeout).await?)
    }

    /// A new connection whose statements may take so long, if the configured time is not longer.
    pub(crate) async fn connect_for(&self, time: Duration) -> Result<Session> {
        Ok(Session::open(&self.options, self.settings.statement_timeout.max(time)).await?)
    }

    /// Whether big batches can go through a stage.
    pub(crate) async fn may_make_temporary_tables(&self, session: &mut Session) -> Result<bool> {
        const SQL: &str = "SELECT has_database_privilege(current_database(), 'TEMPORARY') AS may_stage";
        let rows = session.read(SQL, PgArguments::default(), "reading privileges").await?;
        let row = rows.first().ok_or_else(|| Error::refused("reading privileges: no answer"))?;
        Ok(get(row, "may_stage")?)
    }

    /// The cluster's own identity and the database; where the account may not read that, the address.
    async fn identify(&self, session: &mut Session) -> String {
        const SQL: &str = "SELECT system_identifier::text AS id FROM pg_control_system()";
        let endpoint = &self.settings.endpoint;
        let rows = session.read(SQL, PgArguments::default(), "reading the server's identity").await;
        let id: Option<String> = rows.ok().and_then(|rows| get(rows.first()?, "id").ok());
        match id {
            Some(id) => format!("postgres:{id}/{}", endpoint.database),
            None => format!("postgres:{}:{}/{}", endpoint.host, endpoint.port, endpoint.database),
        }
    }

    fn problem(&self, code: &'static str, found: String, needed: &str) -> Problem {
        let object = self.settings.endpoint.to_string();
        Problem { code, severity: Severity::Error, object, found, needed: needed.into(), mend: None }
    }

    fn unreachable(&self, error: &Error) -> Problem {
        let code = match error.kind() {
            ErrorKind::Refused => "target_login",
            _ => "target_unreachable",
        };
        let mut problem = self.problem(code, error.to_string(), "a connection to the target");
        problem.mend = error.advice().map(str::to_owned);
        if error.message().contains(NO_PRIVILEGE) {
            let endpoint = &self.settings.endpoint;
            problem.mend = Some(grants::connect(&ddl::quoted(&endpoint.database), &ddl::quoted(&endpoint.user)));
        }
        problem
    }

    async fn judge_server(&self, session: &mut Session) -> Result<Vec<Problem>> {
        const DOING: &str = "reading the server's settings";
        let mut problems = Vec::new();
        if session.server_version() < SERVER_VERSION_MIN {
            let found = format!("server version {}", session.server_version());
            problems.push(self.problem("target_version", found, "PostgreSQL 12 or later"));
        }
        let rows = session.read(SERVER, PgArguments::default(), DOING).await?;
        let row = rows.first().ok_or_else(|| Error::refused(format!("{DOING}: no answer")))?;
        let read = |field| get::<bool>(row, field).map_err(Error::from);
        let account = ddl::quoted(&get::<String>(row, "account")?);
        let encoding: String = get(row, "encoding")?;
        if encoding != "UTF8" {
            let found = format!("the database's encoding is {encoding}");
            problems.push(self.problem("target_encoding", found, "UTF8, which holds every character of the source"));
        }
        if read("is_standby")? {
            let found = "a standby, which is read-only".into();
            problems.push(self.problem("target_standby", found, "the primary"));
        }
        if !read("may_stage")? {
            let mut problem =
                self.problem("target_temporary", "no right to make temporary tables".into(), "TEMPORARY, for speed");
            problem.severity = Severity::Warning;
            problem.mend = Some(format!(
                "GRANT TEMPORARY ON DATABASE {} TO {account}",
                ddl::quoted(&self.settings.endpoint.database)
            ));
            problems.push(problem);
        }
        if !has_schema(session, &self.own_tables.schema).await? && !read("may_create")? {
            let found = format!("no schema {}, and no right to create it", self.own_tables.schema);
            let mut problem = self.problem("target_own_schema", found, "a place for Tailrace's own tables");
            problem.mend =
                Some(format!("CREATE SCHEMA {} AUTHORIZATION {account}", ddl::quoted(&self.own_tables.schema)));
            problems.push(problem);
        }
        Ok(problems)
    }

    /// What the account may not do with Tailrace's own tables, or in their schema while they are not there.
    async fn judge_own_tables(&self, session: &mut Session) -> Result<Vec<Problem>> {
        const DOING: &str = "reading privileges";
        let schema = &self.own_tables.schema;
        let mut arguments = PgArguments::default();
        add(&mut arguments, schema.as_str());
        let rows = session.read(OWN_RIGHTS, arguments, DOING).await.map_err(Error::from)?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        let mends: Vec<String> = get(row, "mends").map_err(Error::from)?;
        let problem = |mend: String| Problem {
            mend: Some(mend),
            ..self.problem(
                "target_own_privilege",
                format!("the account lacks a privilege on the schema {schema} or a table in it"),
                "to make, read and write Tailrace's own tables",
            )
        };
        Ok(mends.into_iter().map(problem).collect())
    }
}

/// How the server says that a privilege is missing.
const NO_PRIVILEGE: &str = "SQLSTATE 42501";

/// The statements that give what is missing; no row where there is no schema.
const OWN_RIGHTS: &str = "
SELECT ARRAY(
  SELECT format('GRANT %s ON SCHEMA %I TO %I', string_agg(w.privilege, ', '), n.nspname, current_user)
  FROM unnest(ARRAY['USAGE', 'CREATE']) AS w (privilege)
  WHERE NOT has_schema_privilege(n.oid, w.privilege)
    AND (w.privilege = 'USAGE' OR NOT EXISTS (SELECT FROM pg_class f WHERE f.relnamespace = n.oid AND f.relname = 'barriers'))
  HAVING count(*) > 0
  UNION ALL
  SELECT format('GRANT %s ON %I.%I TO %I', string_agg(w.privilege, ', '), n.nspname, c.relname, current_user)
  FROM (VALUES ('offsets', 'SELECT'), ('offsets', 'INSERT'), ('offsets', 'UPDATE'), ('tables', 'SELECT'), ('tables', 'INSERT'),
               ('format', 'SELECT'), ('barriers', 'SELECT'), ('barriers', 'INSERT'), ('barriers', 'UPDATE'),
               ('barriers', 'DELETE')) AS w (name, privilege)
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  WHERE NOT has_table_privilege(c.oid, w.privilege) GROUP BY c.relname
) AS mends
FROM pg_namespace n WHERE n.nspname = $1";

/// Whether tables can be made in a schema that may not be there; no row where they can.
const PLACE: &str = "
SELECT n.oid IS NOT NULL AS has_schema, current_user::text AS account
FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = $1
WHERE NOT CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
               ELSE has_schema_privilege(n.oid, 'CREATE') END";

const SERVER: &str = "
SELECT current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS is_standby,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
       has_database_privilege(current_database(), 'CREATE') AS may_create, current_user::text AS account";

/// Whether `tailrace schema --apply` could make a table there.
async fn judge_place(session: &mut Session, schema: &str) -> Result<Option<Problem>> {
    let mut arguments = PgArguments::default();
    add(&mut arguments, schema);
    let rows = session.read(PLACE, arguments, "reading privileges").await.map_err(Error::from)?;
    let Some(row) = rows.first() else { return Ok(None) };
    let has_schema: bool = get(row, "has_schema").map_err(Error::from)?;
    let account = ddl::quoted(&get::<String>(row, "account").map_err(Error::from)?);
    let name = ddl::quoted(schema);
    let (found, mend) = match has_schema {
        true => ("the account may make no table in it", format!("GRANT CREATE ON SCHEMA {name} TO {account}")),
        false => ("no such schema, and no right to make it", format!("CREATE SCHEMA {name} AUTHORIZATION {account}")),
    };
    Ok(Some(Problem {
        code: "target_schema_create",
        severity: Severity::Warning,
        object: format!("schema {schema}"),
        found: found.to_owned(),
        needed: "CREATE for `tailrace schema --apply`, or tables that somebody else makes".to_owned(),
        mend: Some(mend),
    }))
}

async fn has_schema(session: &mut Session, schema: &str) -> Result<bool> {
    const SQL: &str = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let mut arguments = PgArguments::default();
    add(&mut arguments, schema);
    let rows = session.read(SQL, arguments, "looking for a schema").await?;
    Ok(!rows.is_empty())
}

async fn read_table(session: &mut Session, table: &TargetTable) -> Result<Option<catalog::TableShape>> {
    Ok(catalog::read_table(session, table).await?)
}
