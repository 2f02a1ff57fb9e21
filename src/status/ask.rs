//! Asks a daemon of this machine for its `/status`: one GET, over loopback.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Status;

/// A process of this machine answers within that time, or hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// No status is longer: some hundred bytes a partition.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Who is there.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Tailrace, and how it is doing.
    Told(Box<Status>),
    /// Nobody.
    Nobody(String),
    /// Somebody who tells no status.
    Stranger(String),
}

/// Asks who is at the address.
pub async fn ask(address: SocketAddr) -> Answer {
    if address.port() == 0 {
        return Answer::Nobody("the configuration leaves its port open, so it can't be asked".to_owned());
    }
    match tokio::time::timeout(PATIENCE, exchange(address)).await {
        Ok(Ok(answer)) => read(&answer),
        Ok(Err(error)) => Answer::Nobody(format!("{address} does not answer: {error}")),
        // Somebody holds the port, even if he is stuck.
        Err(_) => Answer::Stranger(format!("no answer from {address} within {} s", PATIENCE.as_secs())),
    }
}

async fn exchange(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /status HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Answer {
    let stranger = || Answer::Stranger("what listens there tells no status".to_owned());
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return stranger() };
    match serde_json::from_slice(&answer[end + 4..]) {
        Ok(status) => Answer::Told(Box::new(status)),
        Err(_) => stranger(),
    }
}
