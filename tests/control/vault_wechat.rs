//! Backends have WeChat check and reset a user's session_key: with one access_token for all, and the new key in the store.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::Duration;

use futures::future::join_all;
use menshen_test_support::{Reply, TestGateway};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const TOKEN: &str = "/cgi-bin/stable_token";
const CHECK: &str = "/wxa/checksession";
const RESET: &str = "/wxa/resetusersessionkey";
const PATIENCE: Duration = Duration::from_secs(10);

async fn log_in(t: &TestGateway, name: &str) -> String {
    let grant = t.log_in(name).await;
    t.openid(&grant.token).await
}

async fn ask(t: &TestGateway, openid: &str, call: &str) -> Reply {
    let path = format!("/v1/apps/shop/users/{openid}/{call}");
    Reply::of(t.control("POST", &path)).await
}

async fn is_valid(t: &TestGateway, openid: &str) -> bool {
    let reply = ask(t, openid, "check-session").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["valid"].as_bool().unwrap()
}

async fn encrypt(t: &TestGateway, user: &str) -> Value {
    let asked = json!({"appid": TestGateway::appid("shop"), "user": user, "data": {"n": 1}});
    let data = t.simulate("encrypt", asked).await;
    json!({"encrypted_data": data["encryptedData"], "iv": data["iv"]})
}

async fn opens(t: &TestGateway, openid: &str, data: &Value) -> bool {
    let path = format!("/v1/apps/shop/users/{openid}/decrypt");
    let reply = Reply::of(t.control("POST", &path).json(data)).await;
    if reply.status != 200 {
        reply.refused(422, "decrypt_failed");
    }
    reply.status == 200
}

/// Begins a reset that WeChat answers late, and waits until it has heard of it.
async fn slow_reset(t: &TestGateway, openid: &str) -> JoinHandle<reqwest::Result<Response>> {
    let late = json!({"fault": "delay", "by": "300ms", "times": 1});
    t.fault_at(RESET, late).await;
    let path = format!("/v1/apps/shop/users/{openid}/reset-session-key");
    let reset = tokio::spawn(t.control("POST", &path).send());
    let heard = async {
        while t.calls(RESET).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, heard).await.unwrap();
    reset
}

#[tokio::test]
async fn wechat_says_whether_a_session_key_is_good() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    assert!(is_valid(&t, &alice).await);
    // Another login, of which Menshen hears nothing, replaces the key.
    t.clock.advance(Duration::from_secs(61));
    t.code("alice").await;
    assert!(!is_valid(&t, &alice).await);
    t.log_in("alice").await;
    assert!(is_valid(&t, &alice).await);
}

#[tokio::test]
async fn a_reset_key_takes_the_place_of_the_one_before_and_nobody_sees_it() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    let before = encrypt(&t, "alice").await;
    let reply = ask(&t, &alice, "reset-session-key").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"reset": true})));
    assert!(is_valid(&t, &alice).await);
    let after = encrypt(&t, "alice").await;
    assert!(opens(&t, &alice, &before).await);
    assert!(opens(&t, &alice, &after).await);
    t.clock.advance(Duration::from_secs(601));
    assert!(!opens(&t, &alice, &before).await);
    assert!(opens(&t, &alice, &after).await);
}

#[tokio::test]
async fn a_key_that_is_over_cannot_be_reset() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    t.clock.advance(Duration::from_secs(61));
    t.code("alice").await;
    let reply = ask(&t, &alice, "reset-session-key").await;
    let json = reply.refused(409, "session_key_stale");
    assert_eq!(json["errcode"], 87009);
}

#[tokio::test]
async fn a_login_during_a_reset_wins() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    // The reset is carried out after the login that came meanwhile, with a key of which WeChat knows nothing any more.
    let reset = slow_reset(&t, &alice).await;
    t.clock.advance(Duration::from_secs(61));
    t.log_in("alice").await;
    assert_eq!(reset.await.unwrap().unwrap().status(), 409);
    assert!(is_valid(&t, &alice).await);
    let data = encrypt(&t, "alice").await;
    assert!(opens(&t, &alice, &data).await);
}

