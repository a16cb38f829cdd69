//! Whatever WeChat answers, or does not, becomes the refusal that the contract names and never a session.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen::clock::Clock;
use menshen::session::{SessionRules, Sessions};
use menshen_test_support::{Builder, Grant, Relay, Reply, TestGateway, find_closed_address};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Gives up soon, so that the tests need not wait.
const HASTY: &str = "connect_timeout = \"300ms\"\ntimeout = \"300ms\"";

fn hasty() -> Builder {
    TestGateway::builder().section("wechat", HASTY)
}

/// A gateway where alice has been logged in since before anything went wrong.
struct Scene {
    t: TestGateway,
    alice: Grant,
}

/// What the client of a refused login got: status, `error`, `errcode` and `Retry-After`.
type Outcome = (u16, String, Option<i64>, Option<String>);

fn outcome(status: u16, error: &str, errcode: Option<i64>, retry_after: Option<&str>) -> Outcome {
    let retry_after = retry_after.map(str::to_owned);
    (status, error.to_owned(), errcode, retry_after)
}

fn told_by(reply: &Reply) -> Outcome {
    let retry_after = reply.headers.get("retry-after");
    (
        reply.status,
        reply.error(),
        reply.json()["errcode"].as_i64(),
        retry_after.map(|value| value.to_str().unwrap().to_owned()),
    )
}

impl Scene {
    async fn start(builder: Builder) -> Self {
        let t = builder.start().await;
        let alice = t.log_in("alice").await;
        Self { t, alice }
    }

    /// Logs alice in on a second phone while the next call to WeChat goes wrong.
    async fn login_with(&self, mut plan: Value) -> Reply {
        plan["times"] = json!(1);
        self.t.fault(plan).await;
        let before = self.t.redeemed().await;
        let code = self.t.code("alice").await;
        let reply = self.t.redeem(&code).await;
        let calls = self.t.redeemed().await - before;
        assert_eq!(calls, 1, "a code should go to WeChat once");
        reply
    }

    /// Does the same and returns how it was refused.
    async fn refusal(&self, plan: Value) -> Outcome {
        let reply = self.login_with(plan.clone()).await;
        for name in ["token", "refresh_token", "openid"] {
            assert_eq!(reply.json()[name], Value::Null, "{plan}");
        }
        told_by(&reply)
    }

    /// Checks that alice has noticed nothing, and that the store knows of no other login of hers.
    async fn ends_as_it_began(mut self) {
        let shown = self.t.get_as("/_auth/session", &self.alice.token).await;
        let openid = shown.json()["openid"].as_str().unwrap().to_owned();
        let reply = self.t.get_as("/orders", &self.alice.token).await;
        assert_eq!(reply.status, 200);
        let refresh = json!({"refresh_token": self.alice.refresh_token});
        assert_eq!(self.t.post("/_auth/refresh", refresh).await.status, 200);
        self.t.stop().await;
        let rules = SessionRules {
            session_ttl: Duration::from_secs(3600),
            refresh_grace: Duration::from_secs(30),
            token_ttl: Duration::from_secs(600),
            unionid_lookup: false,
        };
        let data = self.t.folder.path().join("data");
        let store = Sessions::embedded(&data, None, rules, Clock::system()).unwrap();
        let appid = TestGateway::appid("shop");
        let sessions = store.sessions_of(&appid, &openid).await.unwrap();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
    }
}

/// Every row of WeChat's table for code2Session but those that make others wait, and two numbers that are in none.
fn errcodes() -> Vec<(i64, u16, &'static str, Option<&'static str>)> {
    vec![
        (40029, 401, "code_invalid", None),
        (40163, 401, "code_used", None),
        (40226, 403, "user_blocked", None),
        (40013, 502, "wechat_misconfigured", None),
        (40125, 502, "wechat_misconfigured", None),
        (41002, 502, "wechat_misconfigured", None),
        (41004, 502, "wechat_misconfigured", None),
        (41008, 502, "wechat_misconfigured", None),
        (40002, 502, "wechat_misconfigured", None),
        (50002, 502, "wechat_misconfigured", None),
        (48001, 502, "wechat_misconfigured", None),
        (99999, 502, "wechat_error", None),
        (-2, 502, "wechat_error", None),
    ]
}

#[tokio::test]
async fn each_errcode_has_its_refusal() {
    let scene = Scene::start(TestGateway::builder()).await;
    for (errcode, status, error, retry_after) in errcodes() {
        let plan = json!({"fault": "errcode", "errcode": errcode});
        let expected = outcome(status, error, Some(errcode), retry_after);
        assert_eq!(scene.refusal(plan).await, expected);
    }
    scene.ends_as_it_began().await;
}

