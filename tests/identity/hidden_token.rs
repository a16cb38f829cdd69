//! The backend never sees a token of ours, on any route, unless the route says so; other credentials are its own.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use menshen_test_support::{Grant, Reply, TestGateway};
use serde_json::json;

/// Asserts that the latest request shows nothing of a token, not even its signature.
fn hidden(t: &TestGateway, token: &str) {
    let received = t.upstream.last();
    assert!(
        received.all("authorization").is_empty(),
        "{}",
        received.head
    );
    let shown = format!(
        "{}{}",
        received.head,
        String::from_utf8_lossy(&received.body)
    );
    for part in token.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
}

async fn ask(t: &TestGateway, path: &str, authorization: &str) -> Reply {
    Reply::of(t.get(path).header("authorization", authorization)).await
}

fn expired(t: &TestGateway) -> String {
    let mut claims = t.claims("alice");
    claims["exp"] = json!(t.clock.unix_secs() - 1);
    t.sign(&claims)
}

#[tokio::test]
async fn a_valid_token_is_hidden_on_every_kind_of_route_however_the_scheme_is_spelled() {
    let t = TestGateway::start().await;
    let Grant { token, .. } = t.log_in("alice").await;
    for path in ["/orders", "/optional", "/public"] {
        for scheme in ["Bearer ", "bearer ", "BEARER\t", "Bearer   "] {
            let reply = ask(&t, path, &format!("{scheme}{token}")).await;
            assert_eq!(reply.status, 200, "{path} {scheme:?}");
            hidden(&t, &token);
        }
    }
}

#[tokio::test]
async fn the_token_of_a_login_on_the_first_request_is_for_the_client_alone() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let reply = Reply::of(t.get("/orders").header("x-wx-code", code)).await;
    assert_eq!(reply.status, 200);
    hidden(&t, reply.header("menshen-token"));
    hidden(&t, reply.header("menshen-refresh-token"));
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_hidden_on_a_public_route() {
    let t = TestGateway::start().await;
    let Grant { token: ended, .. } = t.log_in("alice").await;
    let logout = t.request("POST", "/_auth/logout").bearer_auth(&ended);
    assert_eq!(Reply::of(logout).await.status, 204);
    let tampered = format!("{}x", t.sign(&t.claims("alice")));
    for token in [ended, expired(&t), tampered] {
        let reply = ask(&t, "/public", &format!("Bearer {token}")).await;
        assert_eq!(reply.status, 200);
        hidden(&t, &token);
    }
}

#[tokio::test]
async fn a_token_among_other_characters_is_hidden_on_a_public_route() {
    let t = TestGateway::start().await;
    let Grant { token, .. } = t.log_in("alice").await;
    for (before, behind) in [
        ("Bearer", ""),
        ("Bearer%20", ""),
        ("Bearer_", ""),
        ("Token", ""),
        ("Bearer.", ""),
        ("Bearer ", ".x"),
        ("Token x", ".y.z"),
        ("Bearer eyJ.", ""),
    ] {
        let sent = format!("{before}{token}{behind}");
        assert_eq!(ask(&t, "/public", &sent).await.status, 200, "{sent}");
        hidden(&t, &token);
    }
    // Those of others are the backend's business there.
    let foreign = "BearereyJh.eyJp.c2ln";
    assert_eq!(ask(&t, "/public", foreign).await.status, 200);
    assert_eq!(t.upstream.last().only("authorization"), Some(foreign));
}

#[tokio::test]
async fn an_optional_route_refuses_an_expired_token_instead_of_serving_a_stranger() {
    let t = TestGateway::start().await;
    let reply = ask(&t, "/optional", &format!("Bearer {}", expired(&t))).await;
    assert_eq!(reply.refusal(), (401, "token_expired".to_owned()));
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_route_may_forward_the_token_as_it_was_sent() {
    let forwarding = ["required", "optional", "public"].map(|auth| {
        format!("[[route]]\npath = \"/{auth}\"\nupstream = \"api\"\nauth = \"{auth}\"\nforward_token = true\n")
    });
    let t = TestGateway::builder()
        .routes(&forwarding.concat())
        .start()
        .await;
    let Grant { token, .. } = t.log_in("alice").await;
    let sent = format!("bearer {token}");
    for path in ["/required", "/optional", "/public"] {
        assert_eq!(ask(&t, path, &sent).await.status, 200);
        assert_eq!(
            t.upstream.last().only("authorization"),
            Some(sent.as_str()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn credentials_of_the_backends_own_pass_untouched_where_no_token_is_needed() {
    let t = TestGateway::start().await;
    for (path, sent) in [
        ("/public", "Basic YWxpY2U6c2VjcmV0"),
        ("/optional", "Basic YWxpY2U6c2VjcmV0"),
        ("/public", "Bearer of-somebody-else"),
        ("/public", "Digest username=\"alice\", realm=\"x\""),
        ("/public", ""),
    ] {
        assert_eq!(ask(&t, path, sent).await.status, 200, "{path} {sent}");
        let received = t.upstream.last();
        assert_eq!(received.only("authorization"), Some(sent), "{path}");
        assert_eq!(received.identity(), TestGateway::nobody());
    }
}

#[tokio::test]
async fn credentials_of_the_backends_own_are_no_token() {
    let t = TestGateway::start().await;
    let reply = ask(&t, "/orders", "Basic YWxpY2U6c2VjcmV0").await;
    assert_eq!(reply.refusal(), (401, "token_missing".to_owned()));
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn two_authorizations_are_refused_on_every_kind_of_route() {
    let t = TestGateway::start().await;
    let Grant { token, .. } = t.log_in("alice").await;
    for path in ["/orders", "/optional", "/public"] {
        for other in [
            format!("Bearer {token}"),
            "Basic eA==".to_owned(),
            String::new(),
        ] {
            let request = t
                .get(path)
                .bearer_auth(&token)
                .header("authorization", &other);
            let reply = Reply::of(request).await;
            assert_eq!(
                reply.refusal(),
                (400, "token_ambiguous".to_owned()),
                "{path} {other}"
            );
        }
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_token_in_a_trusted_proxys_headers_is_hidden_too() {
    let t = TestGateway::builder()
        .section("server", "trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let Grant { token, .. } = t.log_in("alice").await;
    let request = t.get("/orders").bearer_auth(&token);
    let request = request.header("x-forwarded-authorization", format!("Bearer {token}"));
    assert_eq!(Reply::of(request).await.status, 200);
    hidden(&t, &token);
}
