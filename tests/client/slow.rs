//! A client that keeps a connection busy without asking for anything is cut off.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::handshake;
use http::Request;
use menshen_test_support::{PREFACE, SETTINGS, TestGateway, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// Sends `head` and then a byte every 50 ms until the other side closes; the time that took.
async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    let mut answer = [0; 1024];
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let pause = Duration::from_millis(50);
        match tokio::time::timeout(pause, stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) | Err(_) => assert!(began.elapsed() < LIMIT, "it should have been closed"),
        }
    }
    began.elapsed()
}

#[tokio::test]
async fn a_head_that_comes_a_byte_at_a_time_does_not_hold_a_connection_for_ever() {
    let t = TestGateway::configure_server("head_timeout = \"500ms\"\nkeepalive = \"1s\"")
        .start()
        .await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    stream
        .write_all(b"GET /public HTTP/1.1\r\nHost: h\r\nX: ")
        .await
        .unwrap();
    trickle(&mut stream, b"a").await;
    // Nor does the second one of a connection.
    let mut wire = Wire::connect(t.address).await;
    wire.send("GET /public HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    stream
        .write_all(b"GET /public HTTP/1.1\r\nHost: h\r\n\r\nGET /public HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    trickle(&mut stream, b"a").await;
}

#[tokio::test]
async fn a_whole_request_may_take_longer_than_its_head() {
    let t = TestGateway::configure_server("head_timeout = \"300ms\"")
        .start()
        .await;
    let mut wire = Wire::connect(t.address).await;
    wire.send("POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
        .await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        wire.send("a").await;
    }
    assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_only_pings_is_closed_after_the_time_of_an_idle_one() {
    let t = TestGateway::configure_server("keepalive = \"500ms\"")
        .start()
        .await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    stream
        .write_all(&[PREFACE, SETTINGS].concat())
        .await
        .unwrap();
    trickle(&mut stream, PING).await;
}

#[tokio::test]
async fn half_a_frame_of_headers_does_not_hold_a_connection() {
    let t = TestGateway::configure_server("keepalive = \"500ms\"")
        .start()
        .await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    let begun = [0, 0x3f, 0xff, 1, 0, 0, 0, 0, 1];
    stream
        .write_all(&[PREFACE, SETTINGS, &begun].concat())
        .await
        .unwrap();
    trickle(&mut stream, b"\x82").await;
}

#[tokio::test]
async fn a_head_of_http_2_that_is_unfinished_is_late_whatever_else_its_connection_does() {
    let t = TestGateway::configure_server("head_timeout = \"500ms\"")
        .start()
        .await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    // `GET http://h/public/hang`, which is never answered, and then half a head.
    let mut block = vec![0x82, 0x86, 0x04, 12];
    block.extend(b"/public/hang\x01\x01h");
    let length = u8::try_from(block.len()).unwrap();
    let asked = [&[0, 0, length, 1, 5, 0, 0, 0, 1][..], &block].concat();
    let begun = [0, 0, 1, 1, 0, 0, 0, 0, 3, 0x82];
    let sent = [PREFACE, SETTINGS, &asked, &begun].concat();
    stream.write_all(&sent).await.unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer));
    ended.await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn half_a_body_over_http_2_is_late() {
    let t = TestGateway::configure_server("client_timeout = \"200ms\"")
        .section("upstream", "read_timeout = \"200ms\"")
        .start()
        .await;
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (mut requests, connection) = handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for path in ["/public", "/_auth/login"] {
        let request = Request::post(format!("http://h{path}"));
        let request = request.header("content-length", "10").body(()).unwrap();
        let mut ready = requests.ready().await.unwrap();
        let (response, mut body) = ready.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let response = tokio::time::timeout(LIMIT, response).await.unwrap();
        assert_eq!(response.unwrap().status(), 408, "{path}");
        requests = ready;
    }
}
