//! The command line: arguments, the log, signals, and how the process ends. What a command does stands in `run`.
//!
//! The one thing to know: standard output holds only what a command was asked for; everything else is the log, on standard
//! error.

mod backfill;
mod bars;
mod exit;
mod findings;
mod grants;
mod import_offset;
mod init;
mod logging;
mod output;
mod reset;
mod resume;
mod shown;
mod signals;
mod status;
mod tail;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use backfill::BackfillCommand;
use bars::Screen;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use exit::ExitCode;
use init::InitArguments;
use logging::{LogFormat, LogLevel};
use tailrace_contract::{Error, Result};

use crate::{
    backfill::Operator,
    config::{Config, ConfigError, Stores},
    control::{ControlServer, Orders, Told},
    mapping::policy,
    preflight, registry,
    run::{self, RunContext, TableStatements},
    runtime::{Health, Shutdown, tasks},
    status::{About, Watch},
    telemetry::Metrics,
};

/// Moves a live MySQL table into a new store while the business keeps writing.
///
/// For operators: describe source, log, target and tables in tailrace.toml, make the target's tables with `tailrace schema
/// --apply`, then keep `tailrace capture` and `tailrace apply` running (or both as `tailrace run`). Each can be stopped or
/// killed at any time: it goes on where it was, and no change is lost or applied twice.
#[derive(Debug, Parser)]
#[command(
    name = "tailrace",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = exit::table(), after_long_help = long_epilog(), disable_help_subcommand = true)]
struct Arguments {
    /// The configuration; paths in it begin at its own folder
    #[arg(short, long, global = true, value_name = "FILE", default_value = "tailrace.toml")]
    config: PathBuf,

