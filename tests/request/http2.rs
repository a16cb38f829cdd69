//! HTTP/2 without TLS: many requests of many users on one connection, before a backend that speaks HTTP/1.1.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use h2::client::{SendRequest, handshake};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use menshen_test_support::{ByHand, PREFACE, Reply, SETTINGS, TestGateway, Wire};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A connection, and what drives it until it ends.
struct Connection {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Connection {
    async fn open(t: &TestGateway) -> Self {
        let stream = TcpStream::connect(t.address).await.unwrap();
        let (requests, connection) = handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        Self { requests, driver }
    }

    /// Starts a request whose body is still to come.
    async fn start(&self, request: Request<()>) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut ready = self.requests.clone().ready().await.unwrap();
        ready.send_request(request, false).unwrap()
    }

    /// Sends a request without a body and reads the response.
    /// Sends a request without a body, and returns the server's side of it too.
    async fn ask(&self, backend: &ByHand) -> (h2::client::ResponseFuture, Wire) {
        let mut ready = self.requests.clone().ready().await.unwrap();
        let (response, _) = ready.send_request(request("GET", "/x", &[]), true).unwrap();
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        (response, server)
    }

    async fn get(&self, target: &str, lines: &[(&str, &str)]) -> Result<(u16, Bytes), h2::Error> {
        let mut ready = self.requests.clone().ready().await?;
        let (response, _) = ready.send_request(request("GET", target, lines), true)?;
        read(response.await?).await
    }
}

fn request(method: &str, target: &str, lines: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://shop.example{target}"));
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

async fn read(response: Response<RecvStream>) -> Result<(u16, Bytes), h2::Error> {
    let status = response.status().as_u16();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    Ok((status, body.into()))
}

/// A client that speaks nothing but HTTP/2.
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().http2_prior_knowledge();
    builder.no_proxy().build().unwrap()
}

#[tokio::test]
async fn streams_of_many_users_on_one_connection_keep_their_own_identity() {
    let t = TestGateway::start().await;
    let mut users = Vec::new();
    for n in 0..8 {
        let grant = t.log_in(&format!("user-{n}")).await;
        let shown = t.get_as("/_auth/session", &grant.token).await.json();
        let openid = shown["openid"].as_str().unwrap().to_owned();
        users.push((format!("Bearer {}", grant.token), openid));
    }
    let connection = Connection::open(&t).await;
    let all = (0..160_usize).map(|n| {
        let (connection, users) = (&connection, &users);
        async move {
            let lines = users
                .get(n % 10)
                .map(|(bearer, _)| ("authorization", bearer.as_str()));
            let target = format!("/optional/{n}");
            connection.get(&target, lines.as_slice()).await.unwrap()
        }
    });
    let answers: Vec<_> = stream::iter(all).buffer_unordered(40).collect().await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    for received in t.upstream.received() {
        let n: usize = received
            .target
            .trim_start_matches("/optional/")
            .parse()
            .unwrap();
        let expected = users.get(n % 10).map(|(_, openid)| openid.as_str());
        assert_eq!(received.only("x-wx-openid"), expected, "{}", received.head);
    }
    assert_eq!(t.upstream.requests(), 160);
}

#[tokio::test]
async fn the_authority_becomes_the_host() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    connection.get("/public/x?y", &[]).await.unwrap();
    let received = t.upstream.last();
    assert!(received.head.starts_with("GET /public/x?y HTTP/1.1\r\n"));
    assert_eq!(received.only("host"), Some("shop.example"));
    assert_eq!(received.only("x-forwarded-host"), Some("shop.example"));
    assert!(
        received
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with(':'))
    );
    let same = [("host", "shop.example")];
    assert_eq!(connection.get("/public", &same).await.unwrap().0, 200);
    assert_eq!(t.upstream.last().all("host"), ["shop.example"]);
}

