//! When WeChat cannot be reached, clients are told so, and the log says why and what to do, once.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use menshen_test_support::{
    Builder, Certificate, ForwardProxy, Node, Nodes, Program, Reply, TestGateway,
    find_closed_address, make_client, tls_front,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const JSON: &str = "format = \"json\"";

/// Describes a program that logs in JSON.
fn logging() -> Builder {
    let builder = TestGateway::builder().section("log", JSON);
    // Where calls are kept back, nobody waits long for them.
    builder.section("login", "queue_timeout = \"100ms\"")
}

/// Starts the program with these lines in `[wechat]`.
pub(crate) async fn serving(wechat: &str) -> Node {
    Nodes::new(logging().section("wechat", wechat))
        .await
        .serve(MENSHEN)
        .await
}

/// Returns the lines of the log that hold a text.
pub(crate) fn lines(program: &Program, text: &str) -> Vec<Value> {
    let log = program.stderr();
    let lines = log.lines().filter(|line| line.contains(text));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the lines that say why WeChat cannot be reached.
pub(crate) fn told_of(node: &Node) -> Vec<Value> {
    lines(&node.program, "WeChat cannot be reached: ")
}

pub(crate) async fn log_in(node: &Node) -> Reply {
    Reply::of(node.login_with("0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p")).await
}

pub(crate) async fn degraded(node: &Node) -> Value {
    let private = node.program.find_control_address().await;
    let http = make_client();
    let ready = Reply::of(http.get(format!("http://{private}/readyz"))).await;
    assert_eq!(ready.status, 200);
    ready.json()["degraded"].clone()
}

/// Asserts that a login is refused for this cause, and what else must follow.
async fn is_unreachable(node: &Node, cause: &str, advice: &str) {
    for _ in 0..3 {
        let reply = log_in(node).await;
        reply.refused(503, "wechat_unreachable");
        assert!(reply.retry_after().unwrap() >= 1);
    }
    node.program.logs_times("login refused", 3).await;
    let told = lines(&node.program, "WeChat cannot be reached: ");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0]["level"].as_str(), told[0]["cause"].as_str()),
        (Some("WARN"), Some(cause))
    );
    assert!(
        told[0]["message"].as_str().unwrap().contains(advice),
        "{told:?}"
    );
    assert!(told[0]["host"].is_string(), "{told:?}");
    for line in lines(&node.program, "login refused") {
        assert_eq!(line["reason"], "wechat_unreachable");
    }
    let first = &lines(&node.program, "login refused")[0];
    assert!(first["cause"].as_str().unwrap().contains(cause), "{first}");
    assert_eq!(degraded(node).await, json!(["wechat"]));
}

#[tokio::test]
async fn a_refused_connection_is_told() {
    let address = find_closed_address();
    let node = serving(&format!("api_base = \"http://{address}\"")).await;
    is_unreachable(&node, "the connection was refused or broke off", "firewall").await;
    assert_eq!(told_of(&node)[0]["host"], address.to_string());
}

#[tokio::test]
async fn a_connection_that_is_never_made_is_told() {
    // A listener whose queue is full answers no more.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let timeouts = std::time::Duration::from_millis(200);
    while let Ok(stream) =
        tokio::time::timeout(timeouts, tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    let lines = format!("api_base = \"http://{address}\"\nconnect_timeout = \"200ms\"");
    is_unreachable(
        &serving(&lines).await,
        "there was no connection in time",
        "wechat.proxy",
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    menshen::app::install_crypto();
    let nowhere = find_closed_address();
    let good = Certificate::new("localhost");
    let expired = Certificate::expired("localhost");
    let early = Certificate::of_the_future("localhost");
    let other = Certificate::new("other.test");
    for (shown, trusted, cause, advice) in [
        (
            &good,
            None,
            "its certificate is not trusted",
            "wechat.ca_file",
        ),
        (
            &good,
            Some(&other),
            "its certificate is not trusted",
            "wechat.ca_file",
        ),
        (
            &expired,
            Some(&expired),
            "its certificate has expired or is not valid yet",
            "clock",
        ),
        (
            &early,
            Some(&early),
            "its certificate has expired or is not valid yet",
            "clock",
        ),
        (
            &other,
            Some(&other),
            "its certificate is for another name",
            "wechat.api_base",
        ),
    ] {
        let front = tls_front(shown, nowhere).await;
        let mut lines = format!("api_base = \"https://localhost:{}\"", front.port());
        if let Some(trusted) = trusted {
            lines.push_str(&format!(
                "\nca_file = '{}/cert.pem'",
                trusted.folder().display()
            ));
        }
        let node = serving(&lines).await;
        is_unreachable(&node, cause, advice).await;
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let node = serving(&format!("api_base = \"https://localhost:{port}\"")).await;
    is_unreachable(&node, "TLS failed", "https").await;
}

#[tokio::test]
async fn a_proxy_that_stands_in_the_way_is_told() {
    let nowhere = find_closed_address();
    let portal = "HTTP/1.1 302 Found\r\nLocation: http://portal.test/\r\nContent-Length: 0\r\n\r\n";
    let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    for (proxy, cause, advice) in [
        (
            ForwardProxy::asking_for("me:pw", nowhere).await,
            "the proxy asks for a user and password",
            "wechat.proxy_auth_file",
        ),
        (
            ForwardProxy::answering(portal, nowhere).await,
            "the proxy did not connect",
            "WeChat's host",
        ),
        (
            ForwardProxy::answering(forbidden, nowhere).await,
            "the proxy did not connect",
            "WeChat's host",
        ),
    ] {
        let lines = format!(
            "api_base = \"https://wechat.test\"\nproxy = \"http://{}\"",
            proxy.address
        );
        let node = serving(&lines).await;
        is_unreachable(&node, cause, advice).await;
        let told = &told_of(&node)[0];
        assert_eq!(
            (&told["host"], &told["proxy"]),
            (
                &json!("wechat.test"),
                &json!(format!("http://{}", proxy.address))
            )
        );
        assert!(proxy.asked()[0].starts_with("CONNECT wechat.test:443 "));
    }
    // Without TLS the proxy's own answer is seen.
    let proxy = ForwardProxy::asking_for("me:pw", nowhere).await;
    let lines = format!(
        "api_base = \"http://wechat.test\"\nallow_plain_http = true\nproxy = \"http://{}\"",
        proxy.address
    );
    let node = serving(&lines).await;
    is_unreachable(
        &node,
        "the proxy asks for a user and password",
        "wechat.proxy_auth_file",
    )
    .await;
}

#[tokio::test]
async fn what_answers_in_wechats_place_is_told_and_no_code_is_blamed() {
    let node = Nodes::new(logging()).await.serve(MENSHEN).await;
    for plan in [
        json!({"fault": "redirect", "times": 1}),
        json!({"fault": "html", "times": 1}),
        json!({"fault": "status", "status": 403, "times": 1}),
    ] {
        node.fault(plan).await;
        let reply = node.try_log_in("alice").await;
        let told = reply.refused(503, "wechat_unreachable");
        assert!(
            !told["message"].as_str().unwrap().contains("wx.login"),
            "{told}"
        );
        assert_eq!(degraded(&node).await, json!(["wechat"]));
    }
    let told = told_of(&node);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["cause"], "something else answers in its place");
    assert!(
        told[0]["message"].as_str().unwrap().contains("portal"),
        "{told:?}"
    );
    node.log_in("alice").await;
    assert_eq!(degraded(&node).await, json!([]));
    node.program.logs("WeChat can be reached again").await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_to_compress_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00";
            let _ = stream.write_all(head).await;
        }
    });
    let node = serving(&format!("api_base = \"http://{address}\"")).await;
    log_in(&node).await.refused(503, "wechat_unreachable");
    let told = node.program.logs("WeChat cannot be reached: ").await;
    assert!(told.contains("compressed"), "{told}");
}

