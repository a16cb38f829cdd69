//! Logging in with a code, and what a login brings.

use std::time::Duration;

use menshen_test_support::{Reply, TestGateway};
use serde_json::json;

#[tokio::test]
async fn a_code_becomes_a_token_that_the_backend_never_sees() {
    let t = TestGateway::builder().start().await;
    let grant = t.log_in("alice").await;
    assert_eq!(grant.json["token_type"], "Bearer");
    assert_eq!(grant.json["expires_in"], 7200);
    // To store the session takes some of its time.
    let left = &grant.json["refresh_expires_in"];
    let is_left = |told: u64| (30 * 24 * 3600 - 10..=30 * 24 * 3600).contains(&told);
    assert!(left.as_u64().is_some_and(is_left), "{left}");
    let reply = t.get_as("/orders?id=1", &grant.token).await;
    assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    let received = t.upstream.last();
    assert_eq!(received.target, "/orders?id=1");
    assert!(received.only("x-wx-openid").unwrap().starts_with('o'));
    assert!(received.all("authorization").is_empty());
    assert!(!received.head.contains(&grant.token));
}

#[tokio::test]
async fn a_session_is_shown_to_its_owner() {
    let t = TestGateway::builder().start().await;
    let grant = t.log_in("alice").await;
    let shown = t.get_as("/_auth/session", &grant.token).await.json();
    assert_eq!(shown["logged_in"], true);
    assert_eq!(shown["app"], "shop");
    let stranger = Reply::of(t.get("/_auth/session")).await;
    assert_eq!(stranger.json(), json!({"logged_in": false}));
}

#[tokio::test]
async fn a_session_is_shown_as_the_backend_knows_it() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    t.get_as("/orders", &token).await;
    let received = t.upstream.last();
    t.clock.advance(Duration::from_secs(3600));
    let shown = t.get_as("/_auth/session", &token).await.json();
    for (member, name) in [
        ("app", "x-menshen-app"),
        ("openid", "x-wx-openid"),
        ("unionid", "x-wx-unionid"),
        ("session", "x-menshen-session"),
    ] {
        assert_eq!(shown[member].as_str(), received.only(name), "{member}");
    }
    let left = shown["expires_in"].as_u64().unwrap();
    assert!((3590..=3600).contains(&left), "{left}");
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_no_login() {
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    t.clock.advance(Duration::from_secs(7200));
    for token in [token.as_str(), "rubbish", ""] {
        let shown = t.get_as("/_auth/session", token).await;
        assert_eq!(shown.status, 200);
        assert_eq!(shown.json(), json!({"logged_in": false}));
    }
}

#[tokio::test]
async fn a_token_says_this_and_nothing_more() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let (header, claims) = t.verified(&grant.token, &TestGateway::appid("shop")).await;
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let mut names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
    names.sort();
    // Above all no session_key.
    let known = [
        "app", "aud", "exp", "iat", "iss", "nbf", "sid", "src", "sub", "unionid",
    ];
    assert_eq!(names, known);
}

#[tokio::test]
async fn a_login_says_this_and_nothing_more() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let mut names: Vec<_> = grant.json.as_object().unwrap().keys().cloned().collect();
    names.sort();
    let known = [
        "expires_in",
        "refresh_expires_in",
        "refresh_token",
        "token",
        "token_type",
    ];
    assert_eq!(names, known);
}

#[tokio::test]
async fn nobody_keeps_a_copy_of_an_answer_with_tokens() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let login = t.redeem(&code).await;
    assert_eq!(login.header("cache-control"), "no-store");
    let body = json!({"refresh_token": login.json()["refresh_token"]});
    let refresh = t.post("/_auth/refresh", body).await;
    assert_eq!(refresh.status, 200);
    assert_eq!(refresh.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_code_of_yesterday_is_refused() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    t.clock.advance(Duration::from_secs(6 * 60));
    let reply = t.redeem(&code).await;
    reply.refused(401, "code_invalid");
}

#[tokio::test]
async fn a_login_is_not_a_request_of_any_upstream() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let body = json!({"refresh_token": grant.refresh_token});
    assert_eq!(t.post("/_auth/refresh", body).await.status, 200);
    t.get_as("/_auth/session", &grant.token).await;
    assert_eq!(t.upstream.connections(), 0);
}

#[tokio::test]
async fn who_is_logged_in_needs_no_wechat() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    t.fault(json!({"fault": "errcode", "errcode": 45009})).await;
    let asked = t.redeemed().await;
    assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    let body = json!({"refresh_token": grant.refresh_token});
    assert_eq!(t.post("/_auth/refresh", body).await.status, 200);
    assert_eq!(t.redeemed().await, asked);
}

#[tokio::test]
async fn the_endpoints_move_with_auth_path() {
    let t = TestGateway::builder()
        .section("server", "auth_path = \"/door\"")
        .start()
        .await;
    let code = t.code("alice").await;
    let login = t.post("/door/login", json!({"code": code})).await;
    assert_eq!(login.status, 200);
    let elsewhere = t.post("/_auth/login", json!({"code": "0a"})).await;
    elsewhere.refused(401, "token_missing");
}
