//! The assertion: a JWT for one upstream about the user, for backends that want proof.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::time::Duration;

use menshen_test_support::{Builder, Reply, TestGateway};

const ASSERTION: &str = "x-menshen-assertion";

fn asserting() -> Builder {
    TestGateway::builder().section("headers", "assertion = true")
}

/// Sends a request with a token and returns the assertion that the upstream got.
async fn assertion(t: &TestGateway, path: &str, token: &str) -> String {
    let reply = t.get_as(path, token).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    t.upstream.last().only(ASSERTION).unwrap().to_owned()
}

#[tokio::test]
async fn an_assertion_says_what_the_headers_say() {
    let t = asserting().start().await;
    let token = t.log_in("alice").await.token;
    let jwt = assertion(&t, "/orders", &token).await;
    let (header, claims) = t.verified(&jwt, "api").await;
    assert_eq!(header.typ.as_deref(), Some("assertion+jwt"));
    let received = t.upstream.last();
    for (claim, name) in [
        ("sub", "x-wx-openid"),
        ("appid", "x-wx-appid"),
        ("unionid", "x-wx-unionid"),
        ("src", "x-wx-source"),
        ("app", "x-menshen-app"),
        ("sid", "x-menshen-session"),
    ] {
        assert_eq!(claims[claim].as_str(), received.only(name), "{claim}");
    }
}

/// Returns the claims that docs/en/identity.md has in one of its columns, those that only a login in a browser brings left out.
fn documented(column: usize) -> BTreeSet<String> {
    let page = include_str!("../../docs/en/identity.md");
    let (_, table) = page.split_once("| claim |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().skip(2).map(|row| {
        let cells = row.split('|').map(str::trim);
        cells.collect::<Vec<_>>()
    });
    let has = rows.filter(|cells| {
        let about = cells.get(column + 1).copied().unwrap();
        about != "absent" && !about.contains("in a browser")
    });
    let names = has.flat_map(|cells| cells.get(1).copied().unwrap().split(", "));
    names.map(|name| name.replace('`', "")).collect()
}

#[tokio::test]
async fn the_documents_name_every_claim_and_no_other() {
    let t = asserting().start().await;
    let token = t.log_in("alice").await.token;
    let assertion = assertion(&t, "/orders", &token).await;
    let appid = TestGateway::appid("shop");
    for (jwt, audience, column) in [(&token, appid.as_str(), 1), (&assertion, "api", 2)] {
        let (_, claims) = t.verified(jwt, audience).await;
        let names: BTreeSet<String> = claims.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, documented(column), "{audience}");
    }
}

#[tokio::test]
async fn an_assertion_is_short_lived() {
    let t = asserting().start().await;
    let token = t.log_in("alice").await.token;
    let before = t.clock.unix_secs();
    let (_, claims) = t.verified(&assertion(&t, "/", &token).await, "api").await;
    let time = |name: &str| claims[name].as_u64().unwrap();
    assert!(time("iat") >= before && time("nbf") <= t.clock.unix_secs());
    assert!(time("exp") > time("iat") && time("exp") <= time("iat") + 300);
}

#[tokio::test]
async fn an_upstream_never_gets_an_assertion_that_has_expired() {
    let t = asserting().start().await;
    let token = t.log_in("alice").await.token;
    for _ in 0..5 {
        let (_, claims) = t.verified(&assertion(&t, "/", &token).await, "api").await;
        assert!(claims["exp"].as_u64().unwrap() > t.clock.unix_secs() + 30);
        t.clock.advance(Duration::from_secs(70));
    }
}

#[tokio::test]
async fn an_assertion_is_for_one_upstream() {
    let backend = menshen_test_support::Upstream::start().await;
    let t = asserting()
        .upstreams(&format!(
            "[[upstream]]\nname = \"billing\"\nservers = [\"{}\"]\n",
            backend.address
        ))
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
             [[route]]\npath = \"/billing\"\nupstream = \"billing\"\n",
        )
        .start()
        .await;
    let token = t.log_in("alice").await.token;
    t.verified(&assertion(&t, "/orders", &token).await, "api")
        .await;
    assert_eq!(t.get_as("/billing", &token).await.status, 200);
    let received = backend.last();
    t.verified(received.only(ASSERTION).unwrap(), "billing")
        .await;
}