    /// Form of the log on standard error
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value = "human")]
    log_format: LogFormat,

    /// How much is logged [default: info, or what TAILRACE_LOG says, as in info,tailrace::capture=debug]
    #[arg(long, global = true, value_name = "LEVEL", value_enum)]
    log_level: Option<LogLevel>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented tailrace.toml to begin with
    ///
    /// It holds every key with its default. The file is named by --config; one that exists is not touched. With --source it
    /// holds the tables of that server; the password comes from an environment variable and is not written.
    #[command(
        after_help = "Examples:\n  tailrace init --config shop.toml\n  MYSQL_PASSWORD=… tailrace init --source mysql://tailrace@db.example:3306"
    )]
    Init(InitArguments),

    /// Tell what the configuration says
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Find everything that keeps this configuration from working, with what mends it
    ///
    /// Connects to source, log and target, and reports all problems at once: settings of the servers, privileges, tables that
    /// are missing or can't hold the source's values. It changes nothing. Ends with 0 only if Tailrace would start. Needs
    /// [source], [target] and [[table]], and [log] where there is one.
    #[command(
        after_help = "Examples:\n  tailrace check\n  tailrace check --format json | jq '.problems[] | {place, code, mend}'\n  tailrace check --print-grants"
    )]
    Check(CheckArguments),

    /// Print the target's CREATE TABLE for each source table, or run them
    ///
    /// Types are chosen so that no value of the source is lost. Nothing is changed without --apply, and a table that exists is
    /// never touched. Needs [source], [target] and [[table]].
    #[command(
        after_help = "Examples:\n  tailrace schema > tables.sql\n  tailrace schema --apply\n  tailrace schema --format json"
    )]
    Schema(SchemaArguments),

    /// Follow the source's changes and write them to the log, until asked to stop
    ///
    /// Needs [source], [log] and [[table]]. A second capture with the same prefix takes over; the first ends with exit code 6.
    /// Serves /healthz, /readyz, /status and /metrics on http.capture.
    #[command(after_help = "Example:\n  tailrace capture --config /etc/tailrace/shop.toml --log-format json")]
    Capture,

    /// Write the log's changes to the target, until asked to stop
    ///
    /// Needs [source] (without its password), [log], [target] and [[table]]. Rows and progress are stored in one transaction of
    /// the target. Serves /healthz, /readyz, /status and /metrics on http.apply.
    #[command(after_help = "Example:\n  tailrace apply --config /etc/tailrace/shop.toml --log-format json")]
    Apply(ApplyArguments),

    /// Capture and apply in one process; without [log], straight from source to target
    ///
    /// When one of them ends, the other is stopped too. Without [log] the target keeps the checkpoint, in the transaction of the
    /// rows, and a second run with the same source.name takes over; the first ends with exit code 6. Serves /healthz, /readyz, /status and /metrics on http.capture.
    #[command(after_help = "Example:\n  tailrace run --config /etc/tailrace/shop.toml")]
    Run(ApplyArguments),

    /// Tell how it is going: position, lag, partitions, tables, what to do
    ///
    /// Asks the running processes (at http.capture and http.apply) and source, log and target themselves, so it works when
    /// everything is down too: what does not answer says so, and the rest is shown. It changes nothing. Ends with 0 if
    /// everything runs and answers, 7 if it is degraded, 8 if something is down. Needs [source], [target] and [[table]], and [log]
    /// where there is one.
    #[command(
        after_help = "Examples:\n  tailrace status --watch\n  tailrace status --format json | jq '.lag, .hints'\n  tailrace status > /dev/null || page somebody"
    )]
    Status(StatusArguments),

    /// Copy the rows that tables had before: how far it is, and orders to the process that does it
    ///
    /// `tailrace capture` and `tailrace run` copy tables with backfill = "auto" by themselves. Orders go to them over http.capture with the
    /// token of [http]; they are stored before they are answered. `status` and `chunks` ask the ledger in the log (without [log] in the
    /// target), so they work while nothing runs.
    #[command(
        subcommand,
        after_help = "Examples:\n  tailrace backfill status\n  tailrace backfill pause --table shop.orders\n  tailrace backfill throttle --max-rate 5000"
    )]
    Backfill(BackfillCommand),

    /// Let a table that waits at a statement go on
    ///
    /// A table waits where a statement changed it in the source and the target was not changed in the same way, because on_ddl is
    /// "pause" or because it can't be. `tailrace status` tells the statement and the reason. Change the target by hand as far as it
    /// should follow, then resume: the table goes on with the target as it is. Needs [source] (without its password) and [target].
    #[command(
        after_help = "Examples:\n  tailrace resume --table shop.orders\n  tailrace resume --table shop.orders --format json | jq '.statements[].statement'"
    )]
    Resume(ResumeArguments),

    /// Show changes as they pass, decoded
    ///
    /// Reads the log as apply does, or without [log] the source; nothing is stored, and nobody is disturbed. Values are shown
    /// only with --values: they are your customers' data. Needs [log] and [[table]], or without [log] the source.
    #[command(
        after_help = "Examples:\n  tailrace tail --table shop.orders\n  tailrace tail --table shop.orders --values --from earliest --limit 10\n  tailrace tail --table shop.orders --partition 3 --from 4711 --format json"
    )]
    Tail(TailArguments),

    /// Begin where a connector of Debezium stopped
    ///
    /// Reads the connector's offset as Kafka Connect gives it: what GET /connectors/NAME/offsets answers, or records of Connect's topic of
    /// offsets with their keys. Tells where capture will begin, and stores that; refuses where there is a checkpoint already, and
    /// an offset of a snapshot that has not ended. Needs [source], [log] (without one [target]) and [[table]].
    #[command(
        after_help = "Examples:\n  curl -s http://connect:8083/connectors/shop/offsets | tailrace import-offset --dry-run -\n  tailrace import-offset offsets.json --server shop\n\ndocs/debezium.md tells how to take over from Debezium."
    )]
    ImportOffset(ImportArguments),

    /// Forget where capture, or apply, stands, so that the next one begins anew
    ///
    /// Tells what it will forget and what follows from it, and does it only once the stream's name was typed. Refuses while the
    /// process that works on it is seen running. Rows of the target and records of the log stay as they are. Needs [log] for
    /// capture, [log] and [target] for apply, everything for all.
    #[command(
        after_help = "Examples:\n  tailrace reset capture\n  tailrace reset all --confirm shop\n\nThe README tells how to start anew."
    )]
    Reset(ResetArguments),

    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print everything in force: each key with its value, defaults included, secrets as ***
    ///
    /// Connects to nothing and reads no secret.
    #[command(
        after_help = "Examples:\n  tailrace config show\n  tailrace config show --format json | jq .log.retention"
    )]
    Show(ShowArguments),
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// Form of the output: as in the file, or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct ResetArguments {
    /// What to forget
    #[arg(value_enum)]
    what: ResetWhat,

    /// The stream's name (the log's prefix, or source.name), for scripts; else it is asked for
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ResetWhat {
    /// Capture's checkpoint in the log: the next capture begins at source.start
    Capture,
    /// Apply's offsets in the target: the next apply applies the log from its beginning
    Apply,
    /// Both; without [log] the checkpoint in the target
    All,
}

