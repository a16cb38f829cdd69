//! Logging in, refreshing and logging out over the wire.

use menshen_test_support::{Reply, TestGateway};
use serde_json::json;

#[tokio::test]
async fn a_code_becomes_a_token_that_the_backend_never_sees() {
    let t = TestGateway::builder().start().await;
    let grant = t.log_in("alice").await;
    assert_eq!(grant.json["token_type"], "Bearer");
    assert_eq!(grant.json["expires_in"], 7200);
    assert_eq!(grant.json["refresh_expires_in"], 30 * 24 * 3600);
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
