//! The log on standard error: one line per happening, for a person or as JSON.
//!
//! The one thing to know: what drivers and other libraries say is shown from `warn` on only, whatever is asked for, since at
//! deeper levels their lines may hold row values. Our own lines never do, at any level.

use std::{io::IsTerminal as _, panic::PanicHookInfo};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::bars::Screen;

/// The environment variable that sets levels by module.
pub(super) const VARIABLE: &str = "TAILRACE_LOG";

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines to read; coloured on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// Only what ends a table or the process.
    Error,
    /// Also what passes by itself, such as a lost connection.
    Warn,
    /// Also what changes: started, connected, stopped.
    Info,
    /// Also each batch.
    Debug,
    /// Everything; never a row value.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Starts the log above what the screen shows, and lets panics go through it.
pub(super) fn start(format: LogFormat, levels: Targets, screen: &Screen) {
    let registry = tracing_subscriber::registry().with(levels);
    let lines = tracing_subscriber::fmt::layer().with_writer(screen.log()).with_target(false);
    match format {
        LogFormat::Human => {
            let is_coloured =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|off| off.is_empty());
            registry.with(lines.with_ansi(is_coloured)).init();
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// The levels that a command line or the environment asks for; the command line wins.
pub(super) fn levels(flag: Option<LogLevel>, variable: Option<&str>) -> Result<Targets, String> {
    let asked = match (flag, variable) {
        (Some(level), _) => Targets::new().with_default(LevelFilter::from(level)),
        (None, Some(text)) if !text.trim().is_empty() => text.parse().map_err(|_| {
            format!(
                "{VARIABLE} is not understood; write a level, or levels by module as in info,tailrace::capture=debug"
            )
        })?,
        (None, _) => Targets::new().with_default(LevelFilter::INFO),
    };
    let default = asked.default_level().unwrap_or(LevelFilter::INFO);
    let mut levels = Targets::new().with_default(default.min(LevelFilter::WARN)).with_target(OURS, default);
    for (target, level) in &asked {
        let level = if is_ours(target) { level } else { level.min(LevelFilter::WARN) };
        levels = levels.with_target(target, level);
    }
    Ok(levels)
}

/// Whether changes are told, not only troubles.
pub(super) fn tells_changes(levels: &Targets) -> bool {
    levels.would_enable(OURS, &tracing::Level::INFO)
}

/// What the names of all our crates and modules begin with.
const OURS: &str = "tailrace";

fn is_ours(target: &str) -> bool {
    let crate_name = target.split("::").next().unwrap_or_default();
    crate_name == OURS || crate_name.starts_with("tailrace_")
}

/// Tells where, and what only if the text is fixed in the program: a formatted one may hold a value.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown: it may hold a value)");
    tracing::error!(
        place,
        thread = thread.name().unwrap_or_default(),
        message,
        "this is a bug in Tailrace: it panicked"
    );
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_of_libraries_end_at_warn() {
        let check = |flag: Option<LogLevel>, variable: Option<&str>, target: &str, most: Option<Level>| {
            let levels = levels(flag, variable).unwrap();
            let shown = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR]
                .into_iter()
                .find(|level| levels.would_enable(target, level));
            assert_eq!(shown, most, "{flag:?} {variable:?} {target}");
        };
        check(None, None, "tailrace::capture", Some(Level::INFO));
        check(None, None, "tailrace_mysql::source", Some(Level::INFO));
        check(None, None, "sqlx::query", Some(Level::WARN));
        check(None, Some(""), "tailrace", Some(Level::INFO));
        check(Some(LogLevel::Trace), None, "tailrace_mysql", Some(Level::TRACE));
        check(Some(LogLevel::Trace), None, "sqlx::query", Some(Level::WARN));
        check(Some(LogLevel::Error), None, "tailrace", Some(Level::ERROR));
        check(Some(LogLevel::Error), None, "sqlx::query", Some(Level::ERROR));
        check(Some(LogLevel::Warn), Some("trace"), "tailrace", Some(Level::WARN));
        check(None, Some("trace"), "tailrace::apply", Some(Level::TRACE));
        check(None, Some("trace"), "sqlx::query", Some(Level::WARN));
        check(None, Some("trace,sqlx=trace"), "sqlx::query", Some(Level::WARN));
        check(None, Some("sqlx=error"), "sqlx::query", Some(Level::ERROR));
        check(None, Some("sqlx=error"), "tailrace", Some(Level::INFO));
        check(None, Some("tailrace::capture=debug"), "tailrace::capture::pump", Some(Level::DEBUG));
        check(None, Some("tailrace::capture=debug"), "tailrace::apply", Some(Level::INFO));
        check(None, Some("tailrace=error,tailrace_kafka=debug"), "tailrace_kafka", Some(Level::DEBUG));
        check(None, Some("off"), "tailrace", None);
        check(None, Some("tail=trace,tailrack=trace"), "tailrack", Some(Level::WARN));
        assert!(levels(None, Some("loud")).is_ok_and(|levels| !levels.would_enable("sqlx", &Level::INFO)));
        assert!(levels(None, Some("tailrace=loud")).is_err());
    }
}