#[tokio::test]
async fn a_host_that_disagrees_with_the_authority_is_refused() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    let refused = |(status, body): (u16, Bytes)| {
        status == 400 && body.starts_with(b"{\"error\":\"bad_request\",")
    };
    let answer = connection.get("/public", &[("host", "other.example")]);
    assert!(refused(answer.await.unwrap()));
    let named = Request::get("http://user@shop.example/public").body(());
    let mut ready = connection.requests.clone().ready().await.unwrap();
    let (answer, _) = ready.send_request(named.unwrap(), true).unwrap();
    assert!(refused(read(answer.await.unwrap()).await.unwrap()));
    assert_eq!(t.upstream.requests(), 0);
    assert_eq!(connection.get("/public", &[]).await.unwrap().0, 200);
}

/// Writes a request without a body that no client of HTTP/2 would send.
async fn send_by_hand(wire: &mut Wire, stream: u8, path: &str) {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", path),
    ] {
        // A literal that is in no table.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).unwrap();
    // HEADERS, with END_HEADERS and END_STREAM.
    let frame = [0, 0, length, 1, 5, 0, 0, 0, stream];
    wire.send([&frame[..], &block].concat()).await;
}

#[tokio::test]
async fn a_fragment_neither_decides_nor_reaches_a_backend() {
    let t = TestGateway::start().await;
    let mut wire = Wire::connect(t.address).await;
    wire.send([PREFACE, SETTINGS].concat()).await;
    send_by_hand(&mut wire, 1, "/private#/../public").await;
    send_by_hand(&mut wire, 3, "/public/x#/../../private").await;
    t.upstream.arrived(1).await;
    send_by_hand(&mut wire, 5, "/public/y?z#a").await;
    t.upstream.arrived(2).await;
    let targets: Vec<_> = t
        .upstream
        .received()
        .into_iter()
        .map(|r| r.target)
        .collect();
    assert_eq!(targets, ["/public/x", "/public/y?z"]);
}

#[tokio::test]
async fn the_host_decides_the_route() {
    let routes = "[[route]]\npath = \"/\"\nupstream = \"api\"\nauth = \"public\"\nhost = \"shop.example\"\n\
                  [[route]]\npath = \"/\"\nupstream = \"api\"\n";
    let t = TestGateway::builder().routes(routes).start().await;
    let connection = Connection::open(&t).await;
    assert_eq!(connection.get("/", &[]).await.unwrap().0, 200);
    let mut ready = connection.requests.clone().ready().await.unwrap();
    let other = Request::get("http://other.example/").body(()).unwrap();
    let (response, _) = ready.send_request(other, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 401);
}

