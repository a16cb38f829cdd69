//! What is too large, too slow or out of reach is refused, and how the client is told.

use menshen_test_support::{ByHand, Reply, TestGateway, Upstream, Wire, find_closed_address};

fn refused(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let t = TestGateway::configure_server("max_header = \"2KiB\"")
        .make_public()
        .start()
        .await;
    let with = |bytes: usize| t.get("/x").header("x", "a".repeat(bytes));
    assert_eq!(Reply::of(with(1500)).await.status, 200);
    let reply = Reply::of(with(2049)).await;
    assert_eq!(reply.refusal(), refused(431, "headers_too_large"));
    let many = (0..150).fold(t.get("/x"), |request, n| {
        request.header(format!("x-{n}"), "0123456789")
    });
    assert_eq!(Reply::of(many).await.status, 431);
    let long = Reply::of(t.get(&format!("/{}", "a".repeat(2048)))).await;
    assert_eq!(long.status, 431);
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let t = TestGateway::configure_server("max_body = \"1KiB\"")
        .make_public()
        .start()
        .await;
    for (length, status) in [(1024, 200), (1025, 413), (u64::MAX / 4, 413)] {
        let mut wire = Wire::connect(t.address).await;
        let head = format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        wire.send(head).await;
        if status == 200 {
            wire.send("a".repeat(1024)).await;
        }
        let answer = wire.message().await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{answer}");
        assert!(status == 200 || answer.contains("\"error\":\"body_too_large\""));
    }
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn a_body_in_chunks_is_counted() {
    let t = TestGateway::configure_server("max_body = \"1KiB\"")
        .make_public()
        .start()
        .await;
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = format!("400\r\n{}\r\n", "a".repeat(0x400));
    let mut wire = Wire::connect(t.address).await;
    wire.send(format!("{head}{whole}0\r\n\r\n")).await;
    assert!(wire.message().await.starts_with("HTTP/1.1 200"));
    let mut wire = Wire::connect(t.address).await;
    wire.send(format!("{head}{whole}1\r\na\r\n")).await;
    let answer = wire.message().await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"error\":\"body_too_large\""), "{answer}");
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn a_route_has_its_own_limit_for_bodies() {
    let route = |path: &str, more: &str| {
        format!("[[route]]\npath = \"{path}\"\nupstream = \"api\"\nauth = \"public\"\n{more}\n")
    };
    let routes = [
        route("/", ""),
        route("/more", "max_body = \"4KiB\""),
        route("/none", "max_body = \"0B\""),
    ];
    let builder = TestGateway::configure_server("max_body = \"1KiB\"").routes(&routes.concat());
    let t = builder.start().await;
    for (path, bytes, status) in [
        ("/", 2048, 413),
        ("/more", 2048, 200),
        ("/more", 4097, 413),
        ("/none", 1, 413),
        ("/none", 0, 200),
    ] {
        let reply = Reply::of(t.request("POST", path).body(vec![b'a'; bytes])).await;
        assert_eq!(reply.status, status, "{path} {bytes}");
    }
}

#[tokio::test]
async fn a_client_that_sends_half_a_head_is_cut_off() {
    let t = TestGateway::configure_server("client_timeout = \"200ms\"")
        .make_public()
        .start()
        .await;
    for half in ["", "GET /x HTTP/1.1\r\nHo", "PRI * HTTP/2.0\r\n"] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(half).await;
        assert_eq!(wire.rest().await, "", "{half:?}");
    }
}

#[tokio::test]
async fn a_client_that_sends_half_a_head_on_a_used_connection_is_cut_off() {
    let t = TestGateway::configure_server("client_timeout = \"200ms\"\nkeepalive = \"1s\"")
        .make_public()
        .start()
        .await;
    let mut wire = Wire::connect(t.address).await;
    wire.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    wire.message().await;
    wire.send("GET /x HTTP/1.1\r\nHo").await;
    assert_eq!(wire.rest().await, "");
}

