//! States of Redis that pass are named in the log and at `/readyz`, end no start for good, and are over without a restart.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use menshen_test_support::redis::{Cluster, Redis};
use menshen_test_support::{Grant, Node, Nodes, Program, Reply};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// What must come about sooner or later has done so by then.
const PATIENCE: Duration = Duration::from_secs(20);

async fn ready(node: &Node) -> Value {
    let control = node.program.find_control_address().await;
    let asked = reqwest::get(format!("http://{control}/readyz")).await;
    let reply = asked.unwrap();
    assert_eq!(reply.status(), 200);
    let body = reply.bytes().await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// Waits until `/readyz` names a state by its code, or none.
pub(crate) async fn says(node: &Node, code: Option<&str>) {
    let since = Instant::now();
    loop {
        let ready = ready(node).await;
        let reason = ready["reasons"]["session_store"].as_str();
        let told = match code {
            Some(code) => reason.is_some_and(|reason| reason.contains(code)),
            None => ready == json!({"state": "ready", "degraded": []}),
        };
        if told {
            let degraded = code.map_or(json!([]), |_| json!(["session_store"]));
            assert_eq!(ready["degraded"], degraded);
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{code:?}: {ready}");
    }
}

/// Waits until a refresh goes well with a token that was refused before.
async fn refreshes(node: &Node, grant: &Grant) -> Grant {
    let since = Instant::now();
    loop {
        let reply = node.refresh(&grant.refresh_token).await;
        if reply.status == 200 {
            return Grant::of(reply.json());
        }
        reply.refused(503, "store_unavailable");
        assert!(since.elapsed() < PATIENCE, "it does not recover");
    }
}

/// Checks that a start fails in a way that a supervisor tries again, and names the state.
async fn postponed(nodes: &Nodes, code: &str) {
    let ended = Program::run(nodes.command(MENSHEN)).await;
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(ended.stderr.contains(code), "{}", ended.said());
}

/// Goes through a state that a node meets while it runs, that a start meets, and that passes.
async fn passes(redis: &Redis, code: &str, begin: impl AsyncFnOnce(), end: impl AsyncFnOnce()) {
    let nodes = Nodes::over(&redis.url(), "redis_timeout = \"1s\"").await;
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    says(&node, None).await;
    begin().await;
    // Whether or not anybody logs in or refreshes.
    says(&node, Some(code)).await;
    let refused = node.refresh(&grant.refresh_token).await;
    refused.refused(503, "store_unavailable");
    let told = node.program.logs(&format!("({code})")).await;
    assert!(told.contains("ERROR"), "{told}");
    assert_eq!(node.get_as(&grant.token).await.status, 200);
    postponed(&nodes, code).await;
    end().await;
    let grant = refreshes(&node, &grant).await;
    says(&node, None).await;
    node.log_out(&grant.token).await;
    nodes.serve(MENSHEN).await.log_in("bob").await;
}

fn set(redis: &Redis, key: &str, value: &str) {
    assert_eq!(redis.ask(&["CONFIG", "SET", key, value]), "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_is_named() {
    let redis = Redis::durable();
    let begin = async || set(&redis, "maxmemory", "1");
    passes(&redis, "OOM", begin, async || {
        set(&redis, "maxmemory", "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_too_few_replicas_is_named() {
    let redis = Redis::durable();
    let begin = async || set(&redis, "min-replicas-to-write", "1");
    passes(&redis, "NOREPLICAS", begin, async || {
        set(&redis, "min-replicas-to-write", "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_save_is_named() {
    let redis = Redis::start(&[]);
    let in_the_way = redis.folder().join("dump.rdb");
    let begin = async || {
        set(&redis, "save", "3600 1");
        std::fs::create_dir(&in_the_way).unwrap();
        redis.ask(&["BGSAVE"]);
    };
    passes(&redis, "MISCONF", begin, async || {
        std::fs::remove_dir(&in_the_way).unwrap();
        redis.ask(&["BGSAVE"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_no_writes_as_a_replica_is_named() {
    let redis = Redis::durable();
    let begin = async || {
        redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    };
    passes(&redis, "READONLY", begin, async || {
        redis.ask(&["REPLICAOF", "NO", "ONE"]);
    })
    .await;
}

/// Has Redis run a script that does not end.
fn endless_script(redis: &Redis) -> Child {
    let port = redis.port().to_string();
    let script = ["-p", &port, "EVAL", "while true do end", "0"];
    let mut command = Command::new("redis-cli");
    let command = command
        .args(script)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_busy_with_a_script_is_named() {
    let redis = Redis::durable();
    set(&redis, "busy-reply-threshold", "50");
    let mut script = None;
    let begin = async || {
        script = Some(endless_script(&redis));
        let since = Instant::now();
        while !redis.ask(&["GET", "x"]).contains("BUSY") {
            assert!(since.elapsed() < PATIENCE, "it should be busy");
        }
    };
    passes(&redis, "BUSY", begin, async || {
        redis.ask(&["SCRIPT", "KILL"]);
    })
    .await;
    script.unwrap().wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_rotated_is_read_again() {
    let redis = Redis::durable();
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}\n", redis.port());
    set(&redis, "requirepass", "old-pa5sword");
    let change = async |to: &str| {
        let port = redis.port().to_string();
        let mut asked = Command::new("redis-cli");
        asked.args(["-p", &port, "-a", "old-pa5sword"]);
        asked.args(["CONFIG", "SET", "requirepass", to]);
        assert!(asked.output().unwrap().status.success());
        let mut asked = Command::new("redis-cli");
        asked.args(["-p", &port, "-a", to, "CLIENT", "KILL", "TYPE", "normal"]);
        assert!(asked.output().unwrap().status.success());
    };
    std::fs::write(&file, url("old-pa5sword")).unwrap();
    let lines = format!(
        "store = \"redis\"\nredis_url_file = '{}'\nredis_timeout = \"1s\"\nseal_key_env = \"SEAL_KEY\"",
        file.path().display()
    );
    let builder = menshen_test_support::TestGateway::builder().section("session", &lines);
    let mut nodes = Nodes::new(builder).await;
    nodes.set_env("SEAL_KEY", menshen_test_support::SEAL_KEY);
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    change("new-pa5sword").await;
    says(&node, Some("WRONGPASS")).await;
    assert_eq!(node.get_as(&grant.token).await.status, 200);
    postponed(&nodes, "password").await;
    std::fs::write(&file, url("new-pa5sword")).unwrap();
    let grant = refreshes(&node, &grant).await;
    says(&node, None).await;
    node.log_out(&grant.token).await;
    let said = node.program.stderr();
    for password in ["old-pa5sword", "new-pa5sword"] {
        assert!(!said.contains(password), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_being_moved_is_named_and_tried_again() {
    let cluster = Cluster::start(3, &[]);
    let urls: Vec<String> = cluster.nodes.iter().map(Redis::url).collect();
    let session = "redis_timeout = \"1s\"\nredis_mode = \"cluster\"";
    let nodes = Nodes::over(&urls.join(","), session).await;
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    let scan = ["--scan", "--pattern", "menshen:*:s:*"];
    let mut sessions = cluster.nodes.iter().map(|server| server.ask(&scan));
    let session = sessions.find(|found| !found.is_empty()).unwrap();
    let home = cluster.home(&session);
    let (from, to) = (&cluster.nodes[home], &cluster.nodes[(home + 1) % 3]);
    let slot = from.ask(&["CLUSTER", "KEYSLOT", &session]);
    let (source, target) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
    let import = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source];
    assert_eq!(to.ask(&import), "OK");
    let migrate = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target];
    assert_eq!(from.ask(&migrate), "OK");
    let refused = node.refresh(&grant.refresh_token).await;
    refused.refused(503, "store_unavailable");
    says(&node, Some("TRYAGAIN")).await;
    // Whose sessions are in other slots does not notice.
    for n in 0..10 {
        let other = node.log_in(&format!("other-{n}")).await;
        assert_eq!(node.refresh(&other.refresh_token).await.status, 200);
    }
    for server in [from, to] {
        assert_eq!(server.ask(&["CLUSTER", "SETSLOT", &slot, "STABLE"]), "OK");
    }
    refreshes(&node, &grant).await;
    says(&node, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_server_of_a_cluster_that_has_no_memory_is_named_and_stops_no_user_of_the_others() {
    let cluster = Cluster::start(3, &[]);
    let urls: Vec<String> = cluster.nodes.iter().map(Redis::url).collect();
    let session = "redis_timeout = \"1s\"\nredis_mode = \"cluster\"";
    let nodes = Nodes::over(&urls.join(","), session).await;
    let node = nodes.serve(MENSHEN).await;
    let stream = cluster.home("menshen:revoked");
    for (at, server) in cluster.nodes.iter().enumerate() {
        set(server, "maxmemory", "1");
        says(&node, Some("OOM")).await;
        let mut stored = 0;
        for n in 0..12 {
            let reply = Reply::of(node.login(&format!("{at}-{n}")).await).await;
            if reply.status == 200 {
                stored += 1;
            } else {
                let refused = ["store_unavailable", "login_not_stored"];
                assert!(
                    refused.contains(&reply.error().as_str()),
                    "{}",
                    reply.text()
                );
            }
        }
        assert!(stored > 0, "the server of the stream: {}", at == stream);
        set(server, "maxmemory", "0");
        says(&node, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_could_not_be_stored_asks_for_another_code() {
    let mut redis = Redis::durable();
    let nodes = Nodes::over(&redis.url(), "redis_timeout = \"500ms\"").await;
    let (node, other) = (nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await);
    node.fault(json!({"fault": "delay", "by": "1s", "times": 1}))
        .await;
    let code = node.code("alice").await;
    let first = tokio::spawn(Reply::of(node.login_with(&code)));
    let since = Instant::now();
    while node.redeemed().await == 0 {
        assert!(since.elapsed() < PATIENCE, "the code should go to WeChat");
    }
    redis.kill();
    let refused = first.await.unwrap();
    refused.refused(504, "login_not_stored");
    assert!(refused.text().contains("wx.login"), "{}", refused.text());
    let again = Reply::of(node.login_with(&code)).await;
    again.refused(504, "login_not_stored");
    redis.restart();
    let since = Instant::now();
    loop {
        let reply = Reply::of(other.login_with(&code)).await;
        if reply.status == 504 {
            reply.refused(504, "login_not_stored");
            break;
        }
        // Neither Redis nor who had the code is back yet.
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(since.elapsed() < PATIENCE, "the other node is not told");
    }
    assert_eq!(node.redeemed().await, 1);
    let since = Instant::now();
    while node.try_log_in("alice").await.status != 200 {
        assert!(since.elapsed() < PATIENCE, "it does not recover");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_nothing_refuses_tokens_where_that_is_wanted() {
    let redis = Redis::durable();
    let session = "redis_timeout = \"500ms\"\nwhen_cut_off = \"refuse\"\ncut_off_after = \"1s\"";
    let nodes = Nodes::over(&redis.url(), session).await;
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    assert_eq!(node.get_as(&grant.token).await.status, 200);
    redis.signal("STOP");
    let cut = Instant::now();
    loop {
        let reply = node.get_as(&grant.token).await;
        if reply.status != 200 {
            reply.refused(503, "store_unavailable");
            break;
        }
        assert!(cut.elapsed() < Duration::from_secs(3), "it still accepts");
    }
    assert_eq!(
        node.request("GET", "/public")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    redis.signal("CONT");
    let since = Instant::now();
    while node.get_as(&grant.token).await.status != 200 {
        assert!(since.elapsed() < PATIENCE, "it does not recover");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_does_not_keep_is_told_by_the_probe_and_at_the_start() {
    let limited = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = Redis::start(&limited);
    let of = format!("127.0.0.1 {}", redis.port());
    let replica = Redis::start(&["--replicaof", &of]);
    let since = Instant::now();
    while redis.info("replication", "connected_slaves") != 1 {
        assert!(since.elapsed() < PATIENCE, "{}", replica.ask(&["ROLE"]));
    }
    let nodes = Nodes::over(&redis.url(), "").await;
    let ended = Program::run(nodes.command_to(MENSHEN, &["check", "--probe"])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let node = nodes.serve(MENSHEN).await;
    for setting in ["maxmemory-policy", "appendonly", "min-replicas-to-write"] {
        assert!(ended.stdout.contains(setting), "{}", ended.said());
        assert!(node.program.logs(setting).await.contains("WARN"));
    }
    let durable = Redis::durable();
    let nodes = Nodes::over(&durable.url(), "").await;
    let ended = Program::run(nodes.command_to(MENSHEN, &["check", "--probe"])).await;
    assert!(!ended.stdout.contains("warning"), "{}", ended.said());
}
