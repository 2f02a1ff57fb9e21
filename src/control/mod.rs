//! What the process tells over HTTP: `/healthz`, `/readyz`, `/status` and `/metrics`; and orders to those who copy: `POST /backfill`. Translation only: no logic and no decision stands here.
//!
//! The one thing to know: it has no TLS and no login, so it listens on loopback addresses only, and refuses requests that a
//! web page could have sent there by way of a browser (a foreign `Host` or `Origin`). Orders are taken only from whoever has the
//! token; nothing else can be changed through it.

mod listener;
mod orders;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::HttpBody as _,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use listener::BoundedListener;
pub use orders::{Orders, give};
use serde::Serialize;
use tailrace_contract::{Error, Result};
use tokio::net::TcpListener;

use crate::{
    runtime::{Health, PartState},
    status::About,
    telemetry::Metrics,
};

/// What is told.
#[derive(Clone)]
pub struct Told {
    /// How the parts are doing.
    pub health: Arc<Health>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What the process is.
    pub about: Arc<About>,
    /// Who takes orders.
    pub orders: Orders,
}

/// A bound address, not served yet.
#[derive(Debug)]
pub struct ControlServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl ControlServer {
    /// Takes the address that `key` of the configuration names.
    pub async fn bind(address: SocketAddr, key: &str) -> Result<Self> {
        if !address.ip().is_loopback() {
            return Err(Error::refused(format!("{address} is not a loopback address")).hint(format!("change {key}")));
        }
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind.await.map_err(|error: io::Error| bind_error(address, key, error))
    }

    /// Where it listens: the port is known even if the configuration left it open.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, told: Told) -> Result<()> {
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/status", get(status))
            .route("/metrics", get(metrics))
            .route(orders::PATH, post(orders::take).layer(DefaultBodyLimit::max(orders::ORDER_BYTES_MAX)))
            .fallback(async || {
                (StatusCode::NOT_FOUND, "known here: /healthz, /readyz, /status, /metrics, and POST of /backfill\n")
            })
            .with_state(told)
            .layer(middleware::from_fn(refuse_foreign));
        let served = axum::serve(BoundedListener::new(self.listener), router).await;
        served.map_err(|error| Error::refused(format!("serving http on {} ended", self.address)).caused_by(error))
    }
}

fn bind_error(address: SocketAddr, key: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::refused(format!("the http address {address} is in use"))
            .hint(format!("stop the process that listens there, or change {key} in the configuration")),
        _ => Error::refused(format!("can't listen on the http address {address}"))
            .hint(format!("change {key} in the configuration"))
            .caused_by(error),
    }
}

/// The process in a word, and each part.
#[derive(Serialize)]
struct HealthDocument {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    parts: BTreeMap<&'static str, PartDocument>,
}

#[derive(Serialize)]
struct PartDocument {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// 200 while every part runs, else 503 and why.
async fn healthz(State(told): State<Told>) -> Response {
    let parts = told.health.parts();
    let (state, reason) = match told.health.worst() {
        Some((part, state)) => (state.name(), state.reason().map(|reason| format!("{part}: {reason}"))),
        None => (PartState::Starting.name(), None),
    };
    let status = if told.health.is_running() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let describe = |state: &PartState| PartDocument { state: state.name(), reason: state.reason().map(str::to_owned) };
    let parts = parts.iter().map(|(part, state)| (*part, describe(state))).collect();
    let document = HealthDocument { state, reason, parts };
    let text = serde_json::to_string(&document).expect("invariant: the document has only texts");
    respond(status, "application/json", text + "\n")
}

/// 200 once every part runs, else 503, and in one line what is waited for.
async fn readyz(State(told): State<Told>) -> Response {
    if told.health.is_running() {
        return respond(StatusCode::OK, "text/plain; charset=utf-8", "ready\n".to_owned());
    }
    let why = match told.health.worst() {
        Some((part, state)) => match state.reason() {
            Some(reason) => format!("{part} is {}: {}\n", state.name(), reason.replace('\n', " ")),
            None => format!("{part} is {}\n", state.name()),
        },
        None => "nothing has been started yet\n".to_owned(),
    };
    respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", why)
}

/// What the process knows of itself.
async fn status(State(told): State<Told>) -> Response {
    let status = told.about.status(&told.health, &told.metrics);
    let text = serde_json::to_string(&status).expect("invariant: the document has only texts and numbers");
    respond(StatusCode::OK, "application/json", text + "\n")
}

/// In the form that is asked for: Prometheus asks for OpenMetrics, and whoever asks for nothing gets the older form, which
/// every tool reads.
async fn metrics(State(told): State<Told>, headers: HeaderMap) -> Response {
    const OPEN: &str = "application/openmetrics-text";
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    if accepted.flat_map(|accept| accept.split(',')).any(|kind| kind.trim().starts_with(OPEN)) {
        let text = told.metrics.text();
        return respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text);
    }
    respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", told.metrics.classic_text())
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text).into_response()
}

/// Lets pass only what a person or a scraper on this machine asks.
async fn refuse_foreign(request: Request, next: Next) -> Response {
    let is_order = request.uri().path() == orders::PATH;
    let method = if is_order { Method::POST } else { Method::GET };
    let refusal = if request.method() != method {
        Some((StatusCode::METHOD_NOT_ALLOWED, "only GET is answered, and POST of /backfill\n"))
    } else if !is_order && !request.body().is_end_stream() {
        Some((StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body\n"))
    } else if !is_local(request.headers(), request.uri().host()) {
        Some((StatusCode::FORBIDDEN, "only requests to a loopback name are answered\n"))
    } else {
        None
    };
    match refusal {
        Some((StatusCode::METHOD_NOT_ALLOWED, why)) => {
            (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, method.as_str().to_owned())], why).into_response()
        }
        // The body is not read, so the connection can't serve another request.
        Some((status, why)) => (status, [(header::CONNECTION, "close")], why).into_response(),
        None => next.run(request).await,
    }
}

/// `Host` must name this machine; `Origin`, where a browser sends it, too.
fn is_local(headers: &HeaderMap, host_of_uri: Option<&str>) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else { return false };
    let is_local_origin = |origin: &header::HeaderValue| {
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")).is_some_and(is_loopback_authority)
    };
    is_loopback_authority(host)
        && host_of_uri.is_none_or(is_loopback_authority)
        && headers.get_all(header::ORIGIN).iter().all(is_local_origin)
}

fn is_loopback_authority(authority: &str) -> bool {
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
