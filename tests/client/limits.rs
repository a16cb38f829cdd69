//! Nobody takes what is meant for all: requests and connections are limited for each address.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use menshen_test_support::{PREFACE, Reply, SETTINGS, TestGateway, Wire, make_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);
const GET: &str = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n";

/// Connects from one of this machine's own addresses.
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Returns whether a request on this connection is served.
async fn served(stream: &mut TcpStream) -> bool {
    // What is closed already may refuse the bytes.
    let _ = stream.write_all(GET.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(b"\r\n\r\nok") {
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(_) => return false,
            }
        }
        answer.starts_with(b"HTTP/1.1 200 ")
    };
    tokio::time::timeout(LIMIT, reading).await.unwrap()
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused_with_the_time_to_wait() {
    let t = TestGateway::configure_server("requests_per_minute = 6\nrequest_burst = 3")
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(Reply::of(t.get("/public")).await.status, 200);
    }
    for path in ["/public", "/private", "/nowhere", "/_auth/jwks.json"] {
        let response = t.get(path).send().await.unwrap();
        let wait: u64 = response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.status(), 429);
        let text = response.text().await.unwrap();
        assert!(text.contains("\"error\":\"too_many_requests\""), "{text}");
    }
    assert_eq!(t.upstream.requests(), 3);
}

