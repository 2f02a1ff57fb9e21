//! What happened, from the output of `mysqlbinlog --verbose`. No value is read: only tables, operations and places.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use lab::Flavor;

use super::{Operation, Statement};
use crate::harness::Scene;

/// A place between two transactions.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    file: String,
    position: u64,
}

/// The end of the binlog, in a new file: mysqlbinlog prints only the low 32 bits of positions.
pub(super) fn end(scene: &Scene) -> Result<Start> {
    scene.source("FLUSH BINARY LOGS")?;
    let rows = scene.source_rows(match scene.servers.mysql.flavor() {
        Flavor::Mysql => "SHOW BINARY LOG STATUS",
        Flavor::Mariadb | Flavor::Mariadb11 => "SHOW MASTER STATUS",
    })?;
    let cell = |index: usize| rows.first()?.get(index)?.clone();
    let file = cell(0).context("the server has no binlog")?;
    let position = cell(1).and_then(|text| text.parse().ok()).context("the end of the binlog is a number")?;
    Ok(Start { file, position })
}

pub(super) fn read(scene: &Scene, start: &Start) -> Result<Vec<Statement>> {
    let files = scene.source_rows("SHOW BINARY LOGS")?.into_iter().filter_map(|row| row.into_iter().next().flatten());
    let files: Vec<String> = files.skip_while(|file| *file != start.file).collect();
    ensure!(!files.is_empty(), "the binlog {} is gone", start.file);
    let mut statements = Vec::new();
    for file in files {
        let mut command = scene.servers.mysql.mysqlbinlog()?;
        command.args(["--verbose", "--base64-output=decode-rows", "--database", &scene.database]);
        if file == start.file {
            command.arg(format!("--start-position={}", start.position));
        }
        // It warns of what it was told to do.
        let said = scene.folder().join("mysqlbinlog.log");
        let said = File::create(&said).with_context(|| format!("creating {}", said.display()))?;
        let mut child =
            command.arg(&file).stdout(Stdio::piped()).stderr(said).spawn().context("starting mysqlbinlog")?;
        let output = BufReader::with_capacity(1 << 20, child.stdout.take().context("its output")?);
        let mut parser = Parser::new(&scene.database, file_number(&file)?);
        for line in output.split(b'\n') {
            parser.line(&line.context("reading mysqlbinlog")?)?;
        }
        let status = child.wait().context("waiting for mysqlbinlog")?;
        ensure!(
            status.success(),
            "mysqlbinlog failed on {file}: {status}; see its log in {}",
            scene.folder().display()
        );
        statements.extend(parser.end()?);
    }
    Ok(statements)
}

/// `binlog.000042` is 42.
pub(super) fn file_number(name: &str) -> Result<u32> {
    let (_, number) = name.rsplit_once('.').with_context(|| format!("{name} names no binlog file"))?;
    number.parse().with_context(|| format!("{name} names no binlog file"))
}

/// Reads line by line. Values stand on lines of their own (`###   @1=…`) with line breaks escaped, so no value can be taken
/// for something else.
pub(super) struct Parser {
    database: String,
    file: u32,
    position: u64,
    /// Rows events of the statement whose rows are not printed yet.
    events: Vec<u64>,
    statements: Vec<Statement>,
    rows_are_due: bool,
}

impl Parser {
    pub(super) fn new(database: &str, file: u32) -> Parser {
        let database = database.to_owned();
        Parser { database, file, position: 0, events: Vec::new(), statements: Vec::new(), rows_are_due: false }
    }

    pub(super) fn line(&mut self, line: &[u8]) -> Result<()> {
        if let Some(position) = line.strip_prefix(b"# at ") {
            self.position = std::str::from_utf8(position)?.trim().parse().context("a position")?;
            return Ok(());
        }
        if let Some(row) = line.strip_prefix(b"### ").filter(|row| !row.starts_with(b" ")) {
            return self.row(row);
        }
        if line.starts_with(b"#") {
            self.header(&String::from_utf8_lossy(line))?;
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<Vec<Statement>> {
        ensure!(self.events.is_empty() && !self.rows_are_due, "mysqlbinlog ended inside a statement");
        Ok(self.statements)
    }

    /// `#221122 18:07:13 server id 1  end_log_pos 400 CRC32 0xcbdb53e1  Write_rows: table id 163 flags: STMT_END_F`
    fn header(&mut self, line: &str) -> Result<()> {
        let Some((_, event)) = line.split_once("_rows: table id ") else { return Ok(()) };
        ensure!(!self.rows_are_due, "mysqlbinlog printed no row for the statement before {}", self.position);
        self.events.push(self.position);
        self.rows_are_due = event.contains("STMT_END_F");
        Ok(())
    }

    fn row(&mut self, row: &[u8]) -> Result<()> {
        let row = std::str::from_utf8(row).context("the name of a table")?;
        let (operation, table) = match row.split_once(' ') {
            Some(("INSERT", rest)) => (Operation::Insert, rest.trim_start_matches("INTO ")),
            Some(("UPDATE", rest)) => (Operation::Update, rest),
            Some(("DELETE", rest)) => (Operation::Delete, rest.trim_start_matches("FROM ")),
            // `SET` and `WHERE` before the values.
            _ => return Ok(()),
        };
        let table = table.strip_prefix(&format!("`{}`.`", self.database)).and_then(|name| name.strip_suffix('`'));
        let table = table.with_context(|| format!("mysqlbinlog printed a row of another database: {row}"))?.to_owned();
        if self.rows_are_due {
            self.rows_are_due = false;
            let (file, events) = (self.file, std::mem::take(&mut self.events));
            self.statements.push(Statement { table, file, events, rows: vec![operation] });
            return Ok(());
        }
        match self.statements.last_mut() {
            Some(statement) if self.events.is_empty() && statement.table == table => statement.rows.push(operation),
            _ => bail!("mysqlbinlog printed a row of {table} outside of a statement"),
        }
        Ok(())
    }
}
