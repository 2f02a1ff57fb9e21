//! `tailrace resume`: lets a table that waits at a statement go on.

use serde::Serialize;
use tailrace_contract::{Error, Result, StoredMeeting};
use tailrace_row::TableName;

use super::{OutputFormat, ResumeArguments, print};
use crate::{config::Config, registry};

/// What was let go on, as JSON.
#[derive(Serialize)]
struct Resumed<'a> {
    table: String,
    statements: Vec<Statement<'a>>,
}

#[derive(Serialize)]
struct Statement<'a> {
    place: &'a str,
    statement: &'a str,
    reason: &'a str,
}

/// Decides for the table, in the target: whoever applies it finds it there.
pub(super) async fn run(config: &Config, options: &ResumeArguments) -> Result<()> {
    let Some((database, table)) = options.table.split_once('.') else {
        return Err(Error::refused(format!("{:?} names no table", options.table)).hint("write DATABASE.TABLE"));
    };
    let table = TableName::new(database, table);
    let sink = registry::sink(config.target()?)?;
    let resumed = sink.resume(&config.stream(), &table).await?;
    if resumed.is_empty() {
        return Err(Error::refused(format!("the table {table} does not wait at a statement"))
            .hint("tailrace status names the tables that do"));
    }
    print(&text(&table, &resumed, options.format))
}

fn text(table: &TableName, resumed: &[StoredMeeting], format: OutputFormat) -> String {
    let reason = |meeting: &'_ StoredMeeting| meeting.paused.clone().unwrap_or_default();
    match format {
        OutputFormat::Json => {
            let reasons: Vec<String> = resumed.iter().map(reason).collect();
            let statements = resumed.iter().zip(&reasons).map(|(meeting, reason)| Statement {
                place: &meeting.place,
                statement: &meeting.statement,
                reason,
            });
            let told = Resumed { table: table.to_string(), statements: statements.collect() };
            serde_json::to_string_pretty(&told).expect("invariant: texts have a JSON form") + "\n"
        }
        OutputFormat::Text => {
            let mut text = format!("{table} goes on, as the target is now, behind\n");
            for meeting in resumed {
                text.push_str(&format!(
                    "  {} at {}\n    it waited because {}\n",
                    meeting.statement,
                    meeting.place,
                    reason(meeting)
                ));
            }
            // Statements are somebody else's: none may move the cursor.
            text.replace(|c: char| c.is_control() && c != '\n', "?")
        }
    }
}
