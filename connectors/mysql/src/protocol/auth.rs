//! Proving the password: `caching_sha2_password`, `mysql_native_password` and MariaDB's `client_ed25519`.
//!
//! The password itself leaves this process only under TLS, or under the server's public key to this very machine. Without
//! TLS a foreign network could hand us a key of its own, so there the full exchange is refused.

use mysql_common::scramble;
use tailrace_contract::{Error, Result};

use super::{connection::Connection, cursor::Cursor, public_key};
use crate::errors;

const CACHING_SHA2: &str = "caching_sha2_password";
const NATIVE: &str = "mysql_native_password";
const ED25519: &str = "client_ed25519";

const REQUEST_PUBLIC_KEY: u8 = 2;
const FAST_PROOF_TAKEN: u8 = 3;
const FULL_PROOF_WANTED: u8 = 4;

/// The proof that begins a login: the answer to the greeting, or to the server's choice of another method.
pub(super) fn first_proof(plugin: &str, nonce: &[u8], password: &str) -> Result<Vec<u8>> {
    let proof = match plugin {
        CACHING_SHA2 => scramble::scramble_sha256(nonce, password.as_bytes()).map(|proof| proof.to_vec()),
        NATIVE => scramble::scramble_native(nonce, password.as_bytes()).map(|proof| proof.to_vec()),
        // A signature of the nonce.
        ED25519 => Some(scramble::create_response_for_ed25519(password.as_bytes(), nonce).to_vec()),
        _ => {
            return Err(Error::refused(format!("the account's login method {} is not supported", printable(plugin)))
                .hint("ALTER USER … IDENTIFIED WITH caching_sha2_password (MySQL), IDENTIFIED VIA ed25519 (MariaDB)"));
        }
    };
    Ok(proof.unwrap_or_default())
}

/// Which method to begin with: the server's default if we know it. The account may have another, which the server then names.
pub(super) fn first_plugin(offered: &str) -> &'static str {
    if offered == NATIVE { NATIVE } else { CACHING_SHA2 }
}

/// Answers the server until it takes the login.
pub(super) async fn finish(connection: &mut Connection, nonce: &[u8], password: &str) -> Result<()> {
    let mut nonce = nonce.to_vec();
    // Each step is the server's; a sane login has at most four.
    for _ in 0..8 {
        let packet = connection.receive_owned().await?;
        match packet.first() {
            Some(0) => return Ok(()),
            Some(0xff) => return Err(errors::server_error(super::query::parse_error(&packet))),
            Some(0xfe) => {
                let (plugin, new_nonce) = parse_switch(&packet).map_err(errors::malformed)?;
                nonce = new_nonce;
                let proof = first_proof(&plugin, &nonce, password)?;
                connection.send(&proof).await?;
            }
            Some(1) => more(connection, &packet[1..], &nonce, password).await?,
            _ => return Err(Error::corrupt("the server sent an unknown packet during the login")),
        }
    }
    Err(Error::refused("the server does not come to an end with the login"))
}

/// A further step of `caching_sha2_password`.
async fn more(connection: &mut Connection, step: &[u8], nonce: &[u8], password: &str) -> Result<()> {
    match step {
        [FAST_PROOF_TAKEN] => Ok(()),
        [FULL_PROOF_WANTED] if connection.is_encrypted() => connection.send(&with_zero(password)).await,
        [FULL_PROOF_WANTED] if connection.is_loopback() => {
            connection.send(&[REQUEST_PUBLIC_KEY]).await?;
            let answer = connection.receive_owned().await?;
            let [1, key @ ..] = &answer[..] else {
                return Err(Error::refused("the server has no public key for a login without TLS").hint("use TLS"));
            };
            let mut message = with_zero(password);
            message.iter_mut().zip(nonce.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            let encrypted = public_key::encrypt(&message, key).map_err(errors::malformed)?;
            connection.send(&encrypted).await
        }
        [FULL_PROOF_WANTED] => Err(Error::refused("the server wants the password itself, and this connection has no TLS")
            .hint("set tls.mode of [source] to verify-full (or required), or log in once over TLS so that the server remembers the proof")),
        _ => Err(Error::corrupt("the server sent an unknown step of the login")),
    }
}

pub(super) fn parse_switch(packet: &[u8]) -> std::result::Result<(String, Vec<u8>), super::Malformed> {
    let mut cursor = Cursor::new(packet.get(1..).unwrap_or_default());
    let plugin = String::from_utf8_lossy(cursor.until_zero()?).into_owned();
    let nonce = cursor.rest();
    // The older methods end it with a zero byte; the 32 bytes of this one are all of it, whatever the last one is.
    let nonce = if plugin == ED25519 { nonce } else { nonce.strip_suffix(&[0]).unwrap_or(nonce) };
    Ok((plugin, nonce.to_vec()))
}

fn with_zero(password: &str) -> Vec<u8> {
    [password.as_bytes(), &[0]].concat()
}

/// A name that the server sent, fit for an error's text.
fn printable(name: &str) -> String {
    name.chars().filter(|char| char.is_ascii_graphic()).take(64).collect()
}