#[derive(Debug, Args)]
struct ImportArguments {
    /// A file with the offset; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The connector's topic.prefix, where there are offsets of several
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Only tell where capture would begin
    #[arg(long)]
    dry_run: bool,

    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    /// The source's table, as in shop.orders
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: String,

    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct TailArguments {
    /// The source's table, as in shop.orders
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: String,

    /// Show values too, as exact SQL literals
    #[arg(long)]
    values: bool,

    /// Where to begin: now, earliest, or an offset together with --partition
    #[arg(long, value_name = "PLACE", default_value = "now")]
    from: String,

    /// Only this partition of the log
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,

    /// End after so many changes
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,

    /// Form of the output; JSON is one object a line
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// Tell again every two seconds: a page on a terminal, else a line
    #[arg(long)]
    watch: bool,

    /// Form of the output; JSON is one document, with --watch one a line
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct SchemaArguments {
    /// Run the statements of tables that are missing in the target
    #[arg(long)]
    apply: bool,

    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Accept target tables with rows that Tailrace did not write, as `apply` would
    #[arg(long)]
    allow_existing: bool,

    /// Print instead the least that the accounts need, as statements for administrators; connects to nothing
    #[arg(long, conflicts_with = "allow_existing")]
    print_grants: bool,

    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(Debug, Args)]
struct ApplyArguments {
    /// Accept target tables with rows that Tailrace did not write: rows with equal keys will be replaced
    #[arg(long)]
    allow_existing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For a person; of `schema`, SQL with comments
    Text,
    /// JSON
    Json,
}

/// A command that runs until it is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    Capture,
    Apply { allow_existing: bool },
    Run { allow_existing: bool },
}

impl Daemon {
    fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Apply { .. } => "apply",
            Self::Run { .. } => "run",
        }
    }

    fn stores(self) -> Stores {
        match self {
            Self::Capture => Stores { source: true, log: true, target: false },
            Self::Apply { .. } => Stores { source: false, log: true, target: true },
            Self::Run { .. } => Stores { source: true, log: true, target: true },
        }
    }

    fn allows_existing(self) -> bool {
        match self {
            Self::Capture => false,
            Self::Apply { allow_existing } | Self::Run { allow_existing } => allow_existing,
        }
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let code = match Arguments::try_parse() {
        Ok(arguments) => execute(&arguments),
        Err(error) => {
            // Help and version come here too. If they can't be printed, nobody reads.
            let _ = error.print();
            if error.use_stderr() { ExitCode::Usage } else { ExitCode::Done }
        }
    };
    std::process::ExitCode::from(code.code())
}

