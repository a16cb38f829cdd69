//! A WeChat that is too busy is asked again for the sake of one login, and left alone when it stays so.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use futures::future::join_all;
use menshen_test_support::{Reply, TestGateway};
use serde_json::json;

/// Checks that a login is refused as WeChat is busy, and returns when to come back.
fn busy(reply: &Reply) -> u64 {
    reply.refused(503, "wechat_busy");
    reply.retry_after().unwrap()
}

#[tokio::test]
async fn a_wechat_that_stays_busy_is_left_alone_longer_and_longer() {
    let t = TestGateway::builder()
        .section("login", "queue = 0")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    t.fault(json!({"fault": "errcode", "errcode": -1})).await;
    let mut calls = t.redeemed().await;
    for login in 1..=3 {
        let after = busy(&t.try_log_in("bob").await);
        calls += 3;
        assert_eq!(t.redeemed().await, calls);
        // The third is one too many: it is told of the pause.
        assert!(if login < 3 { after == 1 } else { after == 2 }, "{after}");
    }
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        // Shorter ones may be over before so many have asked.
        for _ in 0..if pause < 8 { 0 } else { 5 } {
            let after = busy(&t.try_log_in("carol").await);
            assert!((pause..=pause + 2).contains(&after), "{pause}: {after}");
        }
        assert_eq!(t.redeemed().await, calls, "nobody should ask");
        t.clock.advance(Duration::from_secs(pause));
        let tried = t.try_log_in("dave").await;
        busy(&tried);
        assert_eq!(tried.json()["errcode"], -1, "WeChat said so");
        calls += 1;
        assert_eq!(t.redeemed().await, calls, "one call decides");
    }
    assert_eq!(t.get_as("/orders", &alice.token).await.status, 200);
    t.fault(json!({"fault": "delay", "by": "1ms"})).await;
    t.clock.advance(Duration::from_secs(30));
    for user in ["bob", "carol", "dave"] {
        t.log_in(user).await;
    }
}

#[tokio::test]
async fn a_busy_moment_costs_nobody_a_login() {
    let t = TestGateway::start().await;
    t.fault(json!({"fault": "errcode", "errcode": -1, "times": 8}))
        .await;
    let users: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
    for reply in join_all(users.iter().map(|user| t.try_log_in(user))).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(t.redeemed().await, 28);
}

#[tokio::test]
async fn a_crowd_is_kept_from_a_busy_wechat_and_gets_in_as_told() {
    let t = TestGateway::builder()
        .section("login", "queue_timeout = \"500ms\"")
        .start()
        .await;
    t.fault(json!({"fault": "errcode", "errcode": -1})).await;
    let codes = join_all((0..100).map(|n| {
        let t = &t;
        async move { t.code(&format!("user-{n}")).await }
    }));
    let codes = codes.await;
    let mut latest = 0;
    for reply in join_all(codes.iter().map(|code| t.redeem(code))).await {
        latest = latest.max(busy(&reply));
    }
    let calls = t.redeemed().await;
    // Nine, and those that were under way by then, of whom nobody asks again.
    assert!((9..=100).contains(&calls), "{calls}");
    t.fault(json!({"fault": "delay", "by": "1ms"})).await;
    t.clock.advance(Duration::from_secs(latest));
    for reply in join_all(codes.iter().map(|code| t.redeem(code))).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(t.redeemed().await - calls, 100);
}
