//! Refusals that WeChat, a backend or the session store bring about, each once at least over the wire.

use std::fs;

use menshen_test_support::redis::Redis;
use menshen_test_support::{Builder, Reply, TestGateway};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// Logs in while WeChat misbehaves.
async fn log_in_with(builder: Builder, fault: Value) -> Reply {
    let t = builder.start().await;
    t.fault(fault).await;
    t.try_log_in("alice").await
}

fn impatient_with_wechat() -> Builder {
    TestGateway::builder().section("wechat", "timeout = \"100ms\"")
}

fn impatient_with_upstreams() -> Builder {
    TestGateway::builder().section("upstream", "read_timeout = \"100ms\"")
}

#[tokio::test]
async fn a_code_that_wechat_does_not_know_is_refused() {
    let t = TestGateway::start().await;
    let reply = t.post("/_auth/login", json!({"code": "0made0up"})).await;
    assert_eq!(reply.refused(401, "code_invalid")["errcode"], 40029);
}

#[tokio::test]
async fn a_code_that_wechat_has_seen_is_refused() {
    let fault = json!({"fault": "errcode", "errcode": 40163});
    let reply = log_in_with(TestGateway::builder(), fault).await;
    assert_eq!(reply.refused(401, "code_used")["errcode"], 40163);
}

#[tokio::test]
async fn a_user_whom_wechat_blocked_is_refused() {
    let t = TestGateway::start().await;
    let asked = json!({"appid": TestGateway::appid("shop"), "user": "mallory", "blocked": true});
    let code = t.simulate("login", asked).await;
    let reply = t.post("/_auth/login", code).await;
    assert_eq!(reply.refused(403, "user_blocked")["errcode"], 40226);
}

#[tokio::test]
async fn an_operators_mistake_is_told_from_a_clients() {
    let t = TestGateway::start().await;
    for errcode in [40013, 40125, 41002, 41004, 40164] {
        t.fault(json!({"fault": "errcode", "errcode": errcode, "times": 1}))
            .await;
        let reply = t.try_log_in("alice").await;
        let json = reply.refused(502, "wechat_misconfigured");
        assert_eq!(json["errcode"], errcode);
    }
}

#[tokio::test]
async fn what_is_no_answer_of_wechats_is_no_login() {
    let t = TestGateway::start().await;
    for fault in ["html", "redirect"] {
        t.fault(json!({"fault": fault, "times": 1})).await;
        let reply = t.try_log_in("alice").await;
        let json = reply.refused(503, "wechat_unreachable");
        assert_eq!(json.get("errcode"), None, "{fault}");
    }
    for fault in [
        "truncate",
        "bom",
        "huge",
        "raw_control",
        "empty_openid",
        "missing_openid",
        "missing_session_key",
    ] {
        t.fault(json!({"fault": fault, "times": 1})).await;
        let json = t.try_log_in("alice").await.refused(502, "wechat_error");
        assert_eq!(json.get("errcode"), None, "{fault}");
    }
    t.fault(json!({"fault": "status", "status": 502, "times": 1}))
        .await;
    t.try_log_in("alice")
        .await
        .refused(503, "wechat_unreachable");
    t.fault(json!({"fault": "errcode", "errcode": 99999, "times": 1}))
        .await;
    let json = t.try_log_in("alice").await.refused(502, "wechat_error");
    assert_eq!(json["errcode"], 99999);
}

#[tokio::test]
async fn a_busy_wechat_is_to_be_asked_later() {
    let t = TestGateway::start().await;
    for errcode in [-1, 45011, 45009] {
        t.fault(json!({"fault": "errcode", "errcode": errcode}))
            .await;
        let reply = t.try_log_in("alice").await;
        assert_eq!(reply.refused(503, "wechat_busy")["errcode"], errcode);
        let after = reply.retry_after().unwrap();
        assert!(after >= 1);
    }
}

#[tokio::test]
async fn a_wechat_out_of_reach_is_to_be_asked_later() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("api_base = \"http://{}\"", nobody.local_addr().unwrap());
    let builder = TestGateway::builder().section("wechat", &nowhere);
    let reply = builder.start().await.try_log_in("alice").await;
    reply.refused(503, "wechat_unreachable");
    let after = reply.retry_after().unwrap();
    assert!(after >= 1);
}

#[tokio::test]
async fn a_silent_wechat_may_have_spent_the_code() {
    let fault = json!({"fault": "hang"});
    let reply = log_in_with(impatient_with_wechat(), fault).await;
    let json = reply.refused(504, "wechat_timeout");
    assert!(json["message"].as_str().unwrap().contains("wx.login again"));
}

#[tokio::test]
async fn a_login_that_wechat_is_asked_about_is_stored_before_the_program_ends() {
    let mut t = TestGateway::builder()
        .section("server", "drain = \"0s\"")
        .start()
        .await;
    t.fault(json!({"fault": "delay", "by": "2s"})).await;
    let code = t.code("alice").await;
    let request = t
        .http
        .post(t.url("/_auth/login"))
        .json(&json!({"code": code}));
    let login = tokio::spawn(Reply::of(request));
    while t.redeemed().await == 0 {
        tokio::task::yield_now().await;
    }
    // The code may be spent, so the store stays open while WeChat thinks about it.
    t.stop().await;
    assert_eq!(login.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_login_that_cannot_be_stored_is_to_be_tried_later() {
    let (mut redis, folder) = (Redis::start(&[]), tempfile::tempdir().unwrap());
    let [url, key] = ["url", "key"].map(|name| folder.path().join(name));
    fs::write(&url, redis.url()).unwrap();
    fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let (url, key) = (url.display(), key.display());
    let lines = format!(
        "store = \"redis\"\nredis_url_file = '{url}'\nseal_key_file = '{key}'\nredis_timeout = \"1s\""
    );
    let builder = TestGateway::builder().section("session", &lines);
    let t = builder.start().await;
    redis.kill();
    let reply = t.try_log_in("alice").await;
    reply.refused(503, "store_unavailable");
    assert_eq!(reply.header("retry-after"), "5");
    assert_eq!(t.redeemed().await, 0, "the code should be unspent");
}

#[tokio::test]
async fn a_backend_that_is_down_is_unreachable() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let t = TestGateway::builder()
        .upstreams(&format!(
            "[[upstream]]\nname = \"down\"\nservers = [\"{}\"]\n",
            nobody.local_addr().unwrap()
        ))
        .routes("[[route]]\npath = \"/\"\nupstream = \"down\"\n")
        .start()
        .await;
    let reply = t.log_in_and_get("/orders").await;
    reply.refused(502, "upstream_unreachable");
}

#[tokio::test]
async fn a_backend_that_speaks_no_http_is_in_error() {
    let t = TestGateway::start().await;
    for path in ["/garbage", "/close"] {
        t.log_in_and_get(path).await.refused(502, "upstream_error");
    }
}

#[tokio::test]
async fn a_backend_that_is_silent_is_late() {
    let t = impatient_with_upstreams().start().await;
    let reply = t.log_in_and_get("/hang").await;
    reply.refused(504, "upstream_timeout");
}