#[tokio::test]
async fn one_access_token_serves_until_its_last_five_minutes_and_is_asked_for_once() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    let valid = async || join_all((0..20).map(|_| is_valid(&t, &alice))).await;
    assert_eq!(valid().await, [true; 20]);
    assert_eq!((t.calls(TOKEN).await, t.calls(CHECK).await), (1, 20));
    t.clock.advance(Duration::from_secs(7200 - 310));
    assert!(is_valid(&t, &alice).await);
    assert_eq!(t.calls(TOKEN).await, 1);
    t.clock.advance(Duration::from_secs(260));
    assert_eq!(valid().await, [true; 20]);
    // The old one serves while the new one is fetched.
    let fetched = async {
        while t.calls(TOKEN).await < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, fetched).await.unwrap();
    assert_eq!(valid().await, [true; 20]);
    assert_eq!(t.calls(TOKEN).await, 2);
}

#[tokio::test]
async fn a_token_that_is_about_to_end_serves_while_wechat_gives_no_other() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    assert!(is_valid(&t, &alice).await);
    t.fault_at(TOKEN, json!({"fault": "errcode", "errcode": -1}))
        .await;
    t.clock.advance(Duration::from_secs(7200 - 20));
    for _ in 0..5 {
        assert!(is_valid(&t, &alice).await);
    }
    // WeChat was left alone for a while after it gave none.
    assert_eq!(t.calls(TOKEN).await, 2);
    t.clock.advance(Duration::from_secs(30));
    let reply = ask(&t, &alice, "check-session").await;
    assert_eq!(reply.refused(503, "wechat_busy")["errcode"], -1);
    t.heal().await;
    t.clock.advance(Duration::from_secs(6));
    assert!(is_valid(&t, &alice).await);
}

#[tokio::test]
async fn a_token_that_somebody_else_ended_is_read_again_and_the_call_made_once_more() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    assert!(is_valid(&t, &alice).await);
    t.force_access_token().await;
    assert!(is_valid(&t, &alice).await);
    // The test's own is the third.
    assert_eq!((t.calls(TOKEN).await, t.calls(CHECK).await), (3, 3));
    assert!(is_valid(&t, &alice).await);
    assert_eq!(t.calls(TOKEN).await, 3);
}

#[tokio::test]
async fn a_token_that_wechat_goes_on_refusing_is_read_again_once_and_not_at_every_call() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    assert!(is_valid(&t, &alice).await);
    t.clock.advance(Duration::from_secs(60));
    t.fault_at(CHECK, json!({"fault": "errcode", "errcode": 40001}))
        .await;
    for _ in 0..5 {
        let reply = ask(&t, &alice, "check-session").await;
        assert_eq!(reply.refused(502, "wechat_error")["errcode"], 40001);
    }
    assert_eq!((t.calls(TOKEN).await, t.calls(CHECK).await), (2, 6));
}

#[tokio::test]
async fn each_of_wechats_failures_has_its_code() {
    let section = "timeout = \"300ms\"\nconnect_timeout = \"300ms\"";
    let t = TestGateway::builder()
        .section("wechat", section)
        .start()
        .await;
    let alice = log_in(&t, "alice").await;
    assert!(is_valid(&t, &alice).await);
    let errcode = |number: i64| json!({"fault": "errcode", "errcode": number});
    for (plan, status, error, number) in [
        (errcode(-1), 503, "wechat_busy", Some(-1)),
        (errcode(45011), 503, "wechat_busy", Some(45011)),
        (errcode(45009), 503, "wechat_busy", Some(45009)),
        (errcode(48001), 502, "wechat_misconfigured", Some(48001)),
        (errcode(87008), 502, "wechat_misconfigured", Some(87008)),
        (errcode(40164), 502, "wechat_misconfigured", Some(40164)),
        (errcode(40003), 502, "wechat_error", Some(40003)),
        (errcode(99999), 502, "wechat_error", Some(99999)),
        (
            json!({"fault": "status", "status": 502}),
            502,
            "wechat_error",
            None,
        ),
        (json!({"fault": "html"}), 502, "wechat_error", None),
        (json!({"fault": "redirect"}), 502, "wechat_error", None),
        (json!({"fault": "truncate"}), 502, "wechat_error", None),
        (json!({"fault": "bom"}), 502, "wechat_error", None),
        (json!({"fault": "huge"}), 502, "wechat_error", None),
        (json!({"fault": "hang"}), 504, "wechat_timeout", None),
        (
            json!({"fault": "close_before"}),
            504,
            "wechat_timeout",
            None,
        ),
        (json!({"fault": "close_after"}), 504, "wechat_timeout", None),
    ] {
        t.heal().await;
        let named = plan.to_string();
        t.fault_at(CHECK, plan).await;
        let reply = ask(&t, &alice, "check-session").await;
        assert_eq!(reply.refusal(), (status, error.to_owned()), "{named}");
        let json = reply.refused(status, error);
        assert_eq!(json["errcode"].as_i64(), number, "{named}");
    }
    t.heal().await;
    assert!(is_valid(&t, &alice).await);
}

