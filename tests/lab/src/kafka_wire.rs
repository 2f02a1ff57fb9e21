//! Questions to a broker in Kafka's own protocol, without a client library: whether it serves, and which transactions are
//! open, which is how a test proves that a kill hit a batch in flight. And orders: to allow an account something or not, which
//! takes Kafka's own tool seconds.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const CORRELATION: i32 = 0x7A11;
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A transactional producer as the broker's coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTransaction {
    /// The producer's `transactional.id`.
    pub id: String,
    /// `Empty`, `Ongoing`, `PrepareCommit`, `PrepareAbort`, `CompleteCommit`, `CompleteAbort`, …
    pub state: String,
}

impl KafkaTransaction {
    /// Begun and neither committed nor aborted.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "Ongoing" | "PrepareCommit" | "PrepareAbort")
    }
}

/// Something that an account may do to a resource of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRight {
    /// As brokers know it: `User:tailrace`.
    pub principal: String,
    /// `topic`, `group`, `cluster` or `transactional-id`.
    pub kind: String,
    /// The resource's; `kafka-cluster` of the cluster.
    pub name: String,
    /// As Kafka's tool calls it, like `DescribeConfigs`.
    pub operation: String,
}

impl KafkaRight {
    fn numbers(&self) -> io::Result<(u8, u8)> {
        let kind = ["topic", "group", "cluster", "transactional-id"].iter().position(|kind| *kind == self.kind);
        let operation = match self.operation.as_str() {
            "Read" => 3,
            "Write" => 4,
            "Create" => 5,
            "Describe" => 8,
            "DescribeConfigs" => 10,
            other => return Err(garbled(&format!("the operation {other}"))),
        };
        let kind =
            kind.and_then(|place| u8::try_from(place + 2).ok()).ok_or_else(|| garbled("the kind of resource"))?;
        Ok((kind, operation))
    }

    /// CreateAcls and DeleteAcls say it alike, from any host, for this name exactly.
    fn written(&self) -> io::Result<Vec<u8>> {
        const EXACTLY: u8 = 3;
        const ALLOW: u8 = 3;
        let (kind, operation) = self.numbers()?;
        let mut bytes = vec![kind];
        put_string(&mut bytes, &self.name)?;
        bytes.push(EXACTLY);
        put_string(&mut bytes, &self.principal)?;
        put_string(&mut bytes, "*")?;
        bytes.extend([operation, ALLOW]);
        Ok(bytes)
    }
}

/// CreateAcls (version 1) of one.
pub(crate) fn allow(port: u16, right: &KafkaRight) -> io::Result<()> {
    const CREATE_ACLS: i16 = 30;
    change(port, CREATE_ACLS, right).map(drop)
}

/// DeleteAcls (version 1) of one; returns how many there were.
pub(crate) fn forbid(port: u16, right: &KafkaRight) -> io::Result<i32> {
    const DELETE_ACLS: i16 = 31;
    let answer = change(port, DELETE_ACLS, right)?;
    Bytes { rest: &answer }.i32()
}

/// Returns what the answer says behind the only result's message.
fn change(port: u16, api: i16, right: &KafkaRight) -> io::Result<Vec<u8>> {
    let mut request = header(api, 1);
    request.extend(1i32.to_be_bytes());
    request.extend(right.written()?);
    let answer = ask(port, &request)?;
    let mut answer = Bytes { rest: &answer };
    let (_correlation, _throttle_ms, count) = (answer.i32()?, answer.i32()?, answer.i32()?);
    let error = answer.i16()?;
    if count != 1 || error != 0 {
        return Err(garbled(&format!("the broker's error {error}")));
    }
    let length = usize::try_from(answer.i16()?).unwrap_or(0);
    answer.take(length)?;
    Ok(answer.rest.to_vec())
}

fn put_string(bytes: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u16::try_from(text.len()).map_err(io::Error::other)?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
    Ok(())
}

/// Metadata without topics (version 1): a broker that serves clients names itself.
pub(crate) fn serves(port: u16) -> io::Result<bool> {
    const METADATA: i16 = 3;
    let mut request = header(METADATA, 1);
    request.extend(0i32.to_be_bytes());
    let mut answer = Bytes { rest: &ask(port, &request)? };
    Ok(answer.i32()? == CORRELATION && answer.i32()? == 1)
}

/// ListTransactions (version 0) without filters.
pub(crate) fn transactions(port: u16) -> io::Result<Vec<KafkaTransaction>> {
    const LIST_TRANSACTIONS: i16 = 66;
    let mut request = header(LIST_TRANSACTIONS, 0);
    // No tagged fields in the header; two empty compact arrays; no tagged fields in the body.
    request.extend([0, 1, 1, 0]);
    let answer = ask(port, &request)?;
    let mut answer = Bytes { rest: &answer };
    if answer.i32()? != CORRELATION {
        return Err(garbled("an answer to another request"));
    }
    answer.tags()?;
    let _throttle_ms = answer.i32()?;
    let error = answer.i16()?;
    if error != 0 {
        return Err(garbled(&format!("the broker's error {error}")));
    }
    for _ in 0..answer.compact_length()? {
        answer.compact_string()?;
    }
    let mut found = Vec::new();
    for _ in 0..answer.compact_length()? {
        let id = answer.compact_string()?;
        let _producer = answer.take(8)?;
        let state = answer.compact_string()?;
        answer.tags()?;
        found.push(KafkaTransaction { id, state });
    }
    Ok(found)
}

/// Without a client's name.
fn header(api: i16, version: i16) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend((-1i16).to_be_bytes());
    request
}

fn ask(port: u16, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat())?;
    let mut length = [0u8; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > ANSWER_BYTES_MAX {
        return Err(garbled("an answer of absurd length"));
    }
    let mut answer = vec![0u8; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| garbled("a short answer"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> io::Result<i16> {
        self.take(2).map(|b| i16::from_be_bytes([b[0], b[1]]))
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.take(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn varint(&mut self) -> io::Result<usize> {
        let mut value = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(garbled("a length without an end"))
    }

    /// Compact lengths are one more than the length; 0 is null.
    fn compact_length(&mut self) -> io::Result<usize> {
        Ok(self.varint()?.saturating_sub(1))
    }

    fn compact_string(&mut self) -> io::Result<String> {
        let length = self.compact_length()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn tags(&mut self) -> io::Result<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Ok(())
    }
}
