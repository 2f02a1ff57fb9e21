//! Checks of the configuration: a case is one line of the file and what it leads to.
//!
//! Whatever the case, no problem may show the word `hunter2`, which stands wherever a password could stand by mistake.

mod choices;
mod debezium;
mod files;
mod manual;
mod policies;
mod shown;
mod template;
mod throttle;

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use tailrace_contract::{Retention, StartAt, TlsMode};
use tailrace_row::TableName;

use super::{Config, Draft, Stores, checked, keys::SECTIONS, secret::Surroundings};
use crate::capture::CommitLimits;

const ALL: Stores = Stores { source: true, log: true, target: true };
const SOURCE: &str = "[source]\nurl = \"mysql://tailrace@db\"\nserver_id = 5501\n";
const LOG: &str = "[log]\nurl = \"kafka://broker\"\nprefix = \"shop\"\n";
const TARGET: &str = "[target]\nurl = \"postgres://tailrace@new/shop\"\n";
const TABLE: &str = "[[table]]\nsource = \"shop.orders\"\n";

fn variable(name: &str) -> Option<OsString> {
    match name {
        "PASSWORD" => Some("hunter2".into()),
        "EMPTY" => Some("".into()),
        _ => None,
    }
}

/// The problems, one a line; `ok` if there is none.
fn problems_in(text: &str, stores: Stores, directory: &Path) -> String {
    let shown = match checked::check(text, stores, &Surroundings { directory, variable: &variable, unread: None }) {
        Ok(_) => "ok".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    assert!(!shown.contains("hunter2"), "a secret is shown for:\n{text}\n{shown}");
    shown
}

fn check_text(text: &str, expect: &str) {
    assert_eq!(problems_in(text, ALL, Path::new("")), expect, "for:\n{text}");
}

fn config(text: &str) -> Config {
    checked::check(
        text,
        ALL,
        &Surroundings { directory: Path::new("/etc/tailrace"), variable: &variable, unread: None },
    )
    .unwrap_or_else(|problems| panic!("{problems:?} for:\n{text}"))
}

/// A line in a complete `[source]`, from line 4 on.
fn source(line: &str, expect: &str) {
    check_text(&format!("{SOURCE}{line}\n{LOG}{TARGET}{TABLE}"), expect);
}

/// The URL of the source, in line 2.
fn source_url(url: &str, expect: &str) {
    check_text(&format!("[source]\nurl = \"{url}\"\nserver_id = 5501\n{LOG}{TARGET}{TABLE}"), expect);
}

/// A line in a complete `[log]`, from line 4 on.
fn log(line: &str, expect: &str) {
    check_text(&format!("{LOG}{line}\n{SOURCE}{TARGET}{TABLE}"), expect);
}

/// The URL of the log, in line 2.
fn log_url(url: &str, expect: &str) {
    check_text(&format!("[log]\nurl = \"{url}\"\nprefix = \"shop\"\n{SOURCE}{TARGET}{TABLE}"), expect);
}

/// A line in a complete `[target]`, from line 3 on.
fn target(line: &str, expect: &str) {
    check_text(&format!("{TARGET}{line}\n{SOURCE}{LOG}{TABLE}"), expect);
}

/// The URL of the target, in line 2.
fn target_url(url: &str, expect: &str) {
    check_text(&format!("[target]\nurl = \"{url}\"\n{SOURCE}{LOG}{TABLE}"), expect);
}

/// Tables, from line 1 on.
fn tables(lines: &str, expect: &str) {
    check_text(&format!("{lines}\n{SOURCE}{LOG}{TARGET}"), expect);
}

/// A line anywhere else, below its own header, from line 2 on.
fn other(header_and_line: &str, expect: &str) {
    check_text(&format!("{header_and_line}\n{SOURCE}{LOG}{TARGET}{TABLE}"), expect);
}

#[test]
fn defaults_are_filled_in() {
    let config = config(&format!("{SOURCE}{LOG}{TARGET}{TABLE}"));
    let endpoint = &config.source.settings.endpoint;
    assert_eq!(endpoint.to_string(), "mysql://db:3306");
    assert_eq!((endpoint.user.as_str(), endpoint.tls.mode), ("tailrace", TlsMode::VerifyFull));
    assert!(endpoint.password.is_none());
    assert_eq!(config.source.settings.server_id, 5501);
    assert_eq!(config.source.settings.heartbeat, Duration::from_secs(10));
    assert_eq!(config.source.start, StartAt::Now);
    let log = config.log().unwrap();
    assert_eq!(log.endpoint.to_string(), "kafka://broker:9092");
    assert_eq!(log.endpoint.tls.mode, TlsMode::VerifyFull);
    assert_eq!((log.prefix.as_str(), log.partitions, log.replication), ("shop", 8, 3));
    assert_eq!(log.retention, Retention::For(Duration::from_secs(7 * 86_400)));
    assert!(!log.is_compacted && !log.has_inline_schemas && !log.refuses_inexact);
    assert_eq!((log.sasl_mechanism, log.more_brokers.len(), log.transaction_bytes_max), (None, 0, 64 << 20));
    let target = config.target().unwrap();
    assert_eq!(target.endpoint.to_string(), "postgres://new:5432");
    assert_eq!((target.endpoint.database.as_str(), target.schema.as_str()), ("shop", "tailrace"));
    assert_eq!(target.statement_timeout, Duration::from_secs(60));
    assert_eq!(config.http.capture.to_string(), "127.0.0.1:8700");
    assert_eq!(config.http.apply.to_string(), "127.0.0.1:8701");
    let (given, default) = (config.capture, CommitLimits::default());
    assert_eq!((given.bytes_max, given.records_max), (default.bytes_max, default.records_max));
    assert_eq!((given.age_max, given.idle_interval), (default.age_max, default.idle_interval));
    assert_eq!(
        (config.apply.workers, config.apply.batch_records_max, config.apply.batch_bytes_max),
        (4, 10_000, 8 << 20)
    );
    let mapping = config.rules.mapping(&TableName::new("shop", "orders")).unwrap();
    assert_eq!(mapping.target.to_string(), "shop.orders");
}

#[test]
fn what_is_written_arrives() {
    let config = config(
        r#"
        [source]
        url = "MySQL://app%40shop@[::1]:3307"
        password = { env = "PASSWORD" }
        tls = { mode = "required" }
        server_id = 0x1_0
        start = "binlog.000012:4"
        heartbeat = "2s"
        [log]
        url = "kafka://app@a:1,b,[::1]:2"
        password.env = "PASSWORD"
        sasl = "SCRAM-SHA-256"
        prefix = "shop.eu-1"
        partitions = 3
        replication = 1
        cleanup = "delete"
        retention = "unlimited"
        schemas = true
        inexact = "refuse"
        transaction_bytes = "2MiB"
        [target]
        url = "postgresql://tailrace@new:5433/shop"
        schema = "own"
        statement_timeout = "5m"
        [target.tls]
        mode = "disabled"
        [[table]]
        source = "shop.*"
        target = "public.*"
        [[table]]
        source = "shop.orders"
        target = 'public."my.orders"'
        [capture]
        commit_records_max = 10
        commit_age_max = "1s"
        idle_interval = "30s"
        [apply]
        workers = 1
        batch_records_max = 7
        batch_bytes_max = "1MiB"
        discovery_interval = "1s"
        [http]
        capture = "[::1]:0"
        apply = "127.0.0.2:0"
        "#,
    );
    let endpoint = &config.source.settings.endpoint;
    assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.user.as_str()), ("::1", 3307, "app@shop"));
    assert_eq!(endpoint.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(endpoint.tls.mode, TlsMode::Required);
    assert_eq!(config.source.settings.server_id, 16);
    assert_eq!(config.source.start, StartAt::At("binlog.000012:4".into()));
    let log = config.log().unwrap();
    assert_eq!((log.endpoint.port, log.more_brokers), (1, vec!["b:9092".to_owned(), "[::1]:2".to_owned()]));
    assert_eq!((log.sasl_mechanism.as_deref(), log.prefix.as_str()), (Some("SCRAM-SHA-256"), "shop.eu-1"));
    assert_eq!((log.partitions, log.replication, log.retention), (3, 1, Retention::Unlimited));
    assert!(!log.is_compacted && log.has_inline_schemas && log.refuses_inexact);
    let target = config.target().unwrap();
    assert_eq!((target.endpoint.scheme.as_str(), target.endpoint.port), ("postgres", 5433));
    assert_eq!((target.schema.as_str(), target.endpoint.tls.mode), ("own", TlsMode::Disabled));
    let target_of = |table: &str| config.rules.mapping(&TableName::new("shop", table)).unwrap().target.to_string();
    assert_eq!((target_of("orders"), target_of("items")), ("public.my.orders".into(), "public.items".into()));
    assert_eq!((config.capture.bytes_max, config.capture.records_max), (2 << 20, 10));
    assert_eq!((config.apply.workers, config.apply.discovery_interval), (1, Duration::from_secs(1)));
    assert_eq!(config.http.capture.to_string(), "[::1]:0");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn source_is_checked() {
    source("start = \"earliest\"", "ok");
    source("start = \"3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5,\\n 3E11FA47-71CA-11E1-9E33-C80AA9429563:tag:7\"", "ok");
    source("start = \"0-1-100, 1-1-7\"", "ok");
    source(
        "start = \"strat\"",
        "4:9: source.start: \"strat\" is no place to start at; write \"now\", \"earliest\", a time, GTIDs or FILE:OFFSET",
    );
    source("start = \"eariest\"", "4:9: source.start: \"eariest\" is no place to start at; did you mean \"earliest\"?");
    source("start = 4", "4:9: source.start: expected text, found a whole number; write start = \"now\"");
    source(
        "heartbeat = \"10\"",
        "4:13: source.heartbeat: \"10\" is no duration; write a whole number and ms, s, m, h or d, as in \"10s\"",
    );
    source("heartbeat = \"0s\"", "4:13: source.heartbeat: out of range; use 1s to 10m");
    source(
        "heartbeat = 10",
        "4:13: source.heartbeat: expected a duration in quotes, found a whole number; write heartbeat = \"10s\"",
    );
    source("serverid = 7", "4:1: source.serverid: unknown key; did you mean server_id?");
    source("partitions = 7", "4:1: source.partitions: unknown key; partitions belongs to [log]");
    source(
        "colour = 7",
        "4:1: source.colour: unknown key; known here: url, read_url, password, tls, server_id, name, start, heartbeat, expected_outage",
    );
    source(
        "\"a b\" = 7",
        "4:1: source.\"a b\": unknown key; known here: url, read_url, password, tls, server_id, name, start, heartbeat, expected_outage",
    );
    source("server_id = 1", "4:1: source.server_id: stands here for the second time; leave one of the two");
    for (id, expect) in [
        ("1", "ok"),
        ("4294967295", "ok"),
        ("0", "3:13: source.server_id: out of range; use a number from 1 to 4294967295"),
        ("-1", "3:13: source.server_id: out of range; use a number from 1 to 4294967295"),
        ("4294967296", "3:13: source.server_id: out of range; use a number from 1 to 4294967295"),
        (
            "99999999999999999999999999999999999999999999",
            "3:13: source.server_id: out of range; use a number from 1 to 4294967295",
        ),
        (
            "1.0",
            "3:13: source.server_id: expected a whole number, found a number with a fraction; write server_id = 5501",
        ),
        ("\"1\"", "3:13: source.server_id: expected a whole number, found text; write server_id = 5501"),
    ] {
        check_text(&format!("[source]\nurl = \"mysql://tailrace@db\"\nserver_id = {id}\n{LOG}{TARGET}{TABLE}"), expect);
    }
}

#[test]
fn urls_are_checked() {
    source_url("mysql://tailrace@db:3306", "ok");
    source_url("mysql://tailrace@db/", "ok");
    source_url("mariadb://tailrace@db", "ok");
    source_url("mysq://tailrace@db", "2:7: source.url: mysq:// is no source; did you mean mysql://?");
    source_url("kafka://tailrace@db", "2:7: source.url: kafka:// is no source; write mysql:// or mariadb://");
    source_url("db:3306", "2:7: source.url: no scheme stands before the address; write SCHEME://ACCOUNT@HOST:PORT");
    source_url("mysql://db", "2:7: source.url: the URL names no account; write mysql://ACCOUNT@HOST:PORT");
    source_url(
        "mysql://a@db/shop",
        "2:7: source.url: the URL of a source names no database; leave it out: each [[table]] names its own",
    );
    source_url(
        "mysql://a@db,db2",
        "2:7: source.url: the URL names several hosts, but a source is one server; name one host",
    );
    source_url("mysql://a@db:0", "2:7: source.url: a port is no number from 1 to 65535; write HOST:PORT");
    source_url(
        "mysql://a:hunter2@db",
        "2:7: source.url: a password in the URL is refused; leave it out and write password = { env = \"NAME\" } or { file = \"PATH\" }",
    );
    source_url(
        "mysql://a:hunter2/@db",
        "2:7: source.url: an @ stands behind the host; write /, ? and # in an account's name as %2F, %3F and %23, and leave the password out of the URL",
    );
    source_url("mysql://a:hunter2", "2:7: source.url: a port is no number from 1 to 65535; write HOST:PORT");
    source_url(
        "mysql://hunter2 x",
        "2:7: source.url: a host is no host name and no address; write HOST:PORT, an IPv6 address in brackets",
    );
    source_url(
        "mysql://a@db?ssl-mode=disabled",
        "2:7: source.url: what follows ? or # in a URL is not read; leave it out and write keys instead, such as tls",
    );
    target_url("postgresql://a@new/shop", "ok");
    target_url(
        "postgres://a@new",
        "2:7: target.url: the URL names no database; write postgres://ACCOUNT@HOST:PORT/DATABASE",
    );
    target_url(
        "mysql://a@new/shop",
        "2:7: target.url: mysql:// is no target; write postgres:// or postgresql:// or sqlite://",
    );
    target_url("postgers://a@new/shop", "2:7: target.url: postgers:// is no target; did you mean postgres://?");
    target_url(
        "postgres://a@DB:3306/shop",
        "2:7: target.url: the target is the server of source.url; name another server",
    );
    log_url("kafka://a:9092,b:9092", "ok");
    log_url(
        "kafka://a/topic",
        "2:7: log.url: the URL of a log ends behind its hosts; leave the path out: prefix names the topics",
    );
    log_url("redis://a", "2:7: log.url: redis:// is no log; write kafka://");
    log_url(
        "kafka://app@a",
        "2:7: log.url: an account or a password without a way to log in; add sasl = \"SCRAM-SHA-512\" (or SCRAM-SHA-256, PLAIN), or leave the account and the password out",
    );
}

#[test]
fn one_machine_has_several_names() {
    for (source, target, is_same) in [
        ("localhost:3306", "127.0.0.1:3306", true),
        ("[::1]:3306", "localhost:3306", true),
        ("DB.example:3306", "db.EXAMPLE:3306", true),
        ("db:3306", "db:5432", false),
        ("db:3306", "db2:3306", false),
    ] {
        let text = format!(
            "[source]\nurl = \"mysql://a@{source}\"\nserver_id = 1\n[target]\nurl = \"postgres://a@{target}/shop\"\n{LOG}{TABLE}"
        );
        let same = "5:7: target.url: the target is the server of source.url; name another server";
        check_text(&text, if is_same { same } else { "ok" });
    }
}

#[test]
fn passwords_are_references() {
    source("password = { env = \"PASSWORD\" }", "ok");
    source(
        "password = \"hunter2\"",
        "4:12: source.password: a password in plain text is refused; write password = { env = \"NAME\" } or { file = \"PATH\" }",
    );
    source(
        "password = 7",
        "4:12: source.password: expected a table, found a whole number; write password = { env = \"TAILRACE_PASSWORD\" }",
    );
    source(
        "password = {}",
        "4:12: source.password: names neither env nor file; write password = { env = \"NAME\" } or { file = \"PATH\" }",
    );
    source(
        "password = { env = \"PASSWORD\", file = \"x\" }",
        "4:12: source.password: names both env and file; write password = { env = \"NAME\" } or { file = \"PATH\" }",
    );
    source("password = { evn = \"PASSWORD\" }", "4:14: source.password.evn: unknown key; did you mean env?");
    source("pasword = \"hunter2\"", "4:1: source.pasword: unknown key; did you mean password?");
    source(
        "password = { env = [\"hunter2\"] }",
        "4:20: source.password.env: expected the name of an environment variable in quotes, found a list; write env = \"TAILRACE_PASSWORD\"",
    );
    let remedy = "set it where tailrace is started, or use { file = \"PATH\" }";
    source(
        "password = { env = \"ABSENT\" }",
        &format!("4:20: source.password.env: the environment variable ABSENT is not set; {remedy}"),
    );
    source(
        "password = { env = \"EMPTY\" }",
        &format!("4:20: source.password.env: the environment variable EMPTY is empty; {remedy}"),
    );
    source(
        "password = { env = \"hunter2\" }",
        &format!("4:20: source.password.env: the environment variable named here is not set; {remedy}"),
    );
    source(
        "password = { env = \"\" }",
        &format!("4:20: source.password.env: the environment variable named here is not set; {remedy}"),
    );
    source(
        "password = { env = \"A=\\u0000\" }",
        &format!("4:20: source.password.env: the environment variable named here is not set; {remedy}"),
    );
}

#[test]
fn secret_files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let shown = directory.path().display();
    let check = |content: &str, mode: u32, expect: &str| {
        let path = directory.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = format!("{SOURCE}password = {{ file = \"secret\" }}\n{LOG}{TARGET}{TABLE}");
        assert_eq!(problems_in(&text, ALL, directory.path()), expect, "{content:?} {mode:o}");
        fs::remove_file(&path).unwrap();
    };
    check("hunter2", 0o600, "ok");
    check("hunter2\n", 0o400, "ok");
    check("hunter2\r\n", 0o400, "ok");
    let at = format!("4:21: source.password.file: {shown}/secret");
    check("hunter2", 0o640, &format!("{at} is open to other accounts (mode 0640); run chmod 600 {shown}/secret"));
    check("hunter2", 0o604, &format!("{at} is open to other accounts (mode 0604); run chmod 600 {shown}/secret"));
    let one_line =
        format!("{at} does not hold exactly one line of text; write the password, and nothing else, into it");
    check("", 0o600, &one_line);
    check("\n", 0o600, &one_line);
    check("hunter2\nhunter2\n", 0o600, &one_line);
    check(&"x".repeat(4097), 0o600, &one_line);
    let text = format!("{SOURCE}password = {{ file = \"absent\" }}\n{LOG}{TARGET}{TABLE}");
    let expect = format!(
        "4:21: source.password.file: {shown}/absent can't be read: No such file or directory (os error 2); name a file that the account of tailrace may read"
    );
    assert_eq!(problems_in(&text, ALL, directory.path()), expect);
}