fn execute(arguments: &Arguments) -> ExitCode {
    let variable = std::env::var_os(logging::VARIABLE).map(|text| text.to_string_lossy().into_owned());
    let levels = match logging::levels(arguments.log_level, variable.as_deref()) {
        Ok(levels) => levels,
        Err(problem) => {
            output::complain(&problem);
            return ExitCode::Usage;
        }
    };
    // Who wants JSON, or less than what changes, wants no bars either.
    let has_bars = arguments.log_format == LogFormat::Human && logging::tells_changes(&levels);
    let screen = if has_bars { Screen::stderr() } else { Screen::nobody() };
    logging::start(arguments.log_format, levels, &screen);
    match &arguments.command {
        Command::Init(options) => init::run(arguments, options),
        Command::Config(ConfigCommand::Show(options)) => config_show(arguments, options),
        Command::Check(options) if options.print_grants => print_grants(arguments, options),
        Command::Check(options) => check(arguments, options),
        Command::Schema(options) => schema(arguments, options),
        Command::Capture => daemon(arguments, Daemon::Capture, &screen),
        Command::Apply(options) => daemon(arguments, Daemon::Apply { allow_existing: options.allow_existing }, &screen),
        Command::Run(options) => daemon(arguments, Daemon::Run { allow_existing: options.allow_existing }, &screen),
        Command::Status(options) => status(arguments, options),
        Command::Backfill(command) => backfill(arguments, command),
        Command::Resume(options) => resume(arguments, options),
        Command::Tail(options) => tail(arguments, options),
        Command::ImportOffset(options) => import_offset(arguments, options),
        Command::Reset(options) => reset(arguments, options),
        Command::Version => finish(print(&format!("tailrace {}\n", env!("CARGO_PKG_VERSION")))),
    }
}

fn check(arguments: &Arguments, options: &CheckArguments) -> ExitCode {
    let config = match Config::load(&arguments.config, Stores { source: true, log: true, target: true }) {
        Ok(config) => config,
        Err(error) => return refuse_config(arguments.log_format, &error),
    };
    let findings = match block_on(preflight::check(&config, options.allow_existing)) {
        Ok(findings) => findings,
        Err(error) => return finish(Err(error)),
    };
    match print(&findings::text(&findings, options.format)) {
        Ok(()) if findings.usable => ExitCode::Done,
        Ok(()) => ExitCode::Refused,
        Err(error) => finish(Err(error)),
    }
}

fn print_grants(arguments: &Arguments, options: &CheckArguments) -> ExitCode {
    match Config::load(&arguments.config, Stores { source: false, log: false, target: false }) {
        Ok(config) => finish(preflight::grants(&config).and_then(|lists| print(&grants::text(&lists, options.format)))),
        Err(error) => refuse_config(arguments.log_format, &error),
    }
}

fn config_show(arguments: &Arguments, options: &ShowArguments) -> ExitCode {
    match Config::load_to_show(&arguments.config) {
        Ok(config) => finish(print(&shown::text(&config.shown(), options.format))),
        Err(error) => refuse_config(arguments.log_format, &error),
    }
}

fn status(arguments: &Arguments, options: &StatusArguments) -> ExitCode {
    let config = match Config::load(&arguments.config, Stores { source: true, log: true, target: true }) {
        Ok(config) => config,
        Err(error) => return refuse_config(arguments.log_format, &error),
    };
    match block_on(status::run(&config, &arguments.config, options)) {
        Ok(code) => code,
        Err(error) => finish(Err(error)),
    }
}

fn backfill(arguments: &Arguments, command: &BackfillCommand) -> ExitCode {
    let load = |stores| Config::load(&arguments.config, stores);
    let stores = command.stores();
    // Which of the two keeps the ledger, and whose secrets are needed, the configuration itself says.
    let config = load(Stores { source: false, log: false, target: false }).and_then(|config| match config.log {
        None if stores.log => load(Stores { source: false, log: false, target: true }),
        Some(_) if stores.log => load(stores),
        Some(_) | None => Ok(config),
    });
    match config {
        Ok(config) => finish(block_on(backfill::run(&config, command))),
        Err(error) => refuse_config(arguments.log_format, &error),
    }
}

fn resume(arguments: &Arguments, options: &ResumeArguments) -> ExitCode {
    match Config::load(&arguments.config, Stores { source: false, log: false, target: true }) {
        Ok(config) => finish(block_on(resume::run(&config, options))),
        Err(error) => refuse_config(arguments.log_format, &error),
    }
}

