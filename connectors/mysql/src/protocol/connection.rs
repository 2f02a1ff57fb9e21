//! One logged-in connection: statements, and after [`Connection::begin_dump`] nothing but binlog packets.

use std::{ops::Range, time::Duration};

use tailrace_contract::{Endpoint, Error, Result, TlsMode};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use super::{
    auth,
    greeting::{self, Greeting, ServerVersion, capability},
    packets::PacketReader,
    query::{self, Answer, Row},
    tls,
    transport::Transport,
};
use crate::errors;

const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

const COM_QUERY: u8 = 3;

/// Names and texts of the dictionary come as UTF-8, and no mode of the server's changes what our statements mean. A primary key that
/// MySQL made by itself (from 8.0.30) is in the dictionary as it is in the binlog; MariaDB passes such a comment over.
const SET_UP: &str = "SET NAMES utf8mb4, SESSION sql_mode = '', time_zone = '+00:00' \
                      /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = ON */";

/// A connection to a server. An error ends it.
pub(crate) struct Connection {
    transport: Transport,
    packets: PacketReader,
    version: ServerVersion,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let login = async {
            let address = (endpoint.host.as_str(), endpoint.port);
            let tcp = TcpStream::connect(address).await.map_err(errors::network)?;
            tcp.set_nodelay(true).map_err(errors::network)?;
            Self::log_in(tcp, endpoint).await
        };
        let opened = match timeout(LOGIN_TIMEOUT, login).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::transient(format!("no login within {} s", LOGIN_TIMEOUT.as_secs()))),
        };
        let mut connection = opened.map_err(|error| error.context(format_args!("connecting to {endpoint}")))?;
        connection.execute(SET_UP).await?;
        Ok(connection)
    }

    /// The server's version as it greets.
    pub(crate) fn version(&self) -> ServerVersion {
        self.version
    }

    /// Runs a statement and gathers its rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.answered(async |connection| connection.query_unbounded(sql).await).await
    }

    /// Runs a statement that must have exactly one row.
    pub(crate) async fn query_row(&mut self, sql: &str) -> Result<Row> {
        let rows = self.query(sql).await?;
        let mut rows = rows.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => Ok(row),
            _ => Err(Error::corrupt("the server did not answer with one row")),
        }
    }

    /// Runs a statement without rows.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<()> {
        self.query(sql).await.map(drop)
    }

    /// Sends a command and leaves the answer to the caller.
    pub(crate) async fn begin_dump(&mut self, command: &[u8]) -> Result<()> {
        self.command(command).await
    }

    /// Sends a command whose answer says only yes or no.
    pub(crate) async fn acknowledge(&mut self, command: &[u8]) -> Result<()> {
        self.answered(async |connection| {
            connection.command(command).await?;
            Answer::parse(&connection.receive_owned().await?).map(drop)
        })
        .await
    }

    /// The next packet, if it was received already.
    #[inline]
    pub(crate) fn buffered(&mut self) -> Result<Option<Range<usize>>> {
        self.packets.next().map_err(errors::malformed)
    }

    /// The bytes of the packet returned last.
    #[inline]
    pub(crate) fn bytes(&self, packet: &Range<usize>) -> &[u8] {
        self.packets.bytes(packet)
    }

    /// Receives more. Dropping the future loses nothing.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        match self.packets.fill(&mut self.transport).await {
            Ok(0) => Err(Error::transient("the server closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(errors::network(error)),
        }
    }

    /// Reads an ERR packet.
    pub(crate) fn error_of(packet: &[u8]) -> Error {
        errors::server_error(query::parse_error(packet))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.transport.is_loopback()
    }

    pub(super) async fn receive_owned(&mut self) -> Result<Vec<u8>> {
        let packet = self.receive().await?;
        Ok(self.bytes(&packet).to_vec())
    }

    /// Sends one packet (all of ours are small) with the next number.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|length| *length < 0xff_ffff);
        let length = length.ok_or_else(|| Error::refused("a statement of 16 MiB"))?.to_le_bytes();
        let number = self.packets.next_number();
        let packet = [&length[..3], &[number], payload].concat();
        self.packets.set_next_number(number.wrapping_add(1));
        self.transport.write_all(&packet).await.map_err(errors::network)?;
        self.transport.flush().await.map_err(errors::network)
    }

    async fn receive(&mut self) -> Result<Range<usize>> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            self.fill().await?;
        }
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn answered<T>(&mut self, ask: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        within(ANSWER_TIMEOUT, ask(self)).await
    }

    pub(super) async fn command(&mut self, command: &[u8]) -> Result<()> {
        self.packets.set_next_number(0);
        self.send(command).await
    }

    async fn query_unbounded(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.command(&[&[COM_QUERY], sql.as_bytes()].concat()).await?;
        let columns = match Answer::parse(&self.receive_owned().await?)? {
            Answer::Done => return Ok(Vec::new()),
            Answer::Columns(columns) => columns,
        };
        for _ in 0..=columns {
            self.receive().await?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.receive().await?;
            let packet = self.bytes(&packet);
            if packet.first() == Some(&0xff) {
                return Err(Self::error_of(packet));
            }
            if query::is_end(packet) {
                return Ok(rows);
            }
            rows.push(Row::parse(packet, columns).map_err(errors::malformed)?);
        }
    }

    async fn log_in(tcp: TcpStream, endpoint: &Endpoint) -> Result<Self> {
        let mut connection =
            Self { transport: Transport::Plain(tcp), packets: PacketReader::new(), version: ServerVersion::default() };
        let packet = connection.receive_owned().await?;
        if packet.first() == Some(&0xff) {
            return Err(Self::error_of(&packet));
        }
        let greeting = Greeting::parse(&packet).map_err(errors::malformed)?;
        let greeting = greeting.ok_or_else(|| Error::refused("the server does not speak MySQL's protocol 10"))?;
        let connection = connection.protect(endpoint, &greeting).await?;
        connection.identify(endpoint, greeting).await
    }

    /// Goes over to TLS, if the settings say so.
    async fn protect(mut self, endpoint: &Endpoint, greeting: &Greeting) -> Result<Self> {
        let Some(connector) = tls::connector(&endpoint.tls)? else { return Ok(self) };
        if !greeting.offers(capability::TLS) {
            return Err(Error::refused("the server offers no TLS")
                .hint("set up TLS on the server, or set tls.mode of [source] to disabled if the network is trusted"));
        }
        self.send(&greeting::tls_request()).await?;
        if self.packets.has_bytes() {
            // Somebody in between could have put them there before the protection began.
            return Err(Error::corrupt("the server spoke before TLS began"));
        }
        let Transport::Plain(tcp) = self.transport else { unreachable!("TLS begins once") };
        let encrypted = connector.connect(tls::server_name(&endpoint.host)?, tcp).await;
        let encrypted = encrypted.map_err(|error| tls_error(error, endpoint.tls.mode))?;
        Ok(Self { transport: Transport::Encrypted(Box::new(encrypted)), ..self })
    }

    async fn identify(mut self, endpoint: &Endpoint, greeting: Greeting) -> Result<Self> {
        let password = endpoint.password.as_ref().map_or("", |secret| secret.expose());
        let plugin = auth::first_plugin(&greeting.plugin);
        let proof = auth::first_proof(plugin, &greeting.nonce, password)?;
        self.send(&greeting::answer(self.is_encrypted(), &endpoint.user, &proof, plugin)).await?;
        auth::finish(&mut self, &greeting.nonce, password).await?;
        self.version = greeting.version;
        Ok(self)
    }
}

/// The answer, if it comes in time.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::transient(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// What the TLS layer says about a certificate is for a person; everything else may pass by itself.
fn tls_error(error: std::io::Error, mode: TlsMode) -> Error {
    let error = errors::network(error);
    match mode {
        TlsMode::VerifyFull => error.context("TLS").hint(
            "tls.ca must hold the server's authority, and the certificate must name the host; verify-ca leaves the name out",
        ),
        TlsMode::VerifyCa => error.context("TLS").hint("tls.ca must hold the authority that signed the server's certificate"),
        TlsMode::Required | TlsMode::Disabled => error.context("TLS"),
    }
}