#[tokio::test]
async fn cookies_that_came_apart_are_put_together() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    connection.get("/public", &crumbs).await.unwrap();
    assert_eq!(t.upstream.last().all("cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn a_path_that_two_parties_could_read_differently_is_refused() {
    let routes = "[[route]]\npath = \"/\"\nupstream = \"api\"\nauth = \"public\"\n\
                  [[route]]\npath = \"/admin\"\nupstream = \"api\"\n";
    let t = TestGateway::builder().routes(routes).start().await;
    let connection = Connection::open(&t).await;
    for target in [
        "/public/../admin",
        "/./admin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "/public%5c..%5cadmin",
        "/public/..;/admin",
        "//admin",
        "/admin;x",
        "/;/admin",
        "/x%00",
        "/%c0%af",
        "/%ff",
        "/x%",
    ] {
        let (status, body) = connection.get(target, &[]).await.unwrap();
        assert_eq!(status, 400, "{target}");
        assert!(
            body.starts_with(b"{\"error\":\"path_ambiguous\""),
            "{body:?}"
        );
    }
    for target in ["/admin", "/%61dmin/x", "/admin?/public"] {
        assert_eq!(
            connection.get(target, &[]).await.unwrap().0,
            401,
            "{target}"
        );
    }
    assert_eq!(t.upstream.requests(), 0);
    connection.get("/%61bc", &[]).await.unwrap();
    assert_eq!(t.upstream.last().target, "/abc");
}

#[tokio::test]
async fn a_value_that_begins_or_ends_with_a_space_is_refused() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    for value in [" a", "a ", "\ta", "a\t", " "] {
        let (status, _) = connection
            .get("/public", &[("x-value", value)])
            .await
            .unwrap();
        assert_eq!(status, 400, "{value:?}");
    }
    assert_eq!(t.upstream.requests(), 0);
    let (status, _) = connection
        .get("/public", &[("x-value", "a b")])
        .await
        .unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_declared_body_that_never_comes_is_refused_before_the_backend_sees_it() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    let withheld = request("POST", "/withheld", &[("content-length", "5")]);
    let mut requests = connection.requests.clone().ready().await.unwrap();
    let (response, _) = requests.send_request(withheld, true).unwrap();
    // The refusal is an answer, or the stream's reset.
    if let Ok(response) = response.await {
        assert_eq!(response.status(), 400);
    }
    let (answer, ()) = tokio::join!(connection.get("/next", &[]), async {
        let mut server = backend.accept().await;
        let head = server.read_to("\r\n\r\n").await;
        assert!(head.starts_with("GET /next "), "{head}");
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    });
    assert_eq!(answer.unwrap().0, 200);
}

#[tokio::test]
async fn an_empty_last_part_ends_the_body_once() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    // A backend that has answered twice on a connection is known to keep them.
    let twice = async {
        let mut wire = backend.accept().await;
        for line in ["", "Connection: close\r\n"] {
            wire.read_to("\r\n\r\n").await;
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{line}\r\n"
            ))
            .await;
        }
    };
    let asked = async {
        for _ in 0..2 {
            assert_eq!(connection.get("/kept", &[]).await.unwrap().0, 200);
        }
    };
    tokio::join!(asked, twice);
    for parts in [&[""][..], &["", ""], &["part", ""]] {
        let (response, mut body) = connection.start(request("POST", "/one", &[])).await;
        let (last, first) = parts.split_last().unwrap();
        for part in first {
            body.send_data(Bytes::copy_from_slice(part.as_bytes()), false)
                .unwrap();
        }
        let mut wire = backend.accept().await;
        wire.read_to("\r\n\r\n").await;
        body.send_data(Bytes::copy_from_slice(last.as_bytes()), true)
            .unwrap();
        wire.read_to("0\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(read(response.await.unwrap()).await.unwrap().0, 200);
        // Nothing but the next request follows on the kept connection.
        let next = connection.get("/two", &[]);
        let answered = async {
            let head = wire.read_to("\r\n\r\n").await;
            assert!(head.starts_with("GET /two HTTP/1.1\r\n"), "{head:?}");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        };
        let (next, ()) = tokio::join!(next, answered);
        assert_eq!(next.unwrap().0, 200);
    }
}

