//! A reload changes how logins share what WeChat allows, while what is known of the calls so far stays.

use menshen_test_support::{Node, Nodes, Reply, TestGateway};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

async fn start(login: &str) -> (Nodes, Node) {
    let (nodes, node) =
        Nodes::start_one(TestGateway::builder().section("login", login), MENSHEN).await;
    (nodes, node)
}

/// Changes the file and reloads, for the `count`th time.
async fn change(nodes: &Nodes, node: &Node, (from, to): (&str, &str), count: usize) {
    nodes.site.change(from, to);
    node.program.reload(count).await;
}

#[tokio::test]
async fn a_quota_goes_from_the_next_login_on() {
    let (nodes, node) = start("quota_per_minute = 0\nqueue = 0").await;
    for user in ["alice", "bob", "carol"] {
        node.log_in(user).await;
    }
    change(&nodes, &node, ("minute = 0\nq", "minute = 1\nq"), 1).await;
    node.log_in("dave").await;
    let refused = node.try_log_in("erin").await;
    refused.refused(503, "wechat_busy");
    // The call is remembered over the next reload.
    change(&nodes, &node, ("minute = 1\nq", "minute = 2\nq"), 2).await;
    node.try_log_in("erin").await.refused(503, "wechat_busy");
    change(&nodes, &node, ("minute = 2\nq", "minute = 0\nq"), 3).await;
    node.log_in("erin").await;
    assert_eq!(node.redeemed().await, 5);
    let said = node.program.stderr();
    assert!(!said.contains("waits for the next start"), "{said}");
}

#[tokio::test]
async fn the_places_in_line_and_the_time_there_go_from_the_next_login_on() {
    for (lines, from, to) in [
        (
            "queue = 0\nqueue_timeout = \"5s\"",
            "queue = 0",
            "queue = 1",
        ),
        ("queue = 1\nqueue_timeout = \"1ms\"", "\"1ms\"", "\"5s\""),
    ] {
        let (nodes, node) = start(&format!("quota_per_minute = 30\n{lines}")).await;
        node.log_in("alice").await;
        node.try_log_in("bob").await.refused(503, "wechat_busy");
        change(&nodes, &node, (from, to), 1).await;
        node.log_in("bob").await;
    }
}

#[tokio::test]
async fn a_replay_is_switched_off_for_the_next_login() {
    let (nodes, node) = start("replay = \"60s\"").await;
    let code = node.code("alice").await;
    for _ in 0..2 {
        assert_eq!(Reply::of(node.login_with(&code)).await.status, 200);
    }
    change(&nodes, &node, ("\"60s\"", "\"0s\""), 1).await;
    let code = node.code("bob").await;
    assert_eq!(Reply::of(node.login_with(&code)).await.status, 200);
    let again = Reply::of(node.login_with(&code)).await;
    again.refused(401, "code_used");
}

#[tokio::test]
async fn what_leaves_no_time_for_a_call_is_refused_when_it_is_reloaded() {
    let (nodes, node) = start("queue_timeout = \"5s\"").await;
    nodes.site.change("\"5s\"", "\"7s\"");
    node.program.signal("HUP").await;
    let told = node.program.logs("login.queue_timeout (line").await;
    assert!(told.contains("must be at most 5s 500ms"), "{told}");
    node.log_in("alice").await;
}
