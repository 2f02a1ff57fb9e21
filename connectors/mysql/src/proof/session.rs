//! A connection for proof: protected as the settings say, and set up so that an answer depends on the row alone.
//!
//! The driver can't leave the name out of what it checks: `verify-ca` is as strict as `verify-full` here, never weaker than asked,
//! and refuses a certificate that does not name the host.

use mysql_async::{ClientIdentity, Conn, OptsBuilder, SslOpts, prelude::Queryable as _};
use tailrace_contract::{Endpoint, Error, Result, Tls, TlsMode};

use crate::errors::{ServerError, network, server_error};

/// The longest row that the server could send at all.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Why:
/// - `NAMES`: the server itself turns texts of any charset into Unicode;
/// - `time_zone`: an instant is printed as its clock in UTC;
/// - `sql_mode`: nothing is padded, no zero date and no 31 February is refused where it stands in a key;
/// - `sql_select_limit`, `max_execution_time` and its like: no default of the server may end an answer early;
/// - `net_write_timeout`: whoever compares may be busy for a while;
/// - `show_gipk…`, which MySQL knows from 8.0.30 on: a primary key that the server made by itself is in its dictionary.
const SET_UP: &str = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', \
                      sql_select_limit = 18446744073709551615, net_write_timeout = 3600, sql_safe_updates = 0 \
                      /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = ON */";
const SET_UP_LEVEL: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
const SET_UP_MYSQL: &str = "SET max_execution_time = 0";
const SET_UP_MARIADB: &str = "SET max_statement_time = 0";

/// Connects and sets up.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname(endpoint.host.clone())
        .tcp_port(endpoint.port)
        .user(Some(endpoint.user.clone()))
        .pass(endpoint.password.as_ref().map(|password| password.expose().to_owned()))
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .ssl_opts(protection(&endpoint.tls)?);
    let mut connection = Conn::new(options).await.map_err(|error| match endpoint.tls.mode {
        TlsMode::VerifyCa => {
            failed(error).hint("for proof the server's certificate must name the host, as with verify-full")
        }
        TlsMode::Disabled | TlsMode::Required | TlsMode::VerifyFull => failed(error),
    })?;
    connection.query_drop(SET_UP).await.map_err(failed)?;
    connection.query_drop(SET_UP_LEVEL).await.map_err(failed)?;
    let version: Option<String> = connection.query_first("SELECT VERSION()").await.map_err(failed)?;
    let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
    let timeout = if is_mariadb { SET_UP_MARIADB } else { SET_UP_MYSQL };
    connection.query_drop(timeout).await.map_err(failed)?;
    Ok(connection)
}

/// None is plain text. The driver never falls back to that by itself.
fn protection(tls: &Tls) -> Result<Option<SslOpts>> {
    let options = match tls.mode {
        TlsMode::Disabled => return Ok(None),
        TlsMode::Required => SslOpts::default().with_danger_accept_invalid_certs(true),
        TlsMode::VerifyCa | TlsMode::VerifyFull => authorities(tls)?,
    };
    let identity = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => Some(ClientIdentity::new(certificate.clone().into(), key.clone().into())),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Error::refused("tls.certificate and tls.key of the source need each other"));
        }
    };
    Ok(Some(options.with_client_identity(identity)))
}

/// Those of the settings, or else the system's; never any that the driver brings along.
fn authorities(tls: &Tls) -> Result<SslOpts> {
    let roots: Vec<_> = match &tls.ca {
        Some(path) => vec![path.clone().into()],
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            found.into_iter().map(|certificate| certificate.to_vec().into()).collect()
        }
    };
    if roots.is_empty() {
        return Err(Error::refused("this system has no certificate authorities")
            .hint("name the server's authority in tls.ca, or install the system's (ca-certificates)"));
    }
    Ok(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots))
}

/// An error of the driver. The server's words go on only where they speak of objects: others may quote a key of the query.
pub(super) fn failed(error: mysql_async::Error) -> Error {
    use mysql_async::{Error as Driver, IoError};
    match error {
        Driver::Server(answer) => {
            let speaks_of_objects = matches!(answer.code, 1044 | 1045 | 1049 | 1054 | 1142 | 1143 | 1146);
            let text = if speaks_of_objects { answer.message } else { "in a query for proof".to_owned() };
            server_error(ServerError { number: answer.code, state: answer.state, text })
        }
        Driver::Io(IoError::Io(cause)) => network(cause),
        Driver::Io(IoError::Tls(cause)) => Error::refused("no protected connection to the server")
            .caused_by(cause)
            .hint("check tls.mode and tls.ca, and that the server offers TLS with a certificate for this host name"),
        // A driver's own words may quote what it could not read.
        Driver::Driver(_) | Driver::Other(_) | Driver::Url(_) => {
            Error::refused("the driver failed in a query for proof")
        }
    }
}
