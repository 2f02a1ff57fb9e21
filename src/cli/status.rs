//! `tailrace status`: asks, prints, again and again if told to.

use std::{fmt::Write as _, io::IsTerminal as _, path::Path, time::Duration};

use tailrace_contract::{Error, Result};

use super::{ExitCode, OutputFormat, StatusArguments, output, shown_name};
use crate::{
    config::{Config, moment},
    status::{
        BackfillStatus, CopyStatus, MetStatus, Overall, PartitionStatus, PolicyStatus, ProcessStatus, Status, Survey,
        SystemStatus,
    },
    telemetry::seconds_now,
};

/// Between two refreshes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Clears the screen and goes to its beginning.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// A longer position is cut for people; JSON has all of it.
const POSITION_CHARS_MAX: usize = 160;

/// Prints the status once, or until nobody reads.
pub(super) async fn run(config: &Config, file: &Path, options: &StatusArguments) -> Result<ExitCode> {
    let survey = Survey::new(config, file)?;
    loop {
        let status = survey.status().await;
        let printed = output::print_to_reader(&text(&status, options));
        let is_read = printed.map_err(|error| Error::refused("can't write to standard output").caused_by(error))?;
        if !options.watch || !is_read {
            return Ok(exit_code(status.state));
        }
        tokio::time::sleep(REFRESH_INTERVAL).await;
    }
}

fn exit_code(state: Overall) -> ExitCode {
    match state {
        Overall::Running => ExitCode::Done,
        Overall::Degraded => ExitCode::Degraded,
        Overall::Down => ExitCode::Down,
    }
}

fn text(status: &Status, options: &StatusArguments) -> String {
    match (options.format, options.watch) {
        (OutputFormat::Json, false) => {
            serde_json::to_string_pretty(status).expect("invariant: the document has only texts and numbers") + "\n"
        }
        (OutputFormat::Json, true) => {
            serde_json::to_string(status).expect("invariant: the document has only texts and numbers") + "\n"
        }
        (OutputFormat::Text, true) if std::io::stdout().is_terminal() => format!("{CLEAR}{}", page(status)),
        (OutputFormat::Text, true) => line(status),
        (OutputFormat::Text, false) => page(status),
    }
}

/// One line a refresh, for a file.
fn line(status: &Status) -> String {
    let states: Vec<String> =
        processes(status).map(|(name, process)| format!("{name} {}", process.state.name())).collect();
    let (at, state) = (seconds_text(status.at), status.state.name());
    let mut line = format!("{at} {state}: {}, behind the source {}", states.join(", "), source_lag(status));
    if status.embedded.is_none() {
        line.push_str(&format!(", behind the log {}", apply_lag(status)));
    }
    line + "\n"
}

/// The whole, for a person.
fn page(status: &Status) -> String {
    let mut page = String::new();
    let mut row = |name: &str, value: &str| {
        writeln!(page, "{name:<10} {}", shown_name(value)).expect("invariant: writing to a String can't fail");
    };
    row("stream", &format!("{}: {}", status.stream, status.state.name()));
    for (name, process) in processes(status) {
        row(name, &process_text(process));
        process.met.iter().for_each(|met| row("", &met_text(met)));
    }
    for (name, system) in [("source", &status.source), ("log", &status.log), ("target", &status.target)] {
        system.iter().for_each(|system| row(name, &system_text(system)));
    }
    match &status.position {
        Some(position) => {
            row("position", &cut(&position.committed));
            let split = if position.is_split { ", and a part of the next" } else { "" };
            row("", &format!("{} transactions of epoch {}{split}", position.transactions, position.epoch));
            position.executed.iter().for_each(|executed| row("executed", &cut(executed)));
        }
        None => row("position", "not known"),
    }
    row("lag", &format!("behind the source: {}", source_lag(status)));
    if status.embedded.is_none() {
        row("", &format!("apply behind the log: {}", apply_lag(status)));
    }
    page.push_str(&tables(status));
    page.push_str(&status.backfill.as_ref().map(backfill).unwrap_or_default());
    page.push_str(&partitions(&status.partitions));
    for (_, process) in processes(status) {
        if let Some(error) = &process.last_error {
            let (at, stage, text) = (seconds_text(error.at), &error.stage, shown_name(&error.text));
            page.push_str(&format!("\nlast error of {stage} ({}), {at}:\n  {text}\n", error.kind));
        }
    }
    for hint in &status.hints {
        page.push_str(&format!("\nhint: {}\n", shown_name(hint)));
    }
    page
}

fn processes(status: &Status) -> impl Iterator<Item = (&'static str, &ProcessStatus)> {
    let all = [("embedded", &status.embedded), ("capture", &status.capture), ("apply", &status.apply)];
    all.into_iter().filter_map(|(name, process)| Some((name, process.as_ref()?)))
}

fn cut(position: &str) -> String {
    match position.char_indices().nth(POSITION_CHARS_MAX) {
        Some((at, _)) => format!("{}… ({} characters)", &position[..at], position.chars().count()),
        None => position.to_owned(),
    }
}

