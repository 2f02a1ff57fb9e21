//! The first packets of a connection: the server's greeting and our answer.

use super::cursor::{Cursor, Malformed};

/// Capability flags of both sides.
pub(super) mod capability {
    pub(in super::super) const LONG_PASSWORD: u32 = 1;
    pub(in super::super) const LONG_FLAG: u32 = 1 << 2;
    pub(in super::super) const PROTOCOL_41: u32 = 1 << 9;
    pub(in super::super) const TLS: u32 = 1 << 11;
    pub(in super::super) const TRANSACTIONS: u32 = 1 << 13;
    pub(in super::super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(in super::super) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(in super::super) const CONNECT_ATTRIBUTES: u32 = 1 << 20;
    pub(in super::super) const PACKED_AUTH_DATA: u32 = 1 << 21;
}

const OURS: u32 = capability::LONG_PASSWORD
    | capability::LONG_FLAG
    | capability::PROTOCOL_41
    | capability::TRANSACTIONS
    | capability::SECURE_CONNECTION
    | capability::PLUGIN_AUTH
    | capability::CONNECT_ATTRIBUTES
    | capability::PACKED_AUTH_DATA;

/// `utf8mb4_general_ci`, which every server since 5.5 knows.
const COLLATION: u8 = 45;
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// Who the server is, as far as its version tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct ServerVersion {
    pub(crate) is_mariadb: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl ServerVersion {
    /// Reads `9.7.4-2` or `10.11.19-MariaDB-…`. Before version 11 MariaDB greets with `5.5.5-` before its own.
    pub(crate) fn parse(text: &str) -> Self {
        let is_mariadb = text.contains("MariaDB");
        let text = if is_mariadb { text.strip_prefix("5.5.5-").unwrap_or(text) } else { text };
        let mut numbers = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        Self { is_mariadb, major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }

    /// Whether it is MySQL of this version or a later one.
    pub(crate) fn is_mysql_since(self, major: u32, minor: u32) -> bool {
        !self.is_mariadb && (self.major, self.minor) >= (major, minor)
    }

    /// Whether it is MariaDB of this version or a later one.
    pub(crate) fn is_mariadb_since(self, major: u32, minor: u32) -> bool {
        self.is_mariadb && (self.major, self.minor) >= (major, minor)
    }
}

impl std::fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { is_mariadb, major, minor } = self;
        write!(f, "{} {major}.{minor}", if *is_mariadb { "MariaDB" } else { "MySQL" })
    }
}

/// What the server says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: ServerVersion,
    pub(super) capabilities: u32,
    pub(super) plugin: String,
    pub(super) nonce: Vec<u8>,
}

impl Greeting {
    /// `None` if the peer speaks another version of the protocol.
    pub(super) fn parse(packet: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor::new(packet);
        if cursor.u8()? != 10 {
            return Ok(None);
        }
        let version = ServerVersion::parse(&String::from_utf8_lossy(cursor.until_zero()?));
        cursor.u32()?;
        let mut nonce = cursor.take(8)?.to_vec();
        cursor.u8()?;
        let low = cursor.u16()?;
        cursor.take(3)?;
        let capabilities = u32::from(cursor.u16()?) << 16 | u32::from(low);
        let nonce_bytes = usize::from(cursor.u8()?);
        cursor.take(10)?;
        let rest = cursor.take(nonce_bytes.saturating_sub(8).max(13))?;
        nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = if capabilities & capability::PLUGIN_AUTH == 0 { &[][..] } else { cursor.until_zero()? };
        let plugin = String::from_utf8_lossy(plugin).into_owned();
        Ok(Some(Self { version, capabilities, plugin, nonce }))
    }

    pub(super) fn offers(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }
}

/// Asks for TLS; the same fields begin the answer that follows under its protection.
pub(super) fn tls_request() -> Vec<u8> {
    answer_head(OURS | capability::TLS)
}

/// Account, proof of the password and its method.
pub(super) fn answer(is_encrypted: bool, user: &str, proof: &[u8], plugin: &str) -> Vec<u8> {
    let mut packet = answer_head(if is_encrypted { OURS | capability::TLS } else { OURS });
    packet.extend_from_slice(user.as_bytes());
    packet.push(0);
    pack_bytes(&mut packet, proof);
    packet.extend_from_slice(plugin.as_bytes());
    packet.push(0);
    let mut attributes = Vec::new();
    pack_bytes(&mut attributes, b"program_name");
    pack_bytes(&mut attributes, b"tailrace");
    pack_bytes(&mut packet, &attributes);
    packet
}

fn answer_head(capabilities: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(128);
    packet.extend_from_slice(&capabilities.to_le_bytes());
    packet.extend_from_slice(&PACKET_BYTES_MAX.to_le_bytes());
    packet.push(COLLATION);
    packet.extend_from_slice(&[0; 23]);
    packet
}

/// Appends bytes behind their length; ours are all under 251 bytes.
fn pack_bytes(packet: &mut Vec<u8>, bytes: &[u8]) {
    packet.push(u8::try_from(bytes.len()).ok().filter(|length| *length <= 250).expect("invariant: short fields only"));
    packet.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Vec<u8> {
        let mut packet = b"\x0a9.7.4\0\x07\0\0\0abcdefgh\0".to_vec();
        packet.extend_from_slice(&[0xff, 0xff, 45, 2, 0, 0xff, 0xdf, 21]);
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
        packet
    }

    #[test]
    fn a_greeting_is_read() {
        let greeting = Greeting::parse(&greeting()).unwrap().unwrap();
        assert_eq!((greeting.version, &*greeting.plugin), (ServerVersion::parse("9.7.4"), "caching_sha2_password"));
        assert_eq!(greeting.nonce, b"abcdefghijklmnopqrst");
        assert!(greeting.offers(capability::TLS) && greeting.offers(capability::PLUGIN_AUTH));
    }

    #[test]
    fn versions_are_told_apart() {
        let version = |is_mariadb, major, minor| ServerVersion { is_mariadb, major, minor };
        for (text, expect) in [
            ("9.7.4-2", version(false, 9, 7)),
            ("8.0.36", version(false, 8, 0)),
            ("5.5.5-10.11.19-MariaDB-0+deb12u1-log", version(true, 10, 11)),
            ("11.8.2-MariaDB-log", version(true, 11, 8)),
            ("x", version(false, 0, 0)),
        ] {
            assert_eq!(ServerVersion::parse(text), expect, "{text}");
        }
        assert!(version(false, 9, 7).is_mysql_since(8, 4) && !version(true, 11, 8).is_mysql_since(8, 4));
        assert!(version(true, 11, 8).is_mariadb_since(10, 11) && !version(true, 10, 6).is_mariadb_since(10, 11));
    }

    #[test]
    fn another_protocol_and_a_cut_greeting_are_told_apart() {
        assert_eq!(Greeting::parse(b"\x09old"), Ok(None));
        let whole = greeting();
        for length in 0..whole.len() {
            assert!(Greeting::parse(&whole[..length]).is_err(), "{length} bytes");
        }
    }
}
