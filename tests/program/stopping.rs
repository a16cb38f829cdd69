//! A signal lets what is in flight finish, and nothing else; the process ends with the last exchange.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use menshen_test_support::{Builder, Node, Nodes, Reply, TestGateway};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Far more than an end takes that nothing holds up, and far less than [`DRAIN`].
const PROMPTLY: Duration = Duration::from_secs(10);
const DRAIN: &str = "drain = \"1h\"";
const RESET: &str = "/wxa/resetusersessionkey";

/// The program as it serves a backend.
struct Running {
    nodes: Nodes,
    node: Node,
}

impl Running {
    async fn start(builder: Builder) -> Self {
        let (nodes, node) = Nodes::start_one(builder, MENSHEN).await;
        Self { nodes, node }
    }

    /// Starts one whose drain would outlast every test.
    async fn patient() -> Self {
        Self::start(TestGateway::builder().section("server", DRAIN)).await
    }

    /// Sends the start of something on a connection of its own.
    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.node.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// Starts an exchange that lasts until the upstream is released.
    async fn exchange(&self) -> TcpStream {
        let before = self.nodes.upstream.requests();
        let stream = self
            .send("GET /public/hold HTTP/1.1\r\nHost: here\r\n\r\n")
            .await;
        self.nodes.upstream.arrived(before + 1).await;
        stream
    }

    /// Waits until nobody gets in any more.
    async fn is_closed(&self) {
        let closed = async {
            while TcpStream::connect(self.node.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PROMPTLY, closed).await;
        assert!(waited.is_ok(), "new connections should be refused");
    }

    /// Waits for an end that nothing should hold up, and returns the exit code.
    async fn ends(self) -> Option<i32> {
        let started = Instant::now();
        let ended = self.node.program.ended().await;
        let took = started.elapsed();
        assert!(took < PROMPTLY, "it took {took:?}: {}", ended.stderr);
        ended.code
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset says as much as an end.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn nothing_in_flight_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let running = Running::patient().await;
        running.node.program.signal(signal).await;
        assert_eq!(running.ends().await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn an_exchange_in_flight_finishes_while_new_connections_are_refused() {
    let running = Running::patient().await;
    let exchange = running.exchange().await;
    running.node.program.signal("TERM").await;
    running.is_closed().await;
    running.nodes.upstream.release();
    let answer = rest(exchange).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(running.ends().await, Some(0));
}

#[tokio::test]
async fn an_answer_that_is_being_streamed_is_sent_to_its_end() {
    let running = Running::patient().await;
    let get = "GET /public/stream HTTP/1.1\r\nHost: here\r\n\r\n";
    let mut stream = running.send(get).await;
    let mut answer = String::new();
    while !answer.contains("one") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).await.unwrap();
        answer += std::str::from_utf8(part.get(..length).unwrap()).unwrap();
    }
    running.node.program.signal("TERM").await;
    running.is_closed().await;
    running.nodes.upstream.release();
    let rest = rest(stream).await;
    assert!(
        rest.contains("two") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    assert_eq!(running.ends().await, Some(0));
}

#[tokio::test]
async fn the_last_of_several_exchanges_is_waited_for() {
    let running = Running::patient().await;
    let exchanges = [running.exchange().await, running.exchange().await];
    running.node.program.signal("TERM").await;
    running.is_closed().await;
    for exchange in exchanges {
        running.nodes.upstream.release();
        let answer = rest(exchange).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(running.ends().await, Some(0));
}

#[tokio::test]
async fn an_exchange_over_http2_finishes_too() {
    let running = Running::patient().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    let url = format!("http://{}/public/hold", running.node.address);
    let exchange = tokio::spawn(client.build().unwrap().get(url).send());
    running.nodes.upstream.arrived(1).await;
    running.node.program.signal("TERM").await;
    running.is_closed().await;
    running.nodes.upstream.release();
    let answer = exchange.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
    assert_eq!(running.ends().await, Some(0));
}

#[tokio::test]
async fn clients_that_only_wait_hold_nothing_up() {
    let running = Running::patient().await;
    let silent = running.send("").await;
    let halfway = running.send("GET /public HTTP/1.1\r\nHost: he").await;
    let get = "GET /public HTTP/1.1\r\nHost: here\r\n\r\n";
    let mut idle = running.send(get).await;
    // Once its answer is there, this one is between two exchanges.
    assert_ne!(idle.read(&mut [0; 4096]).await.unwrap(), 0);
    let idle_http2 = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    let idle_http2 = idle_http2.build().unwrap();
    let url = format!("http://{}/public", running.node.address);
    assert_eq!(idle_http2.get(url).send().await.unwrap().status(), 200);
    running.node.program.signal("TERM").await;
    assert_eq!(running.ends().await, Some(0));
    drop((silent, halfway, idle, idle_http2));
}

#[tokio::test]
async fn a_drain_ends_exchanges_that_do_not() {
    let hasty = TestGateway::builder().section("server", "drain = \"200ms\"");
    let running = Running::start(hasty).await;
    let exchange = running.exchange().await;
    running.node.program.signal("TERM").await;
    assert_eq!(running.ends().await, Some(0));
    assert!(!rest(exchange).await.contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_session_key_that_wechat_resets_is_stored_also_when_its_caller_has_left() {
    let running = Running::start(TestGateway::builder()).await;
    let node = &running.node;
    let grant = node.log_in("alice").await;
    let session = node.get("/_auth/session", &grant.token).await.json();
    let user = session["openid"].as_str().unwrap();
    let ask = async |node: &Node, call: &str| {
        let control = node.program.find_control_address().await;
        let url = format!("http://{control}/v1/apps/shop/users/{user}/{call}");
        reqwest::Client::new().post(url)
    };
    // What is signed with another key has another signature.
    let signed = json!({"appid": TestGateway::appid("shop"), "user": "alice", "data": "same"});
    let before = node.simulate("encrypt", signed.clone()).await;
    let plan = json!({"path": RESET, "fault": "delay", "by": "2s", "times": 1});
    node.simulate("faults", plan).await;
    let reset = tokio::spawn(ask(node, "reset-session-key").await.send());
    let since = Instant::now();
    while node.calls(RESET).await == 0 {
        assert!(since.elapsed() < PROMPTLY, "WeChat should be asked");
    }
    reset.abort();
    node.program.signal("TERM").await;
    running.is_closed().await;
    let Running { nodes, node } = running;
    assert_eq!(node.program.ended().await.code, Some(0));
    let node = nodes.serve(MENSHEN).await;
    let after = node.simulate("encrypt", signed).await;
    assert_ne!(before["signature"], after["signature"]);
    let valid = Reply::of(ask(&node, "check-session").await).await;
    assert_eq!(valid.json(), json!({"valid": true}));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for second in ["TERM", "INT"] {
        let running = Running::patient().await;
        let exchange = running.exchange().await;
        running.node.program.signal("TERM").await;
        running.is_closed().await;
        running.node.program.signal(second).await;
        assert_eq!(running.ends().await, Some(1), "{second}");
        assert_eq!(rest(exchange).await, "");
    }
}
