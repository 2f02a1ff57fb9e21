//! A TCP proxy in front of a server: it can fall silent, cut the connection, and flip a byte on its way to us.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    /// Takes nothing more from the server, and keeps the connection.
    Silent,
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    /// The next occurrence of these bytes from the server gets its last byte flipped.
    spoil: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Proxy {
    pub(crate) async fn before(server: &lab::Mysql) -> Proxy {
        let address: SocketAddr = server.address().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, watched) = watch::channel(Mode::Forward);
        let spoil = Arc::new(Mutex::new(None));
        let spoiling = Arc::clone(&spoil);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(address).await.unwrap();
                tokio::spawn(forward(client, server, watched.clone(), Arc::clone(&spoiling)));
            }
        });
        Proxy { port, mode, spoil }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send(mode).unwrap();
    }

    pub(crate) fn spoil(&self, bytes: &[u8]) {
        *self.spoil.lock().unwrap() = Some(bytes.to_vec());
    }

    /// Whether the byte was flipped.
    pub(crate) fn has_spoiled(&self) -> bool {
        self.spoil.lock().unwrap().is_none()
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    mut mode: watch::Receiver<Mode>,
    spoil: Arc<Mutex<Option<Vec<u8>>>>,
) {
    let (mut from_client, mut from_server) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let now = *mode.borrow_and_update();
        tokio::select! {
            changed = mode.changed() => {
                if changed.is_err() || *mode.borrow() == Mode::Cut {
                    return;
                }
            }
            read = client.read(&mut from_client) => match read {
                Ok(length) if length > 0 => server.write_all(&from_client[..length]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut from_server), if now == Mode::Forward => match read {
                Ok(length) if length > 0 => {
                    spoil_in(&mut from_server[..length], &spoil);
                    if client.write_all(&from_server[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

fn spoil_in(bytes: &mut [u8], spoil: &Mutex<Option<Vec<u8>>>) {
    let mut spoil = spoil.lock().unwrap();
    let Some(wanted) = spoil.as_deref() else { return };
    if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
        bytes[at + wanted.len() - 1] ^= 1;
        *spoil = None;
    }
}
