//! Clients that leave, and clients of HTTP/1 that only close their sending side and still read.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use menshen_test_support::{ByHand, Node, Nodes, TestGateway, Wire};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);
const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const GET: &str = "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_1_0: &str = "GET /slow HTTP/1.0\r\nHost: h\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Sends a request and closes the sending side behind it, as `printf … | nc -N` does.
async fn half_closed(t: &TestGateway, request: &str) -> Wire {
    half_closed_at(t.address, request).await
}

async fn half_closed_at(address: SocketAddr, request: &str) -> Wire {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    Wire::of(stream)
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_waits_for_a_slow_answer() {
    let server = ByHand::start().await;
    let t = TestGateway::start_before(server.address, "").await;
    let mut client = half_closed(&t, GET).await;
    let mut asked = server.accept().await;
    asked.read_to("\r\n\r\n").await;
    // The second one shows that the client was found to be there after the first.
    client.read_to(CONTINUE).await;
    client.read_to(CONTINUE).await;
    asked
        .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        .await;
    let answer = client.message().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nslow"), "{answer}");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_reads_a_stream_with_pauses() {
    let server = ByHand::start().await;
    let t = TestGateway::start_before(server.address, "").await;
    for request in [GET, GET_1_0] {
        let mut client = half_closed(&t, request).await;
        let mut asked = server.accept().await;
        asked.read_to("\r\n\r\n").await;
        if request == GET {
            client.read_to(CONTINUE).await;
        }
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
        asked.send(head).await;
        client.read_to("one").await;
        // Longer than a client is given that has got nothing since it closed its sending side.
        tokio::time::sleep(Duration::from_millis(3500)).await;
        asked.send("3\r\ntwo\r\n0\r\n\r\n").await;
        client.read_to("two").await;
        client.rest().await;
    }
}

#[tokio::test]
async fn a_client_that_is_gone_ends_its_exchange() {
    let server = ByHand::start().await;
    let t = TestGateway::start_before(server.address, "").await;
    for request in [GET, GET_1_0] {
        let client = half_closed(&t, request).await;
        let mut asked = server.accept().await;
        asked.read_to("\r\n\r\n").await;
        drop(client);
        // The server has a minute for its answer, and this waits for ten seconds.
        assert_eq!(asked.rest().await, "", "{request}");
    }
}

/// Listens and accepts nobody, so that the system drops whoever connects; what is returned must be kept.
async fn unreachable() -> (SocketAddr, Vec<TcpStream>, tokio::net::TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let timeouts = Duration::from_millis(500);
    while let Ok(connected) = tokio::time::timeout(timeouts, TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (address, waiting, listener)
}

#[tokio::test]
async fn an_upload_over_http_2_ends_with_its_client_although_the_server_is_not_connected_yet() {
    let (address, _waiting, _listener) = unreachable().await;
    let upstream = format!(
        "[[upstream]]\nname = \"far\"\nservers = [\"{address}\"]\nconnect_timeout = \"1h\"\n"
    );
    let routes = "[[route]]\npath = \"/\"\nupstream = \"far\"\nauth = \"public\"\n";
    let builder = TestGateway::builder().upstreams(&upstream).routes(routes);
    let node = Nodes::new(builder).await.serve(MENSHEN).await;
    for gone in ["/stream", "/connection"] {
        let stream = TcpStream::connect(node.address).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::post(format!("http://h{gone}")).body(()).unwrap();
        let mut requests = requests.ready().await.unwrap();
        let (_response, mut body) = requests.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"begun"), false).unwrap();
        // A stream behind it is answered, so the gateway has both.
        let known = Request::get("http://h/_auth/jwks.json").body(()).unwrap();
        let (answer, _) = requests.send_request(known, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        if gone == "/stream" {
            body.send_reset(h2::Reason::CANCEL);
        } else {
            driver.abort();
        }
        node.program.logs(gone).await;
        driver.abort();
        let _ = driver.await;
    }
}

/// Writes a request with a JSON body.
fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Writes a request that logs in with a code.
fn first_request(code: &str, version: &str) -> String {
    format!("GET /orders {version}\r\nHost: h\r\nX-WX-Code: {code}\r\n\r\n")
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_login() {
    let t = TestGateway::start().await;
    for delay in [None, Some("1800ms")] {
        if let Some(by) = delay {
            t.fault(json!({"fault": "delay", "by": by})).await;
        }
        let login = post("/_auth/login", &json!({"code": t.code("alice").await}));
        let mut requests = vec![login, first_request(&t.code("bob").await, "HTTP/1.1")];
        if delay.is_none() {
            // Such a client cannot be asked whether it is there, but has time for a quick login.
            requests.push(first_request(&t.code("carol").await, "HTTP/1.0"));
        }
        for request in requests {
            let mut client = half_closed(&t, &request).await;
            if delay.is_some() {
                client.read_to(CONTINUE).await;
            }
            let answer = client.message().await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.to_lowercase().contains("refresh"), "{answer}");
            assert_eq!(client.rest().await, "");
        }
    }
    assert_eq!(t.redeemed().await, 5);
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_refresh() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.refresh_token;
    let refresh = post("/_auth/refresh", &json!({"refresh_token": token}));
    let answer = half_closed(&t, &refresh).await.message().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_login_is_given_up_whose_client_is_gone() {
    let builder = TestGateway::builder().section("wechat", "timeout = \"30s\"");
    let builder = builder.section("login", "timeout = \"60s\"");
    let node = Nodes::new(builder).await.serve(MENSHEN).await;
    node.fault(json!({"fault": "hang"})).await;
    let left = |times| node.program.logs_times("client_left", times);
    let code = || node.code("alice");

    let gone = post("/_auth/login", &json!({"code": code().await}));
    drop(half_closed_at(node.address, &gone).await);
    left(1).await;

    let mut broken = Wire::connect(node.address).await;
    broken.send(first_request(&code().await, "HTTP/1.1")).await;
    asked(&node, 2).await;
    reset(broken);
    left(2).await;

    // Nobody reads its body, behind which its leaving would be seen.
    let mut unread = Wire::connect(node.address).await;
    let request = first_request(&code().await, "HTTP/1.1");
    unread
        .send(
            request
                .replacen("GET ", "POST ", 1)
                .replacen("\r\n", "\r\nContent-Length: 5\r\n", 1),
        )
        .await;
    asked(&node, 3).await;
    reset(unread);
    left(3).await;

    // It cannot be asked, and reads nothing that is meant for nobody.
    let request = first_request(&code().await, "HTTP/1.0");
    let mut silent = half_closed_at(node.address, &request).await;
    left(4).await;
    assert_eq!(silent.rest().await, "");
}

/// Waits until WeChat was asked for so many logins.
async fn asked(node: &Node, times: u64) {
    let since = Instant::now();
    while node.redeemed().await < times {
        assert!(since.elapsed() < PATIENCE, "it should go to WeChat");
    }
}

/// Breaks a connection as a program does that dies with bytes unread.
fn reset(client: Wire) {
    client.into_parts().1.set_zero_linger().unwrap();
}

/// Starts the gateway before a server that has an hour for everything.
async fn before(server: &ByHand) -> Node {
    let hours = "read_timeout = \"1h\"\nwrite_timeout = \"1h\"";
    let builder = TestGateway::builder().public_upstream(&[server.address], hours);
    Nodes::new(builder).await.serve(MENSHEN).await
}

#[tokio::test]
async fn an_upload_ends_with_its_client_although_the_server_does_not_read() {
    let server = ByHand::start().await;
    let node = before(&server).await;
    let mut client = TcpStream::connect(node.address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let _asked = server.accept().await;
    let part = vec![b'x'; 64 * 1024];
    // The buffers on the way hold some megabytes.
    let full = Duration::from_millis(500);
    while let Ok(written) = tokio::time::timeout(full, client.write(&part)).await {
        written.unwrap();
    }
    reset(Wire::of(client));
    let line = node.program.logs("/upload").await;
    assert!(!line.contains("refused"), "{line}");
}

#[tokio::test]
async fn an_exchange_ends_with_its_client_although_much_was_sent_behind_the_request() {
    let server = ByHand::start().await;
    let node = before(&server).await;
    let mut client = Wire::connect(node.address).await;
    client.send(GET.repeat(20 * 1024 / GET.len())).await;
    let mut asked = server.accept().await;
    asked.read_to("\r\n\r\n").await;
    reset(client);
    assert_eq!(asked.rest().await, "");
    let line = node.program.logs("/slow").await;
    assert!(!line.contains("refused"), "{line}");
}

#[tokio::test]
async fn an_upload_ends_with_its_client_although_the_server_is_not_connected_yet() {
    let (address, _waiting, _listener) = unreachable().await;
    let builder = TestGateway::builder().public_upstream(&[address], "connect_timeout = \"1h\"");
    let node = Nodes::new(builder).await.serve(MENSHEN).await;
    let mut client = Wire::connect(node.address).await;
    client
        .send("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
        .await;
    reset(client);
    let line = node.program.logs("/upload").await;
    assert!(!line.contains("refused"), "{line}");
}
