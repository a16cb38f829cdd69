//! Fields that only concern one connection, and trailers, neither take the gateway's headers away nor add any.

use menshen_test_support::{Grant, Received, Reply, TestGateway, folded, raw, raw_request, status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Header lines that carry a token and say this in `Connection`.
fn connection(grant: &Grant, values: &[&str]) -> Vec<(String, String)> {
    let bearer = format!("Bearer {}", grant.token);
    let values = values
        .iter()
        .map(|value| ("Connection", (*value).to_owned()));
    [("Authorization", bearer)]
        .into_iter()
        .chain(values)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Returns the names that a request's `Connection` takes away at the next hop.
fn named(received: &Received) -> Vec<String> {
    let lines = received.headers.iter();
    let lines = lines.filter(|(name, _)| folded(name) == "connection");
    lines
        .flat_map(|(_, value)| value.split(','))
        .map(|name| folded(name.trim()))
        .filter(|name| !["", "keep-alive", "close", "upgrade"].contains(&name.as_str()))
        .collect()
}

// The next proxy would take away what `Connection` names: Traefik's CVE-2024-45410.
#[tokio::test]
async fn connection_cannot_take_the_gateways_headers_away() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for values in [
        &["close, X-WX-OPENID, X-WX-SOURCE"][..],
        &["close", "X-WX-OPENID", "X-WX-SOURCE"],
        &["close,x_wx_openid,X.WX.SOURCE"],
        &[",, close ,\tx-wx-openid\t, ,X-Wx-Appid,"],
        &["X-MENSHEN-SESSION, x-menshen-app, close"],
        &["close, X-Original-Forwarded-For, X-WX-UNIONID"],
        &["close, X-Request-Id, Authorization"],
        &["close, Connection, X-WX-OPENID"],
        &["close, X-Forwarded-For, x-forwarded-proto, X_Forwarded_Host"],
    ] {
        let answer = raw_request(t.address, "GET /orders", &connection(&alice, values)).await;
        assert_eq!(status(&answer), 200, "{values:?}: {answer}");
        let received = t.upstream.last();
        assert_eq!(received.identity(), own, "{values:?}");
        for name in [
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
        ] {
            assert_eq!(received.aliases(name).len(), 1, "{name} {values:?}");
        }
        assert_eq!(named(&received), [""; 0], "{values:?}");
    }
}

#[tokio::test]
async fn connection_cannot_take_the_gateways_headers_away_while_it_is_kept_open() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for _ in 0..2 {
        let request = t.get("/orders").bearer_auth(&alice.token);
        let named_ones = "keep-alive, X-WX-OPENID, X-WX-SOURCE";
        let reply = Reply::of(request.header("connection", named_ones)).await;
        assert_eq!(reply.status, 200);
        let received = t.upstream.last();
        assert_eq!(
            (received.identity(), named(&received)),
            (own.clone(), vec![])
        );
    }
}

#[tokio::test]
async fn connection_cannot_take_a_renamed_header_away() {
    let t = TestGateway::builder()
        .section("headers", "[headers.rename]\nopenid = \"X-User-Id\"")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    raw_request(
        t.address,
        "GET /orders",
        &connection(&alice, &["close, X-User-Id, x_user_id"]),
    )
    .await;
    let received = t.upstream.last();
    assert_eq!(received.aliases("x-user-id").len(), 1);
    assert_eq!(named(&received), [""; 0]);
}

// Whoever forwarded these without what they name would hide who asked, or for which host.
#[tokio::test]
async fn connection_that_names_what_must_not_be_taken_away_is_refused() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    for value in [
        "close, host",
        "close, \"X-WX-OPENID\"",
        "close, X WX OPENID",
        "close, :path",
        "close, a, b, c, d, e, f, g, h, i, X-WX-OPENID",
    ] {
        let lines = connection(&alice, &[value]);
        let answer = raw_request(t.address, "GET /orders", &lines).await;
        assert_eq!(status(&answer), 400, "{value}: {answer}");
        assert!(answer.contains("\"bad_request\""), "{value}: {answer}");
        assert_eq!(t.upstream.requests(), 0, "{value}");
    }
}

#[tokio::test]
async fn connection_that_names_the_clients_own_field_takes_it_away() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let mut lines = connection(&alice, &["close, X-Private"]);
    lines.push(("X-Private".to_owned(), "1".to_owned()));
    raw_request(t.address, "GET /orders", &lines).await;
    assert!(t.upstream.last().all("x-private").is_empty());
}

#[tokio::test]
async fn fields_of_one_connection_stay_on_it() {
    let t = TestGateway::start().await;
    let lines = [
        ("Keep-Alive", "timeout=5, X-WX-OPENID"),
        ("Proxy-Connection", "X-WX-OPENID"),
        ("Proxy-Authorization", "Basic eA=="),
        ("TE", "trailers, X-WX-OPENID"),
        ("Trailer", "X-WX-OPENID"),
    ];
    let answer = raw_request(t.address, "GET /public", &lines).await;
    assert_eq!(status(&answer), 200, "{answer}");
    for (name, _) in lines {
        assert!(t.upstream.last().all(name).is_empty(), "{name}");
    }
}

fn chunked(path: &str, more: &str, trailers: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n{more}\r\n\
         5\r\nhello\r\n0\r\n{trailers}\r\n"
    )
    .into_bytes()
}

const TRAILERS: &str = "X-WX-OPENID: victim\r\nX_WX_SOURCE: victim\r\nX-Other: victim\r\n";

#[tokio::test]
async fn trailers_bring_no_identity() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let head = format!(
        "Trailer: X-WX-OPENID, X_WX_SOURCE\r\nConnection: close\r\nAuthorization: Bearer {}\r\n",
        alice.token
    );
    for (path, own) in [
        ("/orders", t.identity(&alice).await),
        ("/public", TestGateway::nobody()),
    ] {
        // The backend of these tests gives up on a request that has trailers.
        let answer = raw(t.address, &chunked(path, &head, TRAILERS)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let received = t.upstream.last();
        assert_eq!(
            (received.body.as_slice(), received.identity()),
            (&b"hello"[..], own)
        );
        assert!(!received.head.contains("victim"));
    }
}

#[tokio::test]
async fn trailers_do_not_run_into_the_next_request() {
    let t = TestGateway::start().await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    let next = b"GET /public/next HTTP/1.1\r\nHost: shop\r\n\r\n";
    for request in [&chunked("/public", "", TRAILERS)[..], next] {
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(stream.read_u8().await.unwrap());
        }
    }
    let received = t.upstream.last();
    assert_eq!(received.target, "/public/next");
    assert_eq!(received.identity(), TestGateway::nobody());
    assert!(!received.head.contains("victim"));
}
