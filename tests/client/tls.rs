//! The listener with a certificate: both versions of TLS, and the version of HTTP that the client chooses in it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use menshen_test_support::{Builder, ByHand, Certificate, PREFACE, TestGateway, Wire};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "shop.example";
const GET: &str = "GET /public HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// A gateway with a certificate for [`NAME`], and these lines in `[server]`.
fn gateway(certificate: &Certificate, lines: &str) -> Builder {
    let lines = format!("{lines}\n{}", certificate.lines());
    TestGateway::builder().section("server", &lines)
}

/// Connects with one version of TLS, offering these protocols.
async fn connect(
    certificate: &Certificate,
    t: &TestGateway,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_protocol_versions(&[version]);
    let builder = builder.with_root_certificates(certificate.roots());
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(t.address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(ServerName::try_from(NAME).unwrap(), stream)
        .await
}

/// Sends bytes and reads what comes back until the other side closes.
async fn exchange(mut stream: TlsStream<TcpStream>, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let limit = Duration::from_secs(10);
    // pingora drops an idle connection without a word, which TLS calls an error.
    let _ = tokio::time::timeout(limit, reading).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn http_1_1_is_spoken_where_the_client_asks_for_it_or_for_nothing() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "").start().await;
    for version in [&TLS12, &TLS13] {
        for protocols in [&["http/1.1"][..], &[], &["http/1.0", "http/1.1"]] {
            let stream = connect(&certificate, &t, version, protocols).await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            let chosen = (!protocols.is_empty()).then_some(&b"http/1.1"[..]);
            assert_eq!(connection.alpn_protocol(), chosen);
            let answer = exchange(stream, GET.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let received = t.upstream.last();
            assert_eq!(received.only("x-forwarded-proto"), Some("https"));
            assert_eq!(received.only("x-forwarded-for"), Some("127.0.0.1"));
        }
    }
    assert_eq!(t.upstream.requests(), 6);
}

#[tokio::test]
async fn http_2_is_spoken_where_the_client_offers_it() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "").start().await;
    for version in [&TLS12, &TLS13] {
        for protocols in [&["h2"][..], &["http/1.1", "h2"]] {
            let stream = connect(&certificate, &t, version, protocols).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            for (path, status) in [("/public", 200), ("/private", 401)] {
                let request = Request::get(format!("https://{NAME}{path}")).body(());
                let mut ready = requests.ready().await.unwrap();
                let (response, _) = ready.send_request(request.unwrap(), true).unwrap();
                assert_eq!(response.await.unwrap().status(), status, "{path}");
                requests = ready;
            }
            let received = t.upstream.last();
            assert_eq!(received.only("x-forwarded-proto"), Some("https"));
            assert_eq!(received.only("host"), Some(NAME));
        }
    }
    assert_eq!(t.upstream.requests(), 4);
}

#[tokio::test]
async fn a_protocol_that_nobody_speaks_is_refused_in_the_handshake() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "").start().await;
    for protocols in [["h3"], ["spdy/3"]] {
        let mut stream = match connect(&certificate, &t, &TLS13, &protocols).await {
            Ok(stream) => stream,
            Err(_) => continue,
        };
        // With TLS 1.3 the client learns of it when it first reads.
        assert!(stream.read_u8().await.is_err());
    }
}

#[tokio::test]
async fn plain_http_on_the_port_of_tls_ends_without_an_answer_to_it() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "client_timeout = \"500ms\"")
        .start()
        .await;
    for bytes in [
        GET.as_bytes(),
        PREFACE,
        b"\x16\x03\x01\xff\xff garbage",
        b"\0",
        b"",
    ] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(bytes).await;
        let answer = wire.rest().await;
        assert!(!answer.contains("HTTP"), "{answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
    let stream = connect(&certificate, &t, &TLS13, &[]).await.unwrap();
    let answer = exchange(stream, GET.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_encrypted_connection_is_used_again() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "").start().await;
    let stream = connect(&certificate, &t, &TLS13, &["http/1.1"])
        .await
        .unwrap();
    let again = GET.replace("Connection: close\r\n", "");
    let mut stream = stream;
    for _ in 0..3 {
        stream.write_all(again.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(stream.read_u8().await.unwrap());
        }
    }
    assert_eq!(t.upstream.requests(), 3);
}

#[tokio::test]
async fn an_idle_encrypted_connection_is_closed_after_its_time() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "keepalive = \"1s\"").start().await;
    let stream = connect(&certificate, &t, &TLS13, &[]).await.unwrap();
    let again = GET.replace("Connection: close\r\n", "");
    let answer = exchange(stream, again.as_bytes()).await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn a_client_that_still_uploads_reads_its_refusal() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "").start().await;
    let stream = connect(&certificate, &t, &TLS13, &["http/1.1"])
        .await
        .unwrap();
    let body = vec![b'a'; 2 << 20];
    let head = format!(
        "POST /private HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = exchange(stream, &[head.as_bytes(), &body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn an_absolute_target_of_the_other_scheme_is_no_way_to_another_decision() {
    let certificate = Certificate::new(NAME);
    let t = gateway(&certificate, "").start().await;
    for scheme in ["http", "https"] {
        let stream = connect(&certificate, &t, &TLS13, &[]).await.unwrap();
        let request = GET.replace("/public", &format!("{scheme}://{NAME}/public"));
        let answer = exchange(stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let received = t.upstream.last();
        assert_eq!(received.only("x-forwarded-proto"), Some("https"));
        assert_eq!(received.target, "/public");
    }
}

#[tokio::test]
async fn a_response_without_a_framing_ends_tls_only_when_it_is_whole() {
    let certificate = Certificate::new(NAME);
    let backend = ByHand::start().await;
    let t = gateway(&certificate, "")
        .public_upstream(&[backend.address], "")
        .start()
        .await;
    for (last, is_whole) in [("", false), ("0\r\n\r\n", true)] {
        for version in [&TLS12, &TLS13] {
            let mut client = connect(&certificate, &t, version, &[]).await.unwrap();
            let get = b"GET /x HTTP/1.0\r\nHost: shop.example\r\n\r\n";
            client.write_all(get).await.unwrap();
            let mut server = backend.accept().await;
            server.read_to("\r\n\r\n").await;
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            server.send(format!("{head}3\r\nabc\r\n{last}")).await;
            drop(server);
            let mut answer = Vec::new();
            let read = client.read_to_end(&mut answer).await;
            assert!(answer.ends_with(b"\r\n\r\nabc"), "{answer:?}");
            let ended = read.map(drop).map_err(|error| error.kind());
            let missing = Err(std::io::ErrorKind::UnexpectedEof);
            assert_eq!(ended, if is_whole { Ok(()) } else { missing });
        }
    }
}