fn import_offset(arguments: &Arguments, options: &ImportArguments) -> ExitCode {
    let load = |stores| Config::load(&arguments.config, stores);
    // Who keeps the checkpoint, and whose secrets are needed, the configuration itself says.
    let config = load(Stores { source: true, log: false, target: false })
        .and_then(|config| load(Stores { source: true, log: config.log.is_some(), target: config.log.is_none() }));
    match config {
        Ok(config) => finish(block_on(import_offset::run(&config, options))),
        Err(error) => refuse_config(arguments.log_format, &error),
    }
}

fn reset(arguments: &Arguments, options: &ResetArguments) -> ExitCode {
    let stores = match options.what {
        ResetWhat::Capture => Stores { source: false, log: true, target: false },
        ResetWhat::Apply => Stores { source: false, log: true, target: true },
        ResetWhat::All => Stores { source: true, log: true, target: true },
    };
    let config = match Config::load(&arguments.config, stores) {
        Ok(config) => config,
        Err(error) => return refuse_config(arguments.log_format, &error),
    };
    finish(block_on(reset::run(&config, options)))
}

fn tail(arguments: &Arguments, options: &TailArguments) -> ExitCode {
    let load = |stores| Config::load(&arguments.config, stores);
    // Which of the two is read, and whose secrets are needed, the configuration itself says.
    let config = load(Stores { source: false, log: false, target: false })
        .and_then(|config| load(Stores { source: config.log.is_none(), log: config.log.is_some(), target: false }));
    let config = match config {
        Ok(config) => config,
        Err(error) => return refuse_config(arguments.log_format, &error),
    };
    finish(block_on(tail::run(&config, options)))
}

fn schema(arguments: &Arguments, options: &SchemaArguments) -> ExitCode {
    let config = match Config::load(&arguments.config, Stores { source: true, log: false, target: true }) {
        Ok(config) => config,
        Err(error) => return refuse_config(arguments.log_format, &error),
    };
    let statements = block_on(run::schema(config, options.apply));
    finish(statements.and_then(|tables| print(&schema_text(&tables, options.format))))
}

fn daemon(arguments: &Arguments, daemon: Daemon, screen: &Screen) -> ExitCode {
    let config = match Config::load(&arguments.config, daemon.stores()) {
        Ok(config) => config,
        Err(error) => return refuse_config(arguments.log_format, &error),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), command = daemon.name(), config = %arguments.config.display(), "starting");
    let context = RunContext {
        shutdown: Shutdown::new(),
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(Health::new()),
        operator: Operator::new(config.throttle.rows_per_second_max),
        allow_existing: daemon.allows_existing(),
    };
    let ended = block_on(serve(daemon, config, context, screen));
    screen.show(Vec::new());
    finish(ended)
}

/// Runs a daemon and tells about it over HTTP.
async fn serve(daemon: Daemon, config: Config, context: RunContext, screen: &Screen) -> Result<()> {
    #[cfg(feature = "faults")]
    crate::faults::install()?;
    signals::listen(context.shutdown.clone(), signals::GRACE)
        .map_err(|error| Error::refused("can't listen for signals").caused_by(error))?;
    let (address, key): (SocketAddr, _) = match daemon {
        Daemon::Capture | Daemon::Run { .. } => (config.http.capture, "http.capture"),
        Daemon::Apply { .. } => (config.http.apply, "http.apply"),
    };
    let control = ControlServer::bind(address, key).await?;
    tracing::info!(address = %control.address(), "serving /healthz, /readyz, /status and /metrics");
    let about = Arc::new(About::new(&config, daemon.name(), control.address().to_string()));
    let watch = tasks::spawn("watch", watch(daemon, &config, &context, &about)?.run(context.shutdown.clone()));
    let bars = tasks::spawn("bars", bars::tell(Arc::clone(&context.metrics), screen.clone()));
    let operator = match daemon {
        Daemon::Capture | Daemon::Run { .. } => Some(context.operator.clone()),
        Daemon::Apply { .. } => None,
    };
    // Whoever takes no orders needs no token.
    let token = if operator.is_some() { config.token()? } else { None };
    let orders = Orders { operator, token };
    let told = Told { health: Arc::clone(&context.health), metrics: Arc::clone(&context.metrics), about, orders };
    let control = tasks::spawn("control", async move {
        if let Err(error) = control.serve(told).await {
            tracing::error!(%error, "no health and no metrics any more");
        }
    });
    let ended = match daemon {
        Daemon::Capture => Box::pin(run::capture(config, context)).await,
        Daemon::Apply { .. } => Box::pin(run::apply(config, context)).await,
        Daemon::Run { .. } => Box::pin(run::run(config, context)).await,
    };
    control.abort();
    watch.abort();
    bars.abort();
    ended
}

