//! The network and the server fail; the kind of the error says what the engine has to do.

use std::time::{Duration, Instant};

use tailrace_contract::{Checkpoint, ErrorKind, Secret, Source, SourceSettings, StartAt};
use tailrace_mysql::MysqlSource;
use tailrace_row::RecordBatch;

use crate::{
    harness::{Database, Stream, checkpoint, server, settings},
    proxy::{Mode, Proxy},
};

async fn through(proxy: &Proxy, db: &Database) -> (MysqlSource, Checkpoint, Stream) {
    let mut settings = settings(&db.server);
    settings.endpoint.port = proxy.port;
    let source = MysqlSource::new(settings).unwrap();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let inner = source.open(&from, db.filter(&["t"])).await.unwrap();
    (source, from, Stream { inner, batch: RecordBatch::new() })
}

async fn database(name: &str) -> Database {
    let mut db = Database::new(name).await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(100))").await;
    db
}

#[tokio::test]
async fn a_silent_connection_counts_as_dead_after_three_heartbeats() {
    let mut db = database("faults_silent").await;
    let proxy = Proxy::before(&db.server).await;
    let (_, _, mut stream) = through(&proxy, &db).await;
    // An idle server is heard by its heartbeats: much longer than the limit.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        stream.inner.read_batch(&mut stream.batch, crate::harness::LIMITS).await.unwrap();
    }
    db.run("INSERT INTO t VALUES (1, 'x')").await;
    stream.next().await.unwrap();
    proxy.set(Mode::Silent);
    let begun = Instant::now();
    let error = stream.error().await;
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("silent"), "{error}");
    assert!(
        begun.elapsed() > Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_cut_connection_is_transient() {
    let db = database("faults_cut").await;
    let proxy = Proxy::before(&db.server).await;
    let (source, from, mut stream) = through(&proxy, &db).await;
    proxy.set(Mode::Cut);
    let error = stream.error().await;
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    proxy.set(Mode::Forward);
    source.open(&from, db.filter(&["t"])).await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_is_noticed() {
    let mut db = database("faults_bit").await;
    let proxy = Proxy::before(&db.server).await;
    let (source, from, mut stream) = through(&proxy, &db).await;
    proxy.spoil(b"a value to be spoiled");
    db.run("INSERT INTO t VALUES (1, 'a value to be spoiled')").await;
    // It may have happened on the way; what is wrong twice lies so in the binlog.
    for kind in [ErrorKind::Transient, ErrorKind::Corrupt] {
        let error = stream.error().await;
        assert!(proxy.has_spoiled());
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains("checksum") && text.contains("binlog.0"), "{text}");
        assert!(!text.contains("spoiled"), "{text}");
        proxy.spoil(b"a value to be spoiled");
        stream.inner = source.open(&from, db.filter(&["t"])).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_transient() {
    let server = server("source-killed");
    let mut db = Database::on(server.clone(), "faults_killed").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(100))").await;
    let source = db.source();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    for is_orderly in [true, false] {
        let mut stream = db.follow(&["t"]).await;
        if is_orderly {
            server.stop().unwrap()
        } else {
            server.kill().unwrap()
        }
        let error = stream.error().await;
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        let error = source.open(&from, db.filter(&["t"])).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        let problems = source.check(&db.filter(&["t"])).await.unwrap();
        assert_eq!(
            problems.iter().map(|problem| problem.code).collect::<Vec<_>>(),
            ["source_unreachable"],
            "{problems:?}"
        );
        server.start().unwrap();
        source.open(&from, db.filter(&["t"])).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_capture_with_our_server_id_fences_the_first() {
    let db = database("faults_fenced").await;
    let settings = settings(&db.server);
    let open = async |settings: SourceSettings| {
        let source = MysqlSource::new(settings).unwrap();
        let from = checkpoint(&source, &StartAt::Now).await.unwrap();
        Stream { inner: source.open(&from, db.filter(&["t"])).await.unwrap(), batch: RecordBatch::new() }
    };
    let mut first = open(settings.clone()).await;
    let _second = open(settings).await;
    let error = first.error().await;
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

#[tokio::test]
async fn logins_that_can_not_work_are_refused() {
    let db = database("faults_login").await;
    let refused = async |change: fn(&mut SourceSettings)| {
        let mut settings = settings(&db.server);
        change(&mut settings);
        let source = MysqlSource::new(settings).unwrap();
        let error = source.identity().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(!format!("{error} {error:?}").contains("a-wrong-secret"));
        let problems = source.check(&db.filter(&["t"])).await.unwrap();
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["source_login"], "{problems:?}");
    };
    refused(|settings| settings.endpoint.password = Some(Secret::new("a-wrong-secret".to_owned()))).await;
    refused(|settings| settings.endpoint.password = None).await;
    refused(|settings| settings.endpoint.user = "nobody".into()).await;
}

#[tokio::test]
async fn what_is_no_mysql_server_is_refused() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for greeting in [&b"\x05\x00\x00\x00hello"[..], b"\x03\x00\x00\x00\x0a9\x00"] {
            let (mut client, _) = listener.accept().await.unwrap();
            client.write_all(greeting).await.unwrap();
        }
    });
    let mut settings = settings(&server("source"));
    settings.endpoint.port = port;
    let source = MysqlSource::new(settings).unwrap();
    assert_eq!(source.identity().await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(source.identity().await.unwrap_err().kind(), ErrorKind::Corrupt);
}
