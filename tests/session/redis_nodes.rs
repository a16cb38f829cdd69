//! Three processes over one Redis: what one does the others know, and none is missed when it is killed.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use menshen_test_support::redis::Redis;
use menshen_test_support::{Grant, Node, Nodes, Reply, Socket, open_socket};
use reqwest::RequestBuilder;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// How long another node may not know what this one knows.
const SOON: Duration = Duration::from_secs(1);
/// What must come about sooner or later has done so by then.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    redis: Redis,
    nodes: Nodes,
    running: Vec<Node>,
}

async fn three() -> Bench {
    let redis = Redis::durable();
    let nodes = Nodes::over(&redis.url(), "").await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(nodes.serve(MENSHEN).await);
    }
    Bench {
        redis,
        nodes,
        running,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_logged_in_on_one_node_is_known_to_the_others() {
    let t = three().await;
    for at in 0..3 {
        let grant = t.running[at].log_in("alice").await;
        for node in &t.running {
            assert_eq!(node.get_as(&grant.token).await.status, 200);
        }
        let elsewhere = &t.running[(at + 1) % 3];
        let grant = elsewhere.refreshed(&grant.refresh_token).await;
        t.running[at].refreshed(&grant.refresh_token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_refreshes_of_one_token_over_three_nodes_give_one_successor() {
    let t = three().await;
    let grant = t.running[0].log_in("alice").await;
    let refreshes = (0..40).map(|n| t.running[n % 3].refreshed(&grant.refresh_token));
    let refreshed = join_all(refreshes).await;
    let successors: HashSet<String> = refreshed
        .into_iter()
        .map(|grant| grant.refresh_token)
        .collect();
    assert_eq!(successors.len(), 1);
    let session = t.redis.ask(&["--scan", "--pattern", "menshen:*:s:*"]);
    let generation = t.redis.ask(&["HGET", &session, "generation"]);
    assert_eq!(generation, "1", "one rotation");
    let successor = successors.into_iter().next().unwrap();
    t.running[1].refreshed(&successor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_node_is_known_to_the_others_within_a_second() {
    let t = three().await;
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let grant = t.running[round % 3].log_in("alice").await;
        for node in &t.running {
            assert_eq!(node.get_as(&grant.token).await.status, 200);
        }
        let since = Instant::now();
        t.running[round % 3].log_out(&grant.token).await;
        let known = t
            .running
            .iter()
            .map(|node| node.wait_until_refused(&grant.token, since));
        slowest = join_all(known)
            .await
            .into_iter()
            .fold(slowest, Duration::max);
    }
    println!("the slowest node knew after {slowest:?}");
    assert!(slowest < SOON, "{slowest:?}");
}

/// Waits for the close frame, and returns how long that took.
async fn closes(mut socket: Socket, since: Instant) -> Duration {
    let message: Result<Message, Error> = tokio::time::timeout(PATIENCE, socket.next())
        .await
        .unwrap()
        .unwrap();
    let Message::Close(Some(close)) = message.unwrap() else {
        panic!("there should be a close frame with a reason");
    };
    assert_eq!(close.code, CloseCode::Library(4401));
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_node_closes_the_sockets_on_all_within_a_second() {
    let t = three().await;
    let grant = t.running[0].log_in("alice").await;
    let sockets = join_all(
        t.running
            .iter()
            .map(|node| open_socket(node.address, &grant.token)),
    )
    .await;
    let since = Instant::now();
    t.running[0].log_out(&grant.token).await;
    let closed = join_all(sockets.into_iter().map(|socket| closes(socket, since))).await;
    println!("they were closed after {closed:?}");
    assert!(closed.iter().all(|took| *took < SOON), "{closed:?}");
}

/// Sends a request to each node in turn until one answers, as a balancer would.
async fn anywhere(nodes: &[&Node], request: impl Fn(&Node) -> RequestBuilder) -> Reply {
    let since = Instant::now();
    for node in nodes.iter().cycle() {
        if let Some(reply) = Node::attempt(request(node)).await {
            return reply;
        }
        assert!(since.elapsed() < PATIENCE, "no node answers");
    }
    panic!("there are no nodes");
}

/// Uses a session and refreshes it over and over until told to stop, and returns the last grant and how often.
async fn live(nodes: &[&Node], mut grant: Grant, stop: &AtomicBool) -> (Grant, usize) {
    let mut refreshes = 0;
    while !stop.load(Ordering::Relaxed) {
        let reply = anywhere(nodes, |node| {
            node.request("GET", "/orders").bearer_auth(&grant.token)
        });
        let reply = reply.await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let reply = anywhere(nodes, |node| node.refreshing(&grant.refresh_token)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        grant = Grant::of(reply.json());
        refreshes += 1;
    }
    (grant, refreshes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_under_load_logs_nobody_out() {
    let mut t = three().await;
    let ended = t.running[2].log_in("mallory").await;
    t.running[2].log_out(&ended.token).await;
    let mut grants = Vec::new();
    for n in 0..12 {
        grants.push(t.running[n % 3].log_in(&format!("user-{n}")).await);
    }
    let victim = t.running.remove(2);
    let stop = Arc::new(AtomicBool::new(false));
    let mut orders: Vec<Vec<&Node>> = Vec::new();
    for n in 0..grants.len() {
        let mut order: Vec<&Node> = t.running.iter().chain([&victim]).collect();
        order.rotate_left(n % 3);
        orders.push(order);
    }
    let users = grants
        .into_iter()
        .zip(&orders)
        .map(|(grant, nodes)| live(nodes, grant, &stop));
    let killer = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        victim.program.signal("KILL").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (lived, ()) = tokio::join!(join_all(users), killer);
    let refreshes: usize = lived.iter().map(|(_, refreshes)| refreshes).sum();
    println!(
        "{} users, {refreshes} refreshes, nobody was logged out",
        lived.len()
    );
    assert!(refreshes > 2 * lived.len());
    let again = t.nodes.serve(MENSHEN).await;
    // The start returned when all revocations were known.
    let refused = again.get_as(&ended.token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
    for (grant, _) in &lived {
        assert_eq!(again.get_as(&grant.token).await.status, 200);
        again.refreshed(&grant.refresh_token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_everywhere_reaches_sessions_of_every_node() {
    let t = three().await;
    let mut grants = Vec::new();
    for node in &t.running {
        grants.push(node.log_in("alice").await);
    }
    let other = t.running[1].log_in("bob").await;
    let since = Instant::now();
    let everywhere = t.running[0].logout(&grants[1].token);
    let everywhere = everywhere.json(&serde_json::json!({"everywhere": true}));
    assert_eq!(Reply::of(everywhere).await.status, 204);
    for grant in &grants {
        for node in &t.running {
            let took = node.wait_until_refused(&grant.token, since).await;
            assert!(took < 2 * SOON, "{took:?}");
        }
    }
    assert_eq!(t.running[2].get_as(&other.token).await.status, 200);
}
