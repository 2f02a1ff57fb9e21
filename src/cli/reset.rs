//! `tailrace reset`: tells what will be forgotten, has it confirmed, and forgets it.

use std::io::{BufRead as _, IsTerminal as _};

use tailrace_contract::{Error, Result};

use super::{ResetArguments, ResetWhat, print};
use crate::{
    config::Config,
    reset::{Found, Reset, What},
};

/// Forgets after a typed confirmation.
pub(super) async fn run(config: &Config, options: &ResetArguments) -> Result<()> {
    #[cfg(feature = "faults")]
    crate::faults::install()?;
    let what = match options.what {
        ResetWhat::Capture => What::Capture,
        ResetWhat::Apply => What::Apply,
        ResetWhat::All => What::All,
    };
    let reset = Reset::new(config, what)?;
    let found = reset.find().await?;
    if found.is_empty() {
        return print(&format!("nothing to forget: {} has neither checkpoint nor offsets there\n", reset.stream));
    }
    print(&plan(&reset, &found))?;
    let typed = match &options.confirm {
        Some(name) => name.clone(),
        None => ask(&reset.stream)?,
    };
    if typed != reset.stream {
        return Err(Error::refused("not confirmed: nothing was forgotten")
            .hint(format!("type the name {}, or give it with --confirm", reset.stream)));
    }
    reset.forget().await?;
    print(&told(&found))
}

fn plan(reset: &Reset, found: &Found) -> String {
    let mut text = format!("stream {}\nwill be forgotten:\n", reset.stream);
    if let Some(checkpoint) = &found.checkpoint {
        let (position, transactions) = (&checkpoint.mark.position, checkpoint.mark.transactions);
        text.push_str(&format!(
            "  the checkpoint {position} ({transactions} transactions of epoch {})\n",
            checkpoint.epoch.0
        ));
    }
    for (table, partitions) in found.tables() {
        let offsets: Vec<String> = partitions
            .iter()
            .map(|progress| {
                let next = progress.next_offset.map_or_else(|| "nothing".to_owned(), |next| next.to_string());
                format!("[{}] {next}", progress.partition.index)
            })
            .collect();
        text.push_str(&format!("  the offsets of {table}: {}\n", offsets.join(", ")));
    }
    text.push_str("what follows:\n");
    reset.consequences().iter().for_each(|told| text.push_str(&format!("  {told}\n")));
    text.replace(|c: char| c.is_control() && c != '\n', "?")
}

/// Only a person at a terminal is asked: what a pipe holds was not typed by somebody who read the above.
fn ask(stream: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::refused("nobody is at a terminal to confirm it: nothing was forgotten")
            .hint(format!("give the name with --confirm {stream}")));
    }
    print(&format!("type the stream's name ({stream}) to go on: "))?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Error::refused("can't read the confirmation").caused_by(error))?;
    Ok(line.trim().to_owned())
}

fn told(found: &Found) -> String {
    let mut text = String::new();
    if found.checkpoint.is_some() {
        text.push_str("forgotten: the checkpoint\n");
    }
    let (partitions, tables) = (found.offsets.len(), found.tables().len());
    if partitions > 0 {
        text.push_str(&format!("forgotten: the offsets of {partitions} partitions of {tables} tables\n"));
    }
    text
}
