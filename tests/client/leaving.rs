//! Clients that leave, and clients of HTTP/1 that only close their sending side and still read.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use menshen_test_support::{ByHand, Nodes, TestGateway, Wire};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const GET: &str = "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_1_0: &str = "GET /slow HTTP/1.0\r\nHost: h\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Sends a request and closes the sending side behind it, as `printf … | nc -N` does.
async fn half_closed(t: &TestGateway, request: &str) -> Wire {
    let mut stream = TcpStream::connect(t.address).await.unwrap();
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
async fn unreachable() -> (
    std::net::SocketAddr,
    Vec<TcpStream>,
    tokio::net::TcpListener,
) {
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