#[tokio::test]
async fn an_errcode_that_is_a_string_has_the_same_refusal() {
    let scene = Scene::start(TestGateway::builder()).await;
    for (errcode, status, error, retry_after) in errcodes() {
        let plan = json!({"fault": "errcode_string", "errcode": errcode});
        let expected = outcome(status, error, Some(errcode), retry_after);
        assert_eq!(scene.refusal(plan).await, expected);
    }
    scene.ends_as_it_began().await;
}

#[tokio::test]
async fn the_text_beside_an_errcode_changes_nothing_and_is_not_passed_on() {
    let scene = Scene::start(TestGateway::builder()).await;
    let plan = json!({"fault": "errcode", "errcode": 40029, "errmsg": "system error, 40125 <b>"});
    let reply = scene.login_with(plan).await;
    assert_eq!(
        told_by(&reply),
        outcome(401, "code_invalid", Some(40029), None)
    );
    assert!(!reply.text().contains("<b>"), "{}", reply.text());
}

#[tokio::test]
async fn what_is_not_an_answer_is_an_error_of_wechat_or_somebody_elses() {
    let scene = Scene::start(TestGateway::builder()).await;
    let unreachable = || outcome(503, "wechat_unreachable", None, Some("1"));
    let invalid = || outcome(502, "wechat_error", None, None);
    for (plan, expected) in [
        (json!({"fault": "status", "status": 502}), unreachable()),
        (json!({"fault": "status", "status": 503}), unreachable()),
        (json!({"fault": "status", "status": 504}), unreachable()),
        (json!({"fault": "status", "status": 404}), unreachable()),
        (json!({"fault": "html"}), unreachable()),
        (json!({"fault": "html", "spend": true}), unreachable()),
        (json!({"fault": "redirect"}), unreachable()),
        (json!({"fault": "status", "status": 412}), invalid()),
        (json!({"fault": "truncate"}), invalid()),
        (json!({"fault": "empty_openid"}), invalid()),
        (json!({"fault": "missing_openid"}), invalid()),
        (json!({"fault": "missing_session_key"}), invalid()),
        (json!({"fault": "raw_control"}), invalid()),
        (json!({"fault": "bom"}), invalid()),
        (json!({"fault": "huge"}), invalid()),
    ] {
        let refusal = scene.refusal(plan.clone()).await;
        assert_eq!(refusal, expected, "{plan}");
        // Five in a row would be an outage.
        scene.t.log_in("bob").await;
    }
    scene.ends_as_it_began().await;
}

#[tokio::test]
async fn silence_after_the_code_was_sent_is_a_timeout() {
    let scene = Scene::start(hasty()).await;
    for plan in [
        json!({"fault": "close_before"}),
        json!({"fault": "close_after"}),
        json!({"fault": "delay", "by": "1m"}),
        json!({"fault": "hang"}),
        json!({"fault": "hang", "spend": true}),
    ] {
        let refusal = scene.refusal(plan.clone()).await;
        assert_eq!(
            refusal,
            outcome(504, "wechat_timeout", None, None),
            "{plan}"
        );
    }
    scene.ends_as_it_began().await;
}

#[tokio::test]
async fn an_odd_success_is_a_success() {
    let scene = Scene::start(TestGateway::builder()).await;
    for plan in [
        json!({"fault": "errcode_zero"}),
        json!({"fault": "content_type", "content_type": "image/jpeg"}),
        json!({"fault": "delay", "by": "10ms"}),
    ] {
        let reply = scene.login_with(plan.clone()).await;
        assert_eq!(reply.status, 200, "{plan}: {}", reply.text());
        let token = Grant::of(reply.json()).token;
        assert_eq!(
            scene.t.get_as("/orders", &token).await.status,
            200,
            "{plan}"
        );
    }
}

#[tokio::test]
async fn a_blocked_user_is_refused_and_not_asked_about_again() {
    let t = TestGateway::start().await;
    let blocked = json!({"appid": TestGateway::appid("shop"), "user": "mallory", "blocked": true});
    let code = t.simulate("login", blocked).await["code"].take();
    let reply = t.post("/_auth/login", json!({"code": code})).await;
    assert_eq!(
        told_by(&reply),
        outcome(403, "user_blocked", Some(40226), None)
    );
    assert_eq!(t.redeemed().await, 1);
}

#[tokio::test]
async fn a_code_that_was_spent_in_a_lost_answer_is_not_sent_again() {
    let scene = Scene::start(TestGateway::builder()).await;
    let lost = json!({"fault": "close_after", "times": 1});
    scene.t.fault(lost).await;
    let code = json!({"code": scene.t.code("alice").await});
    let first = scene.t.post("/_auth/login", code.clone()).await;
    assert_eq!(first.refusal(), (504, "wechat_timeout".to_owned()));
    let before = scene.t.redeemed().await;
    let second = scene.t.post("/_auth/login", code).await;
    assert_eq!(told_by(&second), outcome(504, "wechat_timeout", None, None));
    assert_eq!(scene.t.redeemed().await, before);
}