#[tokio::test]
async fn a_client_that_sends_half_a_body_is_told_that_it_is_late() {
    let t = TestGateway::configure_server("client_timeout = \"200ms\"")
        .make_public()
        .start()
        .await;
    for request in [
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST /_auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{",
    ] {
        let mut wire = Wire::connect(t.address).await;
        wire.send(request).await;
        let answer = wire.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{request}: {answer}");
        assert!(answer.contains("\"error\":\"request_timeout\""), "{answer}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_body_that_comes_slowly_but_steadily_is_waited_for() {
    let t = TestGateway::configure_server("client_timeout = \"1s\"\nmin_body_rate = \"1B\"")
        .make_public()
        .start()
        .await;
    let mut wire = Wire::connect(t.address).await;
    wire.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
        .await;
    for byte in ["h", "e", "l", "l", "o"] {
        wire.send(byte).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let answer = wire.message().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    for keepalive in ["1s", "10ms"] {
        let t = TestGateway::configure_server(&format!("keepalive = \"{keepalive}\""))
            .make_public()
            .start()
            .await;
        let mut wire = Wire::connect(t.address).await;
        for _ in 0..2 {
            wire.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
            assert!(wire.message().await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!(wire.rest().await, "", "{keepalive}");
    }
}

#[tokio::test]
async fn no_time_to_keep_a_connection_is_one_request_a_connection() {
    let t = TestGateway::configure_server("keepalive = \"0s\"")
        .make_public()
        .start()
        .await;
    let mut wire = Wire::connect(t.address).await;
    wire.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = wire.rest().await.to_lowercase();
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_backend_that_is_down_is_unreachable() {
    let (one, two) = (find_closed_address(), find_closed_address());
    for servers in [vec![one], vec![one, two]] {
        let t = TestGateway::builder()
            .public_upstream(&servers, "")
            .start()
            .await;
        for method in ["GET", "POST"] {
            let reply = Reply::of(t.request(method, "/x")).await;
            assert_eq!(reply.refusal(), refused(502, "upstream_unreachable"));
        }
    }
}

#[tokio::test]
async fn another_server_takes_over_from_one_that_is_down() {
    let live = Upstream::start().await;
    let (one, two) = (find_closed_address(), find_closed_address());
    let t = TestGateway::builder()
        .public_upstream(&[one, live.address, two], "")
        .start()
        .await;
    for n in 0..6 {
        let method = if n % 2 == 0 { "GET" } else { "POST" };
        let reply = Reply::of(t.request(method, "/x").body("hello")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(live.last().body, b"hello");
    }
    assert_eq!(live.requests(), 6);
}

#[tokio::test]
async fn servers_take_turns() {
    let one = Upstream::start().await;
    let two = Upstream::start().await;
    let t = TestGateway::builder()
        .public_upstream(&[one.address, two.address], "")
        .start()
        .await;
    for _ in 0..10 {
        Reply::of(t.get("/x")).await;
    }
    assert_eq!((one.requests(), two.requests()), (5, 5));
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_is_given_up() {
    let t = TestGateway::builder()
        .make_public()
        .section("upstream", "read_timeout = \"200ms\"")
        .start()
        .await;
    for method in ["GET", "POST"] {
        let reply = Reply::of(t.request(method, "/hang")).await;
        assert_eq!(reply.refusal(), refused(504, "upstream_timeout"));
    }
    assert_eq!(t.upstream.requests(), 2);
}

#[tokio::test]
async fn a_response_that_stalls_is_not_ended_as_if_it_were_whole() {
    let t = TestGateway::builder()
        .make_public()
        .section("upstream", "read_timeout = \"200ms\"")
        .start()
        .await;
    let response = t.get("/stream").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_of_the_backend() {
    let t = TestGateway::builder().make_public().start().await;
    for path in ["/close", "/garbage"] {
        for method in ["GET", "POST"] {
            let reply = Reply::of(t.request(method, path)).await;
            assert_eq!(reply.refusal(), refused(502, "upstream_error"), "{path}");
        }
    }
}

#[tokio::test]
async fn answers_that_could_be_read_in_two_ways_are_not_passed_on() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 99999 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let backend = ByHand::start().await;
        let t = TestGateway::start_before(backend.address, "").await;
        let serve = async {
            let mut wire = backend.accept().await;
            wire.message().await;
            wire.send(answer).await;
        };
        let (reply, ()) = tokio::join!(Reply::of(t.request("POST", "/x")), serve);
        assert_eq!(reply.refusal(), refused(502, "upstream_error"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_twice() {
    let t = TestGateway::builder().make_public().start().await;
    assert_eq!(Reply::of(t.request("POST", "/close")).await.status, 502);
    assert_eq!(t.upstream.requests(), 1);
    // On a connection that was used before, the backend may have closed it without reading.
    for _ in 0..2 {
        assert_eq!(Reply::of(t.get("/x")).await.status, 200);
    }
    let before = t.upstream.connections();
    let reply = Reply::of(t.request("POST", "/close").body("hello")).await;
    assert_eq!(reply.refusal(), refused(502, "upstream_error"));
    assert_eq!(
        (t.upstream.requests(), t.upstream.connections()),
        (4, before)
    );
}
