//! The source: one short-lived connection per question, one long-lived one per change stream.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tailrace_contract::{
    BoxFuture, ChangeStream, Checkpoint, ChunkReader, Endpoint, Error, Grant, Load, LoadQuestions, Position, Problem,
    ProofReader, Result, SeenTable, Source, SourceSettings, SourceState, StartAt, TableFilter, TableReader,
};
use tailrace_row::{TableName, TableSchema};

use crate::{
    binlog::{BinlogReader, Damaged, Dictionary, ReaderSettings},
    check::{self, unlogged},
    debezium_offset,
    events::QueryEvent,
    grants,
    history::{
        self,
        alterations::{self, Backlog},
    },
    keys::{self, Keys},
    lag, load,
    position::{BinlogPosition, unreadable},
    prepared::Prepared,
    proof::MysqlProof,
    protocol::{Connection, quote_table},
    reader::{MysqlChunkReader, MysqlTableReader},
    replica, replication,
    row_decoder::charset::Collations,
    schema,
    server::{self, Server},
    shapes::{self, Memory, Shapes, Wanted},
    statement::Captured,
    stream::MysqlChangeStream,
    witness::{Witness, again},
};

/// Three missed heartbeats are no accident.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// A MySQL or MariaDB server whose changes we follow; which of them it is, the server says.
pub struct MysqlSource {
    settings: SourceSettings,
    damaged: Arc<Damaged>,
    wanted: Arc<Wanted>,
}

impl MysqlSource {
    /// Checks the settings as far as that goes without the server. Connects to nothing.
    pub fn new(settings: SourceSettings) -> Result<Self> {
        crate::config::check(&settings)?;
        Ok(Self { settings, damaged: Arc::default(), wanted: Arc::default() })
    }

    async fn connect(&self) -> Result<Server> {
        Server::connect(&self.settings.endpoint).await
    }

    async fn open_stream(&self, from: &Checkpoint, filter: Arc<TableFilter>) -> Result<MysqlChangeStream> {
        let position = BinlogPosition::parse(&from.mark.position)?;
        let prepared = Prepared::parse(&from.mark.position).ok_or_else(|| unreadable(&from.mark.position))?;
        let (witness, memory) = Witness::of(&from.mark.position)?;
        let mut server = self.connect().await?;
        if !server.facts.has_binlog {
            return Err(server::no_binlog());
        }
        if server.facts.server_id == self.settings.server_id {
            return Err(Error::refused(format!("[source] server_id {} is the server's own", self.settings.server_id))
                .hint("choose a number that no server and no other replica has"));
        }
        history::check(&mut server, &position).await.map_err(|error| error.at(&from.mark.position))?;
        let looked = again::check(&mut server, &self.settings, &position, &witness).await;
        looked.map_err(|error| error.at(&from.mark.position))?;
        let started = server.started().await?;
        let witness = witness.on(&server.facts.identity, started);
        let collations = Arc::new(Collations::load(&mut server.connection).await?);
        let logs_cascades = unlogged::are_cascades_logged(&mut server).await?;
        let known = self.known(&mut server, &filter, &collations, &position, memory).await?;
        let Server { mut connection, facts } = server;
        let start = replication::request(&mut connection, &self.settings, &position).await?;
        let settings = ReaderSettings {
            filter,
            collations,
            ignores_case: facts.ignores_case,
            logs_cascades,
            has_lead_in: start.has_lead_in,
            prepared,
            server: facts.name.into(),
            dictionary: known.dictionary,
            shapes: known.shapes,
            keys: known.keys,
            damaged: Arc::clone(&self.damaged),
        };
        let reader = BinlogReader::new(from, position, settings).with_witness(witness);
        let silence_max = self.settings.heartbeat * HEARTBEATS_MISSED_MAX;
        let settings = self.settings.clone();
        MysqlChangeStream::begin(connection, reader, settings, silence_max)
            .await
            .map_err(|error| error.at(&from.mark.position))
    }
}

/// What table maps do not tell.
struct KnownTables {
    dictionary: Option<Dictionary>,
    shapes: Shapes,
    keys: Keys,
}

impl MysqlSource {
    async fn known(
        &self,
        server: &mut Server,
        filter: &TableFilter,
        collations: &Collations,
        position: &BinlogPosition,
        mut memory: Memory,
    ) -> Result<KnownTables> {
        let settings = &self.settings;
        let remembered = std::mem::take(&mut memory.keys);
        if let BinlogPosition::Domains { list, .. } = position {
            let mut dictionary = Dictionary::load(server, filter).await?;
            let keys = keys::look(server, filter, remembered).await?;
            let tables: BTreeSet<TableName> = dictionary.tables().into_iter().chain(keys.tables()).collect();
            let backlog = Backlog { settings, collations, list, end: dictionary.end() };
            let altered = alterations::find(server, backlog, tables.into_iter().collect()).await?;
            dictionary.go_back(altered.acts);
            let keys = keys.begin(altered.rekeyed);
            return Ok(KnownTables { dictionary: Some(dictionary), shapes: Shapes::default(), keys });
        }
        let backlog = shapes::Backlog { settings, filter, collations, position };
        let shapes = shapes::open(server, &backlog, memory, &self.wanted).await?;
        let keys = keys::look(server, filter, remembered).await?;
        let tables = keys.tables();
        let mut rekeyed = HashMap::new();
        if !tables.is_empty() {
            let note = |captured: &Captured<'_>, query: &QueryEvent<'_>| {
                let mut is_rekeyed = false;
                for change in captured.key_changes(query) {
                    for table in tables.iter().filter(|table| change.touches(table, captured.ignores_case)) {
                        *rekeyed.entry(table.clone()).or_default() += 1;
                        is_rekeyed = true;
                    }
                }
                is_rekeyed
            };
            shapes::each_statement(server, &backlog, keys.read_at(), note).await?;
        }
        Ok(KnownTables { dictionary: None, shapes, keys: keys.begin(rekeyed) })
    }
}

