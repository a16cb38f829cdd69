//! A minute's limit of WeChat's that nobody configured: who does as they are told gets in, and few calls run into it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::{Reply, TestGateway};
use serde_json::json;

const MINUTE_MS: u64 = 60_000;

/// Returns when to come back; `None` for whoever got in.
fn retry_after(reply: &Reply) -> Option<u64> {
    if reply.status == 200 {
        return None;
    }
    reply.refused(503, "wechat_busy");
    Some(reply.retry_after().unwrap())
}

/// Moves the time to where this is left of the clock's minute, or a little less.
fn leave(t: &TestGateway, ms: u64) {
    let left = MINUTE_MS - t.clock.unix_ms() % MINUTE_MS;
    let on = (left + MINUTE_MS - ms) % MINUTE_MS;
    t.clock.advance(Duration::from_millis(on));
}

async fn limit(t: &TestGateway, per_minute: u64) {
    let appid = TestGateway::appid("shop");
    t.simulate("quota", json!({"appid": appid, "per_minute": per_minute}))
        .await;
}

/// Returns how many calls were let through, and how many were answered with 45011.
async fn calls(t: &TestGateway) -> (u64, u64) {
    let quotas = t.simulated("quota").await;
    let quota = &quotas[TestGateway::appid("shop")];
    let count = |name: &str| quota[name].as_u64().unwrap();
    (count("passed"), count("refused"))
}

#[tokio::test]
async fn everybody_gets_in_who_comes_when_told_and_nine_calls_a_minute_run_into_the_limit() {
    // Nobody waits in line, so that no time passes but the clock's.
    let t = TestGateway::builder()
        .section("login", "queue = 0")
        .start()
        .await;
    limit(&t, 20).await;
    leave(&t, MINUTE_MS - 1);
    let began = t.clock.unix_ms();
    let mut users = BinaryHeap::new();
    for user in 0..50_u64 {
        let code = t.code(&format!("user-{user}")).await;
        // One every tenth of a second.
        users.push(Reverse((began + user * 100, code)));
    }
    let mut tries = 0;
    while let Some(Reverse((at, code))) = users.pop() {
        let now = t.clock.unix_ms();
        t.clock
            .advance(Duration::from_millis(at.saturating_sub(now)));
        tries += 1;
        if let Some(after) = retry_after(&t.redeem(&code).await) {
            assert!(after <= 70, "{after}");
            users.push(Reverse((t.clock.unix_ms() + after * 1000, code)));
        }
    }
    let took = t.clock.unix_ms() - began;
    let (passed, refused) = calls(&t).await;
    println!("{tries} tries, {refused} calls over the limit, all in after {took} ms");
    assert_eq!(passed, 50);
    // Two minutes are full: within each there is room for pauses of 1, 1, 1, 2, 4, 8, 16 and 32 seconds.
    assert!((2..=2 * 9).contains(&refused), "{refused}");
    assert!(took < 3 * MINUTE_MS, "{took}");
}

#[tokio::test]
async fn a_crowd_that_meets_the_limit_is_in_as_soon_as_the_minute_is_over() {
    let t = TestGateway::start().await;
    limit(&t, 30).await;
    let mut codes = Vec::new();
    for user in 0..45 {
        codes.push(t.code(&format!("user-{user}")).await);
    }
    leave(&t, 8_000);
    let began = t.clock.unix_ms();
    let t = &t;
    let until_in = async |code: String| {
        while let Some(after) = retry_after(&t.redeem(&code).await) {
            tokio::time::sleep(Duration::from_secs(after)).await;
        }
    };
    join_all(codes.into_iter().map(until_in)).await;
    let took = t.clock.unix_ms() - began;
    let (passed, refused) = calls(t).await;
    println!("{refused} calls over the limit, all in after {took} ms");
    assert_eq!(passed, 45);
    // Those that were under way when the first was refused, and one after 1, 1, 1, 2 and 4 seconds each.
    assert!((1..=15 + 5).contains(&refused), "{refused}");
    assert!((7_000..20_000).contains(&took), "{took}");
}

#[tokio::test]
async fn a_user_who_is_over_the_limit_for_one_keeps_the_others_out_for_a_second() {
    let t = TestGateway::start().await;
    leave(&t, MINUTE_MS - 1);
    for _ in 0..100 {
        t.log_in("mallory").await;
    }
    let before = t.redeemed().await;
    let code = t.code("mallory").await;
    let reply = t.redeem(&code).await;
    assert_eq!(reply.json()["errcode"], 45011);
    let after = retry_after(&reply).unwrap();
    // Until the minute is over, as far as mallory is concerned.
    assert!((20..=61).contains(&after), "{after}");
    let since = t.clock.unix_ms();
    for user in ["alice", "bob", "carol"] {
        t.log_in(user).await;
    }
    assert!(t.clock.unix_ms() - since < 10_000);
    assert_eq!(t.redeemed().await - before, 4);
    t.clock.advance(Duration::from_secs(after));
    assert_eq!(t.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn a_user_who_comes_again_and_again_over_the_limit_for_one_keeps_nobody_out_for_long() {
    let t = TestGateway::builder()
        .trust_local_proxies()
        .section("login", "refused_per_minute = 1200")
        .start()
        .await;
    leave(&t, MINUTE_MS - 1);
    let from = |address: &str, code: &str| {
        let request = t.http.post(t.url("/_auth/login"));
        let request = request.json(&json!({"code": code}));
        Reply::of(request.header("X-Forwarded-For", address))
    };
    for _ in 0..100 {
        let code = t.code("mallory").await;
        assert_eq!(from("192.0.2.66", &code).await.status, 200);
    }
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(t.code("mallory").await);
    }
    let before = t.redeemed().await;
    let mallory = async {
        loop {
            for code in &codes {
                let status = from("192.0.2.66", code).await.status;
                assert!([429, 503].contains(&status), "{status}");
            }
        }
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for user in 0..10 {
            let (code, began) = (t.code(&format!("user-{user}")).await, Instant::now());
            while let Some(after) = retry_after(&from(&format!("198.51.100.{user}"), &code).await) {
                tokio::time::sleep(Duration::from_secs(after)).await;
            }
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let slowest = tokio::select! {
        slowest = others => slowest,
        () = mallory => unreachable!("who waits for nothing does not end"),
    };
    let vain = t.redeemed().await - before - 10;
    println!("{vain} calls over the limit; the others waited {slowest:?} at most");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(vain <= 5, "{vain}");
}