#[test]
fn tls_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    for (name, mode) in [("ca.pem", 0o644), ("client.pem", 0o644), ("client.key", 0o600), ("open.key", 0o644)] {
        let path = directory.path().join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let shown = directory.path().display();
    let check = |tls: &str, expect: &str| {
        let text = format!("{TARGET}tls = {tls}\n{SOURCE}{LOG}{TABLE}");
        assert_eq!(problems_in(&text, ALL, directory.path()), expect, "{tls}");
    };
    check("{ ca = \"ca.pem\" }", "ok");
    check("{ mode = \"verify-full\", ca = \"ca.pem\", certificate = \"client.pem\", key = \"client.key\" }", "ok");
    check(
        "{ mode = \"verify-ca\", ca = \"ca.pem\" }",
        "3:16: target.tls.mode: not safe with PostgreSQL: it would trust every public authority, whatever host they vouch for; \
         write \"verify-full\"; ca may name your own authority",
    );
    check("\"disabled\"", "3:7: target.tls: expected a table, found text; write tls = { mode = \"verify-full\" }");
    check(
        "{ mode = \"verify_full\" }",
        "3:16: target.tls.mode: \"verify_full\" is not known here; did you mean \"verify-full\"?",
    );
    check(
        "{ mode = \"prefer\" }",
        "3:16: target.tls.mode: \"prefer\" is not known here; use \"verify-full\", \"verify-ca\", \"required\" or \"disabled\"",
    );
    let unverified = "target.tls.ca: nothing is verified in this mode; write mode = \"verify-full\" or \"verify-ca\", or leave ca out";
    check("{ mode = \"required\", ca = \"ca.pem\" }", &format!("3:33: {unverified}"));
    check("{ mode = \"disabled\", ca = \"ca.pem\" }", &format!("3:33: {unverified}"));
    check(
        "{ mode = \"disabled\", certificate = \"client.pem\", key = \"client.key\" }",
        "3:42: target.tls.certificate: no certificate is shown without TLS; write mode = \"verify-full\", or leave certificate and key out",
    );
    check(
        "{ certificate = \"client.pem\" }",
        "3:23: target.tls.certificate: a certificate needs its key; add key = \"PATH\"",
    );
    check("{ key = \"client.key\" }", "3:15: target.tls.key: a key needs its certificate; add certificate = \"PATH\"");
    check(
        "{ certificate = \"client.pem\", key = \"open.key\" }",
        &format!(
            "3:43: target.tls.key: {shown}/open.key is open to other accounts (mode 0644); run chmod 600 {shown}/open.key"
        ),
    );
    check(
        "{ ca = \".\" }",
        &format!("3:14: target.tls.ca: {shown}/. is not a file; name a file that the account of tailrace may read"),
    );
}

