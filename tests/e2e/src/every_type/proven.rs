//! The same tables by `proof`: what both databases answer is brought to one canonical form by the product itself, in code that
//! shares nothing with what wrote the rows. Beside the texts that the other judge compares, this one must say the same; that it
//! sees the smallest difference is `planted`'s matter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tailrace_contract::{
    Endpoint, ProofBatch, ProofReader, ReadLimits, Rows, Secret, Sink, Source, SourceSettings, TableFilter,
    TableMapping, TablePattern, TargetSettings, TargetTable, Tls, TlsMode,
};
use tailrace_mysql::MysqlSource;
use tailrace_postgres::PostgresSink;
use tailrace_row::{ColumnType, Key, TableSchema};
use tailrace_sqlite::SqliteSink;

use super::readers::has_hidden_members;
use crate::harness::{Scene, TargetKind};

/// Small, so that every table takes several calls.
const LIMITS: ReadLimits = ReadLimits { rows_max: 7, bytes_max: 64 << 10 };

/// Both sides of a scene, as the product reads them for proof.
pub(super) struct Proof<'s> {
    scene: &'s Scene,
    source: MysqlSource,
    sink: Box<dyn Sink>,
    schemas: Vec<Arc<TableSchema>>,
}

/// What differs in one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    /// In the source alone.
    Missing,
    /// In the target alone.
    Extra,
    /// In both, and these columns differ.
    Columns(Vec<String>),
}

/// Findings by the canonical bytes of the row's key.
pub(super) type Findings = BTreeMap<Vec<Vec<u8>>, Finding>;

impl<'s> Proof<'s> {
    /// The tables that the scene's source has now.
    pub(super) fn of(scene: &'s Scene) -> Result<Self> {
        let source = MysqlSource::new(SourceSettings {
            endpoint: source_endpoint(scene)?,
            read: None,
            server_id: 1,
            heartbeat: Duration::from_secs(1),
            expected_outage: Duration::from_secs(1),
        })?;
        let filter = TableFilter { patterns: vec![TablePattern::Database(scene.database.as_str().into())] };
        let schemas = scene.run_here(async { Ok(source.tables(&filter).await?) })?;
        Ok(Self { scene, source, sink: sink(scene)?, schemas })
    }

    /// The shape of a table.
    pub(super) fn schema(&self, table: &str) -> Result<&Arc<TableSchema>> {
        let schema = self.schemas.iter().find(|schema| &*schema.name().table == table);
        schema.with_context(|| format!("the source has no {table}"))
    }

    /// What differs among some rows of a table.
    pub(super) fn compare(&self, table: &str, rows: Rows<'_>) -> Result<Findings> {
        let schema = self.schema(table)?;
        let mapping = self.mapping(schema);
        let compared = async {
            let mut source = self.source.open_proof(Arc::clone(schema)).await?;
            let mut target = self.sink.open_proof(Arc::clone(schema), &mapping).await?;
            let source = read_all(source.as_mut(), schema, rows).await?;
            let target = read_all(target.as_mut(), schema, rows).await?;
            Ok(compare(schema, &source, &target))
        };
        self.scene.run_here(compared).with_context(|| format!("proof of {table}"))
    }

    async fn find_by_keys(&self, schema: &Arc<TableSchema>) -> Result<usize> {
        let mut reader = self.source.open_reader(Arc::clone(schema)).await?;
        let mut keys: Vec<Key> = Vec::new();
        while let Some(key) = reader.bound(keys.last(), 1).await? {
            keys.push(key);
        }
        let mut source = self.source.open_proof(Arc::clone(schema)).await?;
        let mut target = self.sink.open_proof(Arc::clone(schema), &self.mapping(schema)).await?;
        let whole = read_all(source.as_mut(), schema, Rows::ALL).await?;
        ensure!(whole.len() == keys.len(), "{} rows and {} keys", whole.len(), keys.len());
        for (place, key) in keys.iter().enumerate() {
            // In the source's order; the target may have another.
            let after = place.checked_sub(1).map(|before| &keys[before]);
            let range = Rows::Range { after, until: Some(key) };
            let by_range = read_all(source.as_mut(), schema, range).await?;
            let one = Rows::Keys(std::slice::from_ref(key));
            let by_key = [read_all(source.as_mut(), schema, one).await?, read_all(target.as_mut(), schema, one).await?];
            for found in [&by_range, &by_key[0], &by_key[1]] {
                let is_it = found.len() == 1
                    && (0..schema.columns().len()).all(|column| found.field(0, column) == whole.field(place, column));
                ensure!(is_it, "row {place} is not found: {} rows instead", found.len());
            }
        }
        let all = Rows::Keys(&keys);
        let (source, target) =
            (read_all(source.as_mut(), schema, all).await?, read_all(target.as_mut(), schema, all).await?);
        let findings = compare(schema, &source, &target);
        ensure!(findings.is_empty() && source.len() == keys.len(), "{:?}", shown(&findings));
        Ok(keys.len())
    }

    fn mapping(&self, schema: &TableSchema) -> TableMapping {
        let place = match self.scene.target_kind {
            TargetKind::Postgres => self.scene.database.as_str(),
            TargetKind::Sqlite => "main",
        };
        let target = TargetTable { schema: place.into(), table: schema.name().table.clone() };
        TableMapping::new(schema.name().clone(), target)
    }
}

