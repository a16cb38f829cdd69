//! A day of three nodes and their backends: no call fails for its token, though a node is paused and the Redis restarted.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use menshen::clock::Clock;
use menshen_test_support::redis::Redis;
use menshen_test_support::{Builder, Reply, SEAL_KEY, TestGateway, make_client};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::sync::oneshot;

const CALLS_AN_HOUR: u32 = 1000;
const HOURS: u32 = 24;
/// As long as the tests' clock moves between two calls.
const STEP: Duration = Duration::from_millis(3600);
const SEND: &str = "/cgi-bin/message/subscribe/send";
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway on a thread of its own, with all that it does, so that it can be paused.
struct Node {
    control: SocketAddr,
    orders: tokio::sync::mpsc::UnboundedSender<mpsc::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    async fn start(builder: Builder) -> Self {
        let (told, control) = oneshot::channel();
        let (orders, mut received) = tokio::sync::mpsc::unbounded_channel::<mpsc::Receiver<()>>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let gateway = builder.start().await;
                told.send(gateway.control.unwrap()).unwrap();
                while let Some(end) = received.recv().await {
                    // Nothing of this node goes on, as after SIGSTOP.
                    let _ = end.recv();
                }
            });
        });
        Self {
            control: control.await.unwrap(),
            orders,
            thread: Some(thread),
        }
    }

    /// Pauses the node until what is returned is dropped.
    fn pause(&self) -> mpsc::Sender<()> {
        let (end, ended) = mpsc::channel();
        self.orders.send(ended).unwrap();
        end
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let (orders, _) = tokio::sync::mpsc::unbounded_channel();
        drop(std::mem::replace(&mut self.orders, orders));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until each node says that its store is away, or that it is there.
async fn wait_until(nodes: &[Node], is_away: bool) {
    let http = make_client();
    let waiting = async {
        for node in nodes {
            let url = format!("http://{}/readyz", node.control);
            loop {
                let ready = Reply::of(http.get(&url)).await.json();
                let degraded = ready["degraded"].as_array().unwrap();
                if degraded.contains(&json!("session_store")) == is_away {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

async fn a_day(kind: &str) {
    let clock = Clock::system();
    let mut redis = Redis::durable();
    let [url, key] = ["url", "key"].map(|name| redis.folder().join(name));
    std::fs::write(&url, redis.url()).unwrap();
    std::fs::write(&key, SEAL_KEY).unwrap();
    let session = format!(
        "store = \"redis\"\nredis_url_file = '{}'\nseal_key_file = '{}'",
        url.display(),
        key.display()
    );
    let builder = TestGateway::builder()
        .clock(clock.clone())
        .section("app", &format!("access_token = \"{kind}\""))
        .section("log", "access = false")
        .section("session", &session);
    let simulator = builder.simulator().await;
    let builder = builder.section("wechat", &format!("api_base = \"http://{simulator}\""));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(builder.clone()).await);
    }
    let http = make_client();
    let body = json!({"touser": "o1", "template_id": "t", "data": {}});
    let (mut paused, mut failed) = (None, Vec::new());
    for number in 0..CALLS_AN_HOUR * HOURS {
        let hour = number / CALLS_AN_HOUR;
        let minutes = number % CALLS_AN_HOUR * 60 / CALLS_AN_HOUR;
        // While the token is replaced, in the second hour of one.
        let pause = hour == 13 && (50..60).contains(&minutes) || hour == 1 && minutes >= 50;
        match (pause, &paused) {
            (true, None) => paused = Some(nodes[2].pause()),
            (false, Some(_)) => paused = None,
            _ => {}
        }
        if number == CALLS_AN_HOUR * 7 + 500 {
            redis.kill();
            wait_until(&nodes, true).await;
            for node in &nodes {
                let url = format!("http://{}/wechat/shop{SEND}", node.control);
                let reply = Reply::of(http.post(url).json(&body)).await;
                assert_eq!(reply.json()["errcode"], 0, "{}", reply.text());
            }
            redis.restart();
            // The tests' clock would move on by minutes while they connect.
            wait_until(&nodes, false).await;
        }
        let among = if paused.is_some() { 2 } else { 3 };
        let node = &nodes[number as usize % among];
        // Half of the calls go through the relay, half straight to WeChat with the token that the node gives.
        let call = async {
            if number % 2 == 0 {
                let url = format!("http://{}/wechat/shop{SEND}", node.control);
                Reply::of(http.post(url).json(&body)).await
            } else {
                let url = format!("http://{}/v1/apps/shop/access-token", node.control);
                let given = Reply::of(http.get(url)).await.json();
                let token = given["access_token"].as_str().unwrap_or("none").to_owned();
                let url = format!("http://{simulator}{SEND}?access_token={token}");
                Reply::of(http.post(url).json(&body)).await
            }
        };
        let reply = tokio::time::timeout(PATIENCE, call).await.unwrap();
        if reply.json()["errcode"] != 0 {
            failed.push(format!("{number}: {} {}", reply.status, reply.text()));
        }
        clock.advance(STEP);
    }
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    let url = format!("http://{simulator}/_sim/calls");
    let calls: Value = Reply::of(http.get(url)).await.json();
    let path = if kind == "stable" {
        "/cgi-bin/stable_token"
    } else {
        "/cgi-bin/token"
    };
    let asked = calls[path]["calls"].as_u64().unwrap();
    // A token lives for two hours; each of three nodes may have asked for it.
    assert!((12..=45).contains(&asked), "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_of_a_day_fails_for_its_stable_token() {
    a_day("stable").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_of_a_day_fails_for_its_classic_token() {
    a_day("classic").await;
}