#[tokio::test]
async fn trace_and_connect_are_refused() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    for request in [
        request("TRACE", "/public", &[]),
        Request::connect("shop.example:443").body(()).unwrap(),
    ] {
        let mut ready = connection.requests.clone().ready().await.unwrap();
        let (response, _) = ready.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        let (status, body) = read(response).await.unwrap();
        assert_eq!(status, 405);
        assert!(
            body.starts_with(b"{\"error\":\"method_not_allowed\","),
            "{body:?}"
        );
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn limits_hold_and_the_connection_goes_on() {
    let t = TestGateway::configure_server("max_header = \"2KiB\"\nmax_body = \"1KiB\"")
        .start()
        .await;
    let connection = Connection::open(&t).await;
    let long = "a".repeat(3000);
    let (status, body) = connection.get("/public", &[("x", &long)]).await.unwrap();
    assert_eq!(status, 431);
    assert!(
        body.starts_with(b"{\"error\":\"headers_too_large\""),
        "{body:?}"
    );
    let (response, mut sending) = connection.start(request("POST", "/public", &[])).await;
    sending.send_data(vec![b'a'; 1025].into(), false).unwrap();
    assert_eq!(response.await.unwrap().status(), 413);
    let declared = [("content-length", "1025")];
    let (response, _sending) = connection
        .start(request("POST", "/public", &declared))
        .await;
    assert_eq!(response.await.unwrap().status(), 413);
    assert_eq!(t.upstream.requests(), 0);
    assert_eq!(connection.get("/public", &[]).await.unwrap().0, 200);
}

#[tokio::test]
async fn the_host_is_a_part_of_the_head() {
    let t = TestGateway::configure_server("max_header = \"1KiB\"")
        .start()
        .await;
    let connection = Connection::open(&t).await;
    for (length, status) in [(500, 200), (1_100, 431)] {
        let uri = format!("http://{}/public", "h".repeat(length));
        let mut ready = connection.requests.clone().ready().await.unwrap();
        let request = Request::get(uri).body(()).unwrap();
        let (response, _) = ready.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), status, "{length}");
    }
}

#[tokio::test]
async fn a_head_has_no_more_lines_than_over_http_1() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    // The host is a line of HTTP/1.
    for (lines, status) in [(255, 200), (257, 431)] {
        let lines = vec![("x-line", "1"); lines];
        let answer = connection.get("/_auth/jwks.json", &lines).await;
        assert_eq!(answer.unwrap().0, status);
    }
}