fn process_text(process: &ProcessStatus) -> String {
    let mut text = process.state.name().to_owned();
    if let Some(command) = &process.command {
        text.push_str(&format!(" as `tailrace {command}` at {}", process.address));
    }
    if let Some(started_at) = process.started_at {
        text.push_str(&format!(" for {}", duration_text(seconds_now() - started_at)));
    }
    if let Some(rate) = &process.throughput {
        text.push_str(&format!(
            ", {:.0} records/s, {}/s, {:.1} commits/s",
            rate.records_per_second,
            bytes_text(rate.bytes_per_second),
            rate.commits_per_second
        ));
    }
    match &process.reason {
        Some(reason) => format!("{text}: {reason}"),
        None => text,
    }
}

fn met_text(met: &MetStatus) -> String {
    let all = [
        (met.compressed_transactions, "compressed transactions"),
        (met.two_phase_transactions, "transactions in two phases"),
        (met.taken_back_records, "records taken back"),
        (met.ignored_events, "unknown events ignored"),
        (met.foreign_statements, "statements about other tables"),
    ];
    let told: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("met {}", told.join(", "))
}

fn system_text(system: &SystemStatus) -> String {
    let state = if system.answers { "answers" } else { "AWAY" };
    match (&system.server, &system.error) {
        (Some(server), None) => format!("{state}, {server}"),
        (Some(server), Some(error)) => format!("{state}, {server}: {error}"),
        (None, Some(error)) => format!("{state}: {error}"),
        (None, None) => state.to_owned(),
    }
}

fn source_lag(status: &Status) -> String {
    let lag = &status.lag;
    let transactions = lag.source_transactions.map(|count| format!("{count} transactions"));
    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    let bytes = lag.source_bytes.map(|bytes| bytes_text(bytes as f64));
    joined([transactions, bytes, lag.source_seconds.map(duration_text)])
}

fn apply_lag(status: &Status) -> String {
    let offsets = status.lag.apply_offsets.map(|offsets| format!("{offsets} offsets"));
    joined([offsets, status.lag.apply_seconds.map(duration_text)])
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    let known: Vec<String> = parts.into_iter().flatten().collect();
    if known.is_empty() { "not known".to_owned() } else { known.join(", ") }
}

fn tables(status: &Status) -> String {
    if status.tables.is_empty() {
        return String::new();
    }
    let width = status.tables.iter().map(|table| table.source.chars().count()).max().unwrap_or(0);
    let mut text = "\ntables\n".to_owned();
    for table in &status.tables {
        let (source, target) = (shown_name(&table.source), shown_name(&table.target));
        text.push_str(&format!("  {source:<width$}  -> {target}  {}\n", table.state.name()));
        for PolicyStatus { column, policy, uses } in &table.policies {
            text.push_str(&format!("    {}: the policy {policy} was used for {uses} values\n", shown_name(column)));
        }
    }
    text
}

fn backfill(status: &BackfillStatus) -> String {
    let mut text = "\nhistory of tables\n".to_owned();
    let width = status.tables.iter().map(|copy| copy.table.chars().count()).max().unwrap_or(0);
    for copy in &status.tables {
        let CopyStatus { rows_done, rows_estimated, rows_dropped, chunks, windows_open, readers, retries, .. } = copy;
        let (table, state) = (shown_name(&copy.table), &copy.state);
        text.push_str(&format!(
            "  {table:<width$}  {state:<9}  {rows_done} of {rows_estimated} rows in {chunks} chunks"
        ));
        if *rows_dropped > 0 {
            text.push_str(&format!(", {rows_dropped} came with a change"));
        }
        if state == "copying" {
            let rate = copy.rows_per_second;
            text.push_str(&format!(", {rate:.0} rows/s, {readers} readers, {windows_open} windows open"));
        }
        copy.eta_seconds.iter().for_each(|eta| text.push_str(&format!(", {} left", duration_text(*eta))));
        if *retries > 0 {
            text.push_str(&format!(", {retries} retries"));
        }
        copy.reason.iter().for_each(|reason| text.push_str(&format!(": {}", shown_name(reason))));
        text.push('\n');
    }
    let rate = status.rows_per_second_max;
    rate.iter().for_each(|rate| text.push_str(&format!("  at most {rate} rows a second are copied\n")));
    status.held.iter().for_each(|why| text.push_str(&format!("  HELD UP: {}\n", shown_name(why))));
    text
}

fn partitions(partitions: &[PartitionStatus]) -> String {
    if partitions.is_empty() {
        return String::new();
    }
    let name = |partition: &PartitionStatus| shown_name(&format!("{}[{}]", partition.table, partition.partition));
    let width = partitions.iter().map(|partition| name(partition).chars().count()).max().unwrap_or(0);
    let mut text = format!("\n{:<w$} {:>14} {:>14} {:>10}\n", "partition", "next", "end", "behind", w = width + 2);
    for partition in partitions {
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        text.push_str(&format!(
            "  {:<width$} {:>14} {:>14} {:>10}\n",
            name(partition),
            number(partition.next_offset.map(|offset| offset.to_string())),
            number(partition.end.map(|offset| offset.to_string())),
            number(partition.behind.map(|behind| behind.to_string())),
        ));
    }
    text
}

fn bytes_text(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number:.0} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

pub(super) fn duration_text(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast stops at the limits")]
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        86_400.. => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Seconds since 1970 as a time in UTC.
fn seconds_text(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a cast stops at the limits")]
    let micros = (seconds * 1e6) as i64;
    moment::text(micros / 1_000_000 * 1_000_000)
}
