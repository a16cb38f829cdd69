//! Requests that two parties could read in two ways: nobody gets to read them.

use menshen_test_support::{Reply, TestGateway, Wire, raw, status};

/// A request with these header lines and body, `Host` and `Connection: close`.
fn post(lines: &[&str], body: &str) -> Vec<u8> {
    let mut text = "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n".to_owned();
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// A request with this first line and these bytes as its header lines.
fn head(first: &str, lines: &[u8]) -> Vec<u8> {
    let end = b"Connection: close\r\n\r\n";
    [first.as_bytes(), b"\r\n", lines, end].concat()
}

/// Asserts that each is refused, and that the backend sees nothing of it.
async fn all_refused(t: &TestGateway, requests: &[Vec<u8>]) {
    for request in requests {
        let answer = raw(t.address, request).await;
        let shown = String::from_utf8_lossy(request.get(..200).unwrap_or(request));
        assert!((400..500).contains(&status(&answer)), "{shown} {answer}");
        assert!(answer.contains("{\"error\":\""), "{shown} {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown} {answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

/// Asserts that each is refused with this code in our own shape.
async fn all_told(t: &TestGateway, code: &str, requests: &[Vec<u8>]) {
    let expected = format!("{{\"error\":\"{code}\",");
    for request in requests {
        let answer = raw(t.address, request).await;
        let shown = String::from_utf8_lossy(request);
        assert!(answer.contains(&expected), "{shown} {answer}");
    }
    all_refused(t, requests).await;
}

const CHUNKED: &str = "Transfer-Encoding: chunked";
const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn a_length_beside_chunks_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let requests = [
        post(&["Content-Length: 15", CHUNKED], HELLO),
        post(&[CHUNKED, "Content-Length: 15"], HELLO),
        post(&[CHUNKED, "content-LENGTH: 43"], smuggled),
        post(&["Content-Length: 0", CHUNKED], smuggled),
    ];
    all_told(&t, "bad_request", &requests).await;
}

#[tokio::test]
async fn a_length_that_is_not_one_number_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let lengths = [
        "+5",
        "-5",
        "5 5",
        "5, 6",
        "0x5",
        "5;x",
        "",
        "five",
        "5.0",
        "99999999999999999999999",
    ];
    for length in lengths {
        let line = format!("Content-Length: {length}");
        all_refused(&t, &[post(&[&line], "hello")]).await;
    }
    let twice = [
        post(&["Content-Length: 5", "Content-Length: 6"], "hello!"),
        post(&["Content-Length: 5", "Content-Length: -5"], "hello"),
    ];
    all_refused(&t, &twice).await;
    let same = [
        post(&["Content-Length: 5", "content-length: 5"], "hello"),
        post(&["Content-Length: 5, 5"], "hello"),
    ];
    all_told(&t, "bad_request", &same).await;
}

#[tokio::test]
async fn a_transfer_encoding_other_than_chunked_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    for coding in [
        "gzip",
        "identity",
        "chunked, gzip",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
        "chunk",
        "",
    ] {
        let line = format!("Transfer-Encoding: {coding}");
        all_refused(&t, &[post(&[&line], HELLO)]).await;
    }
    let requests = [
        post(&["Transfer-Encoding: gzip, chunked"], HELLO),
        post(&["Transfer-Encoding: chunked, chunked"], HELLO),
        post(&["Transfer-Encoding: , chunked"], HELLO),
        post(&[CHUNKED, CHUNKED], HELLO),
        post(&["Transfer-Encoding: gzip", CHUNKED], HELLO),
    ];
    all_told(&t, "bad_request", &requests).await;
    let old = b"POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    all_refused(&t, &[old.to_vec()]).await;
}

#[tokio::test]
async fn another_spelling_of_a_framing_header_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let requests = [
        post(&["Content_Length: 5"], ""),
        post(&["Content_Length: 0", "Content-Length: 5"], "hello"),
        post(&["Content-Length: 5", "content.length: 0"], "hello"),
        post(
            &["Transfer_Encoding: chunked", "Content-Length: 5"],
            "hello",
        ),
    ];
    all_told(&t, "bad_request", &requests).await;
}

