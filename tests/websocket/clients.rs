//! Strict WebSocket clients: a browser, npm's `ws` and undici fail where a server names none of the sub-protocols they offered.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::process::Stdio;
use std::time::Duration;

use menshen_test_support::{Browser, TestGateway, find_installed, find_repository};
use serde_json::{Value, json};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

/// Opens a socket in a page of the gateway, sends a message, and tells what came of it.
const IN_A_PAGE: &str = r"
((url, offered) => new Promise((resolve) => {
  const socket = new WebSocket(url, offered);
  let seen = null;
  socket.onopen = () => socket.send('hello');
  socket.onmessage = (event) => {
    seen = { protocol: socket.protocol, message: event.data };
    socket.close(1000);
  };
  socket.onclose = (event) => resolve({ ...seen, code: event.code });
}))";

/// Has a client of Node's open a socket, and returns what it printed.
async fn node(client: &str, url: &str, offered: &[String]) -> Value {
    let clients = find_repository().join("tests/websocket-clients");
    let mut command = Command::new("node");
    command
        .arg(clients.join(client))
        .arg(url)
        .args(offered)
        .env(
            "NODE_PATH",
            find_installed("websocket-clients/node_modules", client),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(LIMIT, command.output()).await;
    let ended = ended.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&ended.stderr)))
}

/// Opens a socket as one of the clients does: with the token alone, and beside a sub-protocol of the backend's.
async fn opens_a_socket_with_a_token(client: impl AsyncFn(&TestGateway, &str, &[String]) -> Value) {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let ours = format!("menshen.bearer.{}", grant.token);
    let url = format!("ws://{}/chat", t.address);
    for (offered, passed) in [
        (vec![ours.clone()], None),
        (vec!["chat".to_owned(), ours.clone()], Some("chat")),
    ] {
        let seen = client(&t, &url, &offered).await;
        // The backend chose none.
        let expected = json!({ "protocol": ours, "message": "hello", "code": 1000 });
        assert_eq!(seen, expected, "{offered:?}");
        let received = t.upstream.last();
        assert_eq!(received.target, "/chat");
        assert_eq!(received.only("sec-websocket-protocol"), passed);
        assert!(received.only("x-wx-openid").is_some(), "{}", received.head);
        assert!(!received.head.contains(&grant.token), "{}", received.head);
    }
}

#[tokio::test]
async fn ws_opens_a_socket_with_a_token_as_its_only_sub_protocol() {
    opens_a_socket_with_a_token(async |_, url, offered| node("ws.js", url, offered).await).await;
}

#[tokio::test]
async fn undici_opens_a_socket_with_a_token_as_its_only_sub_protocol() {
    opens_a_socket_with_a_token(async |_, url, offered| node("undici.js", url, offered).await)
        .await;
}

#[tokio::test]
async fn chromium_opens_a_socket_with_a_token_as_its_only_sub_protocol() {
    let browser = Browser::start().await;
    opens_a_socket_with_a_token(async |t, url, offered| {
        let mut page = browser.open(&format!("http://{}/public", t.address)).await;
        let call = format!("{IN_A_PAGE}({}, {})", json!(url), json!(offered));
        page.evaluate(&call).await
    })
    .await;
}

#[tokio::test]
async fn a_refused_token_opens_no_socket_in_any_of_them() {
    let t = TestGateway::start().await;
    let url = format!("ws://{}/chat", t.address);
    let offered = ["menshen.bearer.nonsense".to_owned()];
    for client in ["ws.js", "undici.js"] {
        let seen = node(client, &url, &offered).await;
        assert!(seen["error"].is_string(), "{client}: {seen}");
    }
    let browser = Browser::start().await;
    let mut page = browser.open(&format!("http://{}/public", t.address)).await;
    let call = format!("{IN_A_PAGE}({}, {})", json!(url), json!(offered));
    assert_eq!(page.evaluate(&call).await, json!({ "code": 1006 }));
    assert!(t.upstream.received().iter().all(|r| r.target != "/chat"));
}

#[tokio::test]
async fn a_page_can_be_looked_at() {
    let t = TestGateway::start().await;
    let browser = Browser::start().await;
    let mut page = browser.open(&format!("http://{}/public", t.address)).await;
    assert_eq!(page.until("document.body.innerText").await, json!("ok"));
    let folder = tempfile::tempdir().unwrap();
    let shot = folder.path().join("page.png");
    page.screenshot(&shot).await;
    let shot = std::fs::read(shot).unwrap();
    assert!(shot.starts_with(b"\x89PNG"), "{} bytes", shot.len());
}
