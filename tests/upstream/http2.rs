//! Servers that speak HTTP/2: gRPC with its trailers, streams in both directions, and TLS that agrees on it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use menshen_test_support::{Reply, TestGateway, Wire};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);

/// What the backend got.
#[derive(Clone, Debug)]
struct Received {
    path: String,
    authority: Option<String>,
    headers: HeaderMap,
}

/// A backend that speaks nothing but HTTP/2 without TLS. `/unary` answers with a message and trailers, `/refuse` with
/// trailers alone as gRPC does for a failure, `/echo` sends each part back as it comes, and then its trailers.
struct Backend {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<usize>>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let (received, connections) = (
            Arc::clone(&backend.received),
            Arc::clone(&backend.connections),
        );
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let received = Arc::clone(&received);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let seen = Received {
                            path: request.uri().path().to_owned(),
                            authority: request.uri().authority().map(ToString::to_string),
                            headers: request.headers().clone(),
                        };
                        received.lock().unwrap().push(seen);
                        tokio::spawn(answer(request, respond));
                    }
                });
            }
        });
        backend
    }

    fn last(&self) -> Received {
        self.received.lock().unwrap().last().unwrap().clone()
    }
}

fn trailers(status: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("grpc-message", HeaderValue::from_static("said so"));
    trailers
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let head = || {
        let head = Response::builder().header("content-type", "application/grpc");
        head.body(()).unwrap()
    };
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    match path.as_str() {
        "/unary" => {
            let message = whole(&mut body).await.0;
            let mut sending = respond.send_response(head(), false).unwrap();
            sending.send_data(message, false).unwrap();
            sending.send_trailers(trailers("0")).unwrap();
        }
        "/refuse" => {
            let mut head = head();
            head.headers_mut().extend(trailers("7"));
            respond.send_response(head, true).unwrap();
        }
        "/echo" => {
            let mut sending = respond.send_response(head(), false).unwrap();
            while let Some(Ok(part)) = body.data().await {
                body.flow_control().release_capacity(part.len()).unwrap();
                sending.send_data(part, false).unwrap();
            }
            sending.send_trailers(trailers("0")).unwrap();
        }
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        _ => {
            let mut sending = respond.send_response(head(), false).unwrap();
            sending.send_data(Bytes::from_static(b"ok"), true).unwrap();
        }
    }
}

/// Reads a body and its trailers.
async fn whole(body: &mut RecvStream) -> (Bytes, Option<HeaderMap>) {
    let mut read = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        read.extend_from_slice(&part);
    }
    (read.into(), body.trailers().await.unwrap())
}

async fn part(body: &mut RecvStream) -> Bytes {
    let part = tokio::time::timeout(LIMIT, body.data()).await.unwrap();
    let part = part.unwrap().unwrap();
    body.flow_control().release_capacity(part.len()).unwrap();
    part
}

async fn gateway(backend: &Backend, lines: &str) -> TestGateway {
    let address = backend.address;
    let upstream = format!(
        "[[upstream]]\nname = \"grpc\"\nservers = [\"{address}\"]\nprotocol = \"http2\"\n{lines}\n"
    );
    let routes = "[[route]]\nupstream = \"grpc\"\nauth = \"optional\"\n\
        [[route]]\npath = \"/stripped\"\nupstream = \"grpc\"\nauth = \"public\"\nstrip_prefix = true\n";
    let builder = TestGateway::builder().upstreams(&upstream);
    builder.routes(routes).start().await
}

/// A client that speaks HTTP/2.
async fn client(t: &TestGateway) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests
}

async fn call(
    client: &SendRequest<Bytes>,
    path: &str,
    lines: &[(&str, &str)],
) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("http://shop.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let mut ready = client.clone().ready().await.unwrap();
    ready
        .send_request(request.body(()).unwrap(), false)
        .unwrap()
}

#[tokio::test]
async fn a_unary_call_gets_its_message_and_its_trailers() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let token = t.log_in("alice").await.token;
    let client = client(&t).await;
    let bearer = format!("Bearer {token}");
    let lines = [
        ("authorization", bearer.as_str()),
        ("x-wx-openid", "forged"),
    ];
    let (response, mut sending) = call(&client, "/unary", &lines).await;
    sending
        .send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true)
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers().get("content-type").unwrap(),
        "application/grpc"
    );
    let (message, trailers) = whole(&mut response.into_body()).await;
    assert_eq!(message, &b"\0\0\0\0\x02hi"[..]);
    let trailers = trailers.unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
    assert_eq!(trailers.get("grpc-message").unwrap(), "said so");
    let received = backend.last();
    assert_eq!(received.headers.get("te").unwrap(), "trailers");
    assert_eq!(received.authority.as_deref(), Some("shop.example"));
    assert_eq!(received.headers.get_all("x-wx-openid").iter().count(), 1);
    assert_ne!(received.headers.get("x-wx-openid").unwrap(), "forged");
    assert!(received.headers.get("authorization").is_none());
    assert!(received.headers.get("host").is_none());
}

#[tokio::test]
async fn a_call_that_fails_in_its_head_fails_for_the_client() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let (response, mut sending) = call(&client(&t).await, "/refuse", &[]).await;
    sending.send_data(Bytes::from_static(b"x"), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers().get("grpc-status").unwrap(), "7");
    assert_eq!(whole(&mut response.into_body()).await.0, "");
}

