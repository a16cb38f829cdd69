//! What WeChat allows in a minute and a day is shared in order, and nobody who is logged in notices when it is used up.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::{Grant, Reply, TestGateway};
use serde_json::json;

/// Checks that a login is refused as WeChat is busy, and returns when to come back and what WeChat said.
fn busy(reply: &Reply) -> (u64, Option<i64>) {
    let errcode = reply.refused(503, "wechat_busy")["errcode"].as_i64();
    (reply.retry_after().unwrap(), errcode)
}

const DAY: u64 = 24 * 3600;
const PATIENCE: Duration = Duration::from_secs(20);
const NOBODY_WAITS: &str = "menshen_login_waiting{app=\"shop\"} 0\n";

/// Moves the time on where less than this is left of the period of so many seconds, as seen so far east.
fn has_left(t: &TestGateway, period: u64, east: u64, least: u64) {
    let left = period - (t.clock.unix_secs() + east) % period;
    if left < least {
        t.clock.advance(Duration::from_secs(left));
    }
}

#[tokio::test]
async fn calls_follow_each_other_at_the_pace_of_the_quota() {
    let t = TestGateway::builder()
        .section("login", "quota_per_minute = 60")
        .start()
        .await;
    let started = Instant::now();
    let replies = join_all((0..3).map(|n| {
        let t = &t;
        async move { t.try_log_in(&format!("user-{n}")).await }
    }));
    assert!(replies.await.iter().all(|reply| reply.status == 200));
    assert!(
        started.elapsed() > Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn whoever_finds_no_place_is_told_when_to_come_back_and_keeps_the_code() {
    let t = TestGateway::builder()
        .section("login", "quota_per_minute = 60\nqueue = 0")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    let code = t.code("bob").await;
    let reply = t.redeem(&code).await;
    let (after, errcode) = busy(&reply);
    assert!((1..=3).contains(&after) && errcode.is_none(), "{after}");
    assert_eq!(t.get_as("/orders", &alice.token).await.status, 200);
    t.clock.advance(Duration::from_secs(after));
    assert_eq!(t.redeem(&code).await.status, 200);
    assert_eq!(t.redeemed().await, 2);
}

#[tokio::test]
async fn an_app_has_a_quota_of_its_own() {
    let t = TestGateway::builder()
        .apps(&["shop", "club"])
        .section("login", "quota_per_minute = 60\nqueue = 0")
        .start()
        .await;
    t.log_in_to("shop", "alice").await;
    t.log_in_to("club", "alice").await;
    let body = json!({"code": t.code("bob").await, "app": "shop"});
    busy(&t.post("/_auth/login", body).await);
}

#[tokio::test]
async fn whoever_leaves_the_line_spends_no_code_and_no_call() {
    // A turn every three seconds: a client of HTTP/1.1 that has closed its sending side may still read, and is probed after a second.
    let t = TestGateway::builder()
        .section("login", "quota_per_minute = 20")
        .start()
        .await;
    t.log_in("alice").await;
    let code = t.code("bob").await;
    let waiting = t
        .http
        .post(t.url("/_auth/login"))
        .json(&json!({"code": code}));
    let left = waiting.timeout(Duration::from_millis(100)).send().await;
    assert!(left.unwrap_err().is_timeout());
    let since = Instant::now();
    while !t.read_metrics().await.contains(NOBODY_WAITS) {
        assert!(since.elapsed() < PATIENCE, "it has left the line");
    }
    t.log_in("carol").await;
    assert_eq!(t.redeemed().await, 2);
    assert_eq!(t.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn a_minutes_quota_that_is_used_up_is_left_alone_until_the_minute_is_over() {
    let t = TestGateway::start().await;
    has_left(&t, 60, 0, 30);
    let alice = t.log_in("alice").await;
    t.fault(json!({"fault": "errcode", "errcode": 45011})).await;
    let code = t.code("bob").await;
    let (after, errcode) = busy(&t.redeem(&code).await);
    assert!(
        (1..=61).contains(&after) && errcode == Some(45011),
        "{after}"
    );
    // It may be the quota of one user, so that others are tried, but less and less.
    let before = t.redeemed().await;
    let users: Vec<String> = (0..30).map(|n| format!("user-{n}")).collect();
    for reply in join_all(users.iter().map(|user| t.try_log_in(user))).await {
        let (after, _) = busy(&reply);
        assert!(after <= 65, "{after}");
    }
    let tries = t.redeemed().await - before;
    assert!((1..=5).contains(&tries), "{tries}");
    assert_eq!(t.get_as("/orders", &alice.token).await.status, 200);
    t.fault(json!({"fault": "delay", "by": "1ms"})).await;
    t.clock.advance(Duration::from_secs(61));
    assert_eq!(t.redeem(&code).await.status, 200);
    t.log_in("dave").await;
}

#[tokio::test]
async fn a_days_quota_that_is_used_up_is_tried_with_one_call_every_ten_minutes() {
    let t = TestGateway::start().await;
    has_left(&t, DAY, 8 * 3600, 3600);
    let alice = t.log_in("alice").await;
    t.fault(json!({"fault": "errcode", "errcode": 45009, "times": 2}))
        .await;
    let (after, errcode) = busy(&t.try_log_in("bob").await);
    assert!(
        (239..=300).contains(&after) && errcode == Some(45009),
        "{after}"
    );
    for (pause, calls) in [(0, 0), (500, 0), (101, 1), (500, 0)] {
        t.clock.advance(Duration::from_secs(pause));
        let before = t.redeemed().await;
        let replies = join_all(["bob", "carol", "dave"].map(|user| t.try_log_in(user))).await;
        for reply in replies {
            busy(&reply);
        }
        assert_eq!(t.redeemed().await - before, calls, "after {pause} s");
    }
    let refresh = json!({"refresh_token": alice.refresh_token});
    assert_eq!(t.post("/_auth/refresh", refresh).await.status, 200);
    t.clock.advance(Duration::from_secs(101));
    t.log_in("bob").await;
    t.log_in("carol").await;
}

#[tokio::test]
async fn nobody_is_sent_to_wechat_with_too_little_time_for_an_answer() {
    let login = "quota_per_minute = 60\ntimeout = \"3s\"\nqueue_timeout = \"1500ms\"";
    let t = TestGateway::builder().section("login", login).start().await;
    t.log_in("alice").await;
    t.fault(json!({"fault": "errcode", "errcode": -1, "times": 1}))
        .await;
    // The first turn comes after a second. The second would after two, when a connection alone may take what is left.
    let code = t.code("bob").await;
    busy(&t.redeem(&code).await);
    assert_eq!(t.redeemed().await, 2);
    t.clock.advance(Duration::from_secs(2));
    assert_eq!(t.redeem(&code).await.status, 200);
}

#[tokio::test]
async fn one_address_cannot_use_up_what_is_everybodys() {
    let t = TestGateway::builder()
        .section("login", "refused_per_minute = 3")
        .trust_local_proxies()
        .start()
        .await;
    let from = |forwarded: &str, code: &str| {
        let body = json!({"code": code});
        let request = t.http.post(t.url("/_auth/login")).json(&body);
        Reply::of(request.header("X-Forwarded-For", forwarded))
    };
    // Any number of users may share it.
    for n in 0..5 {
        let code = t.code(&format!("user-{n}")).await;
        assert_eq!(from("192.0.2.1", &code).await.status, 200);
    }
    for n in 0..3 {
        // Whatever a client writes in front of its own address.
        from(&format!("198.51.100.{n}, 192.0.2.1"), &format!("0bad{n}"))
            .await
            .refused(401, "code_invalid");
    }
    let refused = from("198.51.100.7, 192.0.2.1", "0bad7").await;
    refused.refused(429, "too_many_requests");
    let first = t.get("/orders").header("X-WX-Code", "0bad8");
    let first = Reply::of(first.header("X-Forwarded-For", "192.0.2.1")).await;
    first.refused(429, "too_many_requests");
    from("192.0.2.2", "0bad9")
        .await
        .refused(401, "code_invalid");
    assert_eq!(t.redeemed().await, 5 + 3 + 1);
    // Whoever does not log in is not counted.
    let session = t
        .get("/_auth/session")
        .header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(Reply::of(session).await.status, 200);
}

/// Sends a code, and leaves before WeChat has answered.
async fn leave(t: &TestGateway, code: &str) {
    let request = t.http.post(t.url("/_auth/login"));
    let request = request.json(&json!({"code": code}));
    let left = request.timeout(Duration::from_millis(100)).send().await;
    assert!(left.unwrap_err().is_timeout());
}

#[tokio::test]
async fn whoever_leaves_pays_for_a_bad_code_and_not_for_leaving() {
    let t = TestGateway::builder()
        .section("login", "refused_per_minute = 3")
        .start()
        .await;
    t.fault(json!({"fault": "delay", "by": "300ms"})).await;
    for n in 0..6 {
        let code = t.code(&format!("user-{n}")).await;
        leave(&t, &code).await;
        // The same client has come again, and heard what became of it.
        assert_eq!(t.redeem(&code).await.status, 200);
    }
    for n in 0..3 {
        leave(&t, &format!("0bad{n}")).await;
    }
    // They count while WeChat is asked about them.
    let refused = t.try_log_in("bob").await;
    refused.refused(429, "too_many_requests");
    // And they do when it has said that they are good for nothing.
    let since = Instant::now();
    loop {
        let counted = t.read_metrics().await;
        if counted.contains("result=\"40029\"} 3") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(9), "{counted}");
    }
    for _ in 0..20 {
        let refused = t.try_log_in("bob").await;
        refused.refused(429, "too_many_requests");
    }
}

#[tokio::test]
async fn refreshes_of_an_address_have_a_limit_that_is_nobody_elses() {
    let t = TestGateway::builder()
        .section("login", "refreshes_per_minute = 3")
        .trust_local_proxies()
        .start()
        .await;
    let refresh = |address: &str, token: &str| {
        let request = t.http.post(t.url("/_auth/refresh"));
        let request = request.json(&json!({"refresh_token": token}));
        Reply::of(request.header("X-Forwarded-For", address))
    };
    let mut grant = t.log_in("alice").await;
    for _ in 0..3 {
        let reply = refresh("192.0.2.1", &grant.refresh_token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        grant = Grant::of(reply.json());
    }
    for token in [&*grant.refresh_token, "made-up"] {
        let refused = refresh("192.0.2.1", token).await;
        refused.refused(429, "too_many_requests");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
    }
    // The refused one has changed nothing.
    let elsewhere = refresh("192.0.2.2", &grant.refresh_token).await;
    assert_eq!(elsewhere.status, 200, "{}", elsewhere.text());
}

#[tokio::test]
async fn whoever_waits_when_it_stops_is_turned_away_at_once_and_keeps_the_code() {
    let slow = "quota_per_minute = 6\nqueue_timeout = \"50s\"\ntimeout = \"60s\"";
    let mut t = TestGateway::builder().section("login", slow).start().await;
    t.log_in("alice").await;
    let code = t.code("bob").await;
    let login = t.http.post(t.url("/_auth/login"));
    let waiting = tokio::spawn(Reply::of(login.json(&json!({"code": code}))));
    let since = Instant::now();
    loop {
        let counted = t.read_metrics().await;
        if counted.contains("menshen_login_waiting{app=\"shop\"} 1") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(9), "{counted}");
    }
    t.begin_stop();
    assert_eq!(busy(&waiting.await.unwrap()), (1, None));
    t.stop().await;
    assert_eq!(t.redeemed().await, 1);
}

#[tokio::test]
async fn one_address_has_nobody_else_told_to_come_much_later() {
    let t = TestGateway::builder()
        .section(
            "login",
            "quota_per_minute = 60\nqueue = 0\nrefused_per_minute = 15",
        )
        .trust_local_proxies()
        .start()
        .await;
    let from = |address: &str, code: &str| {
        let request = t.http.post(t.url("/_auth/login"));
        let request = request.json(&json!({"code": code}));
        Reply::of(request.header("X-Forwarded-For", address))
    };
    let codes: Vec<String> = (0..150).map(|n| format!("0made-up-{n}")).collect();
    let flood = async {
        let mut replies = Vec::new();
        // No more at a time than may be good for nothing.
        for some in codes.chunks(10) {
            replies.extend(join_all(some.iter().map(|code| from("192.0.2.66", code))).await);
        }
        replies
    };
    let code = t.code("alice").await;
    let alice = async {
        loop {
            let reply = from("198.51.100.1", &code).await;
            if reply.status == 200 {
                return;
            }
            reply.refused(503, "wechat_busy");
            let after = reply.retry_after().unwrap();
            // One a second for each of the fifteen, and for those in line.
            assert!(after <= 20, "{after}");
            t.clock.advance(Duration::from_secs(after));
        }
    };
    let replies = flood.await;
    alice.await;
    let turned_away = replies.iter().filter(|reply| reply.status == 503).count();
    assert!(turned_away > 50, "{turned_away}");
}

#[tokio::test]
async fn made_up_codes_of_twenty_addresses_keep_no_user_of_another_out_for_long() {
    let t = TestGateway::builder()
        .section(
            "login",
            "quota_per_minute = 600\nqueue_timeout = \"1s\"\nrefused_per_minute = 1200",
        )
        .trust_local_proxies()
        .start()
        .await;
    let from = |address: String, code: String| {
        let request = t.http.post(t.url("/_auth/login"));
        let request = request.json(&json!({"code": code}));
        Reply::of(request.header("X-Forwarded-For", address))
    };
    let flood = async |wave: usize| {
        let codes = (0..200).map(|n| {
            let address = format!("192.0.2.{}", n % 20);
            from(address, format!("0made-up-{wave}-{n}"))
        });
        join_all(codes).await
    };
    let turned_away = flood(0).await;
    let turned_away = turned_away.iter().filter(|reply| reply.status == 503);
    assert!(turned_away.count() > 100);
    for number in 0..8 {
        let (code, came) = (t.code(&format!("user-{number}")).await, t.clock.instant());
        for wave in 1.. {
            let user = from(format!("198.51.100.{number}"), code.clone());
            let (reply, _) = tokio::join!(user, flood(number * 100 + wave));
            if reply.status == 200 {
                break;
            }
            reply.refused(503, "wechat_busy");
            let after = reply.retry_after().unwrap();
            // Twenty-eight networks, a tenth of a second each, and those in the queue.
            assert!(after <= 6, "{after}");
            t.clock.advance(Duration::from_secs(after));
        }
        let took = t.clock.instant() - came;
        assert!(took <= Duration::from_secs(20), "{number}: {took:?}");
    }
}
