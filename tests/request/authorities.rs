//! A target and a `Host` that name the same place in two spellings, and those that do not.

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::Request;
use menshen_test_support::{TestGateway, raw, status};
use tokio::net::TcpStream;

/// A target's scheme and authority, a `Host`, and the status of the answer.
const PAIRS: [(&str, &str, &str, u16); 10] = [
    ("http", "h:80", "h", 200),
    ("http", "h", "h:80", 200),
    ("https", "h", "H:443", 200),
    ("http", "h:", "h", 200),
    ("http", "h:", "h:80", 200),
    ("http", "h", "h:", 200),
    ("http", "h", "h:443", 400),
    ("https", "h:80", "h", 400),
    ("http", "h:81", "h", 400),
    ("http", "h:", "h:81", 400),
];

#[tokio::test]
async fn the_usual_port_may_be_left_out_over_http_1() {
    let t = TestGateway::start().await;
    let nameless = [("http", ":80", "", 400), ("http", ":", "", 400)];
    for (scheme, authority, host, expected) in PAIRS.into_iter().chain(nameless) {
        let first = format!("GET {scheme}://{authority}/public HTTP/1.1");
        let request = format!("{first}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(t.address, request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{request}: {answer}");
    }
}

#[tokio::test]
async fn the_usual_port_may_be_left_out_over_http_2() {
    let t = TestGateway::start().await;
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut requests: SendRequest<Bytes> = requests;
    for (scheme, authority, host, expected) in PAIRS {
        let request = Request::get(format!("{scheme}://{authority}/public"));
        let request = request.header("host", host).body(()).unwrap();
        requests = requests.ready().await.unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        let status = answer.await.unwrap().status();
        assert_eq!(status, expected, "{scheme} {authority} {host}");
        if expected == 200 {
            assert_eq!(t.upstream.last().all("host"), [authority]);
        }
    }
}