#[test]
fn only_the_stores_of_the_command_count() {
    let password = "password = { env = \"ABSENT\" }\ntls = { ca = \"absent.pem\" }\n";
    let text = format!("{SOURCE}{LOG}{TARGET}{password}{TABLE}");
    let capture = Stores { source: true, log: true, target: false };
    assert_eq!(problems_in(&text, capture, Path::new("")), "ok");
    assert_eq!(problems_in(&text, ALL, Path::new("")).lines().count(), 2);
    assert_eq!(problems_in(&format!("{SOURCE}{LOG}{TABLE}"), capture, Path::new("")), "ok");
    assert_eq!(problems_in(&format!("{SOURCE}{TARGET}{TABLE}"), ALL, Path::new("")), "ok", "the embedded form");
    let apply = Stores { source: false, log: true, target: true };
    for stores in [capture, apply] {
        let missing = problems_in(&format!("{SOURCE}{TARGET}{TABLE}"), stores, Path::new(""));
        assert!(missing.contains("log: the section is missing; add [log]"), "{missing}");
    }
    let schema = Stores { source: true, log: false, target: true };
    assert_eq!(problems_in(&format!("{SOURCE}{TARGET}{TABLE}"), schema, Path::new("")), "ok");
    // Whoever applies Debezium's records asks the source for its tables.
    let of_source = format!("{SOURCE}{password}{LOG}debezium = {{}}\n{TARGET}{TABLE}");
    assert_eq!(problems_in(&of_source, apply, Path::new("")).lines().count(), 2);
    let without = of_source.replace("debezium = {}\n", "");
    assert_eq!(problems_in(&without, apply, Path::new("")), "ok");
    let wrong = format!("{SOURCE}{LOG}{TARGET}password = \"hunter2\"\n{TABLE}");
    assert_eq!(problems_in(&wrong, capture, Path::new("")).lines().count(), 1);
}

