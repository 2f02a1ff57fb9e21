//! The command line, and what a process does about signals and panics: those tests start themselves again as a process.

use std::{
    io::{BufRead, BufReader, Read as _},
    process::{Child, Command as Process, Stdio},
};

use clap::CommandFactory as _;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::{config::TEMPLATE, mapping::policy::ColumnNote};

#[test]
fn arguments_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn options_stand_before_or_behind_the_command() {
    let check = |words: &str, expect: Option<&str>| {
        let parsed = Arguments::try_parse_from(words.split(' '));
        let shown = parsed.ok().map(|parsed| {
            let Arguments { config, log_format, log_level, command } = parsed;
            format!("{} {log_format:?} {log_level:?} {command:?}", config.display())
        });
        assert_eq!(shown.as_deref(), expect, "{words}");
    };
    check("tailrace capture", Some("tailrace.toml Human None Capture"));
    check("tailrace capture --config a.toml", Some("a.toml Human None Capture"));
    check("tailrace -c a.toml --log-format json capture", Some("a.toml Json None Capture"));
    check(
        "tailrace apply --allow-existing --log-level trace",
        Some("tailrace.toml Human Some(Trace) Apply(ApplyArguments { allow_existing: true })"),
    );
    check("tailrace run", Some("tailrace.toml Human None Run(ApplyArguments { allow_existing: false })"));
    check(
        "tailrace schema --apply --format json",
        Some("tailrace.toml Human None Schema(SchemaArguments { apply: true, format: Json })"),
    );
    let init = "Init(InitArguments { source: None, password_env: \"MYSQL_PASSWORD\", tls: None, ca: None })";
    check("tailrace init", Some(&format!("tailrace.toml Human None {init}")));
    check("tailrace init --tls disabled", None);
    check("tailrace config show", Some("tailrace.toml Human None Config(Show(ShowArguments { format: Text }))"));
    check(
        "tailrace check --format json",
        Some(
            "tailrace.toml Human None Check(CheckArguments { allow_existing: false, print_grants: false, format: Json })",
        ),
    );
    check(
        "tailrace status --watch",
        Some("tailrace.toml Human None Status(StatusArguments { watch: true, format: Text })"),
    );
    check(
        "tailrace tail --table shop.orders --partition 3 --from 17",
        Some(
            "tailrace.toml Human None Tail(TailArguments { table: \"shop.orders\", values: false, from: \"17\", \
             partition: Some(3), limit: None, format: Text })",
        ),
    );
    check(
        "tailrace reset all --confirm shop",
        Some("tailrace.toml Human None Reset(ResetArguments { what: All, confirm: Some(\"shop\") })"),
    );
    check(
        "tailrace import-offset - --server shop --dry-run",
        Some(
            "tailrace.toml Human None ImportOffset(ImportArguments { file: \"-\", server: Some(\"shop\"), dry_run: true, \
             format: Text })",
        ),
    );
    check(
        "tailrace resume --table shop.orders",
        Some("tailrace.toml Human None Resume(ResumeArguments { table: \"shop.orders\", format: Text })"),
    );
    check("tailrace resume", None);
    check("tailrace reset", None);
    check("tailrace import-offset", None);
    check("tailrace tail", None);
    check("tailrace version", Some("tailrace.toml Human None Version"));
    check("tailrace capture --allow-existing", None);
    check("tailrace schema --log-format xml", None);
    check("tailrace captur", None);
    check("tailrace", None);
}

