//! `tailrace import-offset`: tells where capture will begin, and stores it.

use std::io::Read as _;

use serde::Serialize;
use tailrace_contract::{Error, Result};

use super::{ImportArguments, OutputFormat, print};
use crate::{
    config::Config,
    import_offset::{self, Import},
};

/// What was imported, as JSON.
#[derive(Serialize)]
struct Imported<'a> {
    stream: &'a str,
    offset: &'a serde_json::Value,
    position: &'a str,
    stored: bool,
}

/// Stores the checkpoint, unless it is only to be told.
pub(super) async fn run(config: &Config, options: &ImportArguments) -> Result<()> {
    let offset = import_offset::choose(import_offset::read(&bytes(options)?)?, options.server.as_deref())?;
    let import = Import::new(config)?;
    let position = import.plan(&offset).await?;
    if !options.dry_run {
        import.store(position.clone()).await?;
    }
    let imported =
        Imported { stream: &import.stream, offset: &offset, position: position.as_str(), stored: !options.dry_run };
    print(&text(&imported, options.format))
}

fn bytes(options: &ImportArguments) -> Result<Vec<u8>> {
    let unreadable = |error| Error::refused(format!("can't read {}", options.file.display())).caused_by(error);
    if options.file.as_os_str() != "-" {
        return std::fs::read(&options.file).map_err(unreadable);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn text(imported: &Imported<'_>, format: OutputFormat) -> String {
    let Imported { stream, offset, position, stored } = imported;
    match format {
        OutputFormat::Json => {
            serde_json::to_string_pretty(imported).expect("invariant: the document has only texts and numbers") + "\n"
        }
        OutputFormat::Text => {
            let done = if *stored { "stored" } else { "not stored: --dry-run" };
            let text = format!(
                "stream {stream}\nDebezium's offset {offset}\n{done}: capture begins at {position}\n\
                 a transaction that Debezium has sent in part, or whose end it has not noted, is captured from its begin\n\
                 stop the connector for good before you start capture: what it sends from now on would be captured twice\n"
            );
            text.replace(|c: char| c.is_control() && c != '\n', "?")
        }
    }
}