#[tokio::test]
async fn a_login_on_the_first_request_that_fails_never_reaches_the_upstream() {
    let t = hasty().start().await;
    for (plan, refusal) in [
        (
            json!({"fault": "errcode", "errcode": 40029}),
            (401, "code_invalid"),
        ),
        (
            json!({"fault": "errcode", "errcode": 40226}),
            (403, "user_blocked"),
        ),
        (
            json!({"fault": "errcode", "errcode": -1}),
            (503, "wechat_busy"),
        ),
        (json!({"fault": "truncate"}), (502, "wechat_error")),
        (json!({"fault": "empty_openid"}), (502, "wechat_error")),
        (json!({"fault": "hang"}), (504, "wechat_timeout")),
    ] {
        t.fault(plan).await;
        // Where strangers are let in, too: who meant to be somebody must not become nobody.
        for path in ["/orders", "/optional/orders"] {
            let request = t.get(path).header("X-WX-Code", t.code("alice").await);
            let reply = Reply::of(request).await;
            assert_eq!(reply.refusal(), (refusal.0, refusal.1.to_owned()), "{path}");
            assert_eq!(reply.header("menshen-token"), "");
        }
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn whoever_is_logged_in_notices_nothing_while_wechat_hangs() {
    let patient = TestGateway::builder().section("wechat", "timeout = \"2s\"");
    let scene = Scene::start(patient).await;
    scene.t.fault(json!({"fault": "hang"})).await;
    let code = scene.t.code("bob").await;
    let login = scene.t.http.post(scene.t.url("/_auth/login"));
    let login = tokio::spawn(login.json(&json!({"code": code})).send());
    wait_until(async || scene.t.redeemed().await == 2).await;
    assert!(!login.is_finished());
    scene.ends_as_it_began().await;
}

#[tokio::test]
async fn wechat_out_of_reach_is_told_and_keeps_nobody_out_who_is_logged_in() {
    let builder = hasty();
    let mut t = builder.clone().start().await;
    let alice = t.log_in("alice").await;
    t.stop().await;
    let folder = std::mem::replace(&mut t.folder, tempfile::tempdir().unwrap());
    let nowhere = format!("api_base = \"http://{}\"", find_closed_address());
    let t = builder.section("wechat", &nowhere).start_in(folder).await;

    let reply = t.post("/_auth/login", json!({"code": "0a1b2c"})).await;
    assert_eq!(
        told_by(&reply),
        outcome(503, "wechat_unreachable", None, Some("1"))
    );
    Scene { t, alice }.ends_as_it_began().await;
}

#[tokio::test]
async fn a_black_hole_swallows_no_login_after_its_end() {
    let relay = Relay::start().await;
    let via = format!("api_base = \"http://{}\"", relay.address);
    let t = hasty().section("wechat", &via).start().await;
    relay.lead_to(t.simulator);
    let alice = t.log_in("alice").await;
    // Connections that are idle when the hole opens, and more of them than it swallows calls.
    t.fault(json!({"fault": "delay", "by": "100ms", "times": 8}))
        .await;
    let users: Vec<String> = (0..8).map(|n| format!("user-{n}")).collect();
    join_all(users.iter().map(|user| t.log_in(user))).await;
    assert!(relay.answers().len() >= 8);

    relay.die();
    let before = t.redeemed().await;
    let mut swallowed = Vec::new();
    for _ in 0..3 {
        let code = json!({"code": t.code("alice").await});
        let reply = t.post("/_auth/login", code.clone()).await;
        assert_eq!(told_by(&reply), outcome(504, "wechat_timeout", None, None));
        swallowed.push(code);
    }
    assert_eq!(t.get_as("/orders", &alice.token).await.status, 200);
    assert_eq!(t.redeemed().await, before, "nothing should arrive");

    relay.revive();
    for user in &users {
        t.log_in(user).await;
    }
    assert_eq!(t.redeemed().await, before + 8);
    for code in swallowed {
        // Nobody knows of these but the hole.
        let reply = t.post("/_auth/login", code).await;
        assert_eq!(told_by(&reply), outcome(504, "wechat_timeout", None, None));
    }
    assert_eq!(t.redeemed().await, before + 8);
}

#[tokio::test]
async fn an_answer_that_trickles_is_given_up_in_time() {
    let trickle = trickling_wechat().await;
    let slow = format!("api_base = \"http://{trickle}\"");
    let t = hasty().section("wechat", &slow).start().await;
    let started = Instant::now();
    let reply = t.post("/_auth/login", json!({"code": "0a1b2c"})).await;
    assert_eq!(told_by(&reply), outcome(504, "wechat_timeout", None, None));
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Starts a WeChat that sends a byte of a long answer now and then, and never the last.
async fn trickling_wechat() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n{";
        let mut sent = stream.write_all(head).await;
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while sent.is_ok() {
            beat.tick().await;
            sent = stream.write_all(b" ").await;
        }
    });
    address
}

async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "it should have happened");
}