#[test]
fn log_is_checked() {
    log("partitions = 0", "4:14: log.partitions: out of range; use a number from 1 to 10000");
    log("replication = 0", "4:15: log.replication: out of range; use a number from 1 to 100");
    log("retention = \"unlimited\"", "ok");
    log("retention = \"12h\"\ncleanup = \"delete\"", "ok");
    log(
        "retention = \"forever\"",
        "4:13: log.retention: \"forever\" is no duration; write a whole number and ms, s, m, h or d, as in \"10s\"",
    );
    log("retention = \"1s\"", "4:13: log.retention: out of range; use 1m to 36500d");
    log(
        "cleanup = \"compact\"",
        "4:11: log.cleanup: compacted topics come in a later version: an apply that is behind would miss deletes; \
         write \"delete\"",
    );
    log("cleanup = \"compacted\"", "4:11: log.cleanup: \"compacted\" is not known here; did you mean \"compact\"?");
    log("schemas = \"true\"", "4:11: log.schemas: expected true or false, found text; write schemas = false");
    log("inexact = \"stop\"", "4:11: log.inexact: \"stop\" is not known here; use \"exact-header\" or \"refuse\"");
    log(
        "transaction_bytes = \"64\"",
        "4:21: log.transaction_bytes: \"64\" is no size; write a whole number and B, KiB, MiB or GiB, as in \"8MiB\"",
    );
    log("transaction_bytes = \"1KiB\"", "4:21: log.transaction_bytes: out of range; use 1MiB to 1GiB");
    log("sasl = \"SCRAM-SHA-512\"", "4:8: log.sasl: no account to log in with; write kafka://ACCOUNT@HOST:PORT in url");
    log(
        "sasl = \"scram-sha-512\"",
        "4:8: log.sasl: \"scram-sha-512\" is not known here; did you mean \"SCRAM-SHA-512\"?",
    );
    log(
        "password = { env = \"PASSWORD\" }",
        "2:7: log.url: an account or a password without a way to log in; add sasl = \"SCRAM-SHA-512\" (or SCRAM-SHA-256, PLAIN), or leave the account and the password out",
    );
    let account = |lines: &str, expect: &str| {
        check_text(
            &format!("[log]\nurl = \"kafka://app@a\"\nprefix = \"shop\"\n{lines}\n{SOURCE}{TARGET}{TABLE}"),
            expect,
        );
    };
    account("sasl = \"PLAIN\"\npassword = { env = \"PASSWORD\" }", "ok");
    account("sasl = \"SCRAM-SHA-512\"\npassword = { env = \"PASSWORD\" }\ntls = { mode = \"disabled\" }", "ok");
    account(
        "sasl = \"PLAIN\"",
        "4:8: log.sasl: no password to log in with; add password = { env = \"NAME\" } or { file = \"PATH\" }",
    );
    account(
        "sasl = \"PLAIN\"\npassword = { env = \"PASSWORD\" }\ntls = { mode = \"disabled\" }",
        "4:8: log.sasl: PLAIN without TLS shows the password to the network; use SCRAM-SHA-512, or TLS",
    );
    for (prefix, is_legal) in
        [("shop", true), ("A.b_c-9", true), ("", false), ("a b", false), ("ä", false), (".a", false), ("a/b", false)]
    {
        let text = format!("[log]\nurl = \"kafka://a\"\nprefix = \"{prefix}\"\n{SOURCE}{TARGET}{TABLE}");
        let expect = format!(
            "3:10: log.prefix: {prefix:?} can't begin the name of a topic; use 1 to 100 letters, digits, dots, _ and -, no dot first"
        );
        check_text(&text, if is_legal { "ok" } else { &expect });
    }
}

