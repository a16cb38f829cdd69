//! A reload that changes an upstream closes the connections to its servers, also while a WebSocket or a long exchange goes on, and keeps
//! those of the upstreams that stay as they are.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use menshen_test_support::{ByHand, Node, Nodes, TestGateway, Wire};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

const LIMIT: Duration = Duration::from_secs(10);

const GET: &str = "HTTP/1.1\r\nHost: h\r\n\r\n";
const HTTP2: &str = "protocol = \"http2\"";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The program before two upstreams, of which the reload changes one, and a third of HTTP/1 at `/long`.
struct Running {
    nodes: Nodes,
    node: Node,
    long: ByHand,
}

/// A request that a backend of HTTP/1 has received, and the connections that it came on.
struct Exchange {
    client: Wire,
    server: Wire,
}

impl Running {
    /// Starts it with lines of both upstreams, and with no more places for idle connections than the tests fill before the reload.
    async fn start(changed: SocketAddr, same: SocketAddr, lines: &str) -> Self {
        let long = ByHand::start().await;
        let upstreams = format!(
            "[[upstream]]\nname = \"changed\"\nservers = [\"{changed}\"]\nconnect_timeout = \"7s\"\n{lines}\n\
             [[upstream]]\nname = \"same\"\nservers = [\"{same}\"]\n{lines}\n\
             [[upstream]]\nname = \"long\"\nservers = [\"{}\"]\n",
            long.address
        );
        let route = |name| {
            format!("[[route]]\npath = \"/{name}\"\nupstream = \"{name}\"\nauth = \"public\"\n")
        };
        let routes = ["changed", "same", "long"].map(route).concat();
        let builder = TestGateway::configure_server("upstream_pool = 6");
        let builder = builder.upstreams(&upstreams).routes(&routes);
        let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
        Self { nodes, node, long }
    }

    async fn reload(&self) {
        let [from, to] = [7, 8].map(|secs| format!("connect_timeout = \"{secs}s\""));
        self.nodes.site.change(&from, &to);
        self.node.program.reload(1).await;
    }

    /// Sends a request whose answer the test reads later.
    async fn ask(&self, path: &str) -> Wire {
        let mut client = Wire::connect(self.node.address).await;
        client.send(format!("GET {path} {GET}")).await;
        client
    }

    /// Sends a request that comes on a new connection to a backend of HTTP/1.
    async fn begin(&self, path: &str, backend: &ByHand) -> Exchange {
        let client = self.ask(path).await;
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        Exchange { client, server }
    }

    /// Opens a WebSocket to the upstream that the reload changes.
    async fn open_socket(&self, backend: &ByHand) -> Exchange {
        let mut client = Wire::connect(self.node.address).await;
        let asked = "GET /changed HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.send(asked).await;
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        server.send(answer).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Exchange { client, server }
    }
}

impl Exchange {
    async fn answer(&mut self) {
        self.server.send(OK).await;
        answered(&mut self.client).await;
    }

    /// Sends another request of the same client, which must come on the same connection.
    async fn again(&mut self, path: &str) {
        self.client.send(format!("GET {path} {GET}")).await;
        self.server.read_to("\r\n\r\n").await;
        self.answer().await;
    }

    /// Checks that a WebSocket is open.
    async fn carries(&mut self) {
        self.server.send(b"\x81\x02hi").await;
        self.client.read_to("hi").await;
    }
}

async fn answered(client: &mut Wire) {
    let answer = client.message().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn connections_of_http_1_to_a_changed_upstream_are_closed_while_a_socket_is_open() {
    let (changed, same) = (ByHand::start().await, ByHand::start().await);
    let running = Running::start(changed.address, same.address, "").await;
    let mut socket = running.open_socket(&changed).await;
    let mut held = running.begin("/changed", &changed).await;
    let mut shared = running.begin("/same", &same).await;
    shared.answer().await;
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(running.begin("/changed", &changed).await);
    }
    for exchange in &mut idle {
        exchange.answer().await;
    }
    running.reload().await;
    for exchange in &mut idle {
        assert_eq!(exchange.server.rest().await, "");
    }
    // They left their places to connections of the new generation.
    let mut new = running.begin("/changed", &changed).await;
    new.answer().await;
    new.again("/changed").await;
    held.answer().await;
    assert_eq!(held.server.rest().await, "");
    shared.again("/same").await;
    socket.carries().await;
}

