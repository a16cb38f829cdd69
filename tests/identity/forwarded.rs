//! What the backend is told about the client's address, scheme and host, and whose word counts for it.

use menshen_test_support::{
    ByHand, Received, Reply, TestGateway, find_free_port, raw, raw_request, status,
};

/// A gateway that believes these networks.
async fn trusting(networks: &str) -> TestGateway {
    let line = format!("trusted_proxies = [{networks}]");
    TestGateway::builder()
        .section("server", &line)
        .start()
        .await
}

/// Asks for something with these header lines, and returns what the backend received.
async fn received(t: &TestGateway, lines: &[(&str, &str)]) -> Received {
    let answer = raw_request(t.address, "GET /public", lines).await;
    assert_eq!(status(&answer), 200, "{answer}");
    t.upstream.last()
}

/// Every header by which a backend might learn about the client, as a stranger would forge it.
const FORGED: [(&str, &str); 13] = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("x_forwarded_for", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "6666"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-User", "evil"),
    ("X-Original-Forwarded-For", "6.6.6.6"),
    ("X.Original.Forwarded.For", "6.6.6.6"),
    ("X-Real-IP", "6.6.6.6"),
    ("X-Request-Id", "evil"),
    ("Forwarded", "for=6.6.6.6;host=evil.example"),
    ("X-Original-URL", "/evil"),
];