#[tokio::test]
async fn a_client_that_still_uploads_reads_its_refusal() {
    let t = TestGateway::configure_server("max_body = \"1MiB\"")
        .start()
        .await;
    let client = client();
    for (path, status) in [("/private", 401), ("/public", 413), ("/_auth/login", 413)] {
        let request = client.post(t.url(path)).body(vec![b'a'; 4 << 20]);
        assert_eq!(Reply::of(request).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_sends_half_a_body_is_cut_off() {
    let t = TestGateway::configure_server("client_timeout = \"200ms\"")
        .section("upstream", "read_timeout = \"200ms\"")
        .start()
        .await;
    let connection = Connection::open(&t).await;
    for path in ["/public", "/_auth/login"] {
        let (response, mut sending) = connection.start(request("POST", path, &[])).await;
        sending.send_data("{".into(), false).unwrap();
        let limit = std::time::Duration::from_secs(10);
        let answer = tokio::time::timeout(limit, response).await.unwrap();
        // pingora has no limit for reading from a stream; the one for the backend's answer stands in for it.
        let late = answer.map_or(true, |r| [408, 504].contains(&r.status().as_u16()));
        assert!(late, "{path}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn large_bodies_arrive_whole_in_both_directions() {
    let body: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let t = TestGateway::start().await;
    Reply::of(client().post(t.url("/public")).body(body.clone())).await;
    assert!(t.upstream.last().body == body);

    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let (reply, ()) = tokio::join!(Reply::of(client().get(t.url("/x"))), async {
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        server.send(head).await;
        server.send(&body).await;
    });
    assert!(reply.body == body);
}

#[tokio::test]
async fn a_stream_that_is_reset_frees_the_backend_and_no_other_stream() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    let (response, sending) = connection.start(request("POST", "/left", &[])).await;
    let mut left = backend.accept().await;
    left.read_to("\r\n\r\n").await;
    drop((response, sending));
    let rest = left.rest().await;
    assert!(!rest.contains('0'), "the body was ended: {rest:?}");
    let (answer, ()) = tokio::join!(connection.get("/other", &[]), async {
        let mut server = backend.accept().await;
        server.read_to("\r\n\r\n").await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    });
    assert_eq!(answer.unwrap(), (200, Bytes::from("ok")));
}

#[tokio::test]
async fn a_body_flows_while_it_is_being_sent() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    let (response, mut sending) = connection.start(request("POST", "/x", &[])).await;
    sending.send_data("one".into(), false).unwrap();
    let mut server = backend.accept().await;
    server.read_to("one").await;
    sending.send_data("two".into(), true).unwrap();
    server.read_to("two").await;
    server.read_to("0\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\n\r\nthree").await;
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "three");
    drop(server);
    while let Some(part) = body.data().await {
        assert_eq!(part.unwrap(), "");
    }
}

#[tokio::test]
async fn answers_without_a_body_end_their_streams() {
    let t = TestGateway::start().await;
    let connection = Connection::open(&t).await;
    for target in ["/public", "/_auth/session", "/private"] {
        let mut ready = connection.requests.clone().ready().await.unwrap();
        let (response, _) = ready
            .send_request(request("HEAD", target, &[]), true)
            .unwrap();
        let (_, body) = read(response.await.unwrap()).await.unwrap();
        assert!(body.is_empty(), "{target}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let t = TestGateway::configure_server("keepalive = \"300ms\"")
        .start()
        .await;
    let connection = Connection::open(&t).await;
    assert_eq!(connection.get("/public", &[]).await.unwrap().0, 200);
    let limit = std::time::Duration::from_secs(10);
    let ended = tokio::time::timeout(limit, connection.driver).await;
    assert!(ended.is_ok(), "the gateway should close it");
}

#[tokio::test]
async fn what_came_of_a_response_before_it_broke_off_is_delivered() {
    const CAME: usize = 32_000;
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    let (response, mut server) = connection.ask(&backend).await;
    // All at once, with a chunk that is none behind it.
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CAME:x}\r\n");
    server
        .send(format!("{head}{}\r\nno chunk\r\n", "x".repeat(CAME)))
        .await;
    let mut body = response.await.unwrap().into_body();
    let mut came = 0;
    let end = loop {
        match body.data().await {
            Some(Ok(part)) => came += part.len(),
            Some(Err(error)) => break error.reason(),
            None => break None,
        }
    };
    assert_eq!((came, end), (CAME, Some(h2::Reason::INTERNAL_ERROR)));
}

#[tokio::test]
async fn a_head_is_delivered_although_its_body_is_malformed() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    let (response, mut server) = connection.ask(&backend).await;
    let head = "HTTP/1.1 429 Slow\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.send(format!("{head}no chunk\r\n")).await;
    let response = response.await.unwrap();
    assert_eq!(response.status(), 429);
    let end = response.into_body().data().await.unwrap().unwrap_err();
    assert_eq!(end.reason(), Some(h2::Reason::INTERNAL_ERROR));
}

// Some clients take a reset for a failure of the response before it.
#[tokio::test]
async fn a_short_body_behind_its_response_is_read_and_not_reset() {
    let backend = ByHand::start().await;
    let t = TestGateway::start_before(backend.address, "").await;
    let connection = Connection::open(&t).await;
    let mut ready = connection.requests.clone().ready().await.unwrap();
    let (response, mut body) = ready
        .send_request(request("POST", "/x", &[]), false)
        .unwrap();
    let mut server = backend.accept().await;
    server.read_to("\r\n\r\n").await;
    server
        .send("HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno")
        .await;
    assert_eq!(read(response.await.unwrap()).await.unwrap().0, 409);
    let is_reset = async |body: &mut SendStream<Bytes>| {
        // Whatever was sent before this answer is here then.
        let (status, _) = connection.get("/_auth/jwks.json", &[]).await.unwrap();
        assert_eq!(status, 200);
        poll_fn(|cx| Poll::Ready(body.poll_reset(cx).is_ready())).await
    };
    assert!(!is_reset(&mut body).await);
    // Its end is still to come, so that a reset would be seen.
    body.send_data(Bytes::from_static(b"late"), false).unwrap();
    assert!(!is_reset(&mut body).await);
}
