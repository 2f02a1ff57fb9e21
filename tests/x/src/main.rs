//! `cargo x …`: the developer commands. This program builds in seconds without any system library, so that it can install
//! what everything else needs, saying so first.
//!
//! It launches and reports; what is launched lives elsewhere (tests/lab, tests/e2e, tests/bench).

mod build;
mod chaos;
mod check;
mod fuzz;
mod servers;
mod steps;

use std::process::ExitCode;

use anyhow::Result;
use lab::say;

struct Command {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<ExitCode>,
}

const COMMANDS: [Command; 8] = [
    Command {
        name: "up",
        summary: "start MySQL, MariaDB, Kafka and PostgreSQL and print how to reach them",
        help: "Finds or starts one server of each kind: in containers where `docker info` reaches an engine, else natively from\n\
               Debian packages (installed as root; otherwise the commands are printed). A second `up` finds them running.\n\n\
               TAILRACE_LAB_HOME    folder of programs and data (default: a cache folder outside the repository)\n\
               TAILRACE_LAB_ENGINE  native | compose, instead of what is found",
        run: servers::up,
    },
    Command {
        name: "down",
        summary: "stop and remove the servers of the laboratory, with their data",
        help: "Removes every server that the laboratory started, and nothing else. Installed programs stay.",
        run: servers::down,
    },
    Command {
        name: "demo",
        summary: "a live table flows through Kafka into PostgreSQL while everything gets killed",
        help: "Starts servers, a writer, `tailrace capture` and `tailrace apply`; kills both again and again; compares every\n\
               row with SQL of both databases; prints a table. Exit code 0: no difference. Options go to the demo:\n\n\
               --embedded      in one process into a file of SQLite: needs only MySQL or MariaDB. Played by itself where Java or root\n\
               \x20               is missing\n\
               --plant         change one row of the target behind Tailrace's back: must exit 1 and name its key\n\
               --seconds N     how long the writer writes (default 45)\n\
               --rate N        transactions a second that the writer aims at (default 1500)\n\
               --kills N       SIGKILLs of each of the two processes (default 6)\n\
               --seed N        of the writer's and the killer's dice",
        run: build::demo,
    },
    Command {
        name: "test",
        summary: "all tests, with real servers and live writers",
        help: "Starts the servers, builds the binary with its fault points and runs `cargo test --workspace`. A server that\n\
               can't be had is a failure. Options go to cargo test, for instance: cargo x test -p tailrace-mysql",
        run: build::test,
    },
    Command {
        name: "check",
        summary: "format, lints, who may depend on whom, file lengths, docs, licences",
        help: "Runs every check and reports them all; exit code 1 if one failed. `cargo x check --fast` leaves out those that\n\
               compile (clippy, docs) or need a tool of their own (licences).",
        run: check::run,
    },
    Command {
        name: "fuzz",
        summary: "the parsers of bytes from outside under coverage guidance (needs nightly Rust)",
        help: "Feeds each parser for some time with inputs that cargo-fuzz makes up, under a sanitizer. `cargo x test` feeds the same\n\
               parsers a million damaged recordings each.\n\n\
               cargo x fuzz [TARGET…] [--seconds N]\n\n\
               Targets: packets, events, table_map, json, json_changes, prepared, gtids, statement, compressed; without any, all of them.\n  \
               --seconds N   for each target [default: 60]",
        run: fuzz::run,
    },
    Command {
        name: "chaos",
        summary: "random transactions, statements and copies under kills, seed by seed",
        help: "Runs the random tests of tests/e2e (transactions of every kind, statements that change tables, copies), as `cargo x test`\n\
               does once, again and again with other seeds; each round says what happened in it. The first round that fails ends it.\n\n\
               cargo x chaos [--rounds N] [--seed N] [--transactions N] [--copies N] [NAME…]\n\n\
               NAME: how a test's name begins, such as random_transactions_of_mariadb; without any, all of them.\n  \
               --rounds N        [default: 5]\n  \
               --seed N          of the first round; the next ones count on from it [default: 1]\n  \
               --transactions N  in each test of a round [default: as in cargo x test]\n  \
               --copies N        the same of copies, each with a seed of its own",
        run: chaos::run,
    },
    Command {
        name: "bench",
        summary: "the measurements, each with its limit measured in the same run",
        help: "Builds tests/bench in release mode and runs it on servers of its own.\n\n\
               cargo x bench [NAME…] [--source mariadb] [--rows N] [--json FILE]\n\n\
               Names: decode, packed, singles, encode, capture, apply, embedded, reader, proof, latency, huge, backfill; without names all of them.\n  \
               --source NAME mysql, mariadb (10.11) or mariadb11 [default: mysql]\n  \
               --rows N      rows of the table that is captured and applied [default: 2000000], or copied [default: 1000000]\n  \
               --json FILE   writes the figures there too",
        run: build::bench,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        say(&overview());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        say(&overview());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        say(&format!("no command {name:?}\n\n{}", overview()));
        return ExitCode::from(2);
    };
    if rest.iter().any(|word| word == "--help" || word == "-h") {
        say(&format!("cargo x {}: {}\n\n{}", command.name, command.summary, command.help));
        return ExitCode::SUCCESS;
    }
    (command.run)(rest).unwrap_or_else(|error| {
        say(&format!("cargo x {name}: {error:#}"));
        ExitCode::FAILURE
    })
}

fn overview() -> String {
    let mut text = String::from("cargo x COMMAND [--help]\n");
    for command in &COMMANDS {
        text.push_str(&format!("\n  {:<6} {}", command.name, command.summary));
    }
    text
}
