//! A password under the server's RSA key, for a login without TLS on this machine.
//!
//! Only the padding and the power come from `mysql_common`: its readers of keys panic on bad input, so the key is read
//! here, and refused unless it is one that the encryption can take. No private key is ever in this process.

use mysql_common::crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey};
use num_bigint::BigUint;
use tokio_rustls::rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use super::cursor::{Cursor, Malformed};

const BAD_KEY: Malformed = Malformed::new("public key of the server");
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;

/// What OAEP with SHA-1 adds to a message.
const PADDING_BYTES: usize = 42;

/// Encrypts `message` under a key in PEM form.
pub(super) fn encrypt(message: &[u8], pem: &[u8]) -> Result<Vec<u8>, Malformed> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| BAD_KEY)?;
    let (modulus, exponent) = read_key(&der)?;
    let modulus_bytes = usize::try_from(modulus.bits().div_ceil(8)).map_err(|_| BAD_KEY)?;
    // The padding takes whole bytes of modulus, and a modulus beyond 16 Kbit is an attack on our time.
    if !modulus.bits().is_multiple_of(8) || !(128..=2048).contains(&modulus_bytes) || exponent.bits() < 2 {
        return Err(BAD_KEY);
    }
    if message.len() + PADDING_BYTES > modulus_bytes {
        return Err(Malformed::new("public key of the server: it is too short for the password"));
    }
    Ok(PublicKey::new(modulus, exponent).encrypt_block(message, Pkcs1OaepPadding::new(GetRandom)))
}

/// `SEQUENCE { SEQUENCE { algorithm }, BIT STRING { SEQUENCE { modulus, exponent } } }`
fn read_key(der: &[u8]) -> Result<(BigUint, BigUint), Malformed> {
    let mut outer = Cursor::new(element(&mut Cursor::new(der), SEQUENCE)?);
    element(&mut outer, SEQUENCE)?;
    let bits = element(&mut outer, BIT_STRING)?;
    let inner = bits.strip_prefix(&[0]).ok_or(BAD_KEY)?;
    let mut numbers = Cursor::new(element(&mut Cursor::new(inner), SEQUENCE)?);
    let modulus = BigUint::from_bytes_be(element(&mut numbers, INTEGER)?);
    let exponent = BigUint::from_bytes_be(element(&mut numbers, INTEGER)?);
    Ok((modulus, exponent))
}

fn element<'a>(cursor: &mut Cursor<'a>, tag: u8) -> Result<&'a [u8], Malformed> {
    if cursor.u8()? != tag {
        return Err(BAD_KEY);
    }
    let length = match cursor.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(cursor.u8()?),
        0x82 => usize::try_from(cursor.big_endian(2)?).map_err(|_| BAD_KEY)?,
        0x80 | 0x83.. => return Err(BAD_KEY),
    };
    cursor.take(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1024 bits, made for this test with `openssl genrsa`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDnE/bqgElX+dOaLb9nbq/Ku7mt
Chp8tpgi4WuCzdmQj0tBpCImRJFSiyyOU6mwY/RWlIwBZ2+5KL9n1yUppDXh6Qjt
ucMZgvBFHoqcdQVqMHU4HfxUUQEBAwOtXgVKgDXgj/n3S/eS4NL75nOnquWm8UHt
yuok6jmYcVsidgEW4QIDAQAB
-----END PUBLIC KEY-----
";

    #[test]
    fn encrypts_and_refuses() {
        assert_eq!(encrypt(b"secret\0", PEM.as_bytes()).unwrap().len(), 128);
        assert!(encrypt(&[7; 87], PEM.as_bytes()).is_err(), "too long a password");
        assert!(encrypt(b"secret\0", b"no key").is_err());
    }

    #[test]
    fn a_spoiled_key_never_panics() {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(PEM.as_bytes()).unwrap();
        for at in 0..der.len() {
            assert!(read_key(&der[..at]).is_err(), "cut at {at}");
            let mut spoiled = der.to_vec();
            spoiled[at] ^= 0xff;
            let _ = read_key(&spoiled);
        }
    }
}
