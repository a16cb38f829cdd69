//! How a WebSocket ends when its session does: between two frames with a close frame, else it is cut.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use menshen_test_support::{Builder, ByHand, Grant, Reply, TestGateway, Wire};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long a socket may outlive its session.
const SOON: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// A close frame with the code 4401.
const SESSION_ENDED: &[u8] = b"\x88\x0f\x11\x31session ended";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\n\r\n";

/// A gateway before a backend that the test answers for.
fn gateway(backend: &ByHand) -> Builder {
    let upstream = format!(
        "[[upstream]]\nname = \"hand\"\nservers = [\"{}\"]\n",
        backend.address
    );
    let builder = TestGateway::builder().upstreams(&upstream);
    builder.routes("[[route]]\npath = \"/\"\nupstream = \"hand\"\n")
}

fn handshake(grant: &Grant) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {}\r\n\r\n",
        grant.token
    )
}

/// An open WebSocket, of which the test writes and reads both ends.
struct Both {
    t: TestGateway,
    grant: Grant,
    client: Wire,
    backend: Wire,
}

impl Both {
    async fn open() -> Self {
        let backend = ByHand::start().await;
        let t = gateway(&backend).start().await;
        let grant = t.log_in("alice").await;
        let mut client = Wire::connect(t.address).await;
        client.send(handshake(&grant)).await;
        let mut backend = backend.accept().await;
        backend.read_to("\r\n\r\n").await;
        backend.send(ACCEPTED).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self {
            t,
            grant,
            client,
            backend,
        }
    }

    async fn log_out(&self) -> Instant {
        log_out(&self.t, &self.grant).await
    }
}

/// Logs out, and returns when it was asked for.
async fn log_out(t: &TestGateway, grant: &Grant) -> Instant {
    let since = Instant::now();
    t.log_out(&grant.token).await;
    since
}

/// Reads to the end, or to whatever else a cut is, which must come soon after `since`.
async fn rest(stream: &mut (impl AsyncRead + Unpin), since: Instant) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest));
    let _ = read.await.unwrap();
    let took = since.elapsed();
    assert!(took < SOON, "{took:?}");
    rest
}

/// Takes the stream out of a wire from which everything was read that had come.
fn stream(wire: Wire) -> TcpStream {
    let (unread, stream) = wire.into_parts();
    assert_eq!(unread, b"");
    stream
}

/// Sends until nobody takes more.
async fn fill(stream: &mut (impl AsyncWrite + Unpin), part: &[u8]) {
    let pause = Duration::from_millis(300);
    while let Ok(Ok(1..)) = tokio::time::timeout(pause, stream.write(part)).await {}
}

