//! The PROXY protocol: whose connection it is, as a trusted proxy says before anything else.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use menshen_test_support::{Builder, Certificate, PREFACE, TestGateway, Wire};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const GET: &str = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
const V1: &str = "PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A gateway behind a proxy on this machine, with these lines in `[server]`.
fn behind(lines: &str) -> Builder {
    let lines = format!("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n{lines}");
    TestGateway::builder().section("server", &lines)
}

/// A header of version 2: this command, family and payload.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, payload].concat()
}

/// Sends a header and a request, and returns the client's address as the backend was told.
async fn forwarded_client(t: &TestGateway, header: &[u8]) -> String {
    let mut wire = Wire::connect(t.address).await;
    wire.send([header, GET.as_bytes()].concat()).await;
    let answer = wire.message().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let received = t.upstream.last();
    let client = received.only("x-forwarded-for").unwrap().to_owned();
    assert_eq!(received.only("x-original-forwarded-for"), Some(&*client));
    client
}

#[tokio::test]
async fn the_client_is_who_the_proxy_says_in_either_version() {
    let t = behind("").start().await;
    let v4 = [[203, 0, 113, 7], [198, 51, 100, 1]].concat();
    let v6 = [
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        [0; 16],
    ]
    .concat();
    let ports = [0x0f, 0xa0, 1, 0xbb];
    // A load balancer's own words follow the addresses.
    let more = [0xea, 0, 3, 1, 2, 3];
    for (header, client) in [
        (V1.as_bytes().to_vec(), "203.0.113.7"),
        (
            b"PROXY TCP6 2001:db8::9 ::1 4000 443\r\n".to_vec(),
            "2001:db8::9",
        ),
        (v2(1, 0x11, &[&v4[..], &ports].concat()), "203.0.113.7"),
        (v2(1, 0x21, &[&v6[..], &ports].concat()), "2001:db8::9"),
        (
            v2(1, 0x11, &[&v4[..], &ports, &more].concat()),
            "203.0.113.7",
        ),
        // The proxy speaks for itself.
        (v2(0, 0, &[]), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        assert_eq!(forwarded_client(&t, &header).await, client, "{header:?}");
    }
}

#[tokio::test]
async fn a_header_that_comes_in_pieces_is_put_together() {
    let t = behind("").start().await;
    let mut wire = Wire::connect(t.address).await;
    for byte in V1.bytes() {
        wire.send([byte]).await;
    }
    for _ in 0..2 {
        wire.send(GET).await;
        assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
        let received = t.upstream.last();
        assert_eq!(received.only("x-forwarded-for"), Some("203.0.113.7"));
    }
}

#[tokio::test]
async fn what_the_client_itself_says_is_not_believed() {
    let t = behind("").start().await;
    let mut wire = Wire::connect(t.address).await;
    let forged = GET.replace("Host", "X-Forwarded-For: 6.6.6.6\r\nHost");
    wire.send(format!("{V1}{forged}")).await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
    let received = t.upstream.last();
    assert_eq!(received.only("x-forwarded-for"), Some("203.0.113.7"));
    // Nor is a second header anything but a bad request.
    let mut wire = Wire::connect(t.address).await;
    wire.send(format!("{V1}{V1}{GET}")).await;
    let answer = wire.rest().await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn whom_the_proxy_does_not_name_is_not_believed() {
    let t = behind("").start().await;
    let forged =
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Request-Id: forged\r\nHost";
    let forged = GET.replace("Host", forged);
    let unix = v2(1, 0x31, &[0; 216]);
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0, 0, &[]),
        v2(1, 0, &[]),
        unix,
    ] {
        let mut wire = Wire::connect(t.address).await;
        wire.send([&header[..], forged.as_bytes()].concat()).await;
        for _ in 0..2 {
            assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
            let received = t.upstream.last();
            assert_eq!(received.only("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(received.only("x-forwarded-host"), Some("h"));
            assert_ne!(received.only("x-request-id"), Some("forged"));
            wire.send(&forged).await;
        }
        let mut stream = TcpStream::connect(t.address).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("http://h/public").header("x-forwarded-for", "6.6.6.6");
        let mut ready: h2::client::SendRequest<bytes::Bytes> = requests.ready().await.unwrap();
        let (answer, _) = ready.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        assert_eq!(t.upstream.last().only("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn a_connection_without_a_header_is_closed_unheard() {
    let t = behind("client_timeout = \"500ms\"").start().await;
    for bytes in [
        GET.as_bytes().to_vec(),
        PREFACE.to_vec(),
        b"PROXY TCP4 1.2.3.4\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7".to_vec(),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 8192][..]].concat(),
        Vec::new(),
    ] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(&bytes).await;
        assert_eq!(wire.rest().await, "", "{bytes:?}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_is_not_heard() {
    let lines = "proxy_protocol = true\ntrusted_proxies = [\"192.0.2.0/24\"]";
    let t = TestGateway::builder()
        .section("server", lines)
        .start()
        .await;
    for bytes in [format!("{V1}{GET}"), GET.to_owned()] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(bytes).await;
        assert_eq!(wire.rest().await, "");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn without_the_key_a_header_is_a_bad_request() {
    let t = TestGateway::start().await;
    let mut wire = Wire::connect(t.address).await;
    wire.send(format!("{V1}{GET}")).await;
    let answer = wire.rest().await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn the_limits_are_the_clients_and_not_the_proxys() {
    let t = behind("max_connections_per_address = 1\nrequests_per_minute = 2")
        .start()
        .await;
    let mut open = Vec::new();
    for client in ["203.0.113.1", "203.0.113.2"] {
        let header = format!("PROXY TCP4 {client} 198.51.100.1 4000 443\r\n");
        let mut wire = Wire::connect(t.address).await;
        wire.send(format!("{header}{GET}")).await;
        assert!(wire.message().await.starts_with("HTTP/1.1 200 "));
        let mut another = Wire::connect(t.address).await;
        another.send(format!("{header}{GET}")).await;
        assert!(another.rest().await.starts_with("HTTP/1.1 429 "));
        for status in [200, 429] {
            wire.send(GET).await;
            let answer = wire.message().await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
        open.push(wire);
    }
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let certificate = Certificate::new("a.example");
    let t = behind(&certificate.lines()).start().await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    stream.write_all(V1.as_bytes()).await.unwrap();
    let name = ServerName::try_from("a.example").unwrap();
    let connector = TlsConnector::from(Arc::new(certificate.client()));
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let received = t.upstream.last();
    assert_eq!(received.only("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(received.only("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn only_listeners_that_are_named_ask_for_a_header() {
    let lines = "listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nproxy_protocol = [\"127.0.0.2:0\"]\n\
                 trusted_proxies = [\"127.0.0.0/8\"]";
    let t = TestGateway::builder().section("server", lines);
    let t = t.start().await;
    let [plain, behind] = t.addresses[..] else {
        panic!("there should be two: {:?}", t.addresses);
    };
    for (address, bytes, status, client) in [
        (plain, GET.to_owned(), "200", "127.0.0.1"),
        (plain, format!("{V1}{GET}"), "400", ""),
        (behind, format!("{V1}{GET}"), "200", "203.0.113.7"),
    ] {
        let mut wire = Wire::connect(address).await;
        wire.send(bytes).await;
        let answer = wire.message().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        if status == "200" {
            let told = t.upstream.last();
            assert_eq!(told.only("x-original-forwarded-for"), Some(client));
        }
    }
    let mut wire = Wire::connect(behind).await;
    wire.send(GET).await;
    assert_eq!(wire.rest().await, "");
}
