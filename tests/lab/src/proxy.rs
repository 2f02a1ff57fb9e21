//! A TCP proxy that behaves badly on request: it stalls a direction, cuts or resets connections, refuses new ones, counts
//! bytes, can swallow the answer to a given request ("COMMIT sent but not answered") or go away at it, and can make a server
//! answer like another.
//!
//! It runs on a thread of its own, so it works the same from blocking and from async tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From who connects.
    ToServer,
    /// Back to who connects.
    ToClient,
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Pass,
    /// Bytes of one direction wait; nothing is closed.
    Stall(Direction),
    StallBoth,
    /// New connections are closed at once.
    Refuse,
}

/// How open connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

/// What the request does that a trap waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spring {
    StallAnswers,
    Refuse,
}

struct Trap {
    request: Vec<u8>,
    spring: Spring,
}

/// Bytes of answers, and what stands there instead; both of one length, since answers carry their length.
#[derive(Clone)]
struct Rewrite {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// A proxy in front of one server; it ends when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    server: Mutex<SocketAddr>,
    traffic: watch::Sender<Traffic>,
    /// Number of orders to end all connections, and how.
    ends: watch::Sender<(u64, End)>,
    bytes: [AtomicU64; 2],
    connections: AtomicU64,
    trap: Mutex<Option<Trap>>,
    is_sprung: AtomicBool,
    rewrites: Mutex<Vec<Rewrite>>,
    /// Bytes of answers that still pass before all answers stall.
    answers_left: AtomicU64,
}

impl Proxy {
    /// Listens on a free port and passes everything to the server.
    pub fn start(server_port: u16) -> Result<Proxy> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.context("starting the proxy's thread")?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the proxy's port")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server: Mutex::new(address_of(server_port)),
            traffic: watch::Sender::new(Traffic::Pass),
            ends: watch::Sender::new((0, End::Close)),
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
            connections: AtomicU64::new(0),
            trap: Mutex::new(None),
            is_sprung: AtomicBool::new(false),
            rewrites: Mutex::new(Vec::new()),
            answers_left: AtomicU64::new(u64::MAX),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Proxy { port, shared, runtime: Some(runtime) })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whoever connects from now on comes to another server. What is open stays where it is: see [`Proxy::refuse`].
    pub fn lead_to(&self, server_port: u16) {
        *self.shared.server.lock().unwrap_or_else(PoisonError::into_inner) = address_of(server_port);
    }

    /// Everything flows again.
    pub fn pass(&self) {
        self.shared.traffic.send_replace(Traffic::Pass);
    }

    /// Bytes of one direction wait in the proxy; connections stay open.
    pub fn stall(&self, direction: Direction) {
        self.shared.traffic.send_replace(Traffic::Stall(direction));
    }

    /// A half-dead network: nothing moves, nothing is closed.
    pub fn stall_both(&self) {
        self.shared.traffic.send_replace(Traffic::StallBoth);
    }

    /// Closes what is open and refuses what is new, until [`Proxy::pass`].
    pub fn refuse(&self) {
        self.shared.traffic.send_replace(Traffic::Refuse);
        self.cut();
    }

    /// Closes all open connections in order (FIN).
    pub fn cut(&self) {
        self.shared.end_all(End::Close);
    }

    /// Resets all open connections (RST).
    pub fn reset(&self) {
        self.shared.end_all(End::Reset);
    }

    /// From the moment in which a client sends these bytes, answers wait: the server gets the request, the client no
    /// answer. [`Proxy::trap_sprung`] tells when it happened.
    pub fn swallow_answer_to(&self, request: &[u8]) {
        self.set_trap(request, Spring::StallAnswers);
    }

    /// So many more bytes of answers pass, then answers wait: in the middle of whatever was being said.
    pub fn stall_answers_after(&self, bytes: u64) {
        self.shared.is_sprung.store(false, Ordering::SeqCst);
        self.shared.answers_left.store(bytes, Ordering::SeqCst);
    }

    /// From the moment in which a client sends these bytes, the server is away: as after [`Proxy::refuse`].
    pub fn refuse_from(&self, request: &[u8]) {
        self.set_trap(request, Spring::Refuse);
    }

    fn set_trap(&self, request: &[u8], spring: Spring) {
        self.shared.is_sprung.store(false, Ordering::SeqCst);
        let trap = Trap { request: request.to_vec(), spring };
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }

    /// Wherever these bytes come from the server, the client gets the others. Both are of one length. What ends like their
    /// beginning waits for more: they should begin with a byte that no answer ends with.
    pub fn rewrite(&self, from: &[u8], to: &[u8]) {
        assert_eq!(from.len(), to.len(), "an answer keeps its length");
        let rewrite = Rewrite { from: from.to_vec(), to: to.to_vec() };
        self.shared.rewrites.lock().unwrap_or_else(PoisonError::into_inner).push(rewrite);
    }

    /// Whether what [`Proxy::swallow_answer_to`], [`Proxy::refuse_from`] or [`Proxy::stall_answers_after`] waits for has come.
    pub fn trap_sprung(&self) -> bool {
        self.shared.is_sprung.load(Ordering::SeqCst)
    }

    /// Bytes passed on in a direction.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Allowed in async code too; an ordinary drop is not.
            runtime.shutdown_background();
        }
    }
}

