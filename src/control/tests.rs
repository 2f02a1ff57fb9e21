//! Requests over real sockets.

use std::{num::NonZeroU64, time::Duration};

use tailrace_contract::Secret;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{
    backfill::{Operator, Order},
    mapping::TableRules,
    runtime::tasks,
    status::{Answer, Overall, ask},
};

struct Served {
    told: Told,
    address: SocketAddr,
    server: tokio::task::JoinHandle<Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve() -> Served {
    serve_with(Orders { operator: None, token: None }).await
}

async fn serve_with(orders: Orders) -> Served {
    let about = About {
        stream: "shop".to_owned(),
        command: "run",
        address: "127.0.0.1:8700".to_owned(),
        started_at: 1.0,
        is_embedded: false,
        rules: TableRules::default(),
        looks: Arc::default(),
    };
    let (health, metrics) = (Arc::new(Health::new()), Arc::new(Metrics::new()));
    let told = Told { health, metrics, about: Arc::new(about), orders };
    let server = ControlServer::bind("127.0.0.1:0".parse().unwrap(), "http.capture").await.unwrap();
    let address = server.address();
    assert_ne!(address.port(), 0);
    Served { told: told.clone(), address, server: tasks::spawn("control", server.serve(told)) }
}

/// Sends the text and returns all that comes back.
async fn ask_plain(address: SocketAddr, request: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A refused body may end the connection hard; what was answered before counts.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask_plain(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn health_tells_the_worst_part() {
    let served = serve().await;
    let check = async |status: &str, body: &str| {
        let answer = get(served.address, "/healthz").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}\n")), "{answer}");
    };
    check("503 Service Unavailable", r#"{"state":"starting","parts":{}}"#).await;
    let health = &served.told.health;
    health.set("capture", PartState::Running);
    check("200 OK", r#"{"state":"running","parts":{"capture":{"state":"running"}}}"#).await;
    health.set("apply", PartState::Waiting("connection refused".into()));
    check(
        "503 Service Unavailable",
        r#"{"state":"waiting","reason":"apply: connection refused","parts":{"apply":{"state":"waiting","reason":"connection refused"},"capture":{"state":"running"}}}"#,
    )
    .await;
    health.set("apply", PartState::Running);
    health.set("capture", PartState::Degraded("a table stopped".into()));
    check(
        "503 Service Unavailable",
        r#"{"state":"degraded","reason":"capture: a table stopped","parts":{"apply":{"state":"running"},"capture":{"state":"degraded","reason":"a table stopped"}}}"#,
    )
    .await;
    health.set("apply", PartState::Failed("fenced".into()));
    check(
        "503 Service Unavailable",
        r#"{"state":"failed","reason":"apply: fenced","parts":{"apply":{"state":"failed","reason":"fenced"},"capture":{"state":"degraded","reason":"a table stopped"}}}"#,
    )
    .await;
}

#[tokio::test]
async fn ready_is_only_who_runs_wholly() {
    let served = serve().await;
    let check = async |status: &str, body: &str| {
        let answer = get(served.address, "/readyz").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(body), "{answer}");
    };
    check("503 Service Unavailable", "\r\n\r\nnothing has been started yet\n").await;
    let health = &served.told.health;
    health.set("capture", PartState::Starting);
    check("503 Service Unavailable", "\r\n\r\ncapture is starting\n").await;
    health.set("capture", PartState::Running);
    check("200 OK", "\r\n\r\nready\n").await;
    health.set("apply", PartState::Waiting("connection\nrefused".into()));
    check("503 Service Unavailable", "\r\n\r\napply is waiting: connection refused\n").await;
}

#[tokio::test]
async fn a_status_comes_back_as_it_was_told() {
    let served = serve().await;
    let told = async || match ask(served.address).await {
        Answer::Told(status) => *status,
        other => panic!("{other:?}"),
    };
    let begun = told().await;
    assert_eq!((begun.state, begun.stream.as_str()), (Overall::Degraded, "shop"));
    served.told.health.set("capture", PartState::Running);
    served.told.metrics.count_error("capture", &Error::transient("connection refused"));
    let running = told().await;
    assert_eq!(running.state, Overall::Running);
    let [capture, apply] = [running.capture, running.apply].map(Option::unwrap);
    assert_eq!(capture.last_error.unwrap().text, "connection refused");
    assert_eq!(apply.last_error, None, "another stage's error is not its own");
    served.told.health.set("apply", PartState::Failed("fenced".into()));
    assert_eq!(told().await.state, Overall::Down);
}

#[tokio::test]
async fn who_asks_for_nothing_gets_metrics_in_the_form_that_every_tool_reads() {
    let served = serve().await;
    served.told.metrics.capture.records.inc_by(3);
    let answer = get(served.address, "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    let lines = "# TYPE tailrace_capture_records_total counter\ntailrace_capture_records_total 3\n";
    assert!(answer.contains(lines), "{answer}");
    assert!(!answer.contains("# EOF") && !answer.contains("# UNIT"), "{answer}");
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let served = serve().await;
    served.told.metrics.capture.records.inc_by(3);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let host = served.address;
    let answer =
        ask_plain(host, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{accept}Connection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\ntailrace_capture_records_total 3\n"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn only_local_reading_requests_are_answered() {
    let served = serve().await;
    let address = served.address;
    served.told.health.set("capture", PartState::Running);
    let check = async |line: &str, headers: &str, status: u16| {
        let answer = ask_plain(address, &format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers:?} gave:\n{answer}");
    };
    let host = format!("Host: {address}\r\n");
    check("GET /healthz", &host, 200).await;
    check("GET /healthz", "Host: localhost\r\n", 200).await;
    check("GET /healthz", "Host: LocalHost:8700\r\n", 200).await;
    check("GET /healthz", "Host: [::1]:8700\r\n", 200).await;
    check("GET /healthz", "Host: [::1]\r\n", 200).await;
    check("GET http://127.0.0.1/healthz", &host, 200).await;
    check("GET /healthz", "", 403).await;
    check("GET /healthz", "Host: evil.example\r\n", 403).await;
    check("GET /healthz", "Host: localhost.evil.example\r\n", 403).await;
    check("GET /healthz", "Host: 10.0.0.1:8700\r\n", 403).await;
    check("GET /healthz", "Host: localhost\r\nHost: evil.example\r\n", 403).await;
    check("GET http://evil.example/healthz", &host, 403).await;
    check("GET /healthz", &format!("{host}Origin: http://localhost:3000\r\n"), 200).await;
    check("GET /healthz", &format!("{host}Origin: http://evil.example\r\n"), 403).await;
    check("GET /healthz", &format!("{host}Origin: null\r\n"), 403).await;
    check("GET /", &host, 404).await;
    check("GET /healthz/", &host, 404).await;
    check("HEAD /healthz", &host, 405).await;
    check("POST /healthz", &host, 405).await;
    check("DELETE /metrics", &host, 405).await;
    check("GET /healthz", &format!("{host}Content-Length: 5\r\n"), 413).await;
    check("GET /healthz", &format!("{host}Transfer-Encoding: chunked\r\n"), 413).await;
}

const TOKEN: &str = "0123456789abcdef";

#[tokio::test]
async fn orders_are_taken_only_from_whoever_has_the_token() {
    let throttle = Order::Throttle { rows_per_second_max: NonZeroU64::new(50) };
    let operator = Operator::new(None);
    let token = |token: &str| Some(Secret::new(token.to_owned()));
    let check = async |orders: Orders, given: &str, expect: &str| {
        let served = serve_with(orders).await;
        let told = give(served.address, &token(given).unwrap(), &throttle).await;
        let told = told.unwrap_or_else(|error| error.to_string());
        assert!(told.contains(expect) && !told.contains(TOKEN), "{told}");
    };
    let orders = |operator: Option<&Operator>, token| Orders { operator: operator.cloned(), token };
    check(orders(Some(&operator), None), TOKEN, "no token is configured").await;
    check(orders(Some(&operator), token(TOKEN)), "0123456789abcdeX", "the token is missing or wrong").await;
    check(orders(Some(&operator), token(TOKEN)), "0123456789abcdef0", "the token is missing or wrong").await;
    check(orders(Some(&operator), token(TOKEN)), "", "the token is missing or wrong").await;
    check(orders(None, token(TOKEN)), TOKEN, "this process copies nothing").await;
    check(orders(Some(&operator), token(TOKEN)), TOKEN, "at most 50 rows a second").await;
}

#[tokio::test]
async fn orders_are_small_local_and_posted() {
    let served = serve_with(Orders { operator: None, token: Some(Secret::new(TOKEN.to_owned())) }).await;
    let host = served.address;
    let check = async |head: &str, body: &str, status: u16| {
        let head = format!("{head} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        let request =
            format!("{head}Host: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let answer = ask_plain(host, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body:?} gave:\n{answer}");
    };
    check("POST /backfill", "{\"order\":\"pause\"}", 409).await;
    check("GET /backfill", "", 405).await;
    check("POST /status", "", 405).await;
    let foreign = "POST /backfill HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(ask_plain(host, foreign).await.starts_with("HTTP/1.1 403 "));
    let foreign =
        format!("POST /backfill HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n");
    assert!(ask_plain(host, &foreign).await.starts_with("HTTP/1.1 403 "));
    let operator = Some(Operator::new(None));
    let served = serve_with(Orders { operator, token: Some(Secret::new(TOKEN.to_owned())) }).await;
    let host = served.address;
    for (body, status) in [("{", 400), ("{\"order\":\"drop\"}", 400), (&*"x".repeat(70_000), 413)] {
        let head =
            format!("POST /backfill HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        let request =
            format!("{head}Host: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let answer = ask_plain(host, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "gave:\n{answer}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_pile_up() {
    let served = serve().await;
    served.told.health.set("capture", PartState::Running);
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    // The 32 served ones are idle; the next request waits in the queue until one of them goes.
    let request = async { get(served.address, "/healthz").await };
    tokio::pin!(request);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut request).await.is_err());
    drop(idle);
    let answer = tokio::time::timeout(Duration::from_secs(10), request).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_taken_address_names_the_key() {
    let served = serve().await;
    let error = ControlServer::bind(served.address, "http.apply").await.unwrap_err();
    assert_eq!(error.kind(), tailrace_contract::ErrorKind::Refused);
    assert_eq!(
        error.to_string(),
        format!(
            "the http address {} is in use; stop the process that listens there, or change http.apply in the configuration",
            served.address
        )
    );
    let error = ControlServer::bind("0.0.0.0:0".parse().unwrap(), "http.apply").await.unwrap_err();
    assert_eq!(error.to_string(), "0.0.0.0:0 is not a loopback address; change http.apply");
}
