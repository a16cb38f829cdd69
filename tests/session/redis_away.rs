//! While Redis is away, whoever is logged in goes on, whoever wants to log in is told when to try again, and nobody needs
//! to restart anything.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen_test_support::redis::{Cluster, Group, MASTER, Redis};
use menshen_test_support::{Grant, Node, Nodes, Reply};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// What must come about sooner or later has done so by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than `redis_timeout` by what a busy machine may take.
const PROMPT: Duration = Duration::from_secs(3);

async fn two(redis: &Redis) -> (Nodes, [Node; 2]) {
    two_over(std::slice::from_ref(redis), "").await
}

async fn two_over(servers: &[Redis], session: &str) -> (Nodes, [Node; 2]) {
    let urls: Vec<String> = servers.iter().map(Redis::url).collect();
    let session = format!("redis_timeout = \"1s\"\n{session}");
    let nodes = Nodes::over(&urls.join(","), &session).await;
    let running = [nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await];
    (nodes, running)
}

/// Says what must be so while nobody can log in or refresh.
async fn goes_on_without(nodes: &[Node; 2], grant: &Grant, ended: &Grant) {
    for node in nodes {
        let asked = Instant::now();
        let login = node.try_log_in("bob").await;
        login.refused(503, "store_unavailable");
        assert!(login.retry_after().unwrap() > 0);
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        let asked = Instant::now();
        let refresh = node.refresh(&grant.refresh_token).await;
        refresh.refused(503, "store_unavailable");
        let logout = Reply::of(node.logout(&grant.token)).await;
        logout.refused(503, "store_unavailable");
        assert!(asked.elapsed() < 2 * PROMPT, "{:?}", asked.elapsed());
        let asked = Instant::now();
        let requests = join_all((0..20).map(|_| node.get_as(&grant.token))).await;
        assert!(requests.iter().all(|reply| reply.status == 200));
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        let refused = node.get_as(&ended.token).await;
        assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
    }
}

/// Waits until a refresh works again, with the token that was refused before, a login and a logout: in a Cluster, each may be for another
/// server, to which a node connects again by itself.
async fn recovers(nodes: &[Node; 2], grant: &Grant) -> Duration {
    let since = Instant::now();
    let works = |reply: &Reply, good: u16| {
        if reply.status != good {
            reply.refused(503, "store_unavailable");
            assert!(since.elapsed() < PATIENCE, "it does not recover");
        }
        reply.status == good
    };
    for node in nodes {
        while !works(&node.refresh(&grant.refresh_token).await, 200) {}
        let login = loop {
            let reply = node.try_log_in("bob").await;
            if works(&reply, 200) {
                break reply;
            }
        };
        let token = Grant::of(login.json()).token;
        while !works(&Reply::of(node.logout(&token)).await, 204) {}
    }
    since.elapsed()
}

/// Says that revocations travel from each to the other.
async fn tell_each_other(nodes: &[Node; 2]) {
    for (here, there) in [(0, 1), (1, 0)] {
        let grant = nodes[here].log_in("carol").await;
        assert_eq!(nodes[there].get_as(&grant.token).await.status, 200);
        nodes[here].log_out(&grant.token).await;
        knows(&nodes[there], &grant).await;
    }
}

async fn logged_out(node: &Node) -> Grant {
    let grant = node.log_in("mallory").await;
    node.log_out(&grant.token).await;
    grant
}

