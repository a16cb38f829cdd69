//! A backend that remembers every request to the byte, and answers as the path says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// Every header line in order, spelled as it arrived.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The lines behind the last chunk.
    pub trailers: Vec<String>,
    /// The head as it arrived.
    pub head: String,
}

impl Received {
    /// Returns every value of a header, its name compared without regard to case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Returns the only value of a header; `None` when there is none or more than one.
    pub fn only(&self, name: &str) -> Option<&str> {
        match self.all(name).as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// The backend. Paths it knows, wherever in the target they stand:
///
/// `/status/NNN` answers so; `/hold` answers after [`Upstream::release`]; `/hang` never answers; `/close` closes;
/// `/garbage` is no HTTP; `/stream` sends `one`, and after [`Upstream::release`] `two`, in chunks; `/grants` sends
/// `Menshen-Token` of its own; `/healthz` answers as [`Upstream::set_health`] says; a WebSocket handshake gets an echo; anything else is answered 200 with `ok`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    health: AtomicU16,
    release: Notify,
    arrived: Notify,
}

impl Upstream {
    /// Starts a backend on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let upstream = Self {
            address: listener.local_addr().expect("is bound"),
            shared: Arc::default(),
        };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        upstream
    }

    /// Returns every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared
            .received
            .lock()
            .expect("is not poisoned")
            .clone()
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.received().len()
    }

    /// Returns the latest request.
    pub fn last(&self) -> Received {
        self.received()
            .pop()
            .expect("a request should have arrived")
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Says what `/healthz` answers from now on; 200 before.
    pub fn set_health(&self, status: u16) {
        self.shared.health.store(status, Ordering::SeqCst);
    }

    /// Lets one exchange that waits on `/hold` or `/stream` go on.
    pub fn release(&self) {
        self.shared.release.notify_one();
    }

    /// Waits until so many requests have arrived; more than ten seconds fail the test.
    pub async fn arrived(&self, count: usize) {
        let wait = async {
            loop {
                let arrived = self.shared.arrived.notified();
                if self.requests() >= count {
                    return;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("the requests should arrive");
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(request) = read_head(&mut stream, &mut buffer).await {
            let request = {
                let mut request = request;
                if request.target.contains("/hold-body") {
                    self.remember(request.clone());
                }
                let Some(body) = read_body(&mut stream, &mut buffer, &mut request).await else {
                    return;
                };
                request.body = body;
                request
            };
            let target = request.target.clone();
            let upgrade = request.only("upgrade").is_some();
            let key = request.only("sec-websocket-key").map(str::to_owned);
            let head = request.method == "HEAD";
            self.remember(request);
            if let (true, Some(key)) = (upgrade, key) {
                return echo(stream, &key).await;
            }
            if !self.answer(&mut stream, &target, head).await {
                return;
            }
        }
    }

    fn remember(&self, request: Received) {
        self.shared
            .received
            .lock()
            .expect("is not poisoned")
            .push(request);
        self.shared.arrived.notify_waiters();
    }

    /// Answers and says whether the connection goes on.
    async fn answer(&self, stream: &mut TcpStream, target: &str, head: bool) -> bool {
        let path = target.split('?').next().unwrap_or("");
        if path.contains("/hang") {
            std::future::pending::<()>().await;
        }
        if path.contains("/close") {
            return false;
        }
        if path.contains("/garbage") {
            let _ = stream.write_all(b"this is not HTTP\r\n\r\n").await;
            return false;
        }
        if path.contains("/stream") {
            let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
            let _ = stream.write_all(start.as_bytes()).await;
            self.shared.release.notified().await;
            let _ = stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await;
            return true;
        }
        if path.contains("/hold") {
            self.shared.release.notified().await;
        }
        let health = self.shared.health.load(Ordering::SeqCst).to_string();
        let status = match path.split_once("/status/") {
            Some((_, status)) => status,
            None if path.contains("/healthz") && health != "0" => &health,
            None => "200",
        };
        let more = if path.contains("/grants") {
            "Menshen-Token: the-backends-own\r\nMenshen-Refresh-Token: the-backends-own\r\n"
        } else {
            ""
        };
        let body = if head { "" } else { "ok" };
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n{more}\r\n{body}");
        stream.write_all(answer.as_bytes()).await.is_ok()
    }
}

async fn echo(mut stream: TcpStream, key: &str) {
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            // The library has the answer to it ready.
            let _ = socket.flush().await;
            return;
        }
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut part = [0; 16 * 1024];
    match stream.read(&mut part).await {
        Ok(length @ 1..) => {
            buffer.extend_from_slice(&part[..length]);
            true
        }
        _ => false,
    }
}

pub(crate) async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 200];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let received = Received {
                    method: request.method.unwrap_or("").to_owned(),
                    target: request.path.unwrap_or("").to_owned(),
                    headers: request
                        .headers
                        .iter()
                        .map(|header| (header.name.to_owned(), text(header.value)))
                        .collect(),
                    body: Vec::new(),
                    trailers: Vec::new(),
                    head: text(&buffer[..length]),
                };
                buffer.drain(..length);
                return Some(received);
            }
            Ok(httparse::Status::Partial) => {
                if !fill(stream, buffer).await {
                    return None;
                }
            }
            Err(error) => panic!("the gateway sent something else than HTTP: {error}"),
        }
    }
}

pub(crate) async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: &mut Received,
) -> Option<Vec<u8>> {
    if request.only("transfer-encoding") == Some("chunked") {
        return read_chunks(stream, buffer, &mut request.trailers).await;
    }
    let length = request
        .only("content-length")
        .map_or(0, |length| length.parse().expect("is a number"));
    while buffer.len() < length {
        if !fill(stream, buffer).await {
            return None;
        }
    }
    Some(buffer.drain(..length).collect())
}

async fn read_chunks(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    trailers: &mut Vec<String>,
) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(buffer).expect("is a chunk") {
            httparse::Status::Complete((start, size)) => {
                let size = usize::try_from(size).expect("fits");
                if size == 0 {
                    buffer.drain(..start);
                    *trailers = read_trailers(stream, buffer).await?;
                    return Some(body);
                }
                while buffer.len() < start + size + 2 {
                    if !fill(stream, buffer).await {
                        return None;
                    }
                }
                body.extend_from_slice(&buffer[start..start + size]);
                buffer.drain(..start + size + 2);
            }
            httparse::Status::Partial => {
                if !fill(stream, buffer).await {
                    return None;
                }
            }
        }
    }
}

/// Reads the lines up to the empty one.
async fn read_trailers(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        match buffer.windows(2).position(|pair| pair == b"\r\n") {
            Some(0) => {
                buffer.drain(..2);
                return Some(lines);
            }
            Some(end) => {
                lines.push(String::from_utf8_lossy(&buffer[..end]).into_owned());
                buffer.drain(..end + 2);
            }
            None => {
                if !fill(stream, buffer).await {
                    return None;
                }
            }
        }
    }
}