/// Looks from outside at what the daemon works on.
fn watch(daemon: Daemon, config: &Config, context: &RunContext, about: &About) -> Result<Watch> {
    let stores = daemon.stores();
    let source = stores.source.then(|| registry::source(config.source.settings.clone())).transpose()?;
    let has_target = stores.target && config.log.is_some();
    let log = if has_target { Some(registry::log(config.log()?)?) } else { None };
    Ok(Watch { source, log, metrics: Arc::clone(&context.metrics), looks: Arc::clone(&about.looks) })
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    /// What runs on a blocking thread (looking up a name, say) may take so long after the end.
    const LINGER: Duration = Duration::from_secs(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::refused("can't start the runtime").caused_by(error))?;
    let ended = runtime.block_on(future);
    runtime.shutdown_timeout(LINGER);
    ended
}

/// Tells how the command ended, once, and gives its code.
fn finish(ended: Result<()>) -> ExitCode {
    let code = ended.as_ref().err().map_or(ExitCode::Done, |error| ExitCode::from(error.kind()));
    match ended {
        Err(error) if code != ExitCode::Done => {
            tracing::error!(kind = error.kind().name(), exit_code = code.code(), "{error}");
        }
        Ok(()) | Err(_) => tracing::debug!(exit_code = code.code(), "done"),
    }
    code
}

fn refuse_config(format: LogFormat, error: &ConfigError) -> ExitCode {
    match (format, error) {
        (LogFormat::Json, ConfigError::Wrong { path, problems }) => {
            for problem in problems {
                tracing::error!(
                    file = %path.display(), line = problem.line, column = problem.column, key = problem.key,
                    remedy = problem.remedy, "{}", problem.message,
                );
            }
        }
        (LogFormat::Json, ConfigError::Unreadable { .. }) => tracing::error!("{error}"),
        (LogFormat::Human, _) => output::complain(&error.to_string()),
    }
    ExitCode::Usage
}

/// Names and errors are somebody else's: none may move the cursor.
fn shown_name(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn print(text: &str) -> Result<()> {
    output::print(text).map_err(|error| Error::refused("can't write to standard output").caused_by(error))
}

fn schema_text(tables: &[TableStatements], format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => {
            serde_json::to_string_pretty(tables).expect("invariant: the tables have only texts") + "\n"
        }
        OutputFormat::Text => tables.iter().map(table_text).collect::<Vec<_>>().join("\n"),
    }
}

fn table_text(table: &TableStatements) -> String {
    // A name with a line break must not end the comment.
    let shown = |name: &str| name.replace(char::is_control, "?");
    let state = match table.created {
        None => "",
        Some(true) => ": made",
        Some(false) => ": exists already, not touched",
    };
    let mut text = format!("-- {} -> {}{state}\n", shown(&table.source), shown(&table.target));
    for line in policy::lines(&table.notes) {
        text.push_str(&format!("-- {}\n", shown(&line)));
    }
    for statement in &table.statements {
        text.push_str(statement.trim_end().trim_end_matches(';'));
        text.push_str(";\n");
    }
    text
}

fn long_epilog() -> String {
    format!(
        "Signals:\n  SIGTERM and SIGINT finish the batch, save and end within 10 s; a second one ends at once.\n\n\
         Examples:\n  tailrace schema --apply\n  tailrace capture &\n  tailrace apply\n  curl http://127.0.0.1:8700/healthz\n\n\
         Files:\n  tailrace.toml: docs/configuration.md describes every key.\n\n{}",
        exit::table()
    )
}
