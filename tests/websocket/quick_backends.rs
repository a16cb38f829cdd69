//! A WebSocket stays open however quickly its backend answers the handshake.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;

use menshen_test_support::{ByHand, Reply, TestGateway, Wire, status};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const UPGRADE: &str = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const FRAME: &[u8] = b"\x81\x05hello";
const AT_ONCE: usize = 50;

/// Is a backend that answers before it was asked, which is as quick as can be, and echoes what follows the request.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<u64> {
    stream.write_all(ANSWER.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::io::copy(&mut from, &mut to).await
}

/// Opens a WebSocket, and says whether a frame comes back on it.
async fn echoes(gateway: SocketAddr) -> bool {
    let mut client = Wire::connect(gateway).await;
    client
        .send(format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n"))
        .await;
    let head = client.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.send(FRAME).await;
    let (read, mut stream) = client.into_parts();
    assert_eq!(read, b"");
    let mut echo = [0; FRAME.len()];
    stream.read_exact(&mut echo).await.is_ok() && echo == FRAME
}

/// Opens WebSockets, many at a time, and says how many of them were ended.
async fn ended(gateway: SocketAddr, rounds: usize) -> usize {
    let mut ended = 0;
    for _ in 0..rounds {
        let mut clients: JoinSet<_> = (0..AT_ONCE).map(|_| echoes(gateway)).collect();
        while let Some(echoed) = clients.join_next().await {
            ended += usize::from(!echoed.unwrap());
        }
    }
    ended
}

#[tokio::test]
async fn an_answer_that_comes_at_once_ends_no_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let t = TestGateway::start_before(listener.local_addr().unwrap(), "").await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    assert_eq!(ended(t.address, 20).await, 0);
}

#[tokio::test]
async fn nor_does_one_that_comes_from_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let t = TestGateway::start_before(format!("unix:{}", path.display()), "").await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    assert_eq!(ended(t.address, 20).await, 0);
}

// A thread alone would not let the server answer between the end of TLS's handshake and the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn nor_does_one_that_comes_over_tls() {
    menshen::app::install_crypto();
    let made = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key.into());
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = "tls.enabled = true\ntls.danger_skip_verify = true";
    let t = TestGateway::start_before(listener.local_addr().unwrap(), tls).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { answer(acceptor.accept(stream).await?).await });
        }
    });
    assert_eq!(ended(t.address, 10).await, 0);
}

#[tokio::test]
async fn a_handshake_that_is_refused_leaves_its_connection_to_others() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned();
    let handshake = format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n");
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let no = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";

    let mut client = Wire::connect(t.address).await;
    client.send(&get).await;
    let mut kept = backend.accept().await;
    kept.read_to("\r\n\r\n").await;
    kept.send(ok).await;
    assert_eq!(status(&client.message().await), 200);

    for _ in 0..3 {
        let mut client = Wire::connect(t.address).await;
        client.send(&handshake).await;
        kept.read_to("\r\n\r\n").await;
        kept.send(no).await;
        let answer = client.message().await;
        assert!(status(&answer) == 403 && answer.ends_with("no"), "{answer}");
    }

    let mut client = Wire::connect(t.address).await;
    client.send(&get).await;
    kept.read_to("\r\n\r\n").await;
    kept.send(ok).await;
    assert_eq!(status(&client.message().await), 200);
}

#[tokio::test]
async fn a_request_that_becomes_no_socket_uses_a_kept_connection() {
    let t = TestGateway::start().await;
    for upgrade in ["x", "h2c", "websocket, h2c"] {
        let get = t.get("/public").header("upgrade", upgrade);
        let reply = Reply::of(get.header("connection", "upgrade")).await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!((t.upstream.requests(), t.upstream.connections()), (3, 1));
}

#[tokio::test]
async fn a_handshake_with_a_body_is_answered_before_the_body_has_come() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut client = Wire::connect(t.address).await;
    let head = format!("POST / HTTP/1.1\r\n{UPGRADE}Content-Length: 5\r\n\r\nhe");
    client.send(head).await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\nhe").await;
    server
        .send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(status(&client.message().await), 400);
}
