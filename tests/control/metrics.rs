//! The private listener shows what logins and calls to WeChat there were, and no more than that.

use std::fs;
use std::time::{Duration, Instant};

use menshen_test_support::{Certificate, Reply, TestGateway};
use serde_json::json;

async fn shown(t: &TestGateway) -> String {
    let reply = Reply::of(t.control("GET", "/metrics")).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    reply.text()
}

#[tokio::test]
async fn logins_and_calls_are_counted_and_nobody_is_named() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    for _ in 0..2 {
        let reply = t.redeem(&code).await;
        assert_eq!(reply.status, 200);
    }
    t.post("/_auth/login", json!({"code": "0a1b2c"}))
        .await
        .refused(401, "code_invalid");
    t.fault(json!({"fault": "errcode", "errcode": 99999, "times": 1}))
        .await;
    t.post("/_auth/login", json!({"code": "0a1b2d"}))
        .await
        .refused(502, "wechat_error");
    t.fault(json!({"fault": "errcode", "errcode": 45009, "times": 1}))
        .await;
    t.post("/_auth/login", json!({"code": "0a1b2e"}))
        .await
        .refused(503, "wechat_busy");
    let text = shown(&t).await;
    for line in [
        r#"menshen_logins_total{app="shop",outcome="ok"} 2"#,
        r#"menshen_logins_total{app="shop",outcome="code_invalid"} 1"#,
        r#"menshen_logins_total{app="shop",outcome="wechat_busy"} 1"#,
        r#"menshen_wechat_calls_total{app="shop",endpoint="jscode2session",result="ok"} 1"#,
        r#"menshen_wechat_calls_total{app="shop",endpoint="jscode2session",result="40029"} 1"#,
        r#"menshen_wechat_calls_total{app="shop",endpoint="jscode2session",result="other"} 1"#,
        r#"menshen_wechat_calls_total{app="shop",endpoint="jscode2session",result="45009"} 1"#,
        r#"menshen_login_replays_total{app="shop"} 1"#,
        r#"menshen_login_kept_back{app="shop",reason="day"} 1"#,
        r#"menshen_login_kept_back{app="shop",reason="minute"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains(&code) && !text.contains("0a1b2c"));
}

#[tokio::test]
async fn calls_with_an_access_token_and_for_one_are_counted_too() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let user = t.openid(&grant.token).await;
    let plan =
        json!({"path": "/wxa/checksession", "fault": "errcode", "errcode": 45011, "times": 1});
    t.simulate("faults", plan).await;
    for (call, status) in [
        ("check-session", 503),
        ("check-session", 200),
        ("reset-session-key", 200),
    ] {
        let path = format!("/v1/apps/shop/users/{user}/{call}");
        assert_eq!(Reply::of(t.control("POST", &path)).await.status, status);
    }
    let text = shown(&t).await;
    for (endpoint, result) in [
        ("stable_token", "ok"),
        ("checksession", "45011"),
        ("checksession", "ok"),
        ("resetusersessionkey", "ok"),
    ] {
        let line = format!(
            r#"menshen_wechat_calls_total{{app="shop",endpoint="{endpoint}",result="{result}"}} 1"#
        );
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// Returns until when the only certificate is good.
async fn expiry(t: &TestGateway) -> Option<u64> {
    let text = shown(t).await;
    let line = text
        .lines()
        .find(|line| line.starts_with("menshen_certificate_expiry_timestamp_seconds{file="));
    line?.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn a_certificate_shows_when_it_expires_and_its_successor_too() {
    let certificate = Certificate::new("shop.example");
    let t = TestGateway::builder()
        .section("server", &certificate.lines())
        .start()
        .await;
    let now = t.clock.unix_secs();
    assert!(expiry(&t).await > Some(now));
    let expired = Certificate::expired("shop.example");
    for file in fs::read_dir(expired.folder()).expect("a folder") {
        let file = file.expect("a file");
        fs::copy(file.path(), certificate.folder().join(file.file_name())).expect("is copied");
    }
    let since = Instant::now();
    while expiry(&t).await.is_none_or(|until| until > now) {
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "it was not read again"
        );
    }
}

#[tokio::test]
async fn whoever_asks_needs_the_secret() {
    let t = TestGateway::builder()
        .require_control_secret()
        .start()
        .await;
    let asked = Reply::of(t.control("GET", "/metrics")).await;
    assert_eq!(asked.refusal(), (401, "token_missing".to_owned()));
}
