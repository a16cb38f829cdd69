//! What a server says in a head is made ours: framing, hop-by-hop headers, version, and interim answers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use http::HeaderMap;
use menshen_test_support::{ByHand, TestGateway, Wire};
use tokio::net::TcpStream;

/// How the upstream waits.
const PATIENT: &str = "read_timeout = \"10s\"";

/// Sends a request, has the server answer, and returns what the client gets up to the end of the connection.
async fn answered(first: &str, answer: &str) -> String {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, PATIENT).await;
    let mut client = Wire::connect(t.address).await;
    client
        .send(format!("{first}\r\nHost: h\r\nConnection: close\r\n\r\n"))
        .await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server.send(answer).await;
    drop(server);
    client.rest().await
}

async fn got(answer: &str) -> String {
    answered("GET /x HTTP/1.1", answer).await
}

fn lines<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let start = format!("{}:", name.to_lowercase());
    head.lines()
        .filter(|line| line.to_lowercase().starts_with(&start))
        .collect()
}

#[tokio::test]
async fn a_length_that_is_repeated_is_said_once() {
    for length in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
    ] {
        let answer = got(&format!("HTTP/1.1 200 OK\r\n{length}\r\nok")).await;
        assert_eq!(
            lines(&answer, "content-length"),
            ["Content-Length: 2"],
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    }
}

/// Does the same over HTTP/2, and returns the status, the header section and the body.
async fn got_over_http_2(answer: &str) -> (u16, HeaderMap, Vec<u8>) {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, PATIENT).await;
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut requests: h2::client::SendRequest<bytes::Bytes> = requests.ready().await.unwrap();
    let request = http::Request::get("http://h/x").body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server.send(answer).await;
    drop(server);
    let (head, mut stream) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        body.extend(part.unwrap());
    }
    (head.status.as_u16(), head.headers, body)
}

#[tokio::test]
async fn clients_of_http_2_get_heads_that_are_made_ours_too() {
    for (head, status) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            200,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", 200),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5, max=100\r\n\r\nok",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nUpgrade: h2,h2c\r\nProxy-Connection: keep-alive\r\n\r\nok",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nok",
            200,
        ),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            204,
        ),
    ] {
        let (said, headers, body) = got_over_http_2(head).await;
        assert_eq!(said, status, "{head}");
        let lengths = headers.get_all("content-length").iter();
        let lengths: Vec<_> = lengths.map(|length| length.to_str().unwrap()).collect();
        let (expected, length): (&[u8], &[&str]) = match status {
            204 => (b"", &[]),
            _ => (b"ok", &["2"]),
        };
        assert_eq!((&*body, &*lengths), (expected, length), "{head}");
        for name in [
            "keep-alive",
            "upgrade",
            "proxy-connection",
            "connection",
            "x-hop",
        ] {
            assert!(!headers.contains_key(name), "{name}: {head}");
        }
        assert!(!headers.contains_key("transfer-encoding"), "{head}");
    }
}

