//! Ways into the server: TLS with a certificate that names the host, each way of proving a password, one capture at a time.

use mysql_async::prelude::Queryable;
use tailrace_contract::{ErrorKind, Result, Secret, Source, SourceSettings, StartAt, Tls, TlsMode};
use tailrace_mysql::MysqlSource;

use super::{server, shared};
use crate::harness::{Stream, checkpoint, settings};

fn as_user(user: &str, password: &str, tls: Tls) -> SourceSettings {
    let mut settings = settings(&server());
    settings.endpoint.user = user.into();
    settings.endpoint.password = Some(Secret::new(password.to_owned()));
    settings.endpoint.tls = tls;
    settings
}

async fn log_in(user: &str, password: &str, tls: Tls) -> Result<String> {
    MysqlSource::new(as_user(user, password, tls))?.identity().await
}

#[tokio::test]
async fn mariadb_takes_logins_by_ed25519_and_over_tls() {
    let mut db = shared("maria_login").await;
    db.run_all(&[
        "INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'",
        "CREATE OR REPLACE USER login_ed25519 IDENTIFIED VIA ed25519 USING PASSWORD('pässword')",
        "GRANT REPLICATION SLAVE, BINLOG MONITOR, SELECT ON *.* TO login_ed25519",
        "CREATE TABLE t (id INT PRIMARY KEY)",
    ])
    .await;
    // The server's challenge is random, and its last byte may be zero.
    for _ in 0..20 {
        log_in("login_ed25519", "pässword", Tls { mode: TlsMode::Disabled, ..Tls::default() }).await.unwrap();
    }
    let plain = || Tls { mode: TlsMode::Disabled, ..Tls::default() };
    let error = log_in("login_ed25519", "password", plain()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let whole = || Tls { mode: TlsMode::VerifyFull, ca: Some(server().ca_file()), ..Tls::default() };
    log_in("tailrace", lab::TAILRACE_PASSWORD, whole()).await.unwrap();

    let source = MysqlSource::new(as_user("login_ed25519", "pässword", whole())).unwrap();
    assert_eq!(source.check(&db.filter(&["t"])).await.unwrap(), []);
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let inner = source.open(&from, db.filter(&["t"])).await.unwrap();
    let mut stream = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    db.run("INSERT INTO t VALUES (1)").await;
    stream.next().await.unwrap();
}

#[tokio::test]
async fn a_way_of_logging_in_that_is_not_known_is_named() {
    let mut db = shared("maria_odd_login").await;
    let (library, account, method) = match super::is_version_11() {
        true => ("auth_parsec", "parsec USING PASSWORD('secret')", "parsec"),
        false => ("auth_pam_v1", "pam USING 'mariadb'", "dialog"),
    };
    db.conn.query_drop(format!("INSTALL SONAME '{library}'")).await.ok();
    db.run(&format!("CREATE OR REPLACE USER login_odd IDENTIFIED VIA {account}")).await;
    let error = log_in("login_odd", "secret", Tls { mode: TlsMode::Disabled, ..Tls::default() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(&format!("login method {method} is not supported")), "{error}");
    assert!(error.advice().unwrap().contains("IDENTIFIED VIA ed25519"), "{error:?}");
}

/// Which kind of server it is, the server says; the scheme is only a word.
#[tokio::test]
async fn the_scheme_of_mysql_serves_too() {
    let mut db = shared("maria_scheme").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut settings = settings(&db.server);
    settings.endpoint.scheme = "mysql".into();
    let source = MysqlSource::new(settings).unwrap();
    assert!(source.identity().await.unwrap().starts_with("mariadb:"));
    assert!(source.position(&StartAt::Now).await.unwrap().as_str().starts_with("mariadb:0-1-"));
}

#[tokio::test]
async fn a_second_capture_of_mariadb_ends_the_first() {
    let mut db = shared("maria_fenced").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let source = MysqlSource::new(settings(&db.server)).unwrap();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let inner = source.open(&from, db.filter(&["t"])).await.unwrap();
    let mut first = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    let _second = source.open(&from, db.filter(&["t"])).await.unwrap();
    let error = first.error().await;
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}
