//! What Menshen costs on the wire, as a process of its own: memory of idle connections, time of WebSocket messages.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark may panic")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use menshen_test_support::bench::{self, runs};
use menshen_test_support::{Node, Nodes, TestGateway, resident_memory};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

const CONNECTIONS: usize = 10_000;
/// How many of them are opened at once, so that the upstream has no more than that.
const TOGETHER: usize = 50;
const MOST_MIB: f64 = 150.0;

const MESSAGES: usize = 2_000;
const ROUNDS: usize = 10;
const MESSAGE_BYTES: usize = 1024;
const MOST_ADDED: Duration = Duration::from_micros(50);

/// A running proxy, with a token that it takes.
struct Proxy {
    nodes: Nodes,
    node: Node,
    token: String,
}

impl Proxy {
    async fn start() -> Self {
        let lines = "keepalive = \"10m\"\nmax_connections = 0\nmax_connections_per_address = 0";
        let builder = TestGateway::builder().section("server", lines);
        let nodes = Nodes::new(builder).await;
        let node = nodes
            .serve(&bench::program(env!("CARGO_BIN_EXE_menshen")))
            .await;
        let token = node.log_in("alice").await.token;
        Self { nodes, node, token }
    }

    /// Returns the memory that it occupies, in MiB.
    fn resident_mib(&self) -> f64 {
        resident_memory(self.node.program.id()) as f64 / 1_048_576.0
    }

    /// Opens a connection, and keeps it after one exchange.
    async fn used_connection(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.node.address).await.unwrap();
        let request = format!(
            "GET /orders HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 2048]);
        // The upstream's body.
        while !answer.ends_with(b"ok") {
            let length = stream.read(&mut part).await.unwrap();
            assert_ne!(length, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(part.iter().take(length));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        stream
    }
}

fn say(line: &str) {
    println!("{line}");
}

async fn idle_connections() {
    let proxy = Proxy::start().await;
    let before = proxy.resident_mib();
    let mut open = Vec::with_capacity(CONNECTIONS);
    while open.len() < CONNECTIONS {
        let more = (0..TOGETHER).map(|_| proxy.used_connection());
        open.extend(futures::future::join_all(more).await);
    }
    let after = proxy.resident_mib();
    assert_eq!(proxy.nodes.upstream.requests(), CONNECTIONS);
    say(&format!(
        "{CONNECTIONS} idle connections: {after:.0} MiB, {before:.0} MiB before them (at most {MOST_MIB})"
    ));
    assert!(after <= MOST_MIB, "{after} MiB");
}

type Socket = WebSocketStream<TcpStream>;

async fn socket(address: SocketAddr, token: &str) -> Socket {
    let url = format!("ws://{address}/echo");
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    client_async(request, stream).await.unwrap().0
}

/// Sends messages one after the other, and adds the time of each until its echo.
async fn echoes(socket: &mut Socket, times: &mut Vec<Duration>) {
    let message = Message::binary(vec![b'x'; MESSAGE_BYTES]);
    for _ in 0..MESSAGES {
        let sent = Instant::now();
        socket.send(message.clone()).await.unwrap();
        let echo = socket.next().await.unwrap().unwrap();
        times.push(sent.elapsed());
        assert_eq!(echo.len(), MESSAGE_BYTES);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap()
}

async fn websocket_messages() {
    let proxy = Proxy::start().await;
    let mut direct = socket(proxy.nodes.upstream.address, &proxy.token).await;
    let mut through = socket(proxy.node.address, &proxy.token).await;
    let (mut without, mut with, mut warming) = (Vec::new(), Vec::new(), Vec::new());
    echoes(&mut direct, &mut warming).await;
    echoes(&mut through, &mut warming).await;
    // In turns, so that what else the machine does falls on both.
    for _ in 0..ROUNDS {
        echoes(&mut direct, &mut without).await;
        echoes(&mut through, &mut with).await;
    }
    let (without, with) = (median(without), median(with));
    // There and back is two messages.
    let added = with.saturating_sub(without) / 2;
    say(&format!(
        "a WebSocket message of {MESSAGE_BYTES} bytes: {added:?} added (at most {MOST_ADDED:?}); \
         there and back {without:?} without and {with:?} with the proxy, medians"
    ));
    assert!(added <= MOST_ADDED, "{added:?}");
}

fn main() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = Duration::from_secs(120);
        let all = async {
            if runs("idle_connections") {
                idle_connections().await;
            }
            if runs("websocket_messages") {
                websocket_messages().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            panic!("should end within {limit:?}");
        }
    });
}
