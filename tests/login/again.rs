//! A code that is sent again brings its session to the client that sent it first, and to nobody who saw it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use futures::future::join_all;
use menshen_test_support::{Grant, Nodes, Reply, TestGateway};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const NONCE: &str = "a-nonce-0123456789";
const OTHER_NONCE: &str = "another-0123456789";
const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.1";

/// Logs in from an address, with a nonce where one is given.
async fn redeem(t: &TestGateway, code: &str, nonce: Option<&str>, address: &str) -> Reply {
    let body = json!({"code": code, "nonce": nonce});
    let request = t.http.post(t.url("/_auth/login")).json(&body);
    Reply::of(request.header("X-Forwarded-For", address)).await
}

/// Does the same with the code on a first request.
async fn first_request(t: &TestGateway, code: &str, nonce: Option<&str>, address: &str) -> Reply {
    let mut request = t.get("/orders").header("X-WX-Code", code);
    if let Some(nonce) = nonce {
        request = request.header("X-Menshen-Nonce", nonce);
    }
    Reply::of(request.header("X-Forwarded-For", address)).await
}

fn granted(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    match reply.headers.get("menshen-refresh-token") {
        Some(token) => token.to_str().unwrap().to_owned(),
        None => Grant::of(reply.json()).refresh_token,
    }
}

#[tokio::test]
async fn the_nonce_of_the_first_try_brings_the_same_session_from_anywhere_for_a_minute() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    let code = t.code("alice").await;
    let first = granted(&redeem(&t, &code, Some(NONCE), HOME).await);
    t.clock.advance(Duration::from_secs(59));
    for address in [HOME, ELSEWHERE] {
        let again = redeem(&t, &code, Some(NONCE), address).await;
        assert_eq!(granted(&again), first);
    }
    for (nonce, address) in [
        (None, HOME),
        (None, ELSEWHERE),
        (Some(OTHER_NONCE), HOME),
        (Some(OTHER_NONCE), ELSEWHERE),
    ] {
        let refused = redeem(&t, &code, nonce, address).await;
        assert_eq!(refused.refused(401, "code_used")["errcode"], Value::Null);
    }
    let again = redeem(&t, &code, Some(NONCE), ELSEWHERE).await;
    assert_eq!(granted(&again), first);
    assert_eq!(t.redeemed().await, 1);
    t.clock.advance(Duration::from_secs(2));
    let late = redeem(&t, &code, Some(NONCE), HOME).await;
    assert_eq!(late.refused(401, "code_used")["errcode"], 40163);
}

#[tokio::test]
async fn without_a_nonce_the_same_address_gets_the_same_session_for_ten_seconds() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    let code = t.code("alice").await;
    let first = granted(&redeem(&t, &code, None, HOME).await);
    t.clock.advance(Duration::from_secs(9));
    // A nonce that the first try did not have proves nothing, and an empty one is none.
    for nonce in [None, Some(NONCE), Some(""), Some("undefined")] {
        assert_eq!(granted(&redeem(&t, &code, nonce, HOME).await), first);
        let refused = redeem(&t, &code, nonce, ELSEWHERE).await;
        refused.refused(401, "code_used");
    }
    assert_eq!(t.redeemed().await, 1);
    t.clock.advance(Duration::from_secs(2));
    let late = redeem(&t, &code, None, HOME).await;
    assert_eq!(late.refused(401, "code_used")["errcode"], 40163);
}

#[tokio::test]
async fn addresses_of_ipv6_are_the_same_in_one_network_of_64_bits() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    let code = t.code("alice").await;
    let first = granted(&redeem(&t, &code, None, "2001:db8::1").await);
    let again = redeem(&t, &code, None, "2001:db8::ffff:2").await;
    assert_eq!(granted(&again), first);
    let refused = redeem(&t, &code, None, "2001:db8:0:1::1").await;
    refused.refused(401, "code_used");
}