/// What a raw drain saw.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Events of any kind.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl MysqlSource {
    /// Reads the binlog from a checkpoint to its present end without looking into the packets: the limit of any decoder, for
    /// benchmarks.
    #[doc(hidden)]
    pub async fn drain(&self, from: &Checkpoint) -> Result<Drained> {
        let position = BinlogPosition::parse(&from.mark.position)?;
        let mut connection = self.connect().await?.connection;
        replication::request_present(&mut connection, &self.settings, &position).await?;
        let mut drained = Drained::default();
        loop {
            let Some(packet) = connection.buffered()? else {
                connection.fill().await?;
                continue;
            };
            match connection.bytes(&packet) {
                [0, event @ ..] => {
                    drained.events += 1;
                    drained.bytes += event.len() as u64;
                }
                [0xfe, ..] => return Ok(drained),
                other => return Err(crate::protocol::Connection::error_of(other)),
            }
        }
    }
}

impl MysqlSource {
    /// Reads a table by a reader's own statement without looking into the rows: the limit of any reader, for benchmarks.
    #[doc(hidden)]
    pub async fn drain_table(&self, schema: Arc<TableSchema>) -> Result<Drained> {
        let mut reader = MysqlTableReader::open(&self.settings.endpoint, schema).await?;
        let (events, bytes) = reader.drain().await?;
        Ok(Drained { events, bytes })
    }
}

impl Source for MysqlSource {
    fn check<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(check::check(&self.settings, filter))
    }

    fn check_start<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(check::start::check(&self.settings, start))
    }

    fn grants(&self, filter: &TableFilter) -> Vec<Grant> {
        grants::least(&self.settings.endpoint.user, filter)
    }

    /// What NOW() says is what transactions are stamped with.
    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>>> {
        Box::pin(async {
            let mut server = self.connect().await?;
            let row = server.connection.query_row("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)").await?;
            Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_micros(row.number(0)?)))
        })
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<SeenTable>>> {
        Box::pin(async { schema::inventory(&mut self.connect().await?.connection).await })
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async { Ok(self.connect().await?.facts.identity) })
    }

    fn position<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Position>> {
        Box::pin(async {
            let mut server = self.connect().await?;
            Ok(history::start(&mut server, &self.settings, start).await?.to_position())
        })
    }

    fn position_of_debezium<'a>(&'a self, offset: &'a str) -> BoxFuture<'a, Result<Position>> {
        Box::pin(async {
            let mut server = self.connect().await?;
            Ok(debezium_offset::position(&mut server, &self.settings, offset).await?.to_position())
        })
    }

    fn state<'a>(&'a self, from: Option<&'a Position>) -> BoxFuture<'a, Result<SourceState>> {
        Box::pin(async move { lag::state(&mut self.connect().await?, from).await })
    }

    fn tables<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Arc<TableSchema>>>> {
        Box::pin(async { schema::tables(&mut self.connect().await?.connection, filter).await })
    }

    fn has_rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            let mut server = self.connect().await?;
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quote_table(table));
            let row = server.connection.query_row(&sql).await.map_err(|error| error.on_table(table.clone()))?;
            Ok(row.text(0) == "1")
        })
    }

    fn open<'a>(
        &'a self,
        from: &'a Checkpoint,
        filter: Arc<TableFilter>,
    ) -> BoxFuture<'a, Result<Box<dyn ChangeStream>>> {
        Box::pin(async {
            let stream: Box<dyn ChangeStream> = Box::new(self.open_stream(from, filter).await?);
            Ok(stream)
        })
    }

    fn load<'a>(&'a self, questions: &'a LoadQuestions) -> BoxFuture<'a, Result<Load>> {
        Box::pin(async move { load::load(&mut Connection::open(&self.settings.endpoint).await?, questions).await })
    }

    fn check_load<'a>(&'a self, questions: &'a LoadQuestions) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(check::throttle::check_load(&self.settings.endpoint, questions))
    }

    fn load_grants(&self, questions: &LoadQuestions) -> Vec<Grant> {
        grants::of_load(&self.settings.endpoint.user, questions)
    }

    fn executed<'a>(&'a self, replica: &'a Endpoint) -> BoxFuture<'a, Result<Position>> {
        Box::pin(replica::executed(replica))
    }

    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool> {
        replica::covers(reached, wanted)
    }

    fn check_replica<'a>(&'a self, replica: &'a Endpoint) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(check::throttle::check_replica(&self.settings.endpoint, replica))
    }

    fn open_proof(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ProofReader>>> {
        Box::pin(async {
            let proof: Box<dyn ProofReader> = Box::new(MysqlProof::open(&self.settings.endpoint, schema).await?);
            Ok(proof)
        })
    }

    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        Box::pin(async {
            let name = schema.name().clone();
            let reader = MysqlChunkReader::open(&self.settings, schema).await;
            let reader: Box<dyn ChunkReader> = Box::new(reader.map_err(|error| error.on_table(name))?);
            Ok(reader)
        })
    }

    fn open_reader(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(async {
            let name = schema.name().clone();
            let reader = MysqlTableReader::open(&self.settings.endpoint, schema).await;
            let reader: Box<dyn TableReader> = Box::new(reader.map_err(|error| error.on_table(name))?);
            Ok(reader)
        })
    }
}
