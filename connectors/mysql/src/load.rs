//! How much the server has to do.

use tailrace_contract::{Error, Load, LoadQuestions, Result};

use crate::protocol::Connection;

/// Asks the server. What it can't answer is an error: nobody may take it for idle.
pub(crate) async fn load(connection: &mut Connection, questions: &LoadQuestions) -> Result<Load> {
    let mut load = Load::default();
    if questions.running {
        let row = connection.query_row("SHOW GLOBAL STATUS LIKE 'Threads_running'").await?;
        load.running = Some(row.number(1)?);
    }
    if questions.history {
        load.history = Some(history(connection).await?);
    }
    if let Some(query) = &questions.query {
        let rows = connection.query(query).await?;
        let answer = rows.first().and_then(|row| row.text(0).parse().ok());
        let none = || Error::refused("the query of [backfill.throttle] does not answer with a number");
        load.answer = Some(answer.ok_or_else(none)?);
    }
    Ok(load)
}

/// The length of InnoDB's history list: by its metrics, which both servers have.
async fn history(connection: &mut Connection) -> Result<u64> {
    let sql = "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'";
    connection.query_row(sql).await?.number(0)
}
