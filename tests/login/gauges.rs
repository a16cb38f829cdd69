//! What the private listener shows of the lines before WeChat is so at the moment when it is shown.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use menshen_test_support::{Nodes, TestGateway};
use serde_json::json;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PATIENCE: Duration = Duration::from_secs(20);

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

fn waiting(app: &str, count: usize) -> String {
    format!("menshen_login_waiting{{app=\"{app}\"}} {count}")
}

fn kept_back(reason: &str, so: u8) -> String {
    format!("menshen_login_kept_back{{app=\"shop\",reason=\"{reason}\"}} {so}")
}

#[tokio::test]
async fn a_line_that_is_full_shows_its_length_and_one_that_was_left_shows_nobody() {
    let slow = "quota_per_minute = 6\nqueue = 3\nqueue_timeout = \"50s\"\ntimeout = \"60s\"";
    let t = TestGateway::builder().section("login", slow).start().await;
    assert!(has(&t.read_metrics().await, &waiting("shop", 0)));
    t.log_in("alice").await;
    let mut logins = FuturesUnordered::new();
    for user in 0..8 {
        let code = t.code(&format!("user-{user}")).await;
        logins.push(
            t.http
                .post(t.url("/_auth/login"))
                .json(&json!({"code": code}))
                .send(),
        );
    }
    // As many as are too many are told so; the others are in line by then.
    for _ in 0..5 {
        assert_eq!(logins.next().await.unwrap().unwrap().status(), 503);
    }
    let text = t.read_metrics().await;
    assert!(has(&text, &waiting("shop", 3)), "{text}");
    drop(logins);
    let since = Instant::now();
    while !has(&t.read_metrics().await, &waiting("shop", 0)) {
        assert!(since.elapsed() < PATIENCE, "they have left");
    }
}

#[tokio::test]
async fn calls_are_shown_as_kept_back_until_one_went_well_and_no_longer() {
    let t = TestGateway::builder()
        .section("login", "queue = 0")
        .start()
        .await;
    for reason in ["minute", "day", "silence", "busy"] {
        let text = t.read_metrics().await;
        assert!(has(&text, &kept_back(reason, 0)), "{text}");
    }
    for (plan, reason, calls) in [
        (json!({"fault": "errcode", "errcode": 45009}), "day", 1),
        (json!({"fault": "errcode", "errcode": 45011}), "minute", 1),
        (json!({"fault": "errcode", "errcode": -1}), "busy", 3),
        (json!({"fault": "close_before"}), "silence", 5),
    ] {
        t.fault(plan).await;
        for _ in 0..calls {
            let code = json!({"code": t.code("bob").await});
            let refused = t.post("/_auth/login", code).await;
            assert!(refused.status >= 500, "{}", refused.text());
        }
        t.fault(json!({"fault": "delay", "by": "1ms"})).await;
        let text = t.read_metrics().await;
        assert!(has(&text, &kept_back(reason, 1)), "{reason}: {text}");
        // The pause is over, but nobody has come, and the first to come will be alone.
        t.clock.advance(Duration::from_secs(601));
        let text = t.read_metrics().await;
        assert!(has(&text, &kept_back(reason, 1)), "{reason}: {text}");
        t.log_in("alice").await;
        let text = t.read_metrics().await;
        assert!(!text.contains("\"} 1\nmenshen_login_kept_back"), "{text}");
        assert!(has(&text, &kept_back(reason, 0)), "{reason}: {text}");
    }
}

#[tokio::test]
async fn an_app_whose_name_changes_is_shown_under_the_new_one_only() {
    let (nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
    let control = node.program.find_control_address().await;
    node.log_in("alice").await;
    nodes.site.change("name = \"shop\"", "name = \"store\"");
    node.program.reload(1).await;
    let url = format!("http://{control}/metrics");
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(has(&text, &waiting("store", 0)), "{text}");
    assert!(!text.contains("login_waiting{app=\"shop\"}"), "{text}");
}
