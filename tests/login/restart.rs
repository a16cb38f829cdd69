//! What a code brought is remembered by the process that redeemed it, or by Redis; a restart ends the one and not the other.

use menshen_test_support::redis::Redis;
use menshen_test_support::{Grant, Node, Nodes, Reply, TestGateway};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Logs alice in, twice with the same code, and starts the program anew.
async fn restarted(nodes: &Nodes) -> (Node, String, Grant) {
    let mut node = nodes.serve(MENSHEN).await;
    let code = node.code("alice").await;
    let first = Grant::of(Reply::of(node.login_with(&code)).await.json());
    let second = Grant::of(Reply::of(node.login_with(&code)).await.json());
    assert_eq!(first.refresh_token, second.refresh_token);
    assert_eq!(node.program.stop().await.code, Some(0));
    node = nodes.serve(MENSHEN).await;
    (node, code, first)
}

#[tokio::test]
async fn with_the_embedded_store_the_code_is_a_used_one_after_a_restart() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let (node, code, grant) = restarted(&nodes).await;
    for _ in 0..2 {
        let used = Reply::of(node.login_with(&code)).await;
        assert_eq!(used.refused(401, "code_used")["errcode"], 40163);
    }
    assert_eq!(node.redeemed().await, 2, "WeChat said so once");
    // The session is another matter.
    node.refreshed(&grant.refresh_token).await;
}

#[tokio::test]
async fn with_redis_the_code_brings_the_same_session_after_a_restart_too() {
    let redis = Redis::durable();
    let nodes = Nodes::over(&redis.url(), "").await;
    let (node, code, grant) = restarted(&nodes).await;
    let again = Grant::of(Reply::of(node.login_with(&code)).await.json());
    assert_eq!(again.refresh_token, grant.refresh_token);
    assert_eq!(node.redeemed().await, 1);
}
