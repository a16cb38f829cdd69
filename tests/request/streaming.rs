//! Bodies flow through as they come, in both directions, and connections are used again or let go.

use std::io::ErrorKind;

use menshen_test_support::{ByHand, Reply, TestGateway, Wire, raw};
use tokio::io::AsyncReadExt as _;

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_response_arrives_while_it_is_being_made() {
    let t = TestGateway::start().await;
    let mut response = t.get("/public/stream").send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "one");
    t.upstream.release();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "two");
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_request_arrives_while_it_is_being_sent() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for (header, first, second) in [
        ("Content-Length: 6\r\n", "one", "two"),
        (
            "Transfer-Encoding: chunked\r\n",
            "3\r\none\r\n",
            "3\r\ntwo\r\n0\r\n\r\n",
        ),
    ] {
        let mut client = Wire::connect(t.address).await;
        client.send(request("POST /x", header)).await;
        client.send(first).await;
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        server.read_to("one").await;
        client.send(second).await;
        server.read_to("two").await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .await;
        assert!(client.message().await.ends_with("ok"), "{header}");
    }
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut client = Wire::connect(t.address).await;
    client
        .send(request("GET /events", "Connection: close\r\n"))
        .await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        .await;
    let head = client.read_to("\r\n\r\n").await.to_lowercase();
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    for event in ["data: one\n\n", "data: two\n\n", ":\n\n"] {
        server.send(event).await;
        client.read_to(event).await;
    }
    drop(server);
    client.rest().await;
}

#[tokio::test]
async fn an_answer_without_a_body_leaves_both_connections_usable() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut client = Wire::connect(t.address).await;
    let mut server: Option<Wire> = None;
    for (line, answer, starts) in [
        (
            "HEAD /x",
            "200 OK\r\nContent-Length: 1000\r\nETag: \"a\"",
            "200",
        ),
        ("DELETE /x", "204 No Content", "204"),
        ("GET /x", "304 Not Modified\r\nETag: \"a\"", "304"),
        ("GET /x", "304 Not Modified\r\nContent-Length: 1000", "304"),
        ("HEAD /x", "200 OK\r\nTransfer-Encoding: chunked", "200"),
        ("POST /x", "200 OK\r\nContent-Length: 0", "200"),
        ("GET /x", "404 Not Found\r\nContent-Length: 0", "404"),
    ] {
        client.send(request(line, "")).await;
        let wire = match &mut server {
            Some(wire) => wire,
            none => none.insert(backend.accept().await),
        };
        wire.read_to("\r\n\r\n").await;
        wire.send(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {starts} ")), "{head}");
        let etag = answer.contains("ETag");
        assert_eq!(head.to_lowercase().contains("etag: \"a\""), etag, "{head}");
    }
}