#[tokio::test]
async fn parts_pass_in_both_directions_as_they_come() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let (response, mut sending) = call(&client(&t).await, "/echo", &[]).await;
    let response = tokio::time::timeout(LIMIT, response)
        .await
        .unwrap()
        .unwrap();
    let mut body = response.into_body();
    for said in ["one", "two", "three"] {
        sending.send_data(Bytes::from(said), false).unwrap();
        assert_eq!(part(&mut body).await, said);
    }
    sending.send_data(Bytes::new(), true).unwrap();
    let (rest, trailers) = whole(&mut body).await;
    assert_eq!(rest, "");
    assert_eq!(trailers.unwrap().get("grpc-status").unwrap(), "0");
}

#[tokio::test]
async fn many_calls_share_a_connection_to_the_server() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let client = client(&t).await;
    let (first, mut sending) = call(&client, "/echo", &[]).await;
    let mut first = first.await.unwrap().into_body();
    for _ in 0..20 {
        let (response, mut sending) = call(&client, "/unary", &[]).await;
        sending.send_data(Bytes::from_static(b"x"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert!(whole(&mut body).await.1.is_some());
    }
    sending.send_data(Bytes::new(), true).unwrap();
    whole(&mut first).await;
    // The first could have sent more than a connection holds, and had one for itself.
    assert_eq!(*backend.connections.lock().unwrap(), 2);
}

#[tokio::test]
async fn clients_of_http_1_are_served_as_well() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    for (path, seen) in [("/x?a=1", "/x"), ("/stripped/y", "/y")] {
        let reply = Reply::of(t.request("POST", path).body("hello")).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
        let received = backend.last();
        assert_eq!(received.path, seen);
        assert_eq!(received.authority, Some(t.address.to_string()));
    }
    let old = menshen_test_support::raw(t.address, b"GET /x HTTP/1.0\r\n\r\n").await;
    assert!(
        old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"),
        "{old}"
    );
    assert_eq!(backend.last().authority.as_deref(), Some("grpc"));
    let empty = b"GET /x HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n";
    let empty = menshen_test_support::raw(t.address, empty).await;
    assert!(empty.starts_with("HTTP/1.1 200"), "{empty}");
    let received = backend.last();
    assert_eq!(received.authority.as_deref(), Some("grpc"));
    assert!(!received.headers.contains_key("x-forwarded-host"));
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let mut wire = Wire::connect(t.address).await;
    let head =
        "POST /unary HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    wire.send(head).await;
    assert!(wire.message().await.starts_with("HTTP/1.1 100"));
    wire.send("hi").await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200"));
    assert!(backend.last().headers.get("expect").is_none());
    let mut wire = Wire::connect(t.address).await;
    wire.send(head.replace("/unary", "/reset")).await;
    assert!(wire.message().await.starts_with("HTTP/1.1 100"));
    assert!(wire.message().await.starts_with("HTTP/1.1 502"));
}

#[tokio::test]
async fn what_http_2_forbids_is_taken_out() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    for line in [
        "TE: gzip",
        "Keep-Alive: 1",
        "Proxy-Connection: close",
        "Connection: x\r\nX: 1",
    ] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(format!("GET /x HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n"))
            .await;
        assert!(wire.message().await.starts_with("HTTP/1.1 200"), "{line}");
        let name = line.split(':').next().unwrap();
        assert!(backend.last().headers.get(name).is_none(), "{line}");
    }
}

#[tokio::test]
async fn a_path_that_is_rewritten_keeps_its_authority() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let (response, mut sending) = call(&client(&t).await, "/stripped/unary", &[]).await;
    sending.send_data(Bytes::from_static(b"x"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    let received = backend.last();
    assert_eq!(received.path, "/unary");
    assert_eq!(received.authority.as_deref(), Some("shop.example"));
}

#[tokio::test]
async fn a_stream_that_the_server_resets_is_an_error_of_the_server() {
    let backend = Backend::start().await;
    let t = gateway(&backend, "").await;
    let reply = Reply::of(t.request("POST", "/reset").body("x")).await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.json().get("error").unwrap(), "upstream_error");
}

#[tokio::test]
async fn a_client_that_gives_up_frees_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = Backend {
        address: listener.local_addr().unwrap(),
        received: Arc::default(),
        connections: Arc::default(),
    };
    let t = gateway(&backend, "").await;
    let client = client(&t).await;
    let (response, mut sending) = call(&client, "/never", &[]).await;
    let (tcp, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    sending.send_reset(Reason::CANCEL);
    drop(response);
    let reset = std::future::poll_fn(|context| respond.poll_reset(context));
    match tokio::time::timeout(LIMIT, reset).await {
        Ok(Ok(_)) => {}
        other => panic!("the server should be told: {other:?}"),
    }
}

#[tokio::test]
async fn checks_of_health_speak_http_2() {
    let backend = Backend::start().await;
    let t = gateway(
        &backend,
        "health.path = \"/healthz?x=1\"\nhealth.interval = \"10ms\"",
    )
    .await;
    let checked = async {
        while backend.received.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, checked).await.unwrap();
    assert_eq!(backend.last().path, "/healthz");
    assert_eq!(backend.last().authority.as_deref(), Some("127.0.0.1"));
    assert_eq!(Reply::of(t.get("/x")).await.status, 200);
}