/// Says that a session's end is known there within a second.
async fn knows(node: &Node, ended: &Grant) {
    let since = Instant::now();
    loop {
        // What counts is when it was asked: a busy machine may bring the answer late.
        let asked = since.elapsed();
        if node.get_as(&ended.token).await.status != 200 {
            return;
        }
        assert!(asked < Duration::from_secs(1), "it is not told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_killed_stops_nobody_and_comes_back() {
    let mut redis = Redis::durable();
    let (_shared, nodes) = two(&redis).await;
    let grant = nodes[0].log_in("alice").await;
    let ended = logged_out(&nodes[0]).await;
    knows(&nodes[1], &ended).await;
    for _ in 0..2 {
        redis.kill();
        goes_on_without(&nodes, &grant, &ended).await;
        redis.restart();
        let took = recovers(&nodes, &grant).await;
        println!("both nodes were back after {took:?}");
        tell_each_other(&nodes).await;
    }
    let refused = nodes[1].refresh(&ended.refresh_token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_spends_no_code_while_redis_is_away_and_works_with_it_afterwards() {
    let mut redis = Redis::durable();
    let (_shared, [node, _]) = two(&redis).await;
    redis.kill();
    // Whether or not this one is the first to find out.
    let spent = node.try_log_in("bob").await;
    spent.refused(503, "store_unavailable");
    let before = node.redeemed().await;
    let login = node.login("alice").await;
    for _ in 0..3 {
        let refused = Reply::of(login.try_clone().unwrap()).await;
        refused.refused(503, "store_unavailable");
        assert!(!refused.text().contains("wx.login"));
    }
    assert_eq!(node.redeemed().await, before);
    redis.restart();
    let since = Instant::now();
    while Reply::of(login.try_clone().unwrap()).await.status == 503 {
        assert!(since.elapsed() < PATIENCE, "it does not recover");
    }
    assert_eq!(node.redeemed().await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_stops_nobody_and_comes_back() {
    let redis = Redis::durable();
    let (_shared, nodes) = two(&redis).await;
    let grant = nodes[0].log_in("alice").await;
    let ended = logged_out(&nodes[0]).await;
    knows(&nodes[1], &ended).await;
    redis.signal("STOP");
    goes_on_without(&nodes, &grant, &ended).await;
    redis.signal("CONT");
    recovers(&nodes, &grant).await;
    tell_each_other(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_no_writes_stops_nobody_and_is_used_again() {
    let redis = Redis::durable();
    let (_shared, nodes) = two(&redis).await;
    let ended = logged_out(&nodes[0]).await;
    knows(&nodes[1], &ended).await;
    for reason in ["maxmemory", "min-replicas-to-write"] {
        // A token that was replaced before would be answered without a write.
        let grant = nodes[0].log_in("alice").await;
        assert_eq!(redis.ask(&["CONFIG", "SET", reason, "1"]), "OK");
        goes_on_without(&nodes, &grant, &ended).await;
        assert_eq!(redis.ask(&["CONFIG", "SET", reason, "0"]), "OK");
        recovers(&nodes, &grant).await;
        tell_each_other(&nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_half_written_while_redis_is_killed_and_restarted() {
    let mut redis = Redis::durable();
    let (_shared, nodes) = two(&redis).await;
    let mut grants = Vec::new();
    for n in 0..8 {
        grants.push(nodes[n % 2].log_in(&format!("user-{n}")).await);
    }
    let stop = AtomicBool::new(false);
    let users = grants.into_iter().enumerate();
    let users = users.map(|(n, grant)| keeps_refreshing(&nodes[n % 2], grant, &stop));
    let redis = &mut redis;
    let trouble = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            tokio::task::block_in_place(|| redis.kill());
            tokio::time::sleep(Duration::from_millis(300)).await;
            tokio::task::block_in_place(|| redis.restart());
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (lived, ()) = tokio::join!(join_all(users), trouble);
    let (good, refused) = counted(&lived);
    println!("{good} refreshes and {refused} refusals over 3 kills");
    assert!(good > 0 && refused > 0);
    are_logged_in(&nodes, &lived).await;
}

/// Refreshes until told to stop; an answer is a successor, or that the store is away. Returns the last grant and how
/// often which answer came.
async fn keeps_refreshing(node: &Node, mut grant: Grant, stop: &AtomicBool) -> (Grant, [u32; 2]) {
    let mut answers = [0, 0];
    while !stop.load(Ordering::Relaxed) {
        let reply = node.refresh(&grant.refresh_token).await;
        if reply.status == 200 {
            grant = Grant::of(reply.json());
            answers[0] += 1;
        } else {
            reply.refused(503, "store_unavailable");
            answers[1] += 1;
        }
    }
    (grant, answers)
}

fn counted(lived: &[(Grant, [u32; 2])]) -> (u32, u32) {
    let sum = |at: usize| lived.iter().map(|(_, answers)| answers[at]).sum();
    (sum(0), sum(1))
}

/// Says that each goes on with what they got last, on the node where they were not.
async fn are_logged_in(nodes: &[Node; 2], lived: &[(Grant, [u32; 2])]) {
    for (n, (grant, _)) in lived.iter().enumerate() {
        let since = Instant::now();
        let elsewhere = &nodes[(n + 1) % 2];
        while elsewhere.refresh(&grant.refresh_token).await.status == 503 {
            assert!(since.elapsed() < PATIENCE, "it does not recover");
        }
        elsewhere.refreshed(&grant.refresh_token).await;
        assert_eq!(elsewhere.get_as(&grant.token).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_takes_over_and_nobody_is_logged_out() {
    fail_over(Redis::kill, Redis::restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_takes_over_from_one_that_hangs_and_comes_back() {
    fail_over(
        |master| master.signal("STOP"),
        |master| master.signal("CONT"),
    )
    .await;
}

/// Loses the master of a group under refreshes, and has it come back later.
async fn fail_over(lose: impl FnOnce(&mut Redis), find: impl FnOnce(&mut Redis)) {
    let mut group = Group::start(2, 3);
    let session = format!("redis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let (shared, nodes) = two_over(&group.sentinels, &session).await;
    let mut grants = Vec::new();
    for n in 0..6 {
        grants.push(nodes[n % 2].log_in(&format!("user-{n}")).await);
    }
    let quiet = nodes[0].log_in("quiet").await;
    let ended = logged_out(&nodes[0]).await;
    knows(&nodes[1], &ended).await;
    group.replicate();
    let stop = AtomicBool::new(false);
    let users = grants.into_iter().enumerate();
    let users = users.map(|(n, grant)| keeps_refreshing(&nodes[n % 2], grant, &stop));
    let (group, there) = (&mut group, &nodes);
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = group.master();
        tokio::task::block_in_place(|| lose(&mut group.servers[before]));
        let killed = Instant::now();
        while group.master() == before {
            assert!(killed.elapsed() < PATIENCE, "there is no failover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let replaced = killed.elapsed();
        recovers(there, &quiet).await;
        let took = killed.elapsed();
        println!("another master after {replaced:?}, logins on both nodes after {took:?}");
        tell_each_other(there).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.store(true, Ordering::Relaxed);
        before
    };
    let (lived, before) = tokio::join!(join_all(users), trouble);
    let (good, refused) = counted(&lived);
    println!("{good} refreshes and {refused} refusals");
    assert!(good > 0 && refused > 0);
    are_logged_in(&nodes, &lived).await;
    for node in &nodes {
        knows(node, &ended).await;
    }
    // It comes back as a replica.
    find(&mut group.servers[before]);
    let later = shared.serve(MENSHEN).await;
    let refused = later.get_as(&ended.token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
    tell_each_other(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_a_server_stops_nobody_and_comes_back() {
    let mut cluster = Cluster::start(3, &["--appendonly", "yes", "--appendfsync", "always"]);
    let (_shared, nodes) = two_over(&cluster.nodes, "redis_mode = \"cluster\"").await;
    let grant = nodes[0].log_in("alice").await;
    let ended = logged_out(&nodes[0]).await;
    knows(&nodes[1], &ended).await;
    let home = cluster.home("menshen:revoked");
    cluster.nodes[home].kill();
    // The others notice after a while that some of the keys are nowhere.
    cluster.lacks_a_part(home);
    goes_on_without(&nodes, &grant, &ended).await;
    cluster.nodes[home].restart();
    cluster.works();
    let took = recovers(&nodes, &grant).await;
    println!("both nodes were back after {took:?}");
    tell_each_other(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_in_a_cluster_and_nobody_is_logged_out() {
    let mut cluster = Cluster::start(3, &[]);
    let home = cluster.home("menshen:revoked");
    cluster.add_replica(home);
    let (_shared, nodes) = two_over(&cluster.nodes, "redis_mode = \"cluster\"").await;
    let mut grants = Vec::new();
    // Enough for some to have their sessions on the server that dies.
    for n in 0..16 {
        grants.push(nodes[n % 2].log_in(&format!("user-{n}")).await);
    }
    let quiet = nodes[0].log_in("quiet").await;
    let ended = logged_out(&nodes[0]).await;
    knows(&nodes[1], &ended).await;
    let there = cluster.nodes[home].ask(&["--scan", "--pattern", "menshen:*:s:*"]);
    assert!(!there.is_empty(), "no session is on the server that dies");
    let stop = AtomicBool::new(false);
    let users = grants.into_iter().enumerate();
    let users = users.map(|(n, grant)| keeps_refreshing(&nodes[n % 2], grant, &stop));
    let cluster = &mut cluster;
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::block_in_place(|| cluster.nodes[home].kill());
        let killed = Instant::now();
        tokio::task::block_in_place(|| cluster.took_over(home));
        let replaced = killed.elapsed();
        recovers(&nodes, &quiet).await;
        let took = killed.elapsed();
        println!("another master after {replaced:?}, logins on both nodes after {took:?}");
        tell_each_other(&nodes).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (lived, ()) = tokio::join!(join_all(users), trouble);
    let (good, refused) = counted(&lived);
    println!("{good} refreshes and {refused} refusals");
    assert!(good > 0);
    are_logged_in(&nodes, &lived).await;
    for node in &nodes {
        knows(node, &ended).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_refresh_token_is_never_asked_about() {
    const FLOOD: usize = 3000;
    let redis = Redis::durable();
    let (_shared, nodes) = two(&redis).await;
    let grant = nodes[0].log_in("alice").await;
    let foreign_redis = Redis::durable();
    let elsewhere = Nodes::over(&foreign_redis.url(), "redis_prefix = \"other:\"").await;
    let elsewhere = elsewhere.serve(MENSHEN).await;
    let foreign = elsewhere.log_in("alice").await.refresh_token;
    let same_key = nodes[0].refresh(&foreign).await;
    // It has the same seal key, so that only its store knows that it is not ours.
    assert_eq!(same_key.refusal(), (401, "session_ended".to_owned()));
    let genuine = grant.refresh_token.as_str();
    let forged = |n: usize| match n % 5 {
        0 => genuine.chars().skip(1 + n % 40).collect(),
        1 => format!("{n:0>112}"),
        2 => {
            let mut bytes = genuine.as_bytes().to_vec();
            let at = n % bytes.len();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        }
        3 => "x".repeat(n),
        _ => format!("{genuine}{n}"),
    };
    let one = |n: usize| {
        let (node, token) = (&nodes[0], forged(n));
        async move {
            let reply = node.refresh(&token).await;
            assert_eq!(reply.refusal(), (401, "refresh_invalid".to_owned()));
        }
    };
    let flood = async |from: usize| {
        for from in (from..from + FLOOD).step_by(50) {
            join_all((from..from + 50).map(one)).await;
        }
    };
    flood(0).await;
    let evals = || redis.info("commandstats", "cmdstat_evalsha");
    let (calls, memory) = (evals(), nodes[0].program.peak_memory());
    let asked = redis.ask(&["INFO", "commandstats"]);
    flood(FLOOD).await;
    let asked_after = redis.ask(&["INFO", "commandstats"]);
    let grown = nodes[0].program.peak_memory().saturating_sub(memory);
    println!("{FLOOD} more forgeries, {} KiB more memory", grown / 1024);
    assert_eq!(evals(), calls);
    let count = |told: &str, name: &str| {
        let name = format!("cmdstat_{name}:calls=");
        let line = told.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |line| {
            line.split(',').next().unwrap().parse::<u64>().unwrap()
        })
    };
    for name in ["evalsha", "eval", "hmget", "xadd"] {
        assert_eq!(count(&asked, name), count(&asked_after, name), "{name}");
    }
    assert!(count(&asked, "evalsha") > 0, "{asked}");
    assert!(grown < 8 << 20, "{grown} bytes");
    nodes[1].refreshed(genuine).await;
}