#[tokio::test]
async fn what_follows_another_spelling_of_a_framing_header_is_not_read() {
    let t = TestGateway::builder().make_public().start().await;
    for line in ["Transfer_Encoding: chunked", "content.length: 50"] {
        let mut wire = Wire::connect(t.address).await;
        let refused = format!("POST /x HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
        wire.send(refused).await;
        assert_eq!(status(&wire.message().await), 400, "{line}");
        wire.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(wire.rest().await, "", "{line}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn chunks_that_are_malformed_never_make_a_request() {
    let t = TestGateway::builder().make_public().start().await;
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello6\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "hello\r\n0\r\n\r\n",
        "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        ";a\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;a\nGET /smuggled\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n \r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
    ] {
        let answer = raw(t.address, &post(&[CHUNKED], body)).await;
        assert_eq!(status(&answer), 400, "{body:?} {answer}");
        assert!(answer.contains("\"error\":\"bad_request\""), "{answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn what_comes_with_chunks_beside_the_body_is_ours_to_pass_on() {
    let t = TestGateway::builder().make_public().start().await;
    let body = "5;note=\"x\"\r\nhello\r\n0\r\nX-WX-OPENID: victim\r\nX-Other: x\r\n\r\n";
    let answer = raw(t.address, &post(&[CHUNKED], body)).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(t.upstream.last().body, b"hello");
    // A trailer goes on, unless its name is ours.
    assert_eq!(t.upstream.last().trailers, ["x-other: x"]);
}

#[tokio::test]
async fn a_malformed_header_section_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let lines: &[&[u8]] = &[
        b"Host: h\r\nX-A: a\r\n b\r\n",
        b"Host: h\r\nX-A: a\r\n\tb\r\n",
        b" X-A: a\r\nHost: h\r\n",
        b"Host: h\r\nX-A: a\rX-B: b\r\n",
        b"Host: h\r\nX-A: a\0b\r\n",
        b"Host: h\r\nX-A: a\x01b\r\n",
        b"Host: h\r\nX-A: a\x7fb\r\n",
        b"Host: h\r\nX-A : a\r\n",
        b"Host: h\r\nX-A\t: a\r\n",
        b"Host: h\r\nX A: a\r\n",
        b"Host: h\r\nX\0A: a\r\n",
        b"Host: h\r\nX\xe9A: a\r\n",
        b"Host: h\r\nX(A): a\r\n",
        b"Host: h\r\n: a\r\n",
        b"Host: h\r\nnothing\r\n",
    ];
    let requests: Vec<_> = lines.iter().map(|l| head("GET /x HTTP/1.1", l)).collect();
    all_refused(&t, &requests).await;
}

#[tokio::test]
async fn a_request_for_no_host_or_for_two_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    for lines in [
        "Host: h\r\nHost: h\r\n",
        "Host: h\r\nhOST: other\r\n",
        "Host: user@h\r\n",
    ] {
        all_refused(&t, &[head("GET /x HTTP/1.1", lines.as_bytes())]).await;
    }
    let hosts = [
        "h, other", "h/x", "h:80:80", "h:x", "h\\x", "[::1", "h h", "[[[]", "[]", "[::1]x",
        "h:999999", "h:-1",
    ];
    let mut requests: Vec<_> = hosts
        .iter()
        .map(|host| head("GET /x HTTP/1.1", format!("Host: {host}\r\n").as_bytes()))
        .collect();
    requests.push(head("GET /x HTTP/1.1", b""));
    requests.push(head("GET http://h/x HTTP/1.1", b""));
    all_told(&t, "bad_request", &requests).await;
}

#[tokio::test]
async fn a_target_that_is_not_a_path_here_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let get = |target: &str| head(&format!("GET {target} HTTP/1.1"), b"Host: h\r\n");
    let requests = ["*", "x", "h:80", "ftp://h/x"].map(get);
    all_told(&t, "bad_request", &requests).await;
    let requests = [
        "http://other/x",
        "http://h:81/x",
        "http://user@h/x",
        "http://user:secret@h/x",
        "http:///x",
        "http://h\\@other/x",
        "http:/x",
    ]
    .map(get);
    all_refused(&t, &requests).await;
}

#[tokio::test]
async fn an_absolute_target_without_a_path_or_with_the_usual_port_is_forwarded() {
    let t = TestGateway::builder().make_public().start().await;
    for (target, expected) in [
        ("http://h", "/"),
        ("http://h?x=1", "/?x=1"),
        ("http://h:80/", "/"),
        ("http://h:80/y", "/y"),
    ] {
        let first = format!("GET {target} HTTP/1.1");
        let answer = raw(t.address, &head(&first, b"Host: h\r\n")).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(t.upstream.last().target, expected);
    }
}

#[tokio::test]
async fn a_higher_minor_version_is_read_as_the_highest_known_one() {
    let t = TestGateway::builder().make_public().start().await;
    let answer = raw(t.address, &head("GET /x HTTP/1.2", b"Host: h\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn control_characters_in_the_target_are_refused() {
    let t = TestGateway::builder().make_public().start().await;
    for target in ["/x\0y", "/x\ty", "/x\ry", "/x\u{b}y", "/x\u{7f}"] {
        let request = head(&format!("GET {target} HTTP/1.1"), b"Host: h\r\n");
        all_told(&t, "path_ambiguous", &[request]).await;
    }
    let bytes = b"GET /\xc0\xaf HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    all_refused(&t, &[bytes.to_vec()]).await;
}

#[tokio::test]
async fn another_version_of_http_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    for first in [
        "GET /x",
        "GET /x HTTP/0.9",
        "GET /x HTTP/1.10",
        "GET /x HTTP/2.0",
        "GET /x http/1.1",
        "GET /x HTTP/1.1 x",
        "GET\t/x\tHTTP/1.1",
        " GET /x HTTP/1.1",
        "G@T /x HTTP/1.1",
        "/x",
    ] {
        all_refused(&t, &[head(first, b"Host: h\r\n")]).await;
    }
    all_refused(&t, &[b"GET /x\r\n".to_vec()]).await;
}

#[tokio::test]
async fn trace_and_connect_are_refused() {
    let t = TestGateway::builder().make_public().start().await;
    for first in [
        "TRACE /x HTTP/1.1",
        "CONNECT h:443 HTTP/1.1",
        "CONNECT /x HTTP/1.1",
    ] {
        let answer = raw(t.address, &head(first, b"Host: h\r\n")).await;
        assert_eq!(status(&answer), 405, "{first}: {answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_head_of_megabytes_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let long = "a".repeat(2_000_000);
    let requests = [
        head(&format!("GET /{long} HTTP/1.1"), b"Host: h\r\n"),
        head(
            "GET / HTTP/1.1",
            format!("Host: h\r\nX: {long}\r\n").as_bytes(),
        ),
        head(
            "GET / HTTP/1.1",
            format!("Host: h\r\n{long}: x\r\n").as_bytes(),
        ),
        format!("GET /{long}").into_bytes(),
        long.into_bytes(),
    ];
    all_refused(&t, &requests).await;
    let many = format!("Host: h\r\n{}", "X: x\r\n".repeat(1000));
    all_refused(&t, &[head("GET / HTTP/1.1", many.as_bytes())]).await;
}

#[tokio::test]
async fn two_credentials_are_refused_even_where_none_is_needed() {
    let t = TestGateway::builder().make_public().start().await;
    let twice = b"Host: h\r\nAuthorization: Bearer a\r\nauthorization: Bearer a\r\n";
    for target in ["/x", "/_auth/jwks.json"] {
        let first = format!("GET {target} HTTP/1.1");
        all_told(&t, "token_ambiguous", &[head(&first, twice)]).await;
    }
}

#[tokio::test]
async fn line_ends_without_a_carriage_return_are_refused() {
    let t = TestGateway::builder().make_public().start().await;
    let bare = "POST /x HTTP/1.1\nHost: h\nX-A: a\nContent-Length: 5\nConnection: close\n\nhello";
    let mixed = bare.replacen('\n', "\r\n", 2);
    for request in [bare, &mixed] {
        let answer = raw(t.address, request.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn an_absolute_target_that_agrees_is_forwarded_as_a_path() {
    let t = TestGateway::builder().make_public().start().await;
    for target in ["http://h:81/x?y=http://z", "https://h:81/x?y=http://z"] {
        let first = format!("GET {target} HTTP/1.1");
        let answer = raw(t.address, &head(&first, b"Host: h:81\r\n")).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let received = t.upstream.last();
        assert_eq!(received.target, "/x?y=http://z");
        assert_eq!(received.only("host"), Some("h:81"));
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_may_be_spelled_in_another_case() {
    let t = TestGateway::builder().make_public().start().await;
    for target in ["http://H/x", "HTTP://h/x"] {
        let first = format!("GET {target} HTTP/1.1");
        let answer = raw(t.address, &head(&first, b"hOST: h\r\n")).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let received = t.upstream.last();
        assert_eq!(
            (&*received.target, received.only("host")),
            ("/x", Some("h"))
        );
    }
}

#[tokio::test]
async fn what_no_url_holds_is_refused_in_our_words_or_has_one_form() {
    let t = TestGateway::builder().make_public().start().await;
    let get = |target: &str| head(&format!("GET {target} HTTP/1.1"), b"Host: h\r\n");
    all_told(&t, "bad_request", &["/?\"", "/?<", "/?a=>"].map(get)).await;
    all_told(&t, "path_ambiguous", &["/<", "/>x", "/`"].map(get)).await;
    for target in ["/\"[]^{|}", "/%22%5b%5d%5e%7b%7c%7d"] {
        let answer = raw(t.address, &get(target)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(t.upstream.last().target, "/%22%5B%5D%5E%7B%7C%7D");
    }
}

#[tokio::test]
async fn a_fragment_is_refused() {
    let t = TestGateway::builder().make_public().start().await;
    for target in ["/x#y", "/x?y#z", "/x#/../y", "/#"] {
        let first = format!("GET {target} HTTP/1.1");
        let answer = raw(t.address, &head(&first, b"Host: h\r\n")).await;
        assert_eq!(status(&answer), 400, "{target}: {answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let t = TestGateway::builder().make_public().start().await;
    let answer = raw(t.address, b"GET /x HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"));
    assert_eq!(t.upstream.last().only("host"), Some("h"));
    // Health checks of load balancers look like this.
    let answer = raw(t.address, b"GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&answer), 200, "{answer}");
    // Nobody said a host: the backend gets the upstream's name and not an empty line.
    assert_eq!(t.upstream.last().only("host"), Some("api"));
}

#[tokio::test]
async fn an_empty_line_before_a_request_is_overlooked() {
    let t = TestGateway::builder().make_public().start().await;
    let request = [b"\r\n", &head("GET /x HTTP/1.1", b"Host: h\r\n")[..]].concat();
    assert_eq!(status(&raw(t.address, &request).await), 200);
    assert_eq!(Reply::of(t.get("/y")).await.status, 200);
}