#[test]
fn target_and_limits_are_checked() {
    target("schema = \"\"", "3:10: target.schema: is no name of a schema; write schema = \"tailrace\"");
    target("statement_timeout = \"2h\"", "3:21: target.statement_timeout: out of range; use 1s to 1h");
    other("[capture]\ncommit_age_max = \"1m\"", "2:18: capture.commit_age_max: out of range; use 10ms to 20s");
    other(
        "[capture]\ncommit_records_max = 0",
        "2:22: capture.commit_records_max: out of range; use a number from 1 to 10000000",
    );
    other("[capture]\nidle_interval = \"0s\"", "2:17: capture.idle_interval: out of range; use 100ms to 10m");
    other("[apply]\nworkers = 0", "2:11: apply.workers: out of range; use a number from 1 to 256");
    other(
        "[apply]\nbatch_records_max = 0",
        "2:21: apply.batch_records_max: out of range; use a number from 1 to 1000000",
    );
    other(
        "[apply]\nbatch_bytes_max = 8388608",
        "2:19: apply.batch_bytes_max: expected a size in quotes, found a whole number; write batch_bytes_max = \"8MiB\"",
    );
    other("[apply]\ndiscovery_interval = \"1d\"", "2:22: apply.discovery_interval: out of range; use 100ms to 10m");
    let public = "is not a loopback address, and the endpoint has no TLS and no login yet";
    let written = "write an address and a port of this machine, as in";
    other("[http]\ncapture = \"0.0.0.0:8700\"", &format!("2:11: http.capture: {public}; {written} \"127.0.0.1:8700\""));
    other("[http]\napply = \"[2001:db8::1]:1\"", &format!("2:9: http.apply: {public}; {written} \"127.0.0.1:8701\""));
    other(
        "[http]\ncapture = \"localhost:1\"",
        &format!("2:11: http.capture: \"localhost:1\" is no address; {written} \"127.0.0.1:8700\""),
    );
    other(
        "[http]\ncapture = \"127.0.0.1:8701\"",
        "2:11: http.capture: capture and apply can't listen on one address; give each its own port",
    );
    other("[http]\ncapture = \"127.0.0.1:0\"\napply = \"127.0.0.1:0\"", "ok");
}