#[tokio::test]
async fn every_session_has_an_assertion_of_its_own() {
    let t = asserting().start().await;
    let mut seen = Vec::new();
    for user in ["alice", "bob", "alice"] {
        let token = t.log_in(user).await.token;
        let (_, claims) = t.verified(&assertion(&t, "/", &token).await, "api").await;
        let received = t.upstream.last();
        assert_eq!(claims["sub"].as_str(), received.only("x-wx-openid"));
        assert_eq!(claims["sid"].as_str(), received.only("x-menshen-session"));
        seen.push(claims["sid"].to_string());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_first_request_has_an_assertion_too() {
    let t = asserting().start().await;
    let code = t.code("alice").await;
    let reply = Reply::of(t.get("/orders").header("X-WX-Code", code)).await;
    assert_eq!(reply.status, 200);
    let received = t.upstream.last();
    let (_, claims) = t.verified(received.only(ASSERTION).unwrap(), "api").await;
    assert_eq!(claims["sub"].as_str(), received.only("x-wx-openid"));
}

#[tokio::test]
async fn nothing_is_asserted_about_nobody() {
    let t = asserting().start().await;
    let token = t.log_in("alice").await.token;
    let forged = assertion(&t, "/orders", &token).await;
    for path in ["/optional", "/public"] {
        let request = t
            .get(path)
            .header("X-Menshen-Assertion", &forged)
            .header("X_Menshen_Assertion", &forged);
        assert_eq!(Reply::of(request).await.status, 200);
        assert!(!t.upstream.last().head.contains(&forged), "{path}");
        assert!(t.upstream.last().all(ASSERTION).is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_clients_own_assertion_is_replaced() {
    let t = asserting().start().await;
    let bob = t.log_in("bob").await.token;
    let forged = assertion(&t, "/orders", &bob).await;
    let alice = t.log_in("alice").await.token;
    let request = t
        .get("/orders")
        .bearer_auth(&alice)
        .header("X-Menshen-Assertion", &forged);
    assert_eq!(Reply::of(request).await.status, 200);
    let received = t.upstream.last();
    assert!(!received.head.contains(&forged));
    assert!(received.only(ASSERTION).is_some());
}

#[tokio::test]
async fn nothing_is_asserted_unless_configured() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let request = t
        .get("/orders")
        .bearer_auth(&token)
        .header("X-Menshen-Assertion", "forged");
    assert_eq!(Reply::of(request).await.status, 200);
    assert!(t.upstream.last().all(ASSERTION).is_empty());
}

#[tokio::test]
async fn an_assertion_is_no_token() {
    let t = asserting().start().await;
    let token = t.log_in("alice").await.token;
    let jwt = assertion(&t, "/orders", &token).await;
    let before = t.upstream.requests();
    for path in ["/orders", "/optional"] {
        let reply = t.get_as(path, &jwt).await;
        assert_eq!(reply.refusal(), (401, "token_invalid".to_owned()));
    }
    let logout = t.request("POST", "/_auth/logout").bearer_auth(&jwt);
    assert_eq!(Reply::of(logout).await.error(), "token_invalid");
    assert_eq!(t.upstream.requests(), before);
}

#[tokio::test]
async fn an_assertion_for_an_upstream_named_like_the_appid_is_no_token() {
    let backend = menshen_test_support::Upstream::start().await;
    let appid = TestGateway::appid("shop");
    let t = asserting()
        .upstreams(&format!(
            "[[upstream]]\nname = \"{appid}\"\nservers = [\"{}\"]\n",
            backend.address
        ))
        .routes(&format!(
            "[[route]]\npath = \"/\"\nupstream = \"{appid}\"\n"
        ))
        .start()
        .await;
    let token = t.log_in("alice").await.token;
    assert_eq!(t.get_as("/orders", &token).await.status, 200);
    let received = backend.last();
    let reply = t.get_as("/orders", received.only(ASSERTION).unwrap()).await;
    assert_eq!(reply.refusal(), (401, "token_invalid".to_owned()));
}

#[tokio::test]
async fn an_assertion_may_have_another_header() {
    let t = asserting()
        .section("headers", "rename.assertion = \"X-Proof\"")
        .start()
        .await;
    let token = t.log_in("alice").await.token;
    let request = t
        .get("/orders")
        .bearer_auth(&token)
        .header("x_proof", "forged");
    assert_eq!(Reply::of(request).await.status, 200);
    let received = t.upstream.last();
    t.verified(received.only("x-proof").unwrap(), "api").await;
    assert!(!received.head.contains("forged"));
    assert!(received.all(ASSERTION).is_empty());
}
