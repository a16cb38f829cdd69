//! A connection over the limit is told so in the one way in which clients are refused, and costs little.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::handshake;
use http::Request;
use menshen_test_support::{ByHand, Certificate, TestGateway, Wire, status};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LIMIT: Duration = Duration::from_secs(10);
const GET: &str = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
/// So many connections are refused at a time.
const REFUSALS: usize = 64;

/// Takes a place that there is.
async fn seated(t: &TestGateway) -> Wire {
    let mut wire = Wire::connect(t.address).await;
    wire.send(GET).await;
    assert_eq!(status(&wire.message().await), 200);
    wire
}

/// Sends a request on a connection over the limit, and returns everything that comes until it is closed.
async fn refused(t: &TestGateway, request: &str) -> String {
    let mut wire = Wire::connect(t.address).await;
    wire.send(request).await;
    wire.rest().await
}

fn assert_refusal(answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 429 "), "{head}");
    assert!(head.contains("\r\nretry-after: "), "{head}");
    assert!(head.contains("\r\nconnection: close"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    assert!(body.contains("\"error\":\"too_many_requests\""), "{body}");
}

#[tokio::test]
async fn whatever_it_asks_for_gets_a_429_and_goes_nowhere() {
    for lines in ["max_connections = 1", "max_connections_per_address = 1"] {
        let t = TestGateway::configure_server(lines).start().await;
        let mut first = seated(&t).await;
        for path in ["/public", "/private", "/_auth/jwks.json", "/nowhere"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_refusal(&refused(&t, &request).await);
        }
        let login = "POST /_auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
        assert_refusal(&refused(&t, login).await);
        assert_eq!(t.upstream.requests(), 1, "{lines}");
        assert_eq!(t.redeemed().await, 0);
        // Who was there before notices nothing.
        first.send(GET).await;
        assert_eq!(status(&first.message().await), 200);
    }
}

#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let t = TestGateway::configure_server("max_connections = 1")
        .start()
        .await;
    let _first = seated(&t).await;
    let answer = refused(&t, "HEAD /public HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(status(&answer), 429);
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_the_answer() {
    let t = TestGateway::configure_server("max_connections = 1")
        .start()
        .await;
    let _first = seated(&t).await;
    let length = 4 * 1024 * 1024;
    let mut wire = Wire::connect(t.address).await;
    let head = format!("POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    wire.send(head).await;
    wire.send(vec![b'x'; length]).await;
    assert_refusal(&wire.rest().await);
}

#[tokio::test]
async fn a_second_request_is_not_read() {
    let t = TestGateway::configure_server("max_connections = 1")
        .start()
        .await;
    let _first = seated(&t).await;
    let answer = refused(&t, &GET.repeat(2)).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn over_http_2_the_answer_is_the_last() {
    let t = TestGateway::configure_server("max_connections = 1")
        .start()
        .await;
    let _first = seated(&t).await;
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut ready = requests.ready().await.unwrap();
    let request = Request::get("http://h/public").body(()).unwrap();
    let (response, _) = ready.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    let body: Bytes = response.into_body().data().await.unwrap().unwrap();
    assert!(body.starts_with(b"{\"error\":\"too_many_requests\""));
    // The other side says that it takes no more, so the connection ends although this side would go on.
    let ended = tokio::time::timeout(LIMIT, driver).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert!(ready.ready().await.is_err());
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn over_tls_it_is_told_inside() {
    let certificate = Certificate::new("shop.example");
    let lines = format!("{}\nmax_connections = 1", certificate.lines());
    let t = TestGateway::configure_server(&lines).start().await;
    let connector = TlsConnector::from(Arc::new(certificate.client()));
    let mut open = Vec::new();
    for expected in [200, 429, 429] {
        let tcp = TcpStream::connect(t.address).await.unwrap();
        let name = ServerName::try_from("shop.example").unwrap();
        let mut stream = connector.connect(name, tcp).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        let reading = stream.read_exact(&mut answer);
        tokio::time::timeout(LIMIT, reading).await.unwrap().unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {expected}").as_bytes());
        open.push(stream);
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let t = TestGateway::configure_server("max_connections = 1\nhead_timeout = \"1s\"")
        .start()
        .await;
    let _first = seated(&t).await;
    let begun = Instant::now();
    assert_eq!(refused(&t, "").await, "");
    assert_eq!(refused(&t, "GET / HT").await, "");
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
}

#[tokio::test]
async fn more_than_can_be_refused_at_a_time_are_closed_without_a_word() {
    let t = TestGateway::configure_server("max_connections = 1")
        .start()
        .await;
    let _first = seated(&t).await;
    let mut silent = Vec::new();
    for _ in 0..REFUSALS {
        silent.push(Wire::connect(t.address).await);
    }
    assert_eq!(refused(&t, GET).await, "");
    // The places of those that were closed are given to others.
    for mut wire in silent {
        assert_eq!(wire.rest().await, "");
    }
    assert_refusal(&refused(&t, GET).await);
}

#[tokio::test]
async fn a_connection_of_http_2_has_its_place_until_its_exchanges_have_let_their_servers_go() {
    let backend = ByHand::start().await;
    let t = TestGateway::configure_server("max_connections = 1")
        .public_upstream(&[backend.address], "")
        .start()
        .await;
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let (mut requests, connection) = handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut held = Vec::new();
    for _ in 0..20 {
        requests = requests.ready().await.unwrap();
        let request = Request::get("http://h/hold").body(()).unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        held.push((answer, server));
    }
    let own = "GET /_auth/jwks.json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&refused(&t, own).await), 429);
    connection.abort();
    let given_back = async { while status(&refused(&t, own).await) != 200 {} };
    tokio::time::timeout(LIMIT, given_back).await.unwrap();
    for (_, server) in held {
        let (_, server) = server.into_parts();
        let mut server = server.into_std().unwrap();
        // It does not block: what is not closed by now was counted no more, and is an error.
        assert_eq!(std::io::Read::read(&mut server, &mut [0]).unwrap(), 0);
    }
}