fn address_of(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Shared {
    fn end_all(&self, how: End) {
        self.ends.send_modify(|(number, end)| {
            *number += 1;
            *end = how;
        });
    }

    /// Before the bytes go on, so that no answer can overtake the stall.
    fn spring_trap(&self, seen: &[u8]) {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let is_hit = |trap: &Trap| seen.windows(trap.request.len()).any(|window| window == trap.request);
        let Some(Trap { spring, .. }) = trap.take_if(|trap| is_hit(trap)) else { return };
        self.is_sprung.store(true, Ordering::SeqCst);
        match spring {
            Spring::StallAnswers => {
                self.traffic.send_replace(Traffic::Stall(Direction::ToClient));
            }
            Spring::Refuse => {
                self.traffic.send_replace(Traffic::Refuse);
                self.end_all(End::Close);
            }
        }
    }

    /// Stalls answers once enough of them have passed.
    fn spend(&self, bytes: usize) {
        let left = self.answers_left.load(Ordering::SeqCst);
        if left == u64::MAX {
            return;
        }
        match left.checked_sub(bytes as u64) {
            Some(left) => self.answers_left.store(left, Ordering::SeqCst),
            None => {
                self.answers_left.store(u64::MAX, Ordering::SeqCst);
                self.is_sprung.store(true, Ordering::SeqCst);
                self.traffic.send_replace(Traffic::Stall(Direction::ToClient));
            }
        }
    }

    /// Takes from `held` what can go on, rewritten; what may be the beginning of more stays.
    fn rewritten(&self, held: &mut Vec<u8>) -> Vec<u8> {
        let rewrites = self.rewrites.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = 0;
        for Rewrite { from, to } in rewrites.iter() {
            for place in 0..held.len().saturating_sub(from.len() - 1) {
                if held[place..].starts_with(from) {
                    held[place..place + from.len()].copy_from_slice(to);
                }
            }
            let begins = (1..from.len()).filter(|length| held.ends_with(&from[..*length])).max();
            kept = kept.max(begins.unwrap_or(0));
        }
        let rest = held.split_off(held.len() - kept);
        std::mem::replace(held, rest)
    }
}

impl Traffic {
    fn lets_pass(self, direction: Direction) -> bool {
        match self {
            Traffic::Pass => true,
            Traffic::Stall(stalled) => stalled != direction,
            Traffic::StallBoth | Traffic::Refuse => false,
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        if *shared.traffic.borrow() != Traffic::Refuse {
            tokio::runtime::Handle::current().spawn(connection(client, Arc::clone(&shared)));
        }
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let mut ends = shared.ends.subscribe();
    let address = *shared.server.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    // Small packets must not wait for each other: the proxy adds no delay of its own.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let is_reset = {
        let (client_in, client_out) = client.split();
        let (server_in, server_out) = server.split();
        let both = async {
            tokio::join!(
                pump(client_in, server_out, Direction::ToServer, &shared),
                pump(server_in, client_out, Direction::ToClient, &shared)
            )
        };
        tokio::select! {
            _ = both => false,
            _ = ends.changed() => ends.borrow().1 == End::Reset,
        }
    };
    if is_reset {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Passes bytes on until one side ends; ends the other side's half then.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, direction: Direction, shared: &Shared) {
    let mut traffic = shared.traffic.subscribe();
    let (mut buffer, mut held) = (vec![0u8; 64 * 1024], Vec::new());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        held.extend_from_slice(&buffer[..length]);
        let ready = match direction {
            Direction::ToServer => {
                shared.spring_trap(&held);
                std::mem::take(&mut held)
            }
            Direction::ToClient => {
                let ready = shared.rewritten(&mut held);
                shared.spend(ready.len());
                ready
            }
        };
        let is_open = traffic.wait_for(|now| now.lets_pass(direction)).await.is_ok();
        if !is_open || to.write_all(&ready).await.is_err() {
            break;
        }
        shared.bytes[direction as usize].fetch_add(ready.len() as u64, Ordering::SeqCst);
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;

    /// A server that answers every byte with its successor.
    fn echo() -> u16 {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binding");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        port
    }

    fn answer(mut stream: std::net::TcpStream) {
        let mut byte = [0u8; 1];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0].wrapping_add(1)]).is_ok() {}
    }

    fn connect(proxy: &Proxy) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).expect("connecting");
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
        stream
    }

    fn ask(stream: &mut std::net::TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte])?;
        let mut answer = [0u8; 1];
        stream.read_exact(&mut answer).map(|()| answer[0])
    }

    #[test]
    fn bytes_pass_and_are_counted() {
        let proxy = Proxy::start(echo()).expect("starting");
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream, 7).expect("an answer"), 8);
        assert_eq!((proxy.bytes(Direction::ToServer), proxy.connections()), (1, 1));
        assert!(crate::wait::until(Duration::from_secs(2), || proxy.bytes(Direction::ToClient) == 1));
    }

    #[test]
    fn a_stalled_direction_goes_on_where_it_stopped() {
        let proxy = Proxy::start(echo()).expect("starting");
        let mut stream = connect(&proxy);
        proxy.stall(Direction::ToClient);
        assert_eq!(ask(&mut stream, 7).expect_err("no answer").kind(), std::io::ErrorKind::WouldBlock);
        proxy.pass();
        let mut answer = [0u8; 1];
        stream.read_exact(&mut answer).expect("the late answer");
        assert_eq!(answer[0], 8);
    }

    #[test]
    fn answers_stall_behind_so_many_bytes() {
        let proxy = Proxy::start(echo()).expect("starting");
        let mut stream = connect(&proxy);
        proxy.stall_answers_after(2);
        assert_eq!((ask(&mut stream, 1).expect("one"), ask(&mut stream, 2).expect("two")), (2, 3));
        assert!(!proxy.trap_sprung());
        assert_eq!(ask(&mut stream, 3).expect_err("no answer").kind(), std::io::ErrorKind::WouldBlock);
        assert!(proxy.trap_sprung());
    }

    #[test]
    fn cut_is_an_end_and_reset_is_an_error() {
        let proxy = Proxy::start(echo()).expect("starting");
        let mut stream = connect(&proxy);
        ask(&mut stream, 1).expect("an answer");
        proxy.cut();
        assert_eq!(stream.read(&mut [0u8; 1]).expect("an orderly end"), 0);
        let mut stream = connect(&proxy);
        ask(&mut stream, 1).expect("an answer");
        proxy.reset();
        assert_eq!(stream.read(&mut [0u8; 1]).expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
        proxy.refuse();
        assert!(ask(&mut connect(&proxy), 1).is_err());
        proxy.pass();
        ask(&mut connect(&proxy), 1).expect("an answer again");
    }

    #[test]
    fn the_answer_to_one_request_is_swallowed() {
        let proxy = Proxy::start(echo()).expect("starting");
        let mut stream = connect(&proxy);
        proxy.swallow_answer_to(&[42]);
        ask(&mut stream, 1).expect("an answer");
        assert!(!proxy.trap_sprung());
        ask(&mut stream, 42).expect_err("no answer");
        assert!(proxy.trap_sprung());
        proxy.reset();
        proxy.pass();
        ask(&mut connect(&proxy), 42).expect("the trap springs once");
    }

    #[test]
    fn answers_are_rewritten_wherever_they_are_torn() {
        let proxy = Proxy::start(echo()).expect("starting");
        proxy.rewrite(&[11, 12, 13], &[1, 2, 3]);
        let mut stream = connect(&proxy);
        let mut answer = [0u8; 1];
        // Each byte comes alone, and the first two may be the beginning of three.
        for byte in [10, 11] {
            stream.write_all(&[byte]).expect("sending");
            stream.read_exact(&mut answer).expect_err("held back");
        }
        stream.write_all(&[12]).expect("sending");
        let mut three = [0u8; 3];
        stream.read_exact(&mut three).expect("all three");
        assert_eq!(three, [1, 2, 3]);
        assert_eq!(ask(&mut stream, 7).expect("an answer"), 8);
    }

    #[test]
    fn a_server_goes_away_at_a_request() {
        let proxy = Proxy::start(echo()).expect("starting");
        let mut stream = connect(&proxy);
        proxy.refuse_from(&[42]);
        ask(&mut stream, 1).expect("an answer");
        assert_eq!(ask(&mut stream, 42).expect_err("an end").kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(proxy.trap_sprung() && ask(&mut connect(&proxy), 1).is_err());
    }
}
