//! Nodes that are killed or stopped amid an end, as real processes over one server, Sentinels and a Cluster.

use std::time::{Duration, Instant};

use menshen_test_support::Nodes;
use menshen_test_support::redis::{Cluster, Group, MASTER, Redis};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const STREAM: &str = "menshen:revoked";
/// How long another node may not know what this one knows.
const SOON: Duration = Duration::from_secs(1);
/// Within which another node finishes what a dead one began, by the documents.
const FINISHED: Duration = Duration::from_secs(6);
/// What must come about sooner or later has done so by then.
const PATIENCE: Duration = Duration::from_secs(20);

async fn over(servers: &[Redis], session: &str) -> Nodes {
    let urls: Vec<String> = servers.iter().map(Redis::url).collect();
    let session = format!("redis_timeout = \"1s\"\nrefresh_grace = \"1s\"\n{session}");
    Nodes::over(&urls.join(","), &session).await
}

/// Has a node die by `kill -9` after it ended a session for the reuse of a refresh token, and before it revoked the session.
async fn dies_amid_a_reuse(nodes: &Nodes, stream: &Redis) {
    let (one, other) = (nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await);
    let grant = one.log_in("alice").await;
    let next = one.refreshed(&grant.refresh_token).await;
    assert_eq!(other.get_as(&next.token).await.status, 200);
    let forbid = ["ACL", "SETUSER", "default", "-xadd"];
    assert_eq!(stream.ask(&forbid), "OK");
    let since = Instant::now();
    loop {
        let reply = one.refresh(&grant.refresh_token).await;
        if reply.status != 200 {
            reply.refused(503, "store_unavailable");
            break;
        }
        assert!(since.elapsed() < PATIENCE, "the grace does not end");
    }
    let died = Instant::now();
    one.program.signal("KILL").await;
    assert_eq!(stream.ask(&["XLEN", STREAM]), "0");
    let allow = ["ACL", "SETUSER", "default", "+xadd"];
    assert_eq!(stream.ask(&allow), "OK");
    let took = other.wait_until_refused(&next.token, died).await;
    println!("the other node refuses after {took:?}");
    assert!(took < FINISHED + SOON, "{took:?}");
    while stream.ask(&["XLEN", STREAM]) == "0" {
        assert!(died.elapsed() < PATIENCE, "it is not revoked for all");
    }
    let later = nodes.serve(MENSHEN).await;
    let refused = later.get_as(&next.token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reuse_whose_node_is_killed_is_finished_by_another() {
    let redis = Redis::durable();
    let nodes = over(std::slice::from_ref(&redis), "").await;
    dies_amid_a_reuse(&nodes, &redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reuse_whose_node_is_killed_is_finished_by_another_over_a_group() {
    let group = Group::start(1, 1);
    let session = format!("redis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let nodes = over(&group.sentinels, &session).await;
    dies_amid_a_reuse(&nodes, &group.servers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reuse_whose_node_is_killed_is_finished_by_another_over_a_cluster() {
    let cluster = Cluster::start(3, &[]);
    let nodes = over(&cluster.nodes, "redis_mode = \"cluster\"").await;
    dies_amid_a_reuse(&nodes, &cluster.nodes[cluster.home(STREAM)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_stopped_refuses_what_ended_meanwhile_though_redis_lost_it() {
    let redis = Redis::durable();
    let nodes = over(std::slice::from_ref(&redis), "").await;
    let (one, stopped) = (nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await);
    for loss in [
        ["PING"].as_slice(),
        &["XTRIM", STREAM, "MAXLEN", "0"],
        &["FLUSHALL"],
    ] {
        let grant = one.log_in("alice").await;
        assert_eq!(stopped.get_as(&grant.token).await.status, 200);
        stopped.program.signal("STOP").await;
        one.log_out(&grant.token).await;
        redis.ask(loss);
        let since = Instant::now();
        while redis.ask(&["XLEN", STREAM]) == "0" {
            assert!(since.elapsed() < PATIENCE, "it is not added again");
        }
        stopped.program.signal("CONT").await;
        let took = stopped
            .wait_until_refused(&grant.token, Instant::now())
            .await;
        assert!(took < SOON, "after {loss:?}: {took:?}");
    }
}