#[tokio::test]
async fn what_wechat_said_is_in_the_line_of_the_login() {
    let node = Nodes::new(logging()).await.serve(MENSHEN).await;
    for (errcode, errmsg, advice) in [
        (40029, "invalid code", None),
        (
            40164,
            "invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist",
            Some("whitelist"),
        ),
        (99999, "something new", None),
        (-1, "system error", None),
    ] {
        node.fault(json!({"fault": "errcode", "errcode": errcode, "errmsg": errmsg, "times": 3}))
            .await;
        let reply = node.try_log_in("alice").await;
        let id = reply.header("x-request-id");
        let refused = format!("\"request_id\":\"{id}\"");
        node.program.logs_times(&refused, 2).await;
        let log = lines(&node.program, &refused);
        let line = log
            .iter()
            .find(|line| line["message"] == "login refused")
            .unwrap();
        assert_eq!(
            (&line["errcode"], &line["errmsg"]),
            (&json!(errcode), &json!(errmsg)),
            "{line}"
        );
        let rid = line["rid"].as_str().unwrap();
        assert_eq!((rid.len(), rid.split('-').count()), (26, 3), "{line}");
        assert_eq!(
            line["advice"].as_str().is_some(),
            advice.is_some(),
            "{line}"
        );
        assert!(advice.is_none_or(|advice| line["advice"].as_str().unwrap().contains(advice)));
        node.heal().await;
    }
}

#[tokio::test]
async fn an_errcode_that_no_other_code_cures_asks_for_none() {
    let node = Nodes::new(TestGateway::builder())
        .await
        .serve(MENSHEN)
        .await;
    for (errcode, error) in [
        (89503, "wechat_misconfigured"),
        (89507, "wechat_misconfigured"),
        (61003, "wechat_misconfigured"),
        (40243, "wechat_misconfigured"),
        (99999, "wechat_error"),
    ] {
        node.fault(json!({"fault": "errcode", "errcode": errcode, "times": 1}))
            .await;
        let reply = node.try_log_in("alice").await;
        let told = reply.refused(502, error);
        assert_eq!(told["errcode"], errcode);
        assert!(
            !told["message"].as_str().unwrap().contains("wx.login"),
            "{told}"
        );
    }
    for errcode in [40029, 40163] {
        node.fault(json!({"fault": "errcode", "errcode": errcode, "times": 1}))
            .await;
        let reply = node.try_log_in("alice").await;
        assert!(
            reply.json()["message"]
                .as_str()
                .unwrap()
                .contains("wx.login"),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn the_private_listener_names_it_too() {
    let t = TestGateway::start().await;
    let openid = {
        let grant = t.log_in("alice").await;
        t.openid(&grant.token).await
    };
    let nowhere = find_closed_address();
    let mut stopped = t;
    stopped.stop().await;
    let folder = std::mem::replace(&mut stopped.folder, tempfile::tempdir().unwrap());
    let lines = format!("api_base = \"http://{nowhere}\"");
    let t = TestGateway::builder()
        .section("wechat", &lines)
        .start_in(folder)
        .await;
    let path = format!("/v1/apps/shop/users/{openid}/check-session");
    let reply = Reply::of(t.control("POST", &path)).await;
    reply.refused(503, "wechat_unreachable");
    let ready = Reply::of(t.control("GET", "/readyz")).await;
    // The call needed an access_token, which could not be fetched either.
    assert_eq!(ready.json()["degraded"], json!(["wechat", "access_token"]));
}
