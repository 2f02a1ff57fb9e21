//! The corpus, executed: what the stream says of each statement beside what the server's dictionary says.

use mysql_async::prelude::Queryable;
use tailrace_contract::{ColumnStep, Fill, Source, TableAct};
use tailrace_row::{Column, ColumnType};

use super::{
    corpus::{CORPUS, Chapter, STRICT, Server, TABLES, shown},
    next_change,
};
use crate::harness::Database;

const TRIES_MAX: u32 = 10_000;

/// What was seen of a statement when it was executed.
struct Executed {
    text: String,
    expect: &'static str,
    before: Vec<Column>,
    after: Vec<Column>,
    /// By the names of new columns: what the row that was there has in them.
    row: Vec<(String, String)>,
}

/// Executes the chapters that are only this server's, or also those that all know, each in a stream that lags behind all of it.
pub(crate) async fn check_corpus(db: &mut Database, servers: &[Server]) {
    assert!(CORPUS.iter().map(|chapter| chapter.statements.len()).sum::<usize>() >= 150);
    let mut complaints = Vec::new();
    for chapter in CORPUS.iter().filter(|chapter| servers.contains(&chapter.server)) {
        check_chapter(db, chapter, &mut complaints).await;
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

async fn check_chapter(db: &mut Database, chapter: &Chapter, complaints: &mut Vec<String>) {
    let name = db.name.clone();
    db.run_all(&[&format!("DROP DATABASE {name}"), &format!("CREATE DATABASE {name}"), &format!("USE {name}")]).await;
    db.run_all(&[&format!("SET sql_mode = '{STRICT}'")]).await;
    db.run_all(&TABLES).await;
    db.run("INSERT INTO t VALUES (1, NULL, 'a', 1)").await;
    let mut stream = db.follow(&["t", "v"]).await;
    db.run(&format!("SET sql_mode = '{}'", chapter.sql_mode)).await;
    let mut all = Vec::new();
    let mut before = columns(db).await;
    for (statement, expect) in chapter.statements {
        match execute(db, &statement.replace('$', &name), expect, before.clone()).await {
            Ok(executed) => {
                before.clone_from(&executed.after);
                all.push(executed);
            }
            Err(error) => complaints.push(format!("{error}: {statement}")),
        }
    }
    for executed in all.iter().filter(|executed| !executed.expect.is_empty()) {
        let (_, change) = next_change(&mut stream).await;
        let found = shown(&change.acts).replace(&format!("{name}."), "$.");
        if found != executed.expect {
            complaints.push(format!("{found:?} and not {:?}: {}", executed.expect, change.statement));
        }
        for act in &change.acts {
            if let TableAct::Alter { steps, .. } = act {
                complaints.extend(executed.check(steps));
            }
        }
    }
    db.run("CREATE TABLE IF NOT EXISTS nothing_else (id INT)").await;
    stream.drain().await;
}

async fn execute(
    db: &mut Database,
    text: &str,
    expect: &'static str,
    before: Vec<Column>,
) -> Result<Executed, mysql_async::Error> {
    let mut tries = 0;
    while let Err(error) = db.conn.query_drop(text).await {
        tries += 1;
        if !is_locked(&error) || tries > TRIES_MAX {
            return Err(error);
        }
    }
    let after = columns(db).await;
    let mut row = Vec::new();
    for column in after.iter().filter(|column| !before.iter().any(|known| known.name == column.name)) {
        row.push((column.name.to_string(), value(db, column).await));
    }
    Ok(Executed { text: text.to_owned(), expect, before, after, row })
}

/// The purge of MariaDB's InnoDB holds a table for moments, which `NOWAIT` does not wait for.
fn is_locked(error: &mysql_async::Error) -> bool {
    const LOCK_WAIT_TIMEOUT: u16 = 1205;
    matches!(error, mysql_async::Error::Server(error) if error.code == LOCK_WAIT_TIMEOUT)
}

/// The columns of `t` in the dictionary; none if it is away or can't be captured.
async fn columns(db: &Database) -> Vec<Column> {
    match db.source().tables(&db.filter(&["t"])).await {
        Ok(tables) => tables.first().map(|table| table.columns().to_vec()).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// What the row has in the column, in the words of [`Fill`].
async fn value(db: &mut Database, column: &Column) -> String {
    let quote = if db.text("SELECT @@sql_mode").await.contains("ANSI") { '"' } else { '`' };
    let name = format!("{quote}{}{quote}", column.name.replace(quote, &format!("{quote}{quote}")));
    let text = match column.column_type {
        ColumnType::Bytes { .. } => format!("CONCAT('0x', HEX({name}))"),
        ColumnType::Bit { .. } => format!("CAST({name} + 0 AS CHAR)"),
        ColumnType::Timestamp { .. } => format!("IF({name} + 0 = 0, {name}, CONCAT({name}, 'Z'))"),
        ColumnType::Integer { .. } => format!("CAST({name} + 0 AS CHAR)"),
        ColumnType::Geometry { .. } | ColumnType::Vector { .. } => format!("HEX({name})"),
        _ => format!("CAST({name} AS CHAR)"),
    };
    let row: Option<Option<String>> = db.conn.query_first(format!("SELECT {text} FROM t WHERE id = 1")).await.unwrap();
    row.map_or("no row".to_owned(), |value| value.unwrap_or("NULL".to_owned()))
}

impl Executed {
    /// The steps must make of the columns before those behind it, and fill the row as the server did.
    fn check(&self, steps: &[ColumnStep]) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.before.is_empty() || self.after.is_empty() {
            return complaints;
        }
        let mut columns = self.before.clone();
        for step in steps {
            if let ColumnStep::Add { column, fill } = step {
                complaints.extend(self.check_fill(column, fill));
            }
            if !carry_out(&mut columns, step) {
                complaints.push(format!("there is no column for {step:?}: {}", self.text));
            }
        }
        let by_name = |mut columns: Vec<Column>| {
            columns.sort_by(|one, other| one.name.cmp(&other.name));
            columns
        };
        let (told, held) = (by_name(columns), by_name(self.after.clone()));
        let differ = |one: &&Column, others: &[Column]| !others.contains(one);
        let told_only: Vec<&Column> = told.iter().filter(|one| differ(one, &held)).collect();
        let held_only: Vec<&Column> = held.iter().filter(|one| differ(one, &told)).collect();
        if told != held {
            complaints.push(format!("the table has {held_only:?} and not {told_only:?}: {}", self.text));
        }
        complaints
    }

    fn check_fill(&self, column: &Column, fill: &Fill) -> Option<String> {
        let (_, held) = self.row.iter().find(|(name, _)| **name == *column.name)?;
        let told = match fill {
            Fill::Null => "NULL",
            Fill::Value(value) => value,
            Fill::Unknown(_) => return None,
        };
        let is_same = match column.column_type {
            _ if held == "no row" => true,
            ColumnType::Float => held.parse::<f32>() == told.parse::<f32>(),
            ColumnType::Double => held.parse::<f64>() == told.parse::<f64>(),
            _ => held == told,
        };
        (!is_same).then(|| format!("the row has {held:?} and not {told:?}: {}", self.text))
    }
}

/// Whether the step's column is there.
fn carry_out(columns: &mut Vec<Column>, step: &ColumnStep) -> bool {
    let place =
        |columns: &[Column], name: &str| columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    match step {
        ColumnStep::Add { column, .. } => {
            columns.push(column.clone());
            true
        }
        ColumnStep::Drop { column } => place(columns, column).map(|at| columns.remove(at)).is_some(),
        ColumnStep::Rename { column, to } => place(columns, column).map(|at| columns[at].name = to.clone()).is_some(),
        ColumnStep::Change { column } => place(columns, &column.name).map(|at| columns[at] = column.clone()).is_some(),
    }
}