/// All tables are equal, every row of them.
pub(super) fn check_equal(scene: &Scene, stage: &str, tables: &[&str]) -> Result<()> {
    let proof = Proof::of(scene)?;
    for table in tables {
        let findings = proof.compare(table, Rows::ALL)?;
        ensure!(findings.is_empty(), "{table} {stage}: proof finds {:?}", shown(&findings));
    }
    Ok(())
}

/// Every row of the tables is found by its key, and by the range that ends with it, whatever the key's type. Keys are the source's,
/// out of its reader.
pub(super) fn check_keys(scene: &Scene, tables: &[&str]) -> Result<()> {
    let proof = Proof::of(scene)?;
    for table in tables {
        let schema = proof.schema(table)?;
        // Readers look up no geometry, and read no members that the dictionary hides.
        let is_geometry = |place: &usize| matches!(schema.columns()[*place].column_type, ColumnType::Geometry { .. });
        if schema.key().iter().any(is_geometry) || has_hidden_members(schema) {
            continue;
        }
        let checked = proof.find_by_keys(schema);
        let count = scene.run_here(checked).with_context(|| format!("keys of {table}"))?;
        ensure!(count > 1, "{table} has too few rows");
    }
    Ok(())
}

/// Keys as the text that is in them.
pub(super) fn shown(findings: &Findings) -> Vec<(Vec<String>, &Finding)> {
    let text = |key: &Vec<Vec<u8>>| key.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    findings.iter().map(|(key, finding)| (text(key), finding)).collect()
}

async fn read_all(reader: &mut dyn ProofReader, schema: &TableSchema, rows: Rows<'_>) -> Result<ProofBatch> {
    let mut all = ProofBatch::new(schema.columns().len());
    reader.read(rows).await?;
    loop {
        let before = all.len();
        let has_more = reader.fill(&mut all, LIMITS).await?;
        ensure!(all.len() - before <= LIMITS.rows_max, "a reader exceeds its limit");
        if !has_more {
            return Ok(all);
        }
        ensure!(all.len() > before, "a reader that has more gives none");
    }
}

fn by_key<'b>(schema: &TableSchema, batch: &'b ProofBatch) -> BTreeMap<Vec<&'b [u8]>, usize> {
    let key = |row: usize| schema.key().iter().map(|place| batch.field(row, *place)).collect();
    (0..batch.len()).map(|row| (key(row), row)).collect()
}

fn compare(schema: &TableSchema, source: &ProofBatch, target: &ProofBatch) -> Findings {
    let (in_source, in_target) = (by_key(schema, source), by_key(schema, target));
    let owned = |key: &Vec<&[u8]>| key.iter().map(|part| part.to_vec()).collect();
    let mut findings = Findings::new();
    for (key, row) in &in_source {
        let Some(other) = in_target.get(key) else {
            findings.insert(owned(key), Finding::Missing);
            continue;
        };
        let differs = |place: &usize| source.field(*row, *place) != target.field(*other, *place);
        let columns = (0..schema.columns().len()).filter(differs);
        let names: Vec<String> = columns.map(|place| schema.columns()[place].name.to_string()).collect();
        if !names.is_empty() {
            findings.insert(owned(key), Finding::Columns(names));
        }
    }
    for key in in_target.keys().filter(|key| !in_source.contains_key(*key)) {
        findings.insert(owned(key), Finding::Extra);
    }
    findings
}

/// The account that captures. The servers' certificates name no host.
fn source_endpoint(scene: &Scene) -> Result<Endpoint> {
    Ok(Endpoint {
        scheme: scene.servers.mysql.flavor().scheme().to_owned(),
        host: "127.0.0.1".to_owned(),
        port: scene.servers.mysql.port()?,
        user: "tailrace".to_owned(),
        password: Some(Secret::new(lab::TAILRACE_PASSWORD.to_owned())),
        database: String::new(),
        tls: Tls { mode: TlsMode::Required, ..Tls::default() },
    })
}

fn sink(scene: &Scene) -> Result<Box<dyn Sink>> {
    let plain = Tls { mode: TlsMode::Disabled, ..Tls::default() };
    let endpoint = match scene.target_kind {
        TargetKind::Postgres => Endpoint {
            scheme: "postgres".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: scene.servers.postgres.port()?,
            user: "tailrace".to_owned(),
            password: Some(Secret::new(lab::TAILRACE_PASSWORD.to_owned())),
            database: scene.database.clone(),
            tls: plain,
        },
        TargetKind::Sqlite => Endpoint {
            scheme: "sqlite".to_owned(),
            host: String::new(),
            port: 0,
            user: String::new(),
            password: None,
            database: scene.target_file().to_str().context("a path in UTF-8")?.to_owned(),
            tls: plain,
        },
    };
    let settings =
        TargetSettings { endpoint, schema: "tailrace".to_owned(), statement_timeout: Duration::from_secs(60) };
    Ok(match scene.target_kind {
        TargetKind::Postgres => Box::new(PostgresSink::new(settings)?),
        TargetKind::Sqlite => Box::new(SqliteSink::new(settings)?),
    })
}
