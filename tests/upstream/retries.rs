//! A request is repeated only where that is safe: kept connections that turn out to be closed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use menshen_test_support::{ByHand, Reply, TestGateway, Wire};
use tokio::task::JoinHandle;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Has a first exchange on a connection, which the gateway then keeps.
async fn kept(backend: &ByHand, t: &TestGateway) -> Wire {
    let first = tokio::spawn(Reply::of(t.get("/first")));
    let mut wire = backend.accept().await;
    let message = wire.message().await;
    assert!(message.starts_with("GET /first "), "{message}");
    wire.send(OK).await;
    assert_eq!(first.await.unwrap().status, 200);
    wire
}

/// Has a second exchange on a connection, after which the server is known to keep them.
async fn used_again(t: &TestGateway, mut wire: Wire) -> Wire {
    let second = tokio::spawn(Reply::of(t.get("/second")));
    wire.message().await;
    wire.send(OK).await;
    assert_eq!(second.await.unwrap().status, 200);
    wire
}

/// Sends a request that arrives on the kept connection, which is closed without an answer.
async fn lost(
    t: &TestGateway,
    mut wire: Wire,
    method: &str,
    body: &'static str,
) -> JoinHandle<Reply> {
    let sending = tokio::spawn(Reply::of(t.request(method, "/again").body(body)));
    let message = wire.message().await;
    assert!(
        message.starts_with(&format!("{method} /again ")),
        "{message}"
    );
    assert!(message.ends_with(body));
    drop(wire);
    sending
}

#[tokio::test]
async fn an_idempotent_request_on_a_connection_that_was_closed_is_sent_once_more() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for (method, body) in [("GET", ""), ("PUT", "the whole order"), ("DELETE", "")] {
        let wire = kept(&backend, &t).await;
        let sending = lost(&t, wire, method, body).await;
        let mut wire = backend.accept().await;
        let message = wire.message().await;
        assert!(
            message.starts_with(&format!("{method} /again ")),
            "{message}"
        );
        assert!(message.ends_with(body), "{message}");
        wire.send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
            .await;
        assert_eq!(sending.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_order_is_never_sent_twice() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for method in ["POST", "PATCH"] {
        let wire = used_again(&t, kept(&backend, &t).await).await;
        let reply = lost(&t, wire, method, "one order").await.await.unwrap();
        assert_eq!(reply.status, 502);
        assert_eq!(reply.json()["error"], "upstream_error");
    }
}

// uWSGI closes each connection behind the answer without having said so: what is sent before that is noticed is lost.
#[tokio::test]
async fn what_cannot_be_repeated_uses_no_kept_connection_before_the_server_has_answered_on_one() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let large = "x".repeat(64 * 1024 + 1);
    for (method, body) in [("POST", "one order"), ("PATCH", ""), ("PUT", &large)] {
        let _closing = kept(&backend, &t).await;
        let sending = tokio::spawn(Reply::of(t.request(method, "/x").body(body.to_owned())));
        let mut wire = backend.accept().await;
        let message = wire.message().await;
        assert!(message.starts_with(&format!("{method} /x ")), "{message}");
        wire.send(OK).await;
        assert_eq!(sending.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_order_uses_a_kept_connection_until_one_is_lost() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut wire = used_again(&t, kept(&backend, &t).await).await;
    let sending = tokio::spawn(Reply::of(t.request("POST", "/x").body("one order")));
    assert!(wire.message().await.ends_with("one order"));
    wire.send(OK).await;
    assert_eq!(sending.await.unwrap().status, 200);
    let reply = lost(&t, wire, "POST", "one order").await.await.unwrap();
    assert_eq!(reply.status, 502);
    let _kept = kept(&backend, &t).await;
    let sending = tokio::spawn(Reply::of(t.request("POST", "/x").body("one order")));
    let mut wire = backend.accept().await;
    assert!(wire.message().await.ends_with("one order"));
    wire.send(OK).await;
    assert_eq!(sending.await.unwrap().status, 200);
}

#[tokio::test]
async fn orders_alone_come_to_use_kept_connections() {
    let t = TestGateway::start().await;
    let post = async || assert_eq!(Reply::of(t.request("POST", "/public/x")).await.status, 200);
    let all_are_new = || t.upstream.connections() == t.upstream.requests();
    let coming = async {
        while all_are_new() {
            post().await;
        }
    };
    let limit = Duration::from_secs(10);
    assert!(tokio::time::timeout(limit, coming).await.is_ok());
    let connections = t.upstream.connections();
    for _ in 0..5 {
        post().await;
    }
    assert!(t.upstream.connections() <= connections + 1);
}

#[tokio::test]
async fn a_request_is_repeated_once_and_on_a_new_connection() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let wire = kept(&backend, &t).await;
    let sending = lost(&t, wire, "GET", "").await;
    let mut wire = backend.accept().await;
    wire.message().await;
    drop(wire);
    let reply = sending.await.unwrap();
    assert_eq!(reply.status, 502, "{}", reply.text());
}

#[tokio::test]
async fn what_a_new_connection_loses_is_not_repeated() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let sending = tokio::spawn(Reply::of(t.get("/x")));
    let mut wire = backend.accept().await;
    wire.message().await;
    drop(wire);
    let reply = sending.await.unwrap();
    assert_eq!(reply.json()["error"], "upstream_error");
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_not_repeated() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut wire = used_again(&t, kept(&backend, &t).await).await;
    let body = vec![b'x'; 1 << 20];
    let sending = tokio::spawn(Reply::of(t.request("PUT", "/again").body(body)));
    wire.message().await;
    drop(wire);
    assert_eq!(sending.await.unwrap().status, 502);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut wire = kept(&backend, &t).await;
    for _ in 0..3 {
        let sending = tokio::spawn(Reply::of(t.get("/x")));
        wire.message().await;
        wire.send(OK).await;
        assert_eq!(sending.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_where_the_configuration_says_so() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "keepalive = \"0s\"").await;
    let mut wire = kept(&backend, &t).await;
    assert_eq!(wire.rest().await, "");
}

#[tokio::test]
async fn no_more_connections_are_kept_than_the_pool_holds() {
    let backend = ByHand::start().await;
    let address = backend.address;
    let upstream = format!("[[upstream]]\nname = \"hand\"\nservers = [\"{address}\"]\n");
    let routes = "[[route]]\nupstream = \"hand\"\nauth = \"public\"\n";
    let builder = TestGateway::builder().upstreams(&upstream).routes(routes);
    let t = builder.section("server", "upstream_pool = 1").start().await;
    let both = [(); 2].map(|()| tokio::spawn(Reply::of(t.get("/x"))));
    let mut wires = [backend.accept().await, backend.accept().await];
    for wire in &mut wires {
        wire.message().await;
    }
    for wire in &mut wires {
        wire.send(OK).await;
    }
    for reply in both {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    let [mut one, mut other] = wires;
    // One of the two is closed; the other stays.
    tokio::select! {
        rest = one.rest() => assert_eq!(rest, ""),
        rest = other.rest() => assert_eq!(rest, ""),
    }
}

#[tokio::test]
async fn a_backend_that_breaks_off_after_its_100_is_an_error() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut client = Wire::connect(t.address).await;
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).await;
    let mut wire = backend.accept().await;
    wire.read_to("\r\n\r\n").await;
    wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(client.message().await.starts_with("HTTP/1.1 100"));
    client.send("hi").await;
    wire.read_to("hi").await;
    drop(wire);
    assert!(client.message().await.starts_with("HTTP/1.1 502"));
}
