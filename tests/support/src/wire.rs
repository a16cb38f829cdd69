//! A connection of which the test itself writes and reads the bytes, as a client or as a backend.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);

/// The connection. What takes longer than ten seconds fails the test.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A backend whose connections the test accepts and answers one by one.
#[derive(Debug)]
pub struct ByHand {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl ByHand {
    /// Starts to listen on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        Self {
            address: listener.local_addr().expect("is bound"),
            listener,
        }
    }

    /// Returns the next connection.
    pub async fn accept(&self) -> Wire {
        let accepted = within(self.listener.accept(), "a connection").await;
        Wire::of(accepted.expect("is accepted").0)
    }
}

/// Finds an address where nobody listens as long as the test's program runs: it stays bound, so that no other test gets it.
pub fn find_closed_address() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("an address");
    let address = socket.local_addr().expect("an address");
    std::mem::forget(socket);
    address
}

impl Wire {
    /// Connects as a client.
    pub async fn connect(address: SocketAddr) -> Self {
        let connected = within(TcpStream::connect(address), "the connection").await;
        Self::of(connected.expect("connects"))
    }

    /// Takes over a connection.
    pub fn of(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Writes; says whether the other side still takes it.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.stream.write_all(bytes.as_ref());
        within(sent, "room to write").await.is_ok()
    }

    /// Reads up to and including `end`, and returns that; bytes after it are kept.
    pub async fn read_to(&mut self, end: &str) -> String {
        loop {
            let found = self
                .read
                .windows(end.len())
                .position(|w| w == end.as_bytes());
            if let Some(at) = found {
                let read = self.read.drain(..at + end.len()).collect::<Vec<_>>();
                return String::from_utf8_lossy(&read).into_owned();
            }
            let more = self.fill().await;
            assert!(more, "closed before {end:?}; got {:?}", self.so_far());
        }
    }

    /// Reads a head and the body that its `Content-Length` announces.
    pub async fn message(&mut self) -> String {
        let mut message = self.read_to("\r\n\r\n").await;
        let length = message.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let length = name.eq_ignore_ascii_case("content-length");
            length.then(|| value.trim().parse().expect("is a number"))
        });
        let length: usize = length.unwrap_or(0);
        while self.read.len() < length {
            assert!(self.fill().await, "closed in the body of {message:?}");
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        message.push_str(&String::from_utf8_lossy(&body));
        message
    }

    /// Reads until the other side closes, and returns everything not returned before.
    pub async fn rest(&mut self) -> String {
        while self.fill().await {}
        self.so_far()
    }

    /// Gives the connection away, and what was read from it but not returned.
    pub fn into_parts(self) -> (Vec<u8>, TcpStream) {
        (self.read, self.stream)
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    async fn fill(&mut self) -> bool {
        let mut part = [0; 16 * 1024];
        match within(self.stream.read(&mut part), "more bytes").await {
            Ok(length @ 1..) => {
                self.read.extend_from_slice(&part[..length]);
                true
            }
            Ok(0) | Err(_) => false,
        }
    }
}

async fn within<T>(future: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} should come within {LIMIT:?}"),
    }
}
