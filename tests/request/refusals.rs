//! Refusals of what clients send, each code once at least over the wire, in the one shape that clients read.

use std::collections::BTreeSet;
use std::time::Duration;

use menshen_test_support::{Reply, TestGateway, raw};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Refusals that nothing a client or WeChat sends can bring about.
const NEVER_SEEN: [&str; 2] = ["internal_error", "client_left"];

fn untouched(t: &TestGateway) {
    assert_eq!(t.upstream.requests(), 0);
}

#[test]
fn every_code_has_a_test() {
    let known = include_str!("../../src/request/denial.rs");
    let is_code = |text: &&str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
        text.contains('_') && text.bytes().all(plain)
    };
    let codes: BTreeSet<_> = known
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(is_code)
        .collect();
    assert!(codes.len() > 25, "{codes:?}");
    let tested = [
        include_str!("refusals.rs"),
        include_str!("refusals_by_others.rs"),
        include_str!("../session/disk_trouble.rs"),
        include_str!("../program/descriptors.rs"),
        include_str!("../browser/login.rs"),
        include_str!("../browser/states.rs"),
        include_str!("../browser/returning.rs"),
        include_str!("../browser/cookies.rs"),
        include_str!("../browser/tickets.rs"),
        include_str!("../browser/signed_urls.rs"),
    ]
    .concat();
    let forgotten: Vec<_> = codes
        .into_iter()
        .filter(|code| !tested.contains(&format!("\"{code}\"")))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
    assert!(NEVER_SEEN.iter().all(|code| known.contains(code)));
}

#[tokio::test]
async fn a_malformed_message_is_refused() {
    let t = TestGateway::start().await;
    let reply = Reply::of(t.get("/orders").header("Host", "a b")).await;
    reply.refused(400, "bad_request");
    untouched(&t);
}

#[tokio::test]
async fn two_credentials_are_refused() {
    let t = TestGateway::start().await;
    let request = t.get("/orders").bearer_auth("a").header("X-WX-Code", "b");
    Reply::of(request).await.refused(400, "token_ambiguous");
    untouched(&t);
}

#[tokio::test]
async fn an_address_that_sends_too_much_is_refused() {
    let limited = TestGateway::builder().section("server", "requests_per_minute = 1");
    let t = limited.start().await;
    let first = Reply::of(t.get("/orders")).await;
    first.refused(401, "token_missing");
    let second = Reply::of(t.get("/orders")).await;
    second.refused(429, "too_many_requests");
    untouched(&t);
}

#[tokio::test]
async fn a_login_that_could_mean_two_apps_is_refused() {
    let t = TestGateway::builder().apps(&["shop", "cafe"]).start().await;
    let reply = t.post("/_auth/login", json!({"code": "0a"})).await;
    reply.refused(400, "app_ambiguous");
}

#[tokio::test]
async fn a_login_to_an_unknown_app_is_refused() {
    let t = TestGateway::start().await;
    let reply = t
        .post("/_auth/login", json!({"code": "0a", "app": "x"}))
        .await;
    reply.refused(400, "app_unknown");
}

#[tokio::test]
async fn a_login_without_a_code_is_refused() {
    let t = TestGateway::start().await;
    for body in [json!({}), json!({"code": ""}), json!({"code": null})] {
        t.post("/_auth/login", body)
            .await
            .refused(400, "code_missing");
    }
}

#[tokio::test]
async fn a_path_with_two_readings_is_refused() {
    let t = TestGateway::start().await;
    let request = b"GET /public/../orders HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = raw(t.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains(r#""error":"path_ambiguous""#), "{answer}");
    untouched(&t);
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_how_to_come_in() {
    let t = TestGateway::start().await;
    let reply = Reply::of(t.get("/orders")).await;
    reply.refused(401, "token_missing");
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"menshen\"");
    untouched(&t);
}

#[tokio::test]
async fn a_token_of_nobody_is_refused() {
    let t = TestGateway::start().await;
    t.get_as("/orders", "x").await.refused(401, "token_invalid");
    untouched(&t);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    t.clock.advance(Duration::from_secs(7200));
    t.get_as("/orders", &token)
        .await
        .refused(401, "token_expired");
    untouched(&t);
}

#[tokio::test]
async fn a_token_of_an_ended_session_is_refused() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let logout = t.request("POST", "/_auth/logout").bearer_auth(&token);
    assert_eq!(Reply::of(logout).await.status, 204);
    t.get_as("/orders", &token)
        .await
        .refused(401, "session_ended");
    untouched(&t);
}

#[tokio::test]
async fn a_refresh_token_of_nobody_is_refused() {
    let t = TestGateway::start().await;
    let reply = t
        .post("/_auth/refresh", json!({"refresh_token": "x"}))
        .await;
    reply.refused(401, "refresh_invalid");
}

