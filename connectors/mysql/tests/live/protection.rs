//! TLS in each mode, and both ways of proving a password.

use std::path::PathBuf;

use tailrace_contract::{ErrorKind, Result, Secret, Source, Tls, TlsMode};
use tailrace_mysql::MysqlSource;

use crate::harness::{Database, Stream, checkpoint, server, settings};

fn source_with(tls: Tls, user: &str, password: &str) -> Result<MysqlSource> {
    let mut settings = settings(&server("source-login"));
    settings.endpoint.tls = tls;
    settings.endpoint.user = user.into();
    settings.endpoint.password = Some(Secret::new(password.to_owned()));
    MysqlSource::new(settings)
}

async fn log_in(tls: Tls) -> Result<String> {
    source_with(tls, "tailrace", lab::TAILRACE_PASSWORD)?.identity().await
}

fn tls(mode: TlsMode, ca: Option<PathBuf>) -> Tls {
    Tls { mode, ca, ..Tls::default() }
}

/// An authority that signed nothing here.
fn foreign_ca() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/live/foreign-ca.pem")
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let ca = server("source-login").ca_file();
    let kind = |result: Result<String>| result.map(drop).map_err(|error| (error.kind(), error.to_string()));
    kind(log_in(tls(TlsMode::Disabled, None)).await).unwrap();
    kind(log_in(tls(TlsMode::Required, None)).await).unwrap();
    kind(log_in(tls(TlsMode::VerifyCa, Some(ca.clone()))).await).unwrap();
    let (error, text) = kind(log_in(tls(TlsMode::VerifyCa, Some(foreign_ca()))).await).unwrap_err();
    assert_eq!(error, ErrorKind::Refused, "{text}");
    let (error, text) = kind(log_in(tls(TlsMode::VerifyFull, Some(foreign_ca()))).await).unwrap_err();
    assert_eq!(error, ErrorKind::Refused, "{text}");
    // The server's certificate is good and names no host.
    let (error, text) = kind(log_in(tls(TlsMode::VerifyFull, Some(ca))).await).unwrap_err();
    assert_eq!(error, ErrorKind::Refused, "{text}");
    assert!(text.contains("verify-ca"), "{text}");
    let missing = tls(TlsMode::VerifyCa, Some("/nowhere/ca.pem".into()));
    let (error, text) = kind(log_in(missing).await).unwrap_err();
    assert_eq!(error, ErrorKind::Refused, "{text}");
    assert!(text.contains("/nowhere/ca.pem"), "{text}");
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown() {
    let server = server("source-login");
    let mut db = Database::on(server.clone(), "login_certificate").await;
    db.run("DROP USER IF EXISTS login_x509").await;
    db.run("CREATE USER login_x509 IDENTIFIED BY 'x' REQUIRE X509").await;
    let data = server.data();
    let with = Tls {
        mode: TlsMode::VerifyCa,
        ca: Some(server.ca_file()),
        certificate: Some(data.join("client-cert.pem")),
        key: Some(data.join("client-key.pem")),
    };
    let without = Tls { certificate: None, key: None, ..with.clone() };
    source_with(with.clone(), "login_x509", "x").unwrap().identity().await.unwrap();
    let error = source_with(without, "login_x509", "x").unwrap().identity().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(source_with(Tls { key: None, ..with }, "login_x509", "x").is_err());
}

/// The server forgets the proofs it has seen: the next login must show the password itself, under TLS or under its key.
#[tokio::test]
async fn the_whole_password_is_proven_once() {
    let mut db = Database::on(server("source-login"), "login_full").await;
    for (number, mode) in [TlsMode::Disabled, TlsMode::Required].into_iter().enumerate() {
        let user = format!("login_full{number}");
        db.run(&format!("DROP USER IF EXISTS {user}")).await;
        db.run(&format!("CREATE USER {user} IDENTIFIED BY 'long password {number} with ünïcode'")).await;
        let password = format!("long password {number} with ünïcode");
        for _ in 0..2 {
            source_with(tls(mode, None), &user, &password).unwrap().identity().await.unwrap();
        }
        db.run("FLUSH PRIVILEGES").await;
        let error = source_with(tls(mode, None), &user, "wrong").unwrap().identity().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        source_with(tls(mode, None), &user, &password).unwrap().identity().await.unwrap();
    }
    db.run_all(&["DROP USER IF EXISTS login_empty", "CREATE USER login_empty IDENTIFIED BY ''"]).await;
    source_with(tls(TlsMode::Disabled, None), "login_empty", "").unwrap().identity().await.unwrap();
}

#[tokio::test]
async fn other_login_methods_are_refused_by_name() {
    let mut db = Database::on(server("source-login"), "login_method").await;
    db.run_all(&[
        "DROP USER IF EXISTS login_sha256",
        "CREATE USER login_sha256 IDENTIFIED WITH sha256_password BY 'x'",
    ])
    .await;
    let error = source_with(tls(TlsMode::Required, None), "login_sha256", "x").unwrap().identity().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("sha256_password"), "{error}");
}

#[tokio::test]
async fn the_binlog_comes_through_tls() {
    let mut db = Database::on(server("source-login"), "login_stream").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c LONGBLOB)").await;
    let source = source_with(tls(TlsMode::Required, None), "tailrace", lab::TAILRACE_PASSWORD).unwrap();
    let from = checkpoint(&source, &tailrace_contract::StartAt::Now).await.unwrap();
    let inner = source.open(&from, db.filter(&["t"])).await.unwrap();
    let mut stream = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    db.run("INSERT INTO t VALUES (1, REPEAT('x', 20000000)), (2, 'y')").await;
    let mut rows = 0;
    while rows < 2 {
        stream.next().await.unwrap();
        rows += stream.batch.len();
    }
}