#[tokio::test]
async fn a_length_that_is_not_one_number_is_no_answer() {
    for head in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: -2",
        "Content-Length: two",
        "Content-Length:",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        let answer = got(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{head}: {answer}");
        assert!(answer.contains("\"upstream_error\""), "{head}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_frames_none() {
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let answer = got(&format!("HTTP/1.1 204 No Content\r\n{framing}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        assert!(lines(&answer, "content-length").is_empty(), "{answer}");
        assert!(lines(&answer, "transfer-encoding").is_empty(), "{answer}");
    }
    // What is said of another response's body stays.
    let answer = got("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n").await;
    assert_eq!(
        lines(&answer, "content-length"),
        ["Content-Length: 5"],
        "{answer}"
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let answer = answered("HEAD /x HTTP/1.1", head).await;
    assert_eq!(
        lines(&answer, "content-length"),
        ["Content-Length: 5"],
        "{answer}"
    );
    // Beside a coding it is not believed.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = answered("HEAD /x HTTP/1.1", head).await;
    assert!(lines(&answer, "content-length").is_empty(), "{answer}");
}

#[tokio::test]
async fn what_is_about_the_servers_connection_stays_there() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5, max=100\r\nUpgrade: h2,h2c\r\n\
                Proxy-Connection: keep-alive\r\nTE: x\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-End: 2\r\n\r\nok";
    let answer = got(head).await;
    for name in ["keep-alive", "upgrade", "proxy-connection", "te", "x-hop"] {
        assert!(lines(&answer, name).is_empty(), "{name}: {answer}");
    }
    assert_eq!(lines(&answer, "x-end"), ["X-End: 2"], "{answer}");
    assert_eq!(
        lines(&answer, "connection"),
        ["Connection: close"],
        "{answer}"
    );
}

#[tokio::test]
async fn the_version_is_ours() {
    let answer = got("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = got("HTTP/1.0 200 OK\r\n\r\nup to the end").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("up to the end"), "{answer}");
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let head = format!("{version} 200 Fine\r\nX-oDD: 1\r\nContent-Length: 2\r\n\r\nok");
        let answer = got(&head).await;
        let expected = "HTTP/1.1 200 Fine\r\nX-oDD: 1\r\n";
        assert!(answer.starts_with(expected), "{version}: {answer}");
        assert!(answer.ends_with("\r\n\r\nok"), "{version}: {answer}");
    }
}

#[tokio::test]
async fn the_spelling_of_the_servers_names_stays() {
    let answer =
        got("HTTP/1.1 200 Fine\r\nX-oDD: 1\r\nSet-cookie: a\r\nContent-Length: 0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 Fine\r\nX-oDD: 1\r\nSet-cookie: a\r\n"),
        "{answer}"
    );
}

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nMenshen-Token: forged\r\nX-Request-Id: forged\r\nConnection: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn interim_answers_reach_those_who_know_them() {
    let answer = got(&format!("{HINTS}{OK}")).await;
    let expected =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(answer.starts_with(expected), "{answer}");
    let answer = answered("GET /x HTTP/1.0", &format!("{HINTS}{OK}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("103"), "{answer}");
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let answer = got(&HINTS.repeat(1000)).await;
    assert!(answer.contains("\r\n\r\nHTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn interim_answers_take_64_kib_together_at_the_most() {
    let long = format!(
        "HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n",
        "x".repeat(30_000)
    );
    for (heads, status) in [(2, "200"), (3, "502")] {
        let answer = got(&format!("{}{OK}", long.repeat(heads))).await;
        let last = answer.rsplit_once("\r\n\r\nHTTP/1.1 ").unwrap().1;
        assert_eq!(last.get(..3), Some(status), "{heads}");
    }
}

#[tokio::test]
async fn a_head_of_more_than_256_kib_is_no_answer() {
    for (length, status) in [(250_000, "200"), (300_000, "502")] {
        let long = "x".repeat(length);
        let head = format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 0\r\n\r\n");
        let answer = got(&head).await;
        assert_eq!(answer.get(9..12), Some(status), "{length}");
    }
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_no_answer() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nsecret";
    let answer = got(head).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(!answer.contains("secret"), "{answer}");
}

#[tokio::test]
async fn trailers_reach_the_client_without_names_that_are_ours() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\
                  Menshen-Token: forged\r\nX-Request-Id: forged\r\nContent-Length: 9\r\n\r\n";
    let answer = got(answer).await;
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn trailers_that_are_too_large_break_the_answer_off() {
    let trailers = format!("X: {}\r\n", "x".repeat(1000)).repeat(100);
    let answer = got(&format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{trailers}\r\n"
    ))
    .await;
    assert!(answer.contains("2\r\nok\r\n"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_second_answer_is_nobodys() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, PATIENT).await;
    let mut client = Wire::connect(t.address).await;
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server.send(format!("{OK}{OK}")).await;
    assert!(client.message().await.ends_with("ok"));
    // The connection with an answer too many serves nobody else.
    client.send("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut second = backend.accept().await;
    assert!(second.read_to("\r\n\r\n").await.starts_with("GET /2 "));
    second.send(OK.replace("ok", "no")).await;
    assert!(client.message().await.ends_with("no"));
}

#[tokio::test]
async fn an_early_answer_ends_the_exchange_and_its_body_goes_no_further() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, PATIENT).await;
    let mut client = Wire::connect(t.address).await;
    client
        .send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nbegin")
        .await;
    let mut server = backend.accept().await;
    server.read_to("begin").await;
    server
        .send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        .await;
    assert!(client.message().await.starts_with("HTTP/1.1 413 "));
    client
        .send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    // Neither does the server get the rest, nor is it read as a request of its own.
    assert_eq!(server.rest().await, "");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_answer() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, PATIENT).await;
    let mut client = Wire::connect(t.address).await;
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (_, mut stream) = client.into_parts();
    tokio::io::AsyncWriteExt::shutdown(&mut stream)
        .await
        .unwrap();
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server.send(OK).await;
    assert!(Wire::of(stream).rest().await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn an_empty_line_behind_a_body_ends_no_connection() {
    let t = TestGateway::start().await;
    for pieces in [
        &["hi\r\n"][..],
        &["hi", "\r\n"],
        &["hi\r", "\n"],
        &["hi", "\r", "\n"],
    ] {
        let mut client = Wire::connect(t.address).await;
        let head = "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";
        client.send(head).await;
        for piece in pieces {
            client.send(piece).await;
        }
        assert!(
            client.message().await.starts_with("HTTP/1.1 200 "),
            "{pieces:?}"
        );
        client
            .send("GET /public/b HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        assert!(
            client.message().await.starts_with("HTTP/1.1 200 "),
            "{pieces:?}"
        );
        assert_eq!(t.upstream.last().target, "/public/b");
    }
}

#[tokio::test]
async fn a_connection_that_ends_because_more_came_too_early_says_so() {
    let t = TestGateway::start().await;
    let mut client = Wire::connect(t.address).await;
    let request = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n";
    client.send(request.repeat(2)).await;
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{answers}");
    assert!(answers.contains("\r\nConnection: close\r\n"), "{answers}");
}
