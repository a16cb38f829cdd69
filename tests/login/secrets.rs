//! An app that has two secrets logs its users in with whichever WeChat takes, and says so.

use menshen_test_support::{APP_SECRET, Nodes, OTHER_SECRET, TestGateway};
use serde_json::json;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PREVIOUS: &str = "secret_env = \"OTHER_SECRET\"\nprevious_secret_env = \"APP_SECRET\"";

#[tokio::test]
async fn the_secret_that_wechat_takes_is_found_with_one_call_more() {
    for (secrets, calls) in [
        (PREVIOUS, [2, 1, 1]),
        ("previous_secret_env = \"OTHER_SECRET\"", [1, 1, 1]),
    ] {
        let t = TestGateway::builder().section("app", secrets).start().await;
        for expected in calls {
            let before = t.redeemed().await;
            t.log_in("alice").await;
            assert_eq!(t.redeemed().await - before, expected, "{secrets}");
        }
    }
}

#[tokio::test]
async fn two_secrets_that_wechat_refuses_are_each_tried_once_and_the_code_stays_good() {
    let t = TestGateway::builder()
        .section("app", PREVIOUS)
        .start()
        .await;
    let refusing = json!({"fault": "errcode", "errcode": 40125, "times": 2});
    t.fault(refusing).await;
    let code = json!({"code": t.code("alice").await});
    let refused = t.post("/_auth/login", code.clone()).await;
    let told = refused.refused(502, "wechat_misconfigured");
    assert_eq!(
        (told["errcode"].as_i64(), t.redeemed().await),
        (Some(40125), 2)
    );
    assert_eq!(t.post("/_auth/login", code).await.status, 200);
}

#[tokio::test]
async fn one_wrong_secret_is_tried_once() {
    let t = TestGateway::builder()
        .section("app", "secret_env = \"OTHER_SECRET\"")
        .start()
        .await;
    let code = json!({"code": t.code("alice").await});
    let refused = t.post("/_auth/login", code).await;
    assert_eq!(
        refused.refused(502, "wechat_misconfigured")["errcode"],
        40125
    );
    assert_eq!(t.redeemed().await, 1);
}

#[tokio::test]
async fn the_log_says_loudly_that_the_previous_secret_is_in_use() {
    let (_nodes, node) =
        Nodes::start_one(TestGateway::builder().section("app", PREVIOUS), MENSHEN).await;
    node.log_in("alice").await;
    node.log_in("bob").await;
    let line = node.program.logs("previous_secret").await;
    assert!(line.contains("ERROR"), "{line}");
    let said = node.program.stderr();
    assert_eq!(said.matches("previous_secret").count(), 1, "{said}");
    assert!(!said.contains(APP_SECRET) && !said.contains(OTHER_SECRET));
}
