//! TLS settings of a connection: which authorities, whether the name counts, our own certificate.
//!
//! Each mode does exactly what it says; none falls back to a weaker one. `verify-ca` checks the chain and leaves the name
//! out, `required` encrypts for whoever answers: both still make the server prove that it owns its certificate's key.

use std::{path::Path, sync::Arc};

use tailrace_contract::{Error, Result, Tls, TlsMode};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
            verify_server_cert_signed_by_trust_anchor,
        },
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
        server::ParsedCertificate,
    },
};

/// The connector for the settings; `None` for plain text. Reads the files that they name.
pub(crate) fn connector(tls: &Tls) -> Result<Option<TlsConnector>> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match tls.mode {
        TlsMode::Disabled => return Ok(None),
        TlsMode::Required => Arc::new(Lenient { roots: None, provider: Arc::clone(&provider) }),
        TlsMode::VerifyCa => Arc::new(Lenient { roots: Some(roots(tls)?), provider: Arc::clone(&provider) }),
        TlsMode::VerifyFull => {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots(tls)?), Arc::clone(&provider)).build().map_err(
                |error| Error::refused("no authority to verify the server's certificate with").caused_by(error),
            )?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::refused("TLS can't be set up").caused_by(error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match own_certificate(tls)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| Error::refused("the client certificate and its key don't fit").caused_by(error))?,
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// Whether the settings can be used, files included.
pub(crate) fn check(tls: &Tls) -> Result<()> {
    connector(tls).map(drop)
}

/// The name that the server's certificate must hold.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|error| Error::refused(format!("{host} can't be a server's name in TLS")).caused_by(error))
}

fn roots(tls: &Tls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &tls.ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(Error::refused("this system has no certificate authorities")
                .hint("name the server's authority in tls.ca, or install the system's (ca-certificates)"));
        }
        return Ok(roots);
    };
    for certificate in certificates(path, "tls.ca")? {
        roots.add(certificate).map_err(|error| unusable(path, "tls.ca", error))?;
    }
    Ok(roots)
}

fn own_certificate(tls: &Tls) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    match (&tls.certificate, &tls.key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "tls.certificate")?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, "tls.key", error))?;
            Ok(Some((chain, key)))
        }
        (Some(_), None) => Err(Error::refused("tls.certificate is set without tls.key")),
        (None, Some(_)) => Err(Error::refused("tls.key is set without tls.certificate")),
    }
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = certificates.map_err(|error| unusable(path, setting, error))?;
    if certificates.is_empty() {
        return Err(Error::refused(format!("{setting}: {} holds no certificate", path.display())));
    }
    Ok(certificates)
}

fn unusable(path: &Path, setting: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::refused(format!("{setting}: {} can't be used", path.display())).caused_by(error)
}

/// Checks the chain if there are roots, and never the name.
#[derive(Debug)]
struct Lenient {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        if let Some(roots) = &self.roots {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