#[tokio::test]
async fn a_reset_whose_answer_is_of_no_use_changes_nothing_here() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    let data = encrypt(&t, "alice").await;
    for plan in [
        json!({"fault": "empty_openid", "times": 1}),
        json!({"fault": "missing_openid", "times": 1}),
        json!({"fault": "missing_session_key", "times": 1}),
    ] {
        t.fault_at(RESET, plan).await;
        let reply = ask(&t, &alice, "reset-session-key").await;
        // WeChat has another key by then.
        let stale = reply.refusal() == (409, "session_key_stale".to_owned());
        assert!(
            stale || reply.refusal() == (502, "wechat_error".to_owned()),
            "{}",
            reply.text()
        );
    }
    assert!(opens(&t, &alice, &data).await);
    assert!(!is_valid(&t, &alice).await);
}

#[tokio::test]
async fn without_a_right_secret_wechat_is_asked_once_in_a_while() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    t.fault_at(TOKEN, json!({"fault": "errcode", "errcode": 40125}))
        .await;
    for _ in 0..5 {
        let reply = ask(&t, &alice, "check-session").await;
        assert_eq!(reply.refused(502, "wechat_misconfigured")["errcode"], 40125);
    }
    assert_eq!((t.calls(TOKEN).await, t.calls(CHECK).await), (1, 0));
    t.heal().await;
    t.clock.advance(Duration::from_secs(31));
    assert!(is_valid(&t, &alice).await);
}

#[tokio::test]
async fn the_previous_secret_gets_an_access_token_while_wechat_takes_no_other() {
    let secrets = "secret_env = \"OTHER_SECRET\"\nprevious_secret_env = \"APP_SECRET\"";
    let t = TestGateway::builder().section("app", secrets).start().await;
    let alice = log_in(&t, "alice").await;
    for _ in 0..3 {
        assert!(is_valid(&t, &alice).await);
    }
    assert_eq!((t.calls(TOKEN).await, t.calls(CHECK).await), (2, 3));
}

#[tokio::test]
async fn a_secret_may_be_refused_for_an_access_token_in_two_ways() {
    for errcode in [40125, 40001] {
        let secrets = "secret_env = \"APP_SECRET\"\nprevious_secret_env = \"APP_SECRET\"";
        let t = TestGateway::builder().section("app", secrets).start().await;
        let alice = log_in(&t, "alice").await;
        let plan = json!({"fault": "errcode", "errcode": errcode, "times": 1});
        t.fault_at(TOKEN, plan).await;
        assert!(is_valid(&t, &alice).await, "{errcode}");
        assert_eq!(t.calls(TOKEN).await, 2);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_lose_the_new_key() {
    let t = TestGateway::start().await;
    let alice = log_in(&t, "alice").await;
    let asked = json!({"appid": TestGateway::appid("shop"), "user": "alice", "data": "same"});
    let before = t.simulate("encrypt", asked.clone()).await;
    slow_reset(&t, &alice).await.abort();
    let stored = async {
        // What is signed with another key has another signature.
        while t.simulate("encrypt", asked.clone()).await["signature"] == before["signature"] {
            tokio::task::yield_now().await;
        }
        while !is_valid(&t, &alice).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, stored).await.unwrap();
}