#[tokio::test]
async fn a_quiet_socket_gets_a_close_frame_and_its_backend_the_end() {
    let mut both = Both::open().await;
    both.backend.send(b"\x81\x02hi\x01\x02fr\x89\x00").await;
    both.client.read_to("hi\x01\x02fr").await;
    let since = both.log_out().await;
    // The message of two fragments is not complete, which does not matter.
    let (mut told, mut client) = both.client.into_parts();
    while told.len() < 2 + SESSION_ENDED.len() {
        let read = tokio::time::timeout(LIMIT, client.read_buf(&mut told));
        assert_ne!(read.await.unwrap().unwrap(), 0);
    }
    assert_eq!(told, [&b"\x89\x00"[..], SESSION_ENDED].concat());
    assert_eq!(rest(&mut stream(both.backend), since).await, b"");
    // Nor does it matter that the client still sends when it has not read this yet.
    client.write_all(&[0x82, 0x80, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(rest(&mut client, since).await, b"");
}

#[tokio::test]
async fn a_socket_in_the_middle_of_a_frame_is_cut() {
    for start in [
        &b"\x82"[..],
        b"\x82\x7e",
        b"\x82\x7e\x04",
        b"\x82\x7f\x00\x00\x00\x00\x00\x0f\x42\x40some of it",
        b"\x81\x02hi\x82\x7e\x04\x00x",
    ] {
        let mut both = Both::open().await;
        both.backend.send(start).await;
        let mut client = stream(both.client);
        let mut got = vec![0; start.len()];
        let read = tokio::time::timeout(LIMIT, client.read_exact(&mut got));
        read.await.unwrap().unwrap();
        assert_eq!(got, start);
        let since = log_out(&both.t, &both.grant).await;
        assert_eq!(rest(&mut client, since).await, b"");
        assert_eq!(rest(&mut stream(both.backend), since).await, b"");
    }
}

#[tokio::test]
async fn nothing_follows_a_close_frame_of_the_backend() {
    let mut both = Both::open().await;
    both.backend.send(b"\x88\x05\x0f\xa1bye").await;
    both.client.read_to("bye").await;
    let since = both.log_out().await;
    assert_eq!(rest(&mut stream(both.client), since).await, b"");
    assert_eq!(rest(&mut stream(both.backend), since).await, b"");
}

#[tokio::test]
async fn a_backend_that_answers_the_handshake_after_the_logout_opens_nothing() {
    let backend = ByHand::start().await;
    let t = gateway(&backend).start().await;
    let grant = t.log_in("alice").await;
    let mut client = Wire::connect(t.address).await;
    client.send(handshake(&grant)).await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    log_out(&t, &grant).await;
    let since = Instant::now();
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    server.send(format!("{early}{ACCEPTED}")).await;
    client.read_to("HTTP/1.1 101 ").await;
    client.read_to("\r\n\r\n").await;
    let (mut read, mut stream) = client.into_parts();
    read.extend(rest(&mut stream, since).await);
    assert_eq!(read, SESSION_ENDED);
    assert!(server.rest().await.is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_from_its_backend() {
    let both = Both::open().await;
    let mut backend = stream(both.backend);
    let mut frame = vec![0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
    frame.resize(frame.len() + 0x10000, 0);
    fill(&mut backend, &frame).await;
    let since = log_out(&both.t, &both.grant).await;
    assert_eq!(rest(&mut backend, since).await, b"");
    drop(both.client);
}

#[tokio::test]
async fn a_backend_that_does_not_read_holds_no_socket_open() {
    let both = Both::open().await;
    let mut client = stream(both.client);
    let mut frame = vec![0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
    frame.resize(frame.len() + 0x10000, 0);
    fill(&mut client, &frame).await;
    let since = log_out(&both.t, &both.grant).await;
    rest(&mut client, since).await;
    drop(both.backend);
}

#[tokio::test]
async fn at_the_end_of_the_drain_sockets_are_told_that_the_gateway_goes_away() {
    let backend = ByHand::start().await;
    let builder = gateway(&backend).section("server", "drain = \"300ms\"");
    let mut t = builder.start().await;
    let grant = t.log_in("alice").await;
    let mut client = Wire::connect(t.address).await;
    client.send(handshake(&grant)).await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server.send(ACCEPTED).await;
    client.read_to("\r\n\r\n").await;
    t.begin_stop();
    // Until then it works.
    server.send(b"\x81\x02hi").await;
    client.read_to("hi").await;
    let mut client = stream(client);
    let told = rest(&mut client, Instant::now()).await;
    assert_eq!(told, b"\x88\x0c\x03\xe9going away");
    drop(client);
    assert!(server.rest().await.is_empty());
    t.stop().await;
}

/// A listener and a backend that speak TLS, each with a certificate of its own.
#[tokio::test]
async fn a_socket_in_tls_on_both_sides_ends_in_the_same_ways() {
    menshen::app::install_crypto();
    let made = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![certificate.clone()], PrivateKeyDer::from(key));
    let acceptor = TlsAcceptor::from(Arc::new(server.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!(
        "[[upstream]]\nname = \"hand\"\nservers = [\"{}\"]\n\
         tls = {{ enabled = true, server_name = \"h\", ca_file = '{}' }}\n",
        listener.local_addr().unwrap(),
        file("cert.pem").display()
    );
    let tls = format!(
        "tls.cert_file = '{}'\ntls.key_file = '{}'",
        file("cert.pem").display(),
        file("key.pem").display()
    );
    let builder = TestGateway::builder().upstreams(&upstream);
    let builder = builder.routes("[[route]]\npath = \"/\"\nupstream = \"hand\"\n");
    let mut t = builder.section("server", &tls).start().await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let client = reqwest::Client::builder().no_proxy();
    let trusted = reqwest::Certificate::from_der(&certificate).unwrap();
    let client = client.tls_certs_only([trusted]).resolve("h", t.address);
    t.http = client.build().unwrap();

    for (sent, told) in [(&b"\x81\x02hi"[..], SESSION_ENDED), (b"\x82\x7e\x04", b"")] {
        let url = |path: &str| format!("https://h:{}{path}", t.address.port());
        let code = serde_json::json!({"code": t.code("alice").await});
        let login = t.http.post(url("/_auth/login")).json(&code);
        let grant = Grant::of(Reply::of(login).await.json());
        let tcp = TcpStream::connect(t.address).await.unwrap();
        let name = ServerName::try_from("h").unwrap();
        let mut client = connector.connect(name, tcp).await.unwrap();
        client
            .write_all(handshake(&grant).as_bytes())
            .await
            .unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let mut backend = acceptor.accept(tcp).await.unwrap();
        let mut head = vec![0; 4096];
        assert_ne!(backend.read(&mut head).await.unwrap(), 0);
        let answer = [ACCEPTED.as_bytes(), sent].concat();
        backend.write_all(&answer).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(sent) {
            assert_ne!(client.read_buf(&mut got).await.unwrap(), 0);
        }
        let since = Instant::now();
        let logout = t.http.post(url("/_auth/logout")).bearer_auth(&grant.token);
        assert_eq!(Reply::of(logout).await.status, 204);
        assert_eq!(rest(&mut client, since).await, told);
        assert_eq!(rest(&mut backend, since).await, b"");
    }
}
