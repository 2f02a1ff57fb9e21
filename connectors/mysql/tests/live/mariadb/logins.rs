//! Ways into the server: TLS with a certificate that names the host, each way of proving a password, one capture at a time.

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