/// A server of HTTP/2 whose requests the test answers one by one.
struct Backend {
    address: SocketAddr,
    /// The requests, with the numbers of their connections.
    requests: mpsc::UnboundedReceiver<(usize, SendResponse<Bytes>)>,
    /// The numbers of the connections that ended.
    ends: mpsc::UnboundedReceiver<usize>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (request, requests) = mpsc::unbounded_channel();
        let (end, ends) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (request, end) = (request.clone(), end.clone());
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        let _ = request.send((number, respond));
                    }
                    let _ = end.send(number);
                });
            }
        });
        Self {
            address,
            requests,
            ends,
        }
    }

    /// Waits for a request, which must come on this connection.
    async fn request_on(&mut self, number: usize) -> SendResponse<Bytes> {
        let request = timeout(LIMIT, self.requests.recv()).await;
        let (on, respond) = request.unwrap().unwrap();
        assert_eq!(on, number);
        respond
    }

    async fn ended(&mut self) -> usize {
        timeout(LIMIT, self.ends.recv()).await.unwrap().unwrap()
    }
}

/// Answers a request, and waits until the client has that.
async fn answer(mut respond: SendResponse<Bytes>, client: &mut Wire) {
    let response = Response::builder().header("content-length", 0);
    let response = response.body(()).unwrap();
    respond.send_response(response, true).unwrap();
    answered(client).await;
}

#[tokio::test]
async fn an_idle_connection_of_http_2_to_a_changed_upstream_is_closed_while_an_exchange_goes_on() {
    let (mut changed, mut same) = (Backend::start().await, Backend::start().await);
    let running = Running::start(changed.address, same.address, HTTP2).await;
    let mut long = running.begin("/long", &running.long).await;
    for (path, backend) in [("/changed", &mut changed), ("/same", &mut same)] {
        let mut client = running.ask(path).await;
        answer(backend.request_on(0).await, &mut client).await;
    }
    running.reload().await;
    assert_eq!(changed.ended().await, 0);
    let mut client = running.ask("/changed").await;
    answer(changed.request_on(1).await, &mut client).await;
    let mut client = running.ask("/same").await;
    answer(same.request_on(0).await, &mut client).await;
    long.answer().await;
}

#[tokio::test]
async fn exchanges_of_the_old_generation_share_connections_of_http_2_which_end_with_the_last() {
    let (mut changed, same) = (Backend::start().await, Backend::start().await);
    let running = Running::start(changed.address, same.address, HTTP2).await;
    let mut long = running.begin("/long", &running.long).await;
    let mut one = running.ask("/changed").await;
    let mut first = changed.request_on(0).await;
    let mut other = running.ask("/changed").await;
    let mut second = changed.request_on(0).await;
    running.reload().await;
    // What the server refuses is sent on a new connection, which only the old generation has.
    first.send_reset(Reason::REFUSED_STREAM);
    let first = changed.request_on(1).await;
    second.send_reset(Reason::REFUSED_STREAM);
    let second = changed.request_on(1).await;
    assert_eq!(changed.ended().await, 0);
    let mut new = running.ask("/changed").await;
    answer(changed.request_on(2).await, &mut new).await;
    answer(first, &mut one).await;
    answer(second, &mut other).await;
    assert_eq!(changed.ended().await, 1);
    let mut new = running.ask("/changed").await;
    answer(changed.request_on(2).await, &mut new).await;
    long.answer().await;
}
