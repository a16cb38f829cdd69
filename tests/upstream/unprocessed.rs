//! What a server of HTTP/2 says it did not process is sent again, whatever its method; interim answers reach HTTP/2.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode};
use menshen_test_support::{ByHand, Reply, TestGateway, Wire};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// How a server says that it did not process a stream.
#[derive(Clone, Copy, Debug)]
enum Says {
    Refused,
    GoAway,
}

/// Starts a server that turns the first `times` streams away, and answers the others with what it got of the body.
async fn server(says: Says, times: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                if matches!(says, Says::GoAway) && counted.load(Ordering::SeqCst) < times {
                    counted.fetch_add(1, Ordering::SeqCst);
                    return go_away(tcp).await;
                }
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    if matches!(says, Says::Refused) && counted.load(Ordering::SeqCst) < times {
                        counted.fetch_add(1, Ordering::SeqCst);
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut got = Vec::new();
                        while let Some(Ok(part)) = body.data().await {
                            body.flow_control().release_capacity(part.len()).unwrap();
                            got.extend_from_slice(&part);
                        }
                        let mut sending = respond.send_response(Response::new(()), false).unwrap();
                        sending.send_data(got.into(), true).unwrap();
                    });
                }
            });
        }
    });
    (address, seen)
}

/// Answers the preface, waits for a request, and says that no stream was processed.
async fn go_away(tcp: TcpStream) {
    let mut wire = Wire::of(tcp);
    // SETTINGS, and their acknowledgement.
    wire.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    wire.send([0, 0, 0, 4, 1, 0, 0, 0, 0]).await;
    // Names are compressed, and a body is not.
    wire.read_to("order").await;
    // GOAWAY with the last stream 0 and NO_ERROR.
    wire.send([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .await;
    wire.rest().await;
}

#[tokio::test]
async fn a_post_that_was_not_processed_is_sent_again() {
    for says in [Says::Refused, Says::GoAway] {
        let (address, seen) = server(says, 1).await;
        let t = TestGateway::start_before(&address, "protocol = \"http2\"").await;
        let reply = Reply::of(t.request("POST", "/x").header("host", "shop").body("order")).await;
        assert_eq!((reply.status, &*reply.text()), (200, "order"), "{says:?}");
        assert_eq!(seen.load(Ordering::SeqCst), 1, "{says:?}");
    }
}

#[tokio::test]
async fn a_server_that_processes_nothing_is_not_asked_for_ever() {
    let (address, seen) = server(Says::Refused, usize::MAX).await;
    let t = TestGateway::start_before(&address, "protocol = \"http2\"").await;
    let reply = Reply::of(t.request("POST", "/x").body("order")).await;
    reply.refused(502, "upstream_error");
    let tries = seen.load(Ordering::SeqCst);
    assert!((2..=3).contains(&tries), "{tries}");
}

#[tokio::test]
async fn what_one_connection_refuses_is_sent_on_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for number in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    // The first one takes no more, and stays open.
                    if number == 0 {
                        respond.send_reset(Reason::REFUSED_STREAM);
                    } else {
                        respond.send_response(Response::new(()), true).unwrap();
                    }
                }
            });
        }
    });
    let t = TestGateway::start_before(&address, "protocol = \"http2\"").await;
    for _ in 0..3 {
        assert_eq!(
            Reply::of(t.request("POST", "/x").body("order"))
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn a_connection_of_http_2_without_time_to_be_kept_serves_its_first_request() {
    let t = TestGateway::builder()
        .section("server", "keepalive = \"0s\"")
        .start()
        .await;
    let mut requests = client(&t).await;
    let request = Request::get("http://shop/public").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).unwrap();
    let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    assert_eq!(
        timeout(LIMIT, body.data()).await.unwrap().unwrap().unwrap(),
        "ok"
    );
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_is_whole_although_its_connection_is_idle() {
    let backend = ByHand::start().await;
    let upstream = format!(
        "[[upstream]]\nname = \"shop\"\nservers = [\"{}\"]\n",
        backend.address
    );
    let t = TestGateway::builder()
        .section("server", "keepalive = \"1s\"")
        .upstreams(&upstream)
        .routes("[[route]]\nupstream = \"shop\"\nauth = \"public\"\n")
        .start()
        .await;
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let (requests, connection) = builder.handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut requests: SendRequest<Bytes> = requests.ready().await.unwrap();
    let request = Request::get("http://shop/x").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).unwrap();
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n";
    server
        .send([head.as_bytes(), &vec![b'x'; 50_000]].concat())
        .await;
    let mut body = timeout(LIMIT, answer).await.unwrap().unwrap().into_body();
    let mut read = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(60));
    while let Some(part) = timeout(LIMIT, body.data()).await.unwrap() {
        let part = part.unwrap();
        read += part.len();
        // Slower than the connection would be kept without an exchange.
        ticks.tick().await;
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    assert_eq!(read, 50_000);
}

#[tokio::test]
async fn a_body_too_long_to_be_kept_is_not_sent_again() {
    let (address, seen) = server(Says::Refused, 1).await;
    let t = TestGateway::start_before(&address, "protocol = \"http2\"").await;
    let body = vec![b'x'; 200_000];
    let reply = Reply::of(t.request("POST", "/x").body(body)).await;
    // Unless the refusal came before so much of it was read.
    assert!(matches!(reply.status, 502 | 200), "{}", reply.status);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

async fn client(t: &TestGateway) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

#[tokio::test]
async fn early_hints_reach_a_client_of_http_2() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "protocol = \"http1\"").await;
    let mut requests = client(&t).await;
    let request = Request::get("http://shop/x").body(()).unwrap();
    let (mut answer, _) = requests.send_request(request, true).unwrap();
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server
        .send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        .await;
    let interim = std::future::poll_fn(|cx| answer.poll_informational(cx));
    let interim = timeout(LIMIT, interim).await.unwrap().unwrap().unwrap();
    assert_eq!(interim.status(), 103);
    assert_eq!(interim.headers()["link"], "</a.css>; rel=preload");
    server
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn leave_to_send_a_body_reaches_a_client_of_http_2() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "protocol = \"http1\"").await;
    let mut requests = client(&t).await;
    let request = Request::post("http://shop/x").header("expect", "100-continue");
    let (mut answer, mut body) = requests
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let mut server = backend.accept().await;
    let head = server.read_to("\r\n\r\n").await.to_lowercase();
    assert!(head.contains("expect: 100-continue"), "{head}");
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    let interim = std::future::poll_fn(|cx| answer.poll_informational(cx));
    let interim = timeout(LIMIT, interim).await.unwrap().unwrap().unwrap();
    assert_eq!(interim.status(), StatusCode::CONTINUE);
    body.send_data(Bytes::from_static(b"order"), true).unwrap();
    server.read_to("order").await;
    server
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap().status(), 200);
}