#[tokio::test]
async fn whoever_sends_a_code_while_another_client_redeems_it_gets_no_session() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    for (nonce, others) in [
        (Some(NONCE), [(Some(OTHER_NONCE), HOME), (None, HOME)]),
        (None, [(None, ELSEWHERE), (Some(NONCE), ELSEWHERE)]),
    ] {
        t.fault(json!({"fault": "delay", "by": "400ms", "times": 1}))
            .await;
        let (code, before) = (t.code("alice").await, t.redeemed().await);
        let first = redeem(&t, &code, nonce, HOME);
        let later = async {
            while t.redeemed().await == before {
                tokio::task::yield_now().await;
            }
            let same = redeem(&t, &code, nonce, HOME);
            let others = others.map(|(nonce, address)| redeem(&t, &code, nonce, address));
            tokio::join!(same, join_all(others))
        };
        let (first, (same, others)) = tokio::join!(first, later);
        assert_eq!(granted(&first), granted(&same));
        for other in others {
            other.refused(401, "code_used");
        }
        assert_eq!(t.redeemed().await - before, 1);
    }
}

#[tokio::test]
async fn a_first_request_proves_itself_by_a_header_that_no_backend_sees() {
    let t = TestGateway::builder().trust_local_proxies().start().await;
    let code = t.code("alice").await;
    let first = granted(&first_request(&t, &code, Some(NONCE), HOME).await);
    assert_eq!(t.upstream.last().only("x-menshen-nonce"), None);
    t.clock.advance(Duration::from_secs(50));
    let again = first_request(&t, &code, Some(NONCE), ELSEWHERE).await;
    assert_eq!(granted(&again), first);
    let again = redeem(&t, &code, Some(NONCE), ELSEWHERE).await;
    assert_eq!(granted(&again), first);
    let refused = first_request(&t, &code, Some(OTHER_NONCE), HOME).await;
    refused.refused(401, "code_used");
    assert_eq!(t.redeemed().await, 1);
}

#[tokio::test]
async fn a_nonce_that_could_be_guessed_is_refused_before_the_code_is_spent() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let long = "n".repeat(65);
    for nonce in ["n", "0123456789abcde", &long, "0123456789 abcdef"] {
        let reply = redeem(&t, &code, Some(nonce), HOME).await;
        reply.refused(400, "bad_request");
        let reply = first_request(&t, &code, Some(nonce), HOME).await;
        reply.refused(400, "bad_request");
    }
    for nonce in [json!(1), json!(["0123456789abcdef"])] {
        let body = json!({"code": code, "nonce": nonce});
        t.post("/_auth/login", body)
            .await
            .refused(400, "bad_request");
    }
    let twice = t.get("/orders").header("X-WX-Code", &code);
    let twice = twice.header("X-Menshen-Nonce", NONCE);
    let twice = Reply::of(twice.header("X-Menshen-Nonce", NONCE)).await;
    twice.refused(400, "token_ambiguous");
    assert_eq!(t.redeemed().await, 0);
    let longest = "n".repeat(64);
    assert_eq!(redeem(&t, &code, Some(&longest), HOME).await.status, 200);
}

#[tokio::test]
async fn the_log_says_that_a_code_came_from_two_clients_and_not_which_code_or_nonce() {
    let builder = TestGateway::builder()
        .trust_local_proxies()
        .section("log", "format = \"json\"");
    let (_nodes, node) = Nodes::start_one(builder, MENSHEN).await;
    let code = node.code("alice").await;
    let send = |nonce: &str, address: &str| {
        let body = json!({"code": code, "app": "shop", "nonce": nonce});
        let request = node.request("POST", "/_auth/login").json(&body);
        Reply::of(request.header("X-Forwarded-For", address))
    };
    let first = send(NONCE, HOME).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let other = send(OTHER_NONCE, ELSEWHERE).await;
    other.refused(401, "code_used");
    let line = node.program.logs("a code came from two clients").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "INFO", "{line}");
    assert_eq!(line["request_id"], other.header("x-request-id"), "{line}");
    assert_eq!(
        line["first_request_id"],
        first.header("x-request-id"),
        "{line}"
    );
    let log = node.program.stderr();
    for secret in [&*code, NONCE, OTHER_NONCE] {
        assert!(!log.contains(secret), "{log}");
    }
}
