//! What is wrong with a broker's certificate.
//!
//! librdkafka says only that a certificate "could not be verified", whether it is for another host, expired, or from an
//! authority that nobody here trusts. So `check` makes a handshake of its own, with the same authorities and the same host
//! name. Its verdict explains a refusal of librdkafka's; it never decides anything.

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tailrace_contract::{LogSettings, Tls, TlsMode};

/// How long one broker may take for each step of the handshake.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// The fault of the first broker's certificate that has one. Blocks.
pub(crate) fn fault(settings: &LogSettings) -> Option<String> {
    let tls = &settings.endpoint.tls;
    if tls.mode != TlsMode::VerifyFull {
        // The other modes let names pass, and this handshake would not.
        return None;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let config = Arc::new(builder.with_root_certificates(roots(tls)?).with_no_client_auth());
    let first = (settings.endpoint.host.as_str(), settings.endpoint.port);
    let more = settings.more_brokers.iter().filter_map(|broker| {
        let (host, port) = broker.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']), port.parse().ok()?))
    });
    std::iter::once(first).chain(more).find_map(|(host, port)| handshake(&config, host, port))
}

fn roots(tls: &Tls) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            let certificates: Vec<_> = CertificateDer::pem_file_iter(path).ok()?.collect::<Result<_, _>>().ok()?;
            roots.add_parsable_certificates(certificates);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Some(roots)
}

fn handshake(config: &Arc<ClientConfig>, host: &str, port: u16) -> Option<String> {
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut addresses = (host, port).to_socket_addrs().ok()?;
    let mut stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, STEP_TIMEOUT).ok())?;
    stream.set_read_timeout(Some(STEP_TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(STEP_TIMEOUT)).ok()?;
    let mut connection = ClientConnection::new(Arc::clone(config), name).ok()?;
    let error = connection.complete_io(&mut stream).err()?;
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        fault @ rustls::Error::InvalidCertificate(_) => Some(fault.to_string()),
        // Whatever it is, librdkafka met something else.
        _ => None,
    }
}