#[tokio::test]
async fn a_stranger_tells_the_backend_nothing() {
    let t = TestGateway::start().await;
    let received = received(&t, &FORGED).await;
    assert_eq!(received.only("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.only("x-original-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.only("x-forwarded-proto"), Some("http"));
    assert_eq!(received.only("x-forwarded-host"), received.only("host"));
    for forged in ["6.6.6.6", "evil", "6666"] {
        assert!(!received.head.contains(forged), "{}", received.head);
    }
}

#[tokio::test]
async fn a_peer_outside_the_trusted_networks_is_a_stranger() {
    let t = trusting("\"10.0.0.0/8\", \"127.0.0.2\", \"::1\"").await;
    let received = received(&t, &FORGED).await;
    assert_eq!(received.only("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.only("x-forwarded-proto"), Some("http"));
    assert!(!received.head.contains("evil"), "{}", received.head);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let t = trusting("\"127.0.0.0/8\"").await;
    let lines = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Request-Id", "from-the-edge_1.2"),
    ];
    let received = received(&t, &lines).await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
        ("x-original-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "from-the-edge_1.2"),
    ] {
        assert_eq!(received.only(name), Some(value), "{}", received.head);
    }
}

#[tokio::test]
async fn a_trusted_proxy_passes_on_no_other_names() {
    let t = trusting("\"127.0.0.0/8\"").await;
    let lines = [
        ("Forwarded", "for=6.6.6.6"),
        ("X-Forwarded-User", "evil"),
        ("X-Original-Forwarded-For", "6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
    ];
    let received = received(&t, &lines).await;
    assert_eq!(received.only("x-original-forwarded-for"), Some("127.0.0.1"));
    for forged in ["6.6.6.6", "evil"] {
        assert!(!received.head.contains(forged), "{}", received.head);
    }
}

#[tokio::test]
async fn the_client_is_the_right_most_hop_that_is_no_trusted_proxy() {
    let t = trusting("\"127.0.0.0/8\", \"10.0.0.0/8\", \"fd00::/8\"").await;
    for (said, client, chain) in [
        ("", "127.0.0.1", "127.0.0.1"),
        ("203.0.113.9", "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        (
            "6.6.6.6, 203.0.113.9, 10.1.2.3",
            "203.0.113.9",
            "203.0.113.9, 10.1.2.3, 127.0.0.1",
        ),
        (
            "6.6.6.6,203.0.113.9",
            "203.0.113.9",
            "203.0.113.9, 127.0.0.1",
        ),
        (
            "10.1.2.3, 10.1.2.4",
            "10.1.2.3",
            "10.1.2.3, 10.1.2.4, 127.0.0.1",
        ),
        (
            "2001:db8::1, fd00::2",
            "2001:db8::1",
            "2001:db8::1, fd00::2, 127.0.0.1",
        ),
        (
            "::ffff:203.0.113.9, ::ffff:10.1.2.3",
            "203.0.113.9",
            "203.0.113.9, 10.1.2.3, 127.0.0.1",
        ),
    ] {
        let received = received(&t, &[("X-Forwarded-For", said)]).await;
        let told = received.only("x-original-forwarded-for");
        assert_eq!(told, Some(client), "{said}");
        assert_eq!(received.only("x-forwarded-for"), Some(chain), "{said}");
    }
}

#[tokio::test]
async fn hops_on_several_lines_are_one_chain() {
    let t = trusting("\"127.0.0.0/8\", \"10.0.0.0/8\"").await;
    let lines = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-For", "10.1.2.3"),
    ];
    let received = received(&t, &lines).await;
    let chain = received.only("x-forwarded-for");
    assert_eq!(chain, Some("203.0.113.9, 10.1.2.3, 127.0.0.1"));
}

#[tokio::test]
async fn nothing_left_of_a_hop_that_cannot_be_read_counts() {
    let t = trusting("\"127.0.0.0/8\", \"10.0.0.0/8\"").await;
    for unreadable in [
        "unknown",
        "",
        "203.0.113.999",
        "203.0.113",
        "0x7f.1",
        "203.0.113.9 203.0.113.10",
        "_hidden",
        "localhost",
        "\u{e9}",
        "\"203.0.113.9\"",
        "203.0.113.9/32",
        "fe80::1%eth0",
    ] {
        let said = format!("6.6.6.6, {unreadable}, 10.1.2.3");
        let received = received(&t, &[("X-Forwarded-For", &said)]).await;
        let told = received.only("x-original-forwarded-for");
        assert_eq!(told, Some("10.1.2.3"), "{said}");
        let chain = received.only("x-forwarded-for");
        assert_eq!(chain, Some("10.1.2.3, 127.0.0.1"), "{said}");
    }
}

#[tokio::test]
async fn of_several_schemes_and_hosts_the_nearest_proxys_count() {
    let t = trusting("\"127.0.0.0/8\"").await;
    for (said, proto) in [
        ("http, https", "https"),
        ("https, http", "http"),
        ("https,javascript", "http"),
        ("HTTPS", "http"),
        ("", "http"),
    ] {
        let lines = [
            ("X-Forwarded-Proto", said),
            ("X-Forwarded-Host", "evil.example, shop.example"),
        ];
        let received = received(&t, &lines).await;
        assert_eq!(received.only("x-forwarded-proto"), Some(proto), "{said}");
        let host = received.only("x-forwarded-host");
        assert_eq!(host, Some("shop.example"));
    }
}

#[tokio::test]
async fn every_exchange_has_an_id_that_client_and_backend_see() {
    let t = TestGateway::start().await;
    let mut ids = Vec::new();
    for path in ["/public", "/public", "/private", "/_auth/session"] {
        let reply = Reply::of(t.get(path).header("x-request-id", "mine")).await;
        let id = reply.header("x-request-id").to_owned();
        assert_eq!(id.len(), 32, "{id}");
        if path == "/public" {
            assert_eq!(t.upstream.last().only("x-request-id"), Some(&*id));
        }
        if path == "/private" {
            assert_eq!(reply.json()["request_id"], id);
        }
        assert!(!ids.contains(&id));
        ids.push(id);
    }
}

#[tokio::test]
async fn a_backend_does_not_change_the_id() {
    let backend = ByHand::start().await;
    let upstream = format!(
        "[[upstream]]\nname = \"hand\"\nservers = [\"{}\"]\n",
        backend.address
    );
    let routes = "[[route]]\npath = \"/\"\nupstream = \"hand\"\nauth = \"public\"\n";
    let builder = TestGateway::builder().upstreams(&upstream).routes(routes);
    let t = builder.start().await;
    let (reply, head) = tokio::join!(Reply::of(t.get("/")), async {
        let mut server = backend.accept().await;
        let head = server.read_to("\r\n\r\n").await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Request-Id: the-backends\r\n\r\n")
            .await;
        head
    });
    assert_eq!(reply.headers.get_all("x-request-id").iter().count(), 1);
    assert!(head.contains(reply.header("x-request-id")), "{head}");
}

#[tokio::test]
async fn an_id_that_is_not_fit_for_a_log_is_replaced() {
    let t = trusting("\"127.0.0.0/8\"").await;
    let long = "a".repeat(129);
    for given in ["", "a b", "a;b", "a=b", "\u{e9}", "<a>", "a\tb", &long] {
        let received = received(&t, &[("X-Request-Id", given)]).await;
        let id = received.only("x-request-id").unwrap_or_default();
        assert_eq!(id.len(), 32, "{given:?} became {id:?}");
    }
}

#[tokio::test]
async fn a_client_on_ipv6_is_told_apart_like_any_other() {
    let listen = "listen = [\"[::1]:0\"]";
    let Ok(_) = std::net::TcpListener::bind("[::1]:0") else {
        return; // This machine has no IPv6.
    };
    let t = TestGateway::builder()
        .section("server", listen)
        .start()
        .await;
    let lines = [("X-Forwarded-For", "203.0.113.9")];
    let stranger = received(&t, &lines).await;
    assert_eq!(stranger.only("x-forwarded-for"), Some("::1"));
    assert_eq!(stranger.only("x-original-forwarded-for"), Some("::1"));
    let builder = TestGateway::builder().section("server", listen);
    let builder = builder.section("server", "trusted_proxies = [\"::1/128\"]");
    let t = builder.start().await;
    let trusted = received(&t, &lines).await;
    assert_eq!(trusted.only("x-forwarded-for"), Some("203.0.113.9, ::1"));
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_listener_has_its_ipv4_address() {
    let Ok(_) = std::net::TcpListener::bind("[::]:0") else {
        return; // This machine has no IPv6.
    };
    let builder = TestGateway::builder().section("server", "listen = [\"[::]:0\"]");
    let builder = builder.section("server", "trusted_proxies = [\"127.0.0.1\"]");
    let t = builder.start().await;
    let address = ([127, 0, 0, 1], t.address.port()).into();
    let request = "GET /public HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\
                   Connection: close\r\n\r\n";
    let answer = raw(address, request.as_bytes()).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let chain = t.upstream.last();
    assert_eq!(
        chain.only("x-forwarded-for"),
        Some("203.0.113.9, 127.0.0.1")
    );
}

#[tokio::test]
async fn one_port_of_both_families_is_served() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        return; // This machine has no IPv6.
    }
    let port = find_free_port();
    let listen = format!("listen = [\"0.0.0.0:{port}\", \"[::]:{port}\"]");
    let t = TestGateway::builder()
        .section("server", &listen)
        .start()
        .await;
    for (host, chain) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let address = format!("{host}:{port}").parse().unwrap();
        let request = b"GET /public HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answer = raw(address, request).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(t.upstream.last().only("x-forwarded-for"), Some(chain));
    }
}

#[tokio::test]
async fn an_empty_host_is_not_passed_on() {
    let t = TestGateway::start().await;
    let get = b"GET /public HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n";
    let answer = raw(t.address, get).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let received = t.upstream.last();
    assert_eq!(received.only("host"), Some("api"));
    assert_eq!(received.only("x-forwarded-host"), None);
}
