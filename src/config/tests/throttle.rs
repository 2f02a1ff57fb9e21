//! `[backfill.throttle]`: what holds copies up.

use std::time::Duration;

use super::{LOG, SOURCE, TABLE, TARGET, check_text, config};

/// A line of the section, behind everything else but `[log]`, in line 10.
fn throttle(line: &str, expect: &str) {
    check_text(&format!("{SOURCE}{TARGET}{TABLE}[backfill.throttle]\n{line}\n{LOG}"), expect);
}

#[test]
fn what_holds_copies_up_is_checked() {
    throttle("query = \"SELECT 1\"\nquery_max = 3", "ok");
    throttle(
        "query_max = 3",
        "9:13: backfill.throttle.query_max: a limit without a query; add query = \"SELECT …\", or leave query_max out",
    );
    throttle("source_lag_max = \"30s\"\napply_lag_max = \"2m\"", "ok");
    throttle("source_lag_max = \"10ms\"", "9:18: backfill.throttle.source_lag_max: out of range; use 1s to 7d");
    throttle("replicas = [\"mysql://tailrace@r1\", \"mariadb://other@[::1]:3307\"]\nreplica_lag_max = \"5s\"", "ok");
    throttle(
        "replica_lag_max = \"5s\"",
        "9:19: backfill.throttle.replica_lag_max: a limit without replicas; \
         add replicas = [\"mysql://ACCOUNT@HOST:PORT\"], or leave replica_lag_max out",
    );
    throttle(
        "replicas = [\"mysql://tailrace:hunter2@r1\"]",
        "9:12: backfill.throttle.replicas: a password in the URL is refused; \
         leave it out and write password = { env = \"NAME\" } or { file = \"PATH\" }",
    );
    throttle(
        "replicas = [\"kafka://tailrace@r1\"]",
        "9:12: backfill.throttle.replicas: kafka:// is no source; write mysql:// or mariadb://",
    );
    throttle(
        "replicas = \"mysql://tailrace@r1\"",
        "9:12: backfill.throttle.replicas: expected URLs in an array, found text; \
         write replicas = [\"mysql://tailrace@replica.example:3306\"]",
    );
    check_text(
        &format!("{SOURCE}{TARGET}{TABLE}[backfill.throttle]\napply_lag_max = \"2m\"\n"),
        "9:17: backfill.throttle.apply_lag_max: there is no log that apply could be behind; \
         leave it out: without [log] what is captured is written at once, and source_lag_max covers it",
    );
}

#[test]
fn hours_are_checked() {
    let remedy = "write when copies may run, in UTC or behind it the zone, as in \"22:00-06:00\" or \
                  \"22:00-06:00,12:00-13:30 +01:00\"";
    for good in ["22:00-06:00", "00:00-24:00 UTC", "22:00-06:00,12:00-13:30 -09:30"] {
        throttle(&format!("hours = \"{good}\""), "ok");
    }
    for bad in
        ["", "22-06", "22:00-22:00", "24:00-06:00", "2:00-06:00", "22:00-25:00", "22:00-06:00 CET", "01:00-02:00 Z Z"]
    {
        let expect = format!("9:9: backfill.throttle.hours: {bad:?} are no hours; {remedy}");
        throttle(&format!("hours = \"{bad}\""), &expect);
    }
}

#[test]
fn replicas_have_the_accounts_of_the_source() {
    let source =
        SOURCE.replace("server_id", "password = { env = \"PASSWORD\" }\ntls = { mode = \"required\" }\nserver_id");
    let text = "[backfill.throttle]\nreplicas = [\"mysql://tailrace@r1\", \"mysql://other@r2:3307\"]\n";
    let config = config(&format!("{source}{LOG}{TARGET}{TABLE}{text}"));
    let limits = config.throttle.replicas.expect("replicas");
    assert_eq!(limits.lag_max, Duration::from_secs(10));
    let [one, other] = &limits.replicas[..] else { panic!("{limits:?}") };
    assert_eq!((one.to_string(), other.to_string()), ("mysql://r1:3306".to_owned(), "mysql://r2:3307".to_owned()));
    assert_eq!((one.user.as_str(), other.user.as_str()), ("tailrace", "other"));
    let of_source = &config.source.settings.endpoint;
    assert!(
        of_source.password.as_ref().map(|secret| secret.expose()) == other.password.as_ref().map(|own| own.expose())
    );
    assert_eq!(one.tls.mode, of_source.tls.mode);
}

#[test]
fn where_rows_are_read_is_a_replica_that_copies_wait_for() {
    let read = |text: &str| {
        let source = SOURCE.replace("server_id", "read_url = \"mysql://tailrace@r1\"\nserver_id");
        config(&format!("{source}{LOG}{TARGET}{TABLE}{text}"))
    };
    let names = |text: &str| {
        let replicas = read(text).throttle.replicas.expect("replicas").replicas;
        replicas.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["mysql://r1:3306"]);
    assert_eq!(
        names("[backfill.throttle]\nreplicas = [\"mysql://a@r2\", \"mysql://a@r1:3306\"]\n"),
        ["mysql://r2:3306", "mysql://r1:3306"]
    );
    let limits = read("[backfill.throttle]\nreplica_lag_max = \"3s\"\n").throttle.replicas.expect("replicas");
    assert_eq!(limits.lag_max, Duration::from_secs(3));
    let source = SOURCE.replace("server_id", "read_url = \"mysql://tailrace@DB:3306\"\nserver_id");
    check_text(
        &format!("{source}{LOG}{TARGET}{TABLE}"),
        "3:12: source.read_url: this is the server of url, where tables are read anyway; name a replica of it",
    );
}
