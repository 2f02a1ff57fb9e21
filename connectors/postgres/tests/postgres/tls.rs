//! TLS: the right authority and name are let in, everything else is refused before a password is sent, and nothing falls
//! back to plain text.
//!
//! A proxy speaks TLS for the laboratory's server. The certificates are the laboratory's.
#![expect(clippy::disallowed_methods, reason = "the proxy ends with its test")]

use std::sync::Arc;

use lab::tls::file;
use tailrace_contract::{ErrorKind, Sink as _, Tls, TlsMode};
use tailrace_postgres::PostgresSink;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

use crate::bench::{Bench, settings};

fn acceptor(certificate: &str) -> TlsAcceptor {
    let open = |name: &str| std::io::BufReader::new(std::fs::File::open(file(name)).unwrap());
    let chain = rustls_pemfile::certs(&mut open(certificate)).collect::<Result<Vec<_>, _>>().unwrap();
    let key = rustls_pemfile::pkcs8_private_keys(&mut open("server.key")).next().unwrap().unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::Pkcs8(key)).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers PostgreSQL's request for TLS, then passes what is inside on to the server. Returns its port.
async fn proxy(server_port: u16, certificate: &str) -> u16 {
    const SSL_REQUEST_BYTES: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(certificate);
    let serve = async move |mut client: TcpStream, acceptor: TlsAcceptor| -> std::io::Result<()> {
        let mut request = [0; SSL_REQUEST_BYTES];
        client.read_exact(&mut request).await?;
        client.write_all(b"S").await?;
        let mut client = acceptor.accept(client).await?;
        let mut server = TcpStream::connect(("127.0.0.1", server_port)).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
    };
    let serve = Arc::new(serve);
    tokio::task::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (serve, acceptor) = (Arc::clone(&serve), acceptor.clone());
            // A client that breaks off is what most of these tests are about.
            tokio::task::spawn(async move { serve(client, acceptor).await.ok() });
        }
    });
    port
}

#[tokio::test]
async fn only_the_right_authority_and_name_are_let_in() {
    let bench = Bench::new("tls").await;
    let server_port = bench.server.port().unwrap();
    for (certificate, host, ca, mode, is_let_in) in [
        ("server.pem", "localhost", Some("authority.pem"), TlsMode::VerifyFull, true),
        ("server.pem", "127.0.0.1", Some("authority.pem"), TlsMode::VerifyFull, true),
        ("server.pem", "localhost", Some("stranger.pem"), TlsMode::VerifyFull, false),
        ("server.pem", "localhost", None, TlsMode::VerifyFull, false),
        ("elsewhere.pem", "localhost", Some("authority.pem"), TlsMode::VerifyFull, false),
        ("expired.pem", "localhost", Some("authority.pem"), TlsMode::VerifyFull, false),
        ("expired.pem", "localhost", None, TlsMode::Required, true),
    ] {
        let mut settings = settings(&bench.server, &bench.database);
        settings.endpoint.host = host.into();
        settings.endpoint.port = proxy(server_port, certificate).await;
        settings.endpoint.tls = Tls { mode, ca: ca.map(file), ..Tls::default() };
        let result = PostgresSink::new(settings).unwrap().prepare().await;
        let case = format!("{certificate} for {host}, trusting {ca:?}, {mode:?}: {result:?}");
        assert_eq!(result.is_ok(), is_let_in, "{case}");
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Refused, "{case}");
            assert!(error.to_string().contains("no protected connection"), "{case}");
        }
    }
}

#[tokio::test]
async fn a_missing_authority_is_named() {
    let bench = Bench::new("tls_file").await;
    let mut settings = settings(&bench.server, &bench.database);
    settings.endpoint.port = proxy(bench.server.port().unwrap(), "server.pem").await;
    settings.endpoint.tls = Tls { ca: Some("/nowhere/ca.pem".into()), ..Tls::default() };
    let error = PostgresSink::new(settings).map(|sink| sink.capabilities()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
