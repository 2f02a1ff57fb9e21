//! Orders: `POST /backfill` with the token, and the client's side of it.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use tailrace_contract::{Error, ErrorKind, Result, Secret};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Told, respond};
use crate::backfill::{Operator, Order};

/// Where orders go.
pub(super) const PATH: &str = "/backfill";
/// No order is longer: it has at most two keys.
pub(super) const ORDER_BYTES_MAX: usize = 64 << 10;
/// The process answers before that, whatever becomes of the order.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Who takes orders, and with which token.
#[derive(Clone)]
pub struct Orders {
    /// Who takes them; none in a process that copies nothing.
    pub operator: Option<Operator>,
    /// Without one nobody may give any.
    pub token: Option<Secret>,
}

/// What became of an order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// It is carried out, and stored.
    Done(String),
    /// It is not.
    Refused(String),
}

/// Takes an order, from whoever has the token.
pub(super) async fn take(
    State(told): State<Told>,
    headers: HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Response {
    let (status, reply) = match is_allowed(&told.orders, &headers) {
        Err((status, why)) => (status, Reply::Refused(why.to_owned())),
        Ok(operator) => match read(body) {
            Err((status, why)) => (status, Reply::Refused(why.to_owned())),
            Ok(order) => match operator.ask(order).await {
                Ok(done) => (StatusCode::OK, Reply::Done(done)),
                Err(error) if error.kind() == ErrorKind::Transient => {
                    (StatusCode::SERVICE_UNAVAILABLE, Reply::Refused(error.to_string()))
                }
                Err(error) => (StatusCode::CONFLICT, Reply::Refused(error.to_string())),
            },
        },
    };
    let text = serde_json::to_string(&reply).expect("invariant: a text has a JSON form");
    respond(status, "application/json", text + "\n")
}

/// What is wrong is not quoted: a body may hold a key.
fn read(body: std::result::Result<Bytes, BytesRejection>) -> std::result::Result<Order, (StatusCode, &'static str)> {
    let body = body.map_err(|rejection| (rejection.status(), "the body can't be read, or is too long"))?;
    serde_json::from_slice(&body).map_err(|_| (StatusCode::BAD_REQUEST, "the body is no order in JSON"))
}

fn is_allowed<'a>(
    orders: &'a Orders,
    headers: &HeaderMap,
) -> std::result::Result<&'a Operator, (StatusCode, &'static str)> {
    let Some(token) = &orders.token else {
        return Err((StatusCode::FORBIDDEN, "no token is configured: write token = { env = \"NAME\" } into [http]"));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.as_bytes().strip_prefix(b"Bearer "));
    if !given.is_some_and(|given| is_equal(given, token.expose().as_bytes())) {
        return Err((StatusCode::UNAUTHORIZED, "the token is missing or wrong: it is that of [http] token"));
    }
    orders.operator.as_ref().ok_or((StatusCode::CONFLICT, "this process copies nothing: ask capture, or run"))
}

/// Takes as long wherever two texts of one length differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

/// Gives an order to the process at the address; returns what it says.
pub async fn give(address: SocketAddr, token: &Secret, order: &Order) -> Result<String> {
    let body = serde_json::to_string(order).expect("invariant: an order has a JSON form");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "POST {PATH} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token.expose(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let nobody = || {
        Error::transient(format!("nobody answers at {address}"))
            .hint("start `tailrace capture` or `tailrace run`; http.capture says where it listens")
    };
    let answer = match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(nobody().caused_by(error)),
        Err(_) => return Err(nobody()),
    };
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| &answer[end + 4..]);
    match body.and_then(|body| serde_json::from_slice(body).ok()) {
        Some(Reply::Done(done)) => Ok(done),
        Some(Reply::Refused(why)) => Err(Error::refused(why)),
        None => Err(Error::refused(format!("what listens at {address} takes no orders"))),
    }
}
