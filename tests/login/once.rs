//! One code is one call to WeChat, however often and from wherever it is sent; and it is sent again only where nothing is lost.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::{Grant, Relay, Reply, TestGateway, find_free_port, raw};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

/// Checks that all of these logins brought one session.
async fn are_one(t: &TestGateway, replies: Vec<Reply>) {
    let mut sessions = Vec::new();
    for reply in replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let grant = Grant::of(reply.json());
        sessions.push((t.session_id(&grant.token).await, grant.refresh_token));
    }
    assert!(
        sessions.windows(2).all(|pair| pair[0] == pair[1]),
        "{sessions:?}"
    );
}

#[tokio::test]
async fn a_code_that_is_sent_ten_times_at_once_is_one_call_and_one_session() {
    let t = TestGateway::start().await;
    t.fault(json!({"fault": "delay", "by": "300ms", "times": 1}))
        .await;
    let code = t.code("alice").await;
    let replies = join_all((0..10).map(|_| t.redeem(&code))).await;
    are_one(&t, replies).await;
    assert_eq!(t.redeemed().await, 1);
}

#[tokio::test]
async fn a_replay_can_be_switched_off() {
    let t = TestGateway::builder()
        .section("login", "replay = \"0s\"")
        .start()
        .await;
    let code = t.code("alice").await;
    assert_eq!(t.redeem(&code).await.status, 200);
    assert_eq!(
        t.redeem(&code).await.refused(401, "code_used")["errcode"],
        40163
    );
}

#[tokio::test]
async fn a_session_that_was_refreshed_or_ended_is_not_given_again() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let grant = Grant::of(t.redeem(&code).await.json());
    let refresh = json!({"refresh_token": grant.refresh_token});
    let refreshed = Grant::of(t.post("/_auth/refresh", refresh).await.json());
    t.redeem(&code).await.refused(401, "code_used");
    // It is still the session of whoever refreshed it.
    let again = json!({"refresh_token": refreshed.refresh_token});
    assert_eq!(t.post("/_auth/refresh", again).await.status, 200);
    let code = t.code("bob").await;
    let grant = Grant::of(t.redeem(&code).await.json());
    let logout = t.request("POST", "/_auth/logout").bearer_auth(&grant.token);
    assert_eq!(Reply::of(logout).await.status, 204);
    t.redeem(&code).await.refused(401, "code_used");
    assert_eq!(t.redeemed().await, 2);
}

#[tokio::test]
async fn a_code_on_the_first_request_is_the_same_code() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let first = Grant::of(t.redeem(&code).await.json());
    let request = t.get("/orders").header("X-WX-Code", &code);
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("menshen-refresh-token"), first.refresh_token);
    assert_eq!(t.redeemed().await, 1);
}