#[test]
fn init_touches_no_file_that_is_there() {
    let path = std::env::temp_dir().join(format!("tailrace-init-{}.toml", std::process::id()));
    init::write(&path, TEMPLATE).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), TEMPLATE);
    std::fs::write(&path, "mine").unwrap();
    let error = init::write(&path, TEMPLATE).unwrap_err();
    assert!(error.to_string().contains("tailrace-init") && error.advice().is_some(), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn help_ends_with_the_exit_codes() {
    let help = Arguments::command().render_long_help().to_string();
    for code in ExitCode::ALL {
        assert!(help.contains(&format!("  {:>3}  {}\n", code.code(), code.meaning())), "{code:?} is not in:\n{help}");
    }
}

#[test]
fn schema_is_sql() {
    let table = |created| TableStatements {
        source: "shop.a\nDROP TABLE x;".into(),
        target: "public.orders".into(),
        statements: vec!["CREATE TABLE a (id int)".into(), "CREATE INDEX i ON a (id);\n".into()],
        notes: vec![ColumnNote {
            column: "paid\n".into(),
            values: "zero dates",
            policy: "reject",
            setting: Some("columns.paid.on_unholdable = \"null\"".into()),
            setting_of_any: None,
        }],
        created,
    };
    let note = "-- paid?: zero dates stop the table; columns.paid.on_unholdable = \"null\"\n";
    let statements = "CREATE TABLE a (id int);\nCREATE INDEX i ON a (id);\n";
    for (created, state) in [(None, ""), (Some(true), ": made"), (Some(false), ": exists already, not touched")] {
        let text = schema_text(&[table(created)], OutputFormat::Text);
        assert_eq!(text, format!("-- shop.a?DROP TABLE x; -> public.orders{state}\n{note}{statements}"));
    }
    let json = schema_text(&[table(None)], OutputFormat::Json);
    assert!(json.starts_with("[\n") && json.ends_with("]\n"), "{json}");
}

/// Tells a test that it is the process that the test of the same name looks at.
const CASE: &str = "TAILRACE_TEST_CASE";

/// Starts the named test again as a process of its own.
fn again(test: &str, case: &str) -> Child {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args([&format!("cli::tests::{test}"), "--exact", "--nocapture"]).env(CASE, case);
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads the process's log up to a line with `word`.
fn wait_for(word: &str, log: &mut impl BufRead) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the process ended before it said {word:?}");
    }
}

/// The exit code of a process that must end soon.
fn code_of(mut child: Child) -> Option<i32> {
    let pid = Pid::from_child(&child);
    let (ended, is_ended) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || ended.send(child.wait().unwrap().code()));
    let code = is_ended.recv_timeout(Duration::from_secs(20));
    if code.is_err() {
        kill_process(pid, Signal::KILL).unwrap();
    }
    waiter.join().unwrap().unwrap();
    code.expect("the process does not end")
}

/// Listens for signals and then does nothing, not even stop.
fn be_stuck(grace: Duration) {
    logging::start(LogFormat::Human, logging::levels(None, None).unwrap(), &Screen::nobody());
    signals::listen(Shutdown::new(), grace).unwrap();
    tracing::info!("listening");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_second_signal_ends_a_stuck_process() {
    if std::env::var_os(CASE).is_some() {
        be_stuck(Duration::from_secs(3600));
    }
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut child = again("a_second_signal_ends_a_stuck_process", "stuck");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        wait_for("listening", &mut log);
        kill_process(Pid::from_child(&child), first).unwrap();
        wait_for("asked to stop", &mut log);
        kill_process(Pid::from_child(&child), second).unwrap();
        wait_for("a second signal", &mut log);
        assert_eq!(code_of(child), Some(130));
    }
}

#[test]
fn a_process_that_does_not_stop_is_ended() {
    if std::env::var_os(CASE).is_some() {
        be_stuck(Duration::from_millis(20));
    }
    let mut child = again("a_process_that_does_not_stop_is_ended", "stuck");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    wait_for("listening", &mut log);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    wait_for("not stopped in time", &mut log);
    assert_eq!(code_of(child), Some(0));
}

