//! The configuration file, `tailrace.toml`: read, checked, and every default made explicit.
//!
//! The one thing to know: all problems are reported at once, each with line, column, the key's full path and the remedy, and
//! there is no [`Config`] as long as there is one. `raw` holds the file as typed, `checked` judges it. The keys are described
//! in docs/configuration.md. Nothing here talks to a server: what only a server knows is checked when it is reached.

mod checked;
mod choices;
mod document;
mod draft;
mod keys;
pub(crate) mod moment;
mod names;
mod nearest;
mod policies;
mod problem;
mod quantity;
mod raw;
mod secret;
mod shown;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod throttle;
mod url;
mod values;

use std::{
    fmt,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tailrace_contract::{Error, LogSettings, Result, Secret, SourceSettings, StartAt, TargetSettings};

pub use draft::Draft;
pub use problem::ConfigProblem;
pub use shown::ShownSection;

use crate::{
    apply::ApplyLimits,
    backfill::{CopyLimits, ThrottleLimits},
    capture::CommitLimits,
    mapping::TableRules,
};

/// A file to begin with: every key, its default or an example.
pub const TEMPLATE: &str = include_str!("template.toml");

/// Everything that the file says, checked, with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database whose changes are followed.
    pub source: SourceConfig,
    /// The durable transport; none for commands that do without, and in the embedded form.
    pub log: Option<LogSettings>,
    /// The new store; none only for commands that do without.
    pub target: Option<TargetSettings>,
    /// The captured tables and where each goes; at least one rule.
    pub rules: TableRules,
    /// When capture commits.
    pub capture: CommitLimits,
    /// Sizes of apply.
    pub apply: ApplyLimits,
    /// How the tables' history is read.
    pub backfill: CopyLimits,
    /// What holds that up.
    pub throttle: ThrottleLimits,
    /// Where health and metrics are served.
    pub http: HttpConfig,
}

/// The source and where to begin.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// What the connector is built from.
    pub settings: SourceSettings,
    /// The name under which the target keeps the checkpoint where there is no log.
    pub name: String,
    /// Where to begin where no checkpoint exists.
    pub start: StartAt,
}

/// Where health and metrics are served; loopback addresses only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// By `capture` and `run`.
    pub capture: SocketAddr,
    /// By `apply`.
    pub apply: SocketAddr,
    /// Where the token is kept with which orders may be given; none: nobody may.
    pub token: Option<SecretPlace>,
}

/// Where a secret is kept that only some commands need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// The environment variable of that name.
    Env(String),
    /// The file.
    File(PathBuf),
}

/// The stores that a command talks to. They must be configured, and of no other store is a secret or a certificate read: a
/// machine that only captures needs no password of the target. Only a command that talks to source and target can do without
/// the log: that is the embedded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stores {
    /// The source.
    pub source: bool,
    /// The log.
    pub log: bool,
    /// The target.
    pub target: bool,
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path, stores: Stores) -> std::result::Result<Self, ConfigError> {
        Self::load_with(path, stores, None)
    }

    /// The same without reading any secret or certificate: where a password is configured stands `***`.
    pub fn load_to_show(path: &Path) -> std::result::Result<Self, ConfigError> {
        Self::load_with(path, Stores { source: false, log: false, target: false }, Some("***"))
    }

    fn load_with(path: &Path, stores: Stores, unread: Option<&str>) -> std::result::Result<Self, ConfigError> {
        let text = read_file(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let surroundings = secret::Surroundings {
            directory,
            variable: &|name| std::env::var_os(name),
            unread: unread.map(|mask| Secret::new(mask.to_owned())),
        };
        checked::check(&text, stores, &surroundings)
            .map_err(|problems| ConfigError::Wrong { path: path.to_owned(), problems })
    }

    /// The name under which the target keeps what is applied: the log's prefix, or that of the stream.
    #[must_use]
    pub fn stream(&self) -> String {
        self.log.as_ref().map_or_else(|| self.source.name.clone(), |log| log.prefix.clone())
    }

    /// The token with which orders may be given; none if none is configured. It is read only now.
    pub fn token(&self) -> Result<Option<Secret>> {
        /// A shorter one can be found out by trying.
        const LENGTH_MIN: usize = 16;
        let Some(place) = &self.http.token else { return Ok(None) };
        let around =
            secret::Surroundings { directory: Path::new(""), variable: &|name| std::env::var_os(name), unread: None };
        let read = match place {
            SecretPlace::Env(name) => around.secret_in_variable(name),
            SecretPlace::File(path) => around.secret_in_file(path),
        };
        let token = read.map_err(|(what, remedy)| Error::refused(format!("http.token: {what}")).hint(remedy))?;
        let is_plain = token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if token.expose().len() < LENGTH_MIN || !is_plain {
            return Err(Error::refused(format!("http.token: it is no text of at least {LENGTH_MIN} plain characters"))
                .hint("make one with: openssl rand -hex 32"));
        }
        Ok(Some(token))
    }

    /// The log's settings, for a command whose [`Stores`] name it.
    pub fn log(&self) -> Result<LogSettings> {
        self.log.clone().ok_or_else(|| missing_section("log"))
    }

    /// The target's settings, for a command whose [`Stores`] name it.
    pub fn target(&self) -> Result<TargetSettings> {
        self.target.clone().ok_or_else(|| missing_section("target"))
    }
}

/// Text as TOML has it in double quotes.
pub(crate) fn quoted_text(text: &str) -> String {
    // JSON's escapes are TOML's; only this character need not be escaped there.
    let quoted = serde_json::to_string(text).expect("invariant: a text is JSON");
    quoted.replace('\u{7f}', "\\u007F")
}

fn missing_section(name: &str) -> Error {
    Error::refused(format!("the configuration has no section [{name}]")).hint("add it to tailrace.toml")
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file itself can't be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file says something wrong.
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong, in the order of the file.
        problems: Vec<ConfigProblem>,
    },
}

/// One line per problem, each with file, line and column in front.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "{}: can't be read: {error}; name the file with --config", path.display())
            }
            Self::Wrong { path, problems } => {
                let count = problems.len();
                write!(f, "{} has {count} problem{}:", path.display(), if count == 1 { "" } else { "s" })?;
                problems.iter().try_for_each(|problem| write!(f, "\n{}:{problem}", path.display()))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// No configuration is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}