#[test]
fn tables_are_checked() {
    tables("[[table]]\nsource = \"shop.*\"\n[[table]]\nsource = \"shop.orders\"\ntarget = \"public.orders\"", "ok");
    tables("[[table]]\nsource = \"`my.shop`.orders\"", "ok");
    let written = "write \"shop.orders\", or \"shop.*\" for all tables; a name with a dot goes in backticks";
    tables("[[table]]\nsource = \"orders\"", &format!("2:10: table[1].source: \"orders\" names no table; {written}"));
    tables("[[table]]\nsource = \"a.b.c\"", &format!("2:10: table[1].source: \"a.b.c\" names no table; {written}"));
    tables("[[table]]\nsource = \"*.*\"", &format!("2:10: table[1].source: \"*.*\" names no table; {written}"));
    tables("[[table]]\ntarget = \"public.orders\"", "1:1: table[1].source: missing; add source = \"shop.orders\"");
    tables(
        "[[table]]\nsource = \"shop.orders\"\ntarget = \"orders\"",
        "3:10: table[1].target: \"orders\" names no table; write \"public.orders\"; a name with a dot goes in double quotes, as in 'public.\"my.orders\"'",
    );
    tables(
        "[[table]]\nsource = \"shop.orders\"\ntarget = \"public.*\"",
        "3:10: table[1].target: one table goes to one table; name it, as in \"public.orders\"",
    );
    tables(
        "[[table]]\nsource = \"shop.*\"\ntarget = \"public.orders\"",
        "3:10: table[1].target: all tables of a database can't go to one table; name a schema, as in \"public.*\"",
    );
    tables(
        "[[table]]\nsource = \"shop.orders\"\n[[table]]\nsource = \"`shop`.orders\"\ntarget = \"public.orders\"",
        "4:10: table[2].source: shop.orders stands in table[1].source already; leave one of the two",
    );
    tables(
        "[[table]]\nsource = \"shop.*\"\n[[table]]\nsource = \"shop.*\"",
        "4:10: table[2].source: shop.* stands in table[1].source already; leave one of the two",
    );
    tables(
        "[[table]]\nsource = \"shop.orders\"\n[[table]]\nsource = \"old.orders\"\ntarget = \"shop.orders\"",
        "5:10: table[2].target: shop.orders is the target of shop.orders already; name another target",
    );
    tables(
        "[[table]]\nsource = \"shop.orders\"\ntarget = \"tailrace.orders\"",
        "3:10: table[1].target: tailrace.orders would lie in the schema \"tailrace\" of Tailrace's own tables; name another target, or another schema in [target]",
    );
    tables(
        "[[table]]\nsource = \"tailrace.*\"",
        "2:10: table[1].source: tailrace.* would lie in the schema \"tailrace\" of Tailrace's own tables; name another target, or another schema in [target]",
    );
    tables(
        "[table]\nsource = \"shop.orders\"",
        "1:2: table: expected tables in double brackets, found a table; write [[table]]",
    );
    tables(
        "table = [\"shop.orders\"]",
        "1:9: table: expected tables in double brackets, found a list; write [[table]]",
    );
    tables("[[tables]]\nsource = \"shop.orders\"", "1:3: tables: unknown key; did you mean table?");
    tables(
        "[[table]]\nsource = \"shop.orders\"\ntopic = \"x\"",
        "3:1: table[1].topic: unknown key; known here: source, target, on_ddl, backfill, backfill_where, only_columns, exclude_columns, on_gap, columns",
    );
}