#[test]
fn a_panic_is_logged_without_values() {
    if let Some(case) = std::env::var_os(CASE) {
        let format = if case == "json" { LogFormat::Json } else { LogFormat::Human };
        logging::start(format, logging::levels(None, Some("error")).unwrap(), &Screen::nobody());
        let value = std::hint::black_box("hunter2");
        let threads = [
            std::thread::Builder::new().name("one".into()).spawn(move || panic!("the row is {value}")).unwrap(),
            std::thread::Builder::new().name("two".into()).spawn(|| panic!("the fixed text")).unwrap(),
        ];
        assert!(threads.into_iter().all(|thread| thread.join().is_err()));
        return;
    }
    for case in ["human", "json"] {
        let mut child = again("a_panic_is_logged_without_values", case);
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success(), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
        assert_eq!(log.matches("this is a bug in Tailrace: it panicked").count(), 2, "{log}");
        for word in ["src/cli/tests.rs:", "the fixed text", "one", "two"] {
            assert!(log.contains(word), "{word} is not in:\n{log}");
        }
    }
}

/// A log that nobody reads must not keep the process alive.
#[test]
fn a_log_that_is_full_does_not_keep_a_process() {
    if std::env::var_os(CASE).is_some() {
        logging::start(LogFormat::Human, logging::levels(None, None).unwrap(), &Screen::nobody());
        signals::listen(Shutdown::new(), Duration::from_millis(20)).unwrap();
        tracing::info!("listening");
        loop {
            tracing::info!("a line among so many that the pipe is full soon");
        }
    }
    let mut child = again("a_log_that_is_full_does_not_keep_a_process", "full");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    wait_for("listening", &mut log);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(code_of(child), Some(0));
}

/// What a terminal shows after these bytes, line by line.
fn screen_after(bytes: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = bytes.replace("\r\n", "\n").replace("\x1b[?7l", "").replace("\x1b[?7h", "");
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '\n' => lines.push(String::new()),
            '\x1b' => {
                taken = rest.find("A\r\x1b[J").expect("only whole lines are taken off") + "A\r\x1b[J".len();
                let up: usize = rest[2..taken - 5].parse().expect("a number of lines");
                lines.truncate(lines.len() - up);
                lines.last_mut().expect("a line to write to").clear();
            }
            other => lines.last_mut().expect("a line to write to").push(other),
        }
        rest.drain(..taken);
    }
    lines
}

#[test]
fn bars_stand_below_the_log_and_go() {
    const TEST: &str = "bars_stand_below_the_log_and_go";
    if std::env::var_os(CASE).is_some() {
        let screen = Screen::stderr();
        logging::start(LogFormat::Human, logging::levels(None, None).unwrap(), &screen);
        tracing::info!("before");
        screen.show(vec!["bar one".to_owned(), "bar two".to_owned()]);
        tracing::info!("between");
        screen.show(vec!["bar three".to_owned()]);
        tracing::warn!("behind");
        screen.show(Vec::new());
        tracing::info!("after");
        return;
    }
    for (term, is_seen) in [("xterm", true), ("dumb", false)] {
        let ours = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&ours).unwrap();
        rustix::pty::unlockpt(&ours).unwrap();
        let name = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
        let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut process = Process::new(std::env::current_exe().unwrap());
        process.args([&format!("cli::tests::{TEST}"), "--exact", "--nocapture"]);
        process.env(CASE, "bars").env("TERM", term).env("NO_COLOR", "1");
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
        let mut child = process.spawn().unwrap();
        drop(process);
        let mut bytes = Vec::new();
        // When nobody holds the other side any more, reading fails.
        let _ = std::fs::File::from(ours).read_to_end(&mut bytes);
        assert!(child.wait().unwrap().success());
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.contains("bar two") && text.contains("bar three"), is_seen, "{text:?}");
        let shown = screen_after(&text);
        let words: Vec<&str> = shown.iter().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(words, ["before", "between", "behind", "after"], "{text:?}");
        if is_seen {
            let (until, _) = text.split_once("bar three").unwrap();
            let words = screen_after(until)
                .iter()
                .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
                .collect::<Vec<_>>();
            assert_eq!(words, ["before", "between"], "the bars before are still there: {text:?}");
        }
    }
}