#[tokio::test]
async fn head_of_our_own_endpoints_has_no_body() {
    let t = TestGateway::start().await;
    let mut client = Wire::connect(t.address).await;
    for path in ["/_auth/session", "/private", "/_auth/nothing"] {
        client.send(request(&format!("HEAD {path}"), "")).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 "), "{path}: {head}");
    }
    client
        .send(request("GET /_auth/session", "Connection: close\r\n"))
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_backend_decides_whether_a_client_may_continue() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut client = Wire::connect(t.address).await;
    let expect = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    client.send(request("POST /x", expect)).await;
    let mut server = backend.accept().await;
    let head = server.read_to("\r\n\r\n").await.to_lowercase();
    assert!(head.contains("expect: 100-continue"), "{head}");
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    let go_on = client.read_to("\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    client.send("hello").await;
    server.read_to("hello").await;
    server
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert!(client.message().await.ends_with("ok"));
}

#[tokio::test]
async fn a_refused_client_is_not_told_to_continue() {
    let t = TestGateway::start().await;
    let mut client = Wire::connect(t.address).await;
    let expect = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    client.send(request("POST /private", expect)).await;
    assert!(client.message().await.starts_with("HTTP/1.1 401 "));
    let mut client = Wire::connect(t.address).await;
    client.send(request("POST /_auth/refresh", expect)).await;
    let go_on = client.read_to("\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    client.send("{\"a\":").await;
    assert!(client.message().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_connection_to_the_backend() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for answered in [false, true] {
        let mut client = Wire::connect(t.address).await;
        client.send(request("GET /x", "")).await;
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        if answered {
            server
                .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                .await;
            client.read_to("\r\n\r\nabc").await;
        }
        drop(client);
        assert_eq!(server.rest().await, "");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_makes_no_request() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for (header, part) in [
        ("Content-Length: 9\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
    ] {
        let mut client = Wire::connect(t.address).await;
        client.send(request("POST /x", header)).await;
        client.send(part).await;
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        server.read_to("abc").await;
        drop(client);
        let rest = server.rest().await;
        assert!(!rest.contains('0'), "the body was ended: {rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_does_not_fill_memory() {
    let backend = ByHand::start().await;
    let t = TestGateway::configure_server("client_timeout = \"1s\"")
        .start_before(backend.address, "")
        .await;
    let mut client = Wire::connect(t.address).await;
    client.send(request("GET /x", "")).await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server
        .send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        .await;
    let part = vec![b'a'; 1 << 20];
    let mut parts = 0;
    while server.send(&part).await {
        parts += 1;
        // What the system's buffers of two connections take is about 10 MiB.
        assert!(parts < 64, "{parts} MiB were taken in");
    }
    drop(client);
}

#[tokio::test]
async fn one_connection_to_the_backend_serves_many_requests() {
    let t = TestGateway::start().await;
    for n in 0..50 {
        // What could be repeated shows that the backend keeps connections.
        let method = if n < 2 { "PUT" } else { "POST" };
        // The connection of the client makes no difference.
        let body = "x".repeat(n * 100);
        let own = request(
            &format!("{method} /public"),
            &format!("Connection: close\r\nContent-Length: {}\r\n", body.len()),
        );
        let answer = raw(t.address, format!("{own}{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!((t.upstream.requests(), t.upstream.connections()), (50, 1));
}

#[tokio::test]
async fn a_backend_may_close_a_connection_that_is_idle() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for _ in 0..20 {
        let (reply, ()) = tokio::join!(Reply::of(t.get("/x")), async {
            let mut server = backend.accept().await;
            server.read_to("\r\n\r\n").await;
            server
                .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        });
        assert_eq!(reply.status, 200);
    }
}

/// Answers one request on a connection, then closes it at the next, as a backend does whose idle time is over.
async fn closes_at_the_second(backend: &ByHand, t: &TestGateway) {
    let (reply, mut server) = tokio::join!(Reply::of(t.get("/first")), async {
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        server
    });
    assert_eq!(reply.status, 200);
    tokio::spawn(async move { server.read_to("\r\n\r\n").await });
}

#[tokio::test]
async fn a_request_without_effects_survives_a_connection_that_closes_under_it() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    closes_at_the_second(&backend, &t).await;
    let (reply, again) = tokio::join!(Reply::of(t.get("/second")), async {
        let mut server = backend.accept().await;
        let head = server.read_to("\r\n\r\n").await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        head
    });
    assert_eq!(reply.status, 200);
    assert!(again.starts_with("GET /second HTTP/1.1\r\n"));
    assert_eq!(again.to_lowercase().matches("x-forwarded-for:").count(), 1);
    assert_eq!(again.to_lowercase().matches("x-request-id:").count(), 1);
}

#[tokio::test]
async fn large_bodies_arrive_whole_in_both_directions() {
    let t = TestGateway::start().await;
    let body: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    Reply::of(t.request("POST", "/public").body(body.clone())).await;
    assert!(t.upstream.last().body == body);

    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let (reply, ()) = tokio::join!(Reply::of(t.get("/x")), async {
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        server.send(head).await;
        server.send(&body).await;
    });
    assert!(reply.body == body);
}

#[tokio::test]
async fn a_response_passes_as_the_backend_made_it() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let mut client = Wire::connect(t.address).await;
    client
        .send(request("GET /x", "Accept-Encoding: gzip, br\r\n"))
        .await;
    let mut server = backend.accept().await;
    let head = server.read_to("\r\n\r\n").await;
    assert!(head.contains("Accept-Encoding: gzip, br\r\n"), "{head}");
    let lines =
        "Content-Encoding: gzip\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Odd: \u{e9}\r\n";
    server
        .send(format!(
            "HTTP/1.1 299 Whatever\r\n{lines}Content-Length: 4\r\n\r\n\x1f\x08xy"
        ))
        .await;
    let answer = client.message().await;
    assert!(answer.starts_with("HTTP/1.1 299 "), "{answer}");
    for line in lines.lines() {
        assert!(answer.contains(&format!("{line}\r\n")), "{line}: {answer}");
    }
    assert!(answer.ends_with("\r\n\r\n\x1f\x08xy"), "{answer}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let t = TestGateway::start().await;
    t.upstream.release();
    let answer = raw(t.address, b"GET /public/stream HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert!(!answer.to_lowercase().contains("chunked"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nonetwo"), "{answer}");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_ended_as_if_it_were_whole() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for answer in [
        "Content-Length: 9\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let (body, ()) = tokio::join!(
            async { t.get("/x").send().await.unwrap().bytes().await },
            async {
                let mut server = backend.accept().await;
                server.read_to("\r\n\r\n").await;
                server.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            }
        );
        assert!(body.is_err(), "{answer} became {body:?}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_learns_by_a_reset_that_a_response_broke_off() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    for (body, is_whole) in [
        ("3\r\nabc\r\n", false),
        ("3\r\nabc\r\n0\r\n", false),
        ("3\r\nabc\r\n0\r\n\r\n", true),
    ] {
        let mut client = Wire::connect(t.address).await;
        client.send("GET /x HTTP/1.0\r\nHost: h\r\n\r\n").await;
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        server
            .send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            ))
            .await;
        // All of it is on its way before it breaks off, so that the end alone can say so.
        client.read_to("\r\n\r\nabc").await;
        drop(server);
        let (_, mut stream) = client.into_parts();
        let end = stream.read(&mut [0]).await.map_err(|error| error.kind());
        let expected = match is_whole {
            true => Ok(0),
            false => Err(ErrorKind::ConnectionReset),
        };
        assert_eq!(end, expected, "{body:?}");
    }
}
