//! `tailrace init`: a file to begin with, if asked with the tables that a source has.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use tailrace_contract::{Error, Result, SeenTable};

use super::{Arguments, ExitCode, block_on, finish, print, refuse_config};
use crate::{
    config::{ConfigError, Draft, TEMPLATE},
    registry,
};

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// A server to ask for its tables, as in mysql://tailrace@db.example:3306; they are written into the file
    #[arg(long, value_name = "URL")]
    source: Option<String>,

    /// The environment variable that holds the account's password
    #[arg(long, value_name = "NAME", default_value = "MYSQL_PASSWORD", requires = "source")]
    password_env: String,

    /// How the connection is protected: verify-full (as without it), verify-ca, required or disabled
    #[arg(long, value_name = "MODE", requires = "source")]
    tls: Option<String>,

    /// The authority that signed the server's certificate, if the system does not know it
    #[arg(long, value_name = "FILE", requires = "source")]
    ca: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, options: &InitArguments) -> ExitCode {
    let path = &arguments.config;
    let Some(url) = &options.source else {
        return finish(
            write(path, TEMPLATE).and_then(|()| print(&written(path, "name your servers and tables in it"))),
        );
    };
    let draft = Draft {
        url: url.clone(),
        password_variable: options.password_env.clone(),
        tls_mode: options.tls.clone(),
        ca: options.ca.as_deref().map(|ca| absolute(ca).display().to_string()),
    };
    let settings = match draft.source() {
        Ok(settings) => settings,
        Err(problems) => {
            let error = ConfigError::Wrong { path: PathBuf::from("--source"), problems };
            return refuse_config(arguments.log_format, &error);
        }
    };
    let asked = block_on(async {
        // Before the server is asked for anything.
        refuse_existing(path)?;
        registry::source(settings)?.inventory().await
    });
    finish(asked.and_then(|tables| {
        write(path, &draft.file(&tables))?;
        print(&(found(&tables) + &written(path, "name the log, the target and the tables that are to stay in it")))
    }))
}

/// In the file paths begin at its folder, on the command line where the command runs.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What was found, as it is told.
fn found(tables: &[SeenTable]) -> String {
    let databases: BTreeSet<&str> = tables.iter().map(|table| &*table.name.database).collect();
    let shown = |text: String| text.replace(char::is_control, "?");
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let mut text = format!("found {} in {}\n", count(tables.len(), "table"), count(databases.len(), "database"));
    for table in tables {
        let obstacle = table.obstacle.as_ref().map(|obstacle| format!(": can't be captured, {obstacle}"));
        text.push_str(&format!("  {}\n", shown(format!("{}{}", table.name, obstacle.unwrap_or_default()))));
    }
    text
}

fn written(path: &Path, what: &str) -> String {
    format!("wrote {}: {what}, then run `tailrace check`\n", path.display())
}

fn refuse_existing(path: &Path) -> Result<()> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(not_written(path, std::io::ErrorKind::AlreadyExists.into())),
        Err(error) => Err(not_written(path, error)),
    }
}

/// Writes a file that is not there yet.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = File::create_new(path).map_err(|error| not_written(path, error))?;
    file.write_all(text.as_bytes()).map_err(|error| not_written(path, error))
}

fn not_written(path: &Path, error: std::io::Error) -> Error {
    Error::refused(format!("can't write {}", path.display()))
        .caused_by(error)
        .hint("name another file with --config, or move the old one away")
}