#[tokio::test]
async fn a_refresh_token_of_long_ago_is_refused() {
    let t = TestGateway::start().await;
    let body = json!({"refresh_token": t.log_in("alice").await.refresh_token});
    let reply = t.post("/_auth/refresh", body.clone()).await;
    assert_eq!(reply.status, 200);
    t.clock.advance(Duration::from_secs(60));
    let reply = t.post("/_auth/refresh", body).await;
    reply.refused(401, "refresh_reused");
}

#[tokio::test]
async fn a_token_of_another_app_is_refused() {
    let t = TestGateway::builder()
        .apps(&["shop", "cafe"])
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\napps = [\"cafe\"]\n")
        .start()
        .await;
    let reply = t.log_in_and_get("/orders").await;
    reply.refused(403, "app_not_allowed");
    untouched(&t);
}

#[tokio::test]
async fn what_is_not_served_is_refused() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/api\"\nupstream = \"api\"\n")
        .start()
        .await;
    for path in ["/", "/apix", "/_auth", "/_auth/unknown", "/_auth/login/"] {
        t.log_in_and_get(path).await.refused(404, "route_unknown");
    }
    untouched(&t);
}

#[tokio::test]
async fn a_method_that_is_not_served_is_refused_with_those_that_are() {
    let t = TestGateway::builder()
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"api\"\nmethods = [\"GET\", \"PUT\"]\n\
             [[route]]\npath = \"/any\"\nupstream = \"api\"\n",
        )
        .start()
        .await;
    for (method, path, allow) in [
        ("DELETE", "/orders", "GET, PUT"),
        (
            "TRACE",
            "/any",
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ),
        ("TRACE", "/orders", "GET, PUT"),
        ("TRACE", "/_auth/login", "POST"),
        ("GET", "/_auth/login", "POST"),
        ("PUT", "/_auth/refresh", "POST"),
        ("POST", "/_auth/session", "GET, HEAD"),
        ("GET", "/_auth/logout", "POST"),
        ("DELETE", "/_auth/jwks.json", "GET, HEAD"),
    ] {
        let reply = Reply::of(t.request(method, path)).await;
        reply.refused(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
    }
    untouched(&t);
}

#[tokio::test]
async fn a_request_that_does_not_arrive_is_refused() {
    let t = TestGateway::builder()
        .section("server", "client_timeout = \"100ms\"")
        .start()
        .await;
    let request = b"POST /_auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n{\"code\"";
    let answer = raw(t.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains(r#""error":"request_timeout""#), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\nmax_body = \"1KiB\"\n")
        .start()
        .await;
    let token = t.log_in("alice").await.token;
    let request = t.request("POST", "/orders").bearer_auth(&token);
    let reply = Reply::of(request.body(vec![0; 1025])).await;
    reply.refused(413, "body_too_large");
    untouched(&t);
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let request = t.get("/orders").bearer_auth(&token);
    let reply = Reply::of(request.header("X-Long", "x".repeat(70_000))).await;
    reply.refused(431, "headers_too_large");
    untouched(&t);
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    let t = TestGateway::builder()
        .routes("[[route]]\npath = \"/api\"\nupstream = \"api\"\n")
        .start()
        .await;
    for (path, status) in [
        ("/api", "401"),
        ("/other", "404"),
        ("/_auth/login", "405"),
        ("/api/../x", "400"),
    ] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = raw(t.address, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("request_id"), "{answer}");
    }
    untouched(&t);
}

#[tokio::test]
async fn a_connection_goes_on_after_a_refusal() {
    let t = TestGateway::start().await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    for (request, status) in [
        ("GET /orders HTTP/1.1\r\nHost: h\r\n\r\n", "401"),
        ("GET /_auth/unknown HTTP/1.1\r\nHost: h\r\n\r\n", "404"),
        (
            "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "401",
        ),
        (
            "POST /_auth/login HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "400",
        ),
        ("GET /public HTTP/1.1\r\nHost: h\r\n\r\n", "200"),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Only the two bodies end so.
        while !answer.ends_with(b"}") && !answer.ends_with(b"\r\n\r\nok") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    assert_eq!(t.upstream.last().target, "/public");
}

#[tokio::test]
async fn a_connection_that_ends_with_a_refusal_says_so() {
    let t = TestGateway::start().await;
    // The rest of the body may never come.
    let request = b"POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nabc";
    let answer = raw(t.address, request).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 401"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    untouched(&t);
}

#[tokio::test]
async fn two_refusals_have_two_request_ids() {
    let t = TestGateway::start().await;
    let [one, two] = [
        Reply::of(t.get("/orders")).await,
        Reply::of(t.get("/orders")).await,
    ];
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}