#[tokio::test]
async fn requests_that_are_none_are_counted_as_well() {
    let t = TestGateway::configure_server("requests_per_minute = 6\nrequest_burst = 3")
        .start()
        .await;
    for at in 0..6 {
        let mut wire = Wire::connect(t.address).await;
        wire.send("GET /raw x HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = wire.rest().await;
        let status = if at < 3 { "400" } else { "429" };
        assert_eq!(answer.get(9..12), Some(status), "{at}: {answer}");
        let told = answer.to_lowercase().contains("\r\nretry-after: ");
        assert_eq!(told, at >= 3, "{answer}");
    }
    assert_eq!(Reply::of(t.get("/public")).await.status, 429);
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_counted_as_well() {
    let t = TestGateway::configure_server("requests_per_minute = 6\nrequest_burst = 3")
        .start()
        .await;
    let greeting = [PREFACE, SETTINGS].concat();
    for _ in 0..3 {
        let mut wire = Wire::connect(t.address).await;
        wire.send(&greeting).await;
        // A request for `/` with a header whose name has a capital.
        let head = b"\0\0\x08\x01\x05\0\0\0\x01\x82\x86\x84\0\x01X\x01y";
        wire.send(head).await;
        // Nothing but the end is waited for.
        wire.rest().await;
    }
    assert_eq!(Reply::of(t.get("/public")).await.status, 429);
}

#[tokio::test]
async fn what_becomes_no_request_is_counted_as_well() {
    let greeting = [PREFACE, SETTINGS].concat();
    let over_http_2 = |frame: &[u8]| [&greeting[..], frame].concat();
    let ours = [b"\x82\x86\x84\0\x01x\x7f\x91\x4d", &vec![b'x'; 10_000][..]].concat();
    for (what, bytes) in [
        ("half a method", b"GE".to_vec()),
        ("less of one that HTTP/2 begins with", b"P".to_vec()),
        ("half a preface", greeting[..16].to_vec()),
        (
            "a head of HTTP/2 without a path",
            over_http_2(&make_frame(1, 5, 1, b"\x82\x86")),
        ),
        (
            "one without its end",
            over_http_2(&make_frame(1, 1, 1, b"\x82\x86\x84")),
        ),
        (
            "half a frame",
            over_http_2(&[0, 0, 9, 1, 5, 0, 0, 0, 1, 0x82]),
        ),
        (
            "a head that is too large",
            over_http_2(&make_frame(1, 5, 1, &ours)),
        ),
    ] {
        let times = "head_timeout = \"300ms\"\nclient_timeout = \"300ms\"\nkeepalive = \"300ms\"";
        let rates = "requests_per_minute = 6\nrequest_burst = 3\nmax_header = \"1KiB\"";
        let t = TestGateway::configure_server(&format!("{times}\n{rates}"))
            .start()
            .await;
        for _ in 0..3 {
            let mut wire = Wire::connect(t.address).await;
            wire.send(&bytes).await;
            // Nothing but the end is waited for.
            wire.rest().await;
        }
        assert_eq!(Reply::of(t.get("/public")).await.status, 429, "{what}");
        assert_eq!(t.upstream.requests(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_amid_its_head_is_counted_as_well() {
    let greeting = [PREFACE, SETTINGS].concat();
    for bytes in [
        b"PO".to_vec(),
        greeting[..20].to_vec(),
        [&greeting[..], &make_frame(1, 1, 1, b"\x82")].concat(),
    ] {
        let t = TestGateway::configure_server("requests_per_minute = 6\nrequest_burst = 3")
            .start()
            .await;
        for _ in 0..3 {
            let mut wire = Wire::connect(t.address).await;
            wire.send(&bytes).await;
            let (_, mut stream) = wire.into_parts();
            stream.shutdown().await.unwrap();
            Wire::of(stream).rest().await;
        }
        assert_eq!(Reply::of(t.get("/public")).await.status, 429, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_request_over_http_2_counts_once() {
    let t = TestGateway::configure_server("requests_per_minute = 6\nrequest_burst = 5")
        .start()
        .await;
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    for at in 0..7 {
        requests = requests.ready().await.unwrap();
        let request = http::Request::post("http://h/public").body(()).unwrap();
        let (answer, mut body) = requests.send_request(request, false).unwrap();
        body.send_data(bytes::Bytes::from_static(b"order"), false)
            .unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let expected = if at < 5 { 200 } else { 429 };
        assert_eq!(answer.await.unwrap().status(), expected, "{at}");
    }
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn the_address_that_is_counted_is_the_one_a_trusted_proxy_names() {
    let lines = "trusted_proxies = [\"127.0.0.1\"]\nrequests_per_minute = 1";
    let t = TestGateway::configure_server(lines).start().await;
    for (hops, status) in [
        ("203.0.113.1", 200),
        ("203.0.113.1", 429),
        ("203.0.113.2", 200),
        ("6.6.6.6, 203.0.113.2", 429),
        ("2001:db8::1", 200),
        ("2001:db8::ffff", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        let reply = Reply::of(t.get("/public").header("x-forwarded-for", hops)).await;
        assert_eq!(reply.status, status, "{hops}");
    }
}

#[tokio::test]
async fn the_address_that_is_counted_is_not_one_that_a_client_makes_up() {
    let t = TestGateway::configure_server("requests_per_minute = 1")
        .start()
        .await;
    for (hops, status) in [("203.0.113.1", 200), ("203.0.113.2", 429)] {
        let reply = Reply::of(t.get("/public").header("x-forwarded-for", hops)).await;
        assert_eq!(reply.status, status, "{hops}");
    }
}

#[tokio::test]
async fn nobody_is_limited_by_default() {
    let t = TestGateway::start().await;
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut wire = Wire::connect(t.address).await;
        wire.send(GET).await;
        open.push(wire);
    }
    for mut wire in open {
        assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn one_connection_too_many_of_an_address_is_not_served() {
    let t = TestGateway::configure_server("max_connections_per_address = 2")
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = connect_from("127.0.0.2", t.address).await;
        assert!(served(&mut stream).await);
        open.push(stream);
    }
    assert!(!served(&mut connect_from("127.0.0.2", t.address).await).await);
    assert!(served(&mut connect_from("127.0.0.3", t.address).await).await);
    // Those that were there stay.
    for stream in &mut open {
        assert!(served(stream).await);
    }
}

#[tokio::test]
async fn a_connection_that_ends_makes_room_for_another() {
    for lines in ["max_connections_per_address = 1", "max_connections = 1"] {
        let t = TestGateway::configure_server(lines).start().await;
        for _ in 0..5 {
            let mut stream = connect_from("127.0.0.2", t.address).await;
            assert!(served(&mut stream).await, "{lines}");
            let closing = "GET /public HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            stream.write_all(closing.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let reading = stream.read_to_end(&mut rest);
            tokio::time::timeout(LIMIT, reading).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn one_connection_too_many_of_all_is_not_served() {
    let t = TestGateway::configure_server("max_connections = 2")
        .start()
        .await;
    let mut open = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3"] {
        let mut stream = connect_from(from, t.address).await;
        assert!(served(&mut stream).await);
        open.push(stream);
    }
    assert!(!served(&mut connect_from("127.0.0.4", t.address).await).await);
}

#[tokio::test]
async fn the_connections_of_a_trusted_proxy_are_many_clients() {
    let lines = "trusted_proxies = [\"127.0.0.2\"]\nmax_connections_per_address = 1";
    let t = TestGateway::configure_server(lines).start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from("127.0.0.2", t.address).await;
        assert!(served(&mut stream).await);
        open.push(stream);
    }
}