#[test]
fn sections_are_required() {
    check_text(
        "",
        "1:1: source: the section is missing; add [source] with url and server_id\n\
         1:1: target: the section is missing; add [target] with url\n\
         1:1: table: no table is named; add [[table]] with source = \"shop.orders\" or \"shop.*\"",
    );
    check_text(
        &format!("table = []\n{SOURCE}{LOG}{TARGET}"),
        "10:1: table: no table is named; add [[table]] with source = \"shop.orders\" or \"shop.*\"",
    );
    check_text(
        &format!("[source]\n[log]\n[target]\n{TABLE}"),
        "1:2: source.url: missing; add url = \"mysql://tailrace@db.example:3306\"\n\
         1:2: source.server_id: missing; add server_id = 5501, a number that no other replica of the server has\n\
         2:2: log.url: missing; add url = \"kafka://broker.example:9092\"\n\
         2:2: log.prefix: missing; add prefix = \"shop\", with which the names of all topics will begin\n\
         3:2: target.url: missing; add url = \"postgres://tailrace@db.example:5432/shop\"",
    );
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    check_text(
        "[source]\nurl = \"mysql://a:hunter2@db?x=1\"\nserver_id = 0\nstart = 7\n\n[[table]]\nsource = \"orders\"\n\n\
         [target]\nurl = \"postgres://a@new\"\npassword = \"hunter2\"\ntls = { mode = \"none\" }\nschem = \"x\"\n\
         [http]\ncapture = \"0.0.0.0:1\"\napply = true\n[lgo]\nurl = \"kafka://a\"\n",
        "2:7: source.url: a password in the URL is refused; leave it out and write password = { env = \"NAME\" } or { file = \"PATH\" }\n\
         2:7: source.url: what follows ? or # in a URL is not read; leave it out and write keys instead, such as tls\n\
         3:13: source.server_id: out of range; use a number from 1 to 4294967295\n\
         4:9: source.start: expected text, found a whole number; write start = \"now\"\n\
         7:10: table[1].source: \"orders\" names no table; write \"shop.orders\", or \"shop.*\" for all tables; a name with a dot goes in backticks\n\
         10:7: target.url: the URL names no database; write postgres://ACCOUNT@HOST:PORT/DATABASE\n\
         11:12: target.password: a password in plain text is refused; write password = { env = \"NAME\" } or { file = \"PATH\" }\n\
         12:16: target.tls.mode: \"none\" is not known here; use \"verify-full\", \"verify-ca\", \"required\" or \"disabled\"\n\
         13:1: target.schem: unknown key; did you mean schema?\n\
         15:11: http.capture: is not a loopback address, and the endpoint has no TLS and no login yet; write an address and a port of this machine, as in \"127.0.0.1:8700\"\n\
         16:9: http.apply: expected text, found true or false; write apply = \"127.0.0.1:8701\"\n\
         17:2: lgo: unknown key; did you mean log?",
    );
}