/// Returns the ids of a user's sessions, as the private listener lists them.
async fn sessions(t: &TestGateway, openid: &str) -> Vec<String> {
    let call = format!("/v1/apps/shop/users/{openid}/sessions");
    let listed = Reply::of(t.control("GET", &call)).await.json();
    let listed = listed["sessions"].as_array().unwrap().iter();
    let ids = listed.map(|session| session["session"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_session_when_it_comes_back() {
    let t = TestGateway::start().await;
    let before = t.log_in("alice").await;
    let shown = t.get_as("/_auth/session", &before.token).await.json();
    let openid = shown["openid"].as_str().unwrap();
    t.fault(json!({"fault": "delay", "by": "500ms", "times": 1}))
        .await;
    let code = t.code("alice").await;
    let login = t.http.post(t.url("/_auth/login"));
    let hasty = tokio::spawn(login.json(&json!({"code": code})).send());
    let since = Instant::now();
    while t.redeemed().await < 2 {
        assert!(since.elapsed() < PATIENCE, "it should go to WeChat");
    }
    hasty.abort();
    assert!(hasty.await.unwrap_err().is_cancelled());
    while sessions(&t, openid).await.len() < 2 {
        assert!(since.elapsed() < PATIENCE, "it should be stored");
    }
    let back = Grant::of(t.redeem(&code).await.json());
    let found = t.session_id(&back.token).await;
    assert_ne!(found, t.session_id(&before.token).await);
    let listed = sessions(&t, openid).await;
    assert!(listed.len() == 2 && listed.contains(&found), "{listed:?}");
    assert_eq!(t.redeemed().await, 2);
    let refresh = json!({"refresh_token": back.refresh_token});
    assert_eq!(t.post("/_auth/refresh", refresh).await.status, 200);
}

#[tokio::test]
async fn a_refused_code_is_refused_again_without_a_call() {
    let t = TestGateway::start().await;
    for _ in 0..3 {
        let refused = t.redeem("0a1b2c").await.refused(401, "code_invalid");
        assert_eq!(refused["errcode"], 40029);
    }
    assert_eq!(t.redeemed().await, 1);
}

#[tokio::test]
async fn a_code_that_may_be_spent_is_not_sent_again() {
    let t = TestGateway::builder()
        .section("wechat", "timeout = \"300ms\"")
        .start()
        .await;
    for plan in [
        json!({"fault": "hang", "times": 1}),
        json!({"fault": "close_after", "times": 1}),
        json!({"fault": "close_before", "times": 1}),
    ] {
        t.fault(plan).await;
        let (code, before) = (t.code("alice").await, t.redeemed().await);
        for _ in 0..2 {
            t.redeem(&code).await.refused(504, "wechat_timeout");
        }
        assert_eq!(t.redeemed().await - before, 1);
    }
}

#[tokio::test]
async fn a_busy_wechat_is_asked_three_times_in_one_login() {
    let t = TestGateway::start().await;
    t.fault(json!({"fault": "errcode", "errcode": -1, "times": 2}))
        .await;
    t.log_in("alice").await;
    assert_eq!(t.redeemed().await, 3);
    t.fault(json!({"fault": "errcode", "errcode": -1, "times": 3}))
        .await;
    let code = t.code("bob").await;
    let busy = t.redeem(&code).await;
    assert_eq!(busy.refused(503, "wechat_busy")["errcode"], -1);
    assert_eq!(busy.retry_after(), Some(1));
    assert_eq!(t.redeemed().await, 6);
    assert_eq!(t.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn a_code_that_a_busy_wechat_spent_is_lost_and_not_somebody_elses() {
    let t = TestGateway::start().await;
    let lost = json!({"fault": "errcode", "errcode": -1, "spend": true, "times": 1});
    t.fault(lost).await;
    let code = t.code("alice").await;
    t.redeem(&code).await.refused(504, "wechat_timeout");
    t.redeem(&code).await.refused(504, "wechat_timeout");
    assert_eq!(t.redeemed().await, 2);
}

#[tokio::test]
async fn a_wechat_that_cannot_be_reached_costs_no_code() {
    let address = format!("127.0.0.1:{}", find_free_port());
    let via = format!("api_base = \"http://{address}\"");
    let t = TestGateway::builder().section("wechat", &via).start().await;
    let code = t.code("alice").await;
    t.redeem(&code).await.refused(503, "wechat_unreachable");
    let wechat = tokio::net::TcpListener::bind(address).await.unwrap();
    let simulator = t.simulator;
    tokio::spawn(async move {
        while let Ok((mut here, _)) = wechat.accept().await {
            let mut there = tokio::net::TcpStream::connect(simulator).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        }
    });
    assert_eq!(t.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn a_wechat_that_went_silent_is_called_again_when_it_is_back() {
    let relay = Relay::start().await;
    let via = format!(
        "api_base = \"http://{}\"\nconnect_timeout = \"300ms\"\ntimeout = \"300ms\"",
        relay.address
    );
    let t = TestGateway::builder().section("wechat", &via).start().await;
    relay.lead_to(t.simulator);
    let alice = t.log_in("alice").await;
    relay.die();
    let mut kept_back = false;
    for _ in 0..10 {
        let reply = t.try_log_in("bob").await;
        kept_back |= reply.status == 503;
        let error = if kept_back {
            "wechat_busy"
        } else {
            "wechat_timeout"
        };
        reply.refused(if kept_back { 503 } else { 504 }, error);
    }
    assert!(kept_back);
    assert_eq!(t.get_as("/orders", &alice.token).await.status, 200);
    relay.revive();
    t.clock.advance(Duration::from_secs(60));
    t.log_in("bob").await;
    t.log_in("carol").await;
}

#[tokio::test]
async fn what_is_no_code_never_gets_to_wechat() {
    let t = TestGateway::start().await;
    let [long, large] = [10_000, 1 << 20].map(|length| "0".repeat(length));
    for (code, status, error) in [
        ("", 400, "code_missing"),
        ("a%26appid=wx1", 400, "bad_request"),
        ("%00", 400, "bad_request"),
        ("a&secret=x", 400, "bad_request"),
        ("a\u{0}b", 400, "bad_request"),
        ("\u{202e}code", 400, "bad_request"),
        (&long, 400, "bad_request"),
        (&large, 413, "body_too_large"),
    ] {
        t.redeem(code).await.refused(status, error);
        let header = reqwest::header::HeaderValue::from_bytes(code.as_bytes());
        if let Ok(code) = header
            && code.len() < 20_000
        {
            let reply = Reply::of(t.get("/orders").header("X-WX-Code", code)).await;
            assert!((400..402).contains(&reply.status), "{}", reply.text());
        }
    }
    let binary = [
        b"POST /_auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 13\r\n\r\n"
            .as_slice(),
        b"{\"code\":\"\xff\xfe\"}",
    ];
    let answer = raw(t.address, &binary.concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(t.redeemed().await, 0);
    assert_eq!(t.upstream.requests(), 0);
}
