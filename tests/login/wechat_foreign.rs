//! What answers in WeChat's place is called that: the client is told to wait, the log and readyz say why, and no code is sent twice.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use menshen_test_support::{Builder, Node, Nodes, Reply, TestGateway, make_client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PATIENCE: Duration = Duration::from_secs(20);

/// Describes a program that logs in JSON, where nobody waits long whose call is kept back.
fn logging() -> Builder {
    TestGateway::builder()
        .section("log", "format = \"json\"")
        .section("login", "queue_timeout = \"100ms\"")
}

/// Somebody at WeChat's address who answers every request alike.
struct Somebody {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Somebody {
    async fn answering(head: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, asked }
    }
}

async fn degraded(node: &Node) -> Value {
    let private = node.program.find_control_address().await;
    let ready = Reply::of(make_client().get(format!("http://{private}/readyz"))).await;
    assert_eq!(ready.status, 200);
    ready.json()["degraded"].clone()
}

/// Asserts that a login is refused since WeChat is not there, and that the code is not blamed.
fn is_unreachable(reply: &Reply) {
    let told = reply.refused(503, "wechat_unreachable");
    assert!(reply.retry_after().unwrap() >= 1);
    let message = told["message"].as_str().unwrap();
    assert!(!message.contains("wx.login"), "{told}");
}

#[tokio::test]
async fn what_is_not_wechats_is_told_and_no_code_is_blamed() {
    for (head, body, what) in [
        (
            "302 Found\r\nLocation: http://portal.test/",
            "",
            "a redirect",
        ),
        (
            "200 OK\r\nContent-Type: text/html",
            "\u{feff}<html>log in</html>",
            "a web page",
        ),
        (
            "200 OK\r\nContent-Type: text/plain",
            "please log in",
            "no JSON object",
        ),
        ("200 OK", "[]", "no JSON object"),
        ("200 OK", "", "empty"),
        ("200 OK", "{}", "JSON without a field of WeChat's"),
        (
            "200 OK",
            r#"{"code":401,"message":"log in"}"#,
            "JSON without a field of WeChat's",
        ),
        ("502 Bad Gateway", "<html>502</html>", "its status is 502"),
        (
            "511 Network Authentication Required",
            "<html>log in</html>",
            "its status is 511",
        ),
        (
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic",
            "",
            "its status is 407",
        ),
        (
            "503 Service Unavailable",
            "<html>503</html>",
            "its status is 503",
        ),
    ] {
        let somebody = Somebody::answering(head, body).await;
        let api_base = format!("api_base = \"http://{}\"", somebody.address);
        let nodes = Nodes::new(logging().section("wechat", &api_base)).await;
        let node = nodes.serve(MENSHEN).await;
        for _ in 0..2 {
            is_unreachable(&Reply::of(node.login_with("0a1b2c3d4e5f")).await);
        }
        let asked = somebody.asked.load(Ordering::Relaxed);
        assert_eq!(asked, 1, "{head}: the code may be spent");
        let told = node.program.logs("WeChat cannot be reached: ").await;
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            told["cause"], "something else answers in its place",
            "{head}"
        );
        assert!(told["detail"].as_str().unwrap().contains(what), "{told}");
        assert_eq!(degraded(&node).await, json!(["wechat"]), "{head}");
    }
}

#[tokio::test]
async fn a_portal_that_stays_never_becomes_a_busy_wechat() {
    let node = Nodes::new(logging()).await.serve(MENSHEN).await;
    node.fault(json!({"fault": "redirect"})).await;
    let first = node.code("alice").await;
    is_unreachable(&Reply::of(node.login_with(&first)).await);
    for _ in 0..12 {
        is_unreachable(&node.try_log_in("bob").await);
    }
    assert!(node.redeemed().await < 10, "logins should be kept back");
    node.program.logs_times("login refused", 13).await;
    let log = node.program.stderr();
    let refused = log.lines().filter(|line| line.contains("login refused"));
    for line in refused {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["cause"].is_string(), "{line}");
    }
    assert_eq!(degraded(&node).await, json!(["wechat"]));

    node.heal().await;
    let healed = Instant::now();
    while node.try_log_in("carol").await.status != 200 {
        assert!(healed.elapsed() < PATIENCE, "WeChat is back");
    }
    assert_eq!(degraded(&node).await, json!([]));
    // Now another code helps, and this one may have been spent.
    let before = node.redeemed().await;
    let again = Reply::of(node.login_with(&first)).await;
    again.refused(504, "wechat_timeout");
    assert_eq!(node.redeemed().await, before);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("http://{}/", elsewhere.local_addr().unwrap());
    let t = TestGateway::start().await;
    t.fault(json!({"fault": "redirect", "location": location, "times": 1}))
        .await;
    is_unreachable(&t.try_log_in("alice").await);
    // A connection would be there already: the login was answered after it would have been made.
    let nobody = elsewhere.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}