#[test]
fn text_that_is_not_toml_is_located() {
    let behind = "mend it first: behind it more may be wrong";
    source(
        "heartbeat = 10s",
        &format!("4:13: this is not TOML: string values must be quoted, expected literal string; {behind}"),
    );
    source(
        "password = hunter2",
        &format!("4:12: this is not TOML: string values must be quoted, expected literal string; {behind}"),
    );
    source(
        "password = \"hunter2",
        &format!(
            "4:12: source.password: a password in plain text is refused; write password = {{ env = \"NAME\" }} or {{ file = \"PATH\" }}\n\
             4:20: this is not TOML: invalid basic string, expected `\"`; {behind}"
        ),
    );
    source("what is this", &format!("4:6: this is not TOML: key with no value, expected `=`; {behind}"));
    check_text(
        "[source]\nserver_id = 0\nurl = mysql\n[log]\npartitions = 0\n",
        &format!(
            "2:13: source.server_id: out of range; use a number from 1 to 4294967295\n\
             3:7: this is not TOML: string values must be quoted, expected literal string; {behind}"
        ),
    );
    source("[source]\nheartbeat = \"2s\"", "4:2: source: stands here for the second time; leave one of the two");
    source(
        "tls = { mode = \"required\", mode = \"required\" }",
        "4:28: source.tls.mode: stands here for the second time; leave one of the two",
    );
    source(
        "tls = { mode = \"required\" }\nserver_id = 7",
        "5:1: source.server_id: stands here for the second time; leave one of the two",
    );
    source(
        "tls.mode = \"required\"\ntls.mode = \"required\"",
        "5:5: source.tls.mode: stands here for the second time; leave one of the two",
    );
    tables(
        "[[table]]\nsource = \"a.b\"\n[[table]]\nsource = \"a.c\"\nsource = \"a.d\"",
        "5:1: table[2].source: stands here for the second time; leave one of the two",
    );
}

/// Every listed key is read: a value that no key takes is refused under its own name.
#[test]
fn every_listed_key_is_read() {
    let mut checked = 0;
    for section in SECTIONS {
        for key in section.keys {
            let (header, path) = match section.path {
                "" => (String::new(), String::new()),
                "table" => ("[[table]]\n".to_owned(), "table[1].".to_owned()),
                path if path.starts_with("table.") => {
                    (format!("[[table]]\n[{path}]\n"), format!("{}.", path.replacen("table", "table[1]", 1)))
                }
                path => (format!("[{path}]\n"), format!("{path}.")),
            };
            let shown = problems_in(&format!("{header}{} = 1979-05-27\n", key.name), ALL, Path::new(""));
            let expect = format!("{path}{}: expected {}, found a date or time; write ", key.name, key.expected);
            assert!(shown.contains(&expect), "{expect:?} is not in:\n{shown}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

/// What a person copies from a message must be right.
#[test]
fn examples_are_valid() {
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| !section.path.is_empty() && !section.path.contains('.')) {
        text.push_str(&if section.path == "table" {
            "[[table]]\n".to_owned()
        } else {
            format!("[{}]\n", section.path)
        });
        for key in section.keys.iter().filter(|key| !["password", "sasl", "exclude_columns"].contains(&key.name)) {
            text.push_str(&format!("{} = {}\n", key.name, key.example));
        }
    }
    check_text(&text, "ok");
}

/// Whatever is cut out of a file or put into it: problems or none, but no panic.
#[test]
fn no_text_breaks_the_check() {
    let whole = format!(
        "{SOURCE}password = \"hunter2\"\ntls = {{ mode = \"required\", ca = 'ü' }}\n{LOG}password.env = \"hunter2\"\n\
         {TARGET}[target.password]\nfile = \"hunter2/x\"\n{TABLE}columns.a.on_unholdable = \"null\"\n{TABLE}[http]\ncapture = \"[::1]:1\"\n"
    );
    let characters: Vec<char> = whole.chars().collect();
    let puts = ["", "\"", "[", "]", "{", "}", "=", ".", "\n", "ü", "\\", "'", "#", "table", "[source]\n", "\u{0}", "1"];
    let mut broken = 0;
    for start in 0..characters.len() {
        for (length, put) in puts.iter().enumerate() {
            let end = (start + length).min(characters.len());
            let before: String = characters[..start].iter().collect();
            let after: String = characters[end..].iter().collect();
            let text = format!("{before}{put}{after}");
            let surroundings = Surroundings { directory: Path::new(""), variable: &variable, unread: None };
            broken += usize::from(checked::check(&text, ALL, &surroundings).is_err());
        }
    }
    assert!(broken > characters.len(), "{broken}");
}
