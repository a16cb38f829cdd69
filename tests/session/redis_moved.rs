//! Servers of Redis that change their part while nodes use them: a master that was replaced and still answers, a slot that moves.

use std::time::{Duration, Instant};

use menshen_test_support::redis::{Cluster, Group, MASTER, Redis};
use menshen_test_support::{Grant, Nodes};

use crate::redis_states::says;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// What must come about sooner or later has done so by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Has a Sentinel name another server as the master, as after a failover.
fn names(sentinel: &Redis, server: &Redis) {
    let port = server.port().to_string();
    assert_eq!(sentinel.ask(&["SENTINEL", "REMOVE", MASTER]), "OK");
    let monitor = ["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, "1"];
    assert_eq!(sentinel.ask(&monitor), "OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_is_left_though_it_answers() {
    let group = Group::start(0, 1);
    let other = Redis::start(&[]);
    let session =
        format!("redis_timeout = \"1s\"\nredis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let nodes = Nodes::over(&group.sentinels[0].url(), &session).await;
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    node.log_out(&grant.token).await;
    names(&group.sentinels[0], &other);
    let since = Instant::now();
    while other.ask(&["EXISTS", "menshen:revoked"]) != "1" {
        // What it knows is written there too.
        assert!(since.elapsed() < PATIENCE, "it stays with the old master");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.log_in("bob").await;
    assert!(
        !other
            .ask(&["--scan", "--pattern", "menshen:*:s:*"])
            .is_empty()
    );
    let later = nodes.serve(MENSHEN).await;
    let refused = later.get_as(&grant.token).await;
    assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_says_of_no_new_session_that_it_is_over() {
    let group = Group::start(0, 1);
    let (servers, sentinel) = ([&group.servers[0], &Redis::start(&[])], &group.sentinels[0]);
    let session =
        format!("redis_timeout = \"1s\"\nredis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let nodes = Nodes::over(&sentinel.url(), &session).await;
    let (quick, late) = (nodes.serve(MENSHEN).await, nodes.serve(MENSHEN).await);
    for round in 1..=10 {
        let master = servers[round % 2];
        late.log_in("anybody").await;
        late.program.signal("STOP").await;
        assert_eq!(master.ask(&["FLUSHALL"]), "OK");
        names(sentinel, master);
        let since = Instant::now();
        let mut users = 0..;
        let grant = loop {
            let grant = quick.log_in(&format!("user-{:?}", users.next())).await;
            if !master
                .ask(&["--scan", "--pattern", "menshen:*:s:*"])
                .is_empty()
            {
                break grant;
            }
            assert!(since.elapsed() < PATIENCE, "it stays with the old master");
        };
        late.program.signal("CONT").await;
        let reply = late.refresh(&grant.refresh_token).await;
        assert_eq!(reply.status, 200, "{round}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_split_both_sides_end_what_either_ended() {
    let group = Group::start(0, 1);
    let (old, near) = (&group.servers[0], &group.sentinels[0]);
    let of = format!("127.0.0.1 {}", old.port());
    let new = Redis::start(&["--replicaof", &of]);
    let session =
        format!("redis_timeout = \"1s\"\nredis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let mut nodes = Nodes::over(&near.url(), &session).await;
    let left = nodes.serve(MENSHEN).await;
    let (alice, carol) = (left.log_in("alice").await, left.log_in("carol").await);
    let since = Instant::now();
    while new.info("replication", "slave_repl_offset")
        < old.info("replication", "master_repl_offset")
    {
        assert!(since.elapsed() < PATIENCE, "the replica lacks something");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Each side has a master and a Sentinel, which know nothing of the other's.
    assert_eq!(new.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    names(near, old);
    let far = Redis::sentinel_of(&new);
    nodes.set_env("REDIS_URL", &far.url());
    let right = nodes.serve(MENSHEN).await;
    left.log_out(&alice.token).await;
    right.log_out(&carol.token).await;
    let (bob, dave) = (left.log_in("bob").await, right.log_in("dave").await);
    for (node, of_here, of_there) in [(&left, &alice, &carol), (&right, &carol, &alice)] {
        assert_eq!(node.get_as(&of_here.token).await.status, 401);
        assert_eq!(node.get_as(&of_there.token).await.status, 200);
    }

    let port = new.port().to_string();
    assert_eq!(old.ask(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    names(near, &new);
    let healed = Instant::now();
    for (node, grant) in [(&left, &carol), (&right, &alice)] {
        while node.get_as(&grant.token).await.status != 401 {
            assert!(healed.elapsed() < PATIENCE, "an end is not known");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for node in [&left, &right] {
        for ended in [&alice, &carol, &bob] {
            let refused = node.refresh(&ended.refresh_token).await;
            assert_eq!(refused.refusal(), (401, "session_ended".to_owned()));
        }
    }
    assert_eq!(left.refresh(&dave.refresh_token).await.status, 200);
}

/// Moves a slot with its keys, one after the other, as `redis-cli --cluster reshard` does.
fn move_slot(slot: &str, from: &Redis, to: &Redis) {
    let (source, target) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
    let import = ["CLUSTER", "SETSLOT", slot, "IMPORTING", &source];
    assert_eq!(to.ask(&import), "OK");
    let migrate = ["CLUSTER", "SETSLOT", slot, "MIGRATING", &target];
    assert_eq!(from.ask(&migrate), "OK");
    let port = to.port().to_string();
    let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]);
    for key in keys.lines() {
        let moved = from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        assert!(["OK", "NOKEY"].contains(&moved.as_str()), "{moved}");
    }
    for server in [to, from] {
        let assign = ["CLUSTER", "SETSLOT", slot, "NODE", &target];
        assert_eq!(server.ask(&assign), "OK");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_refreshes_while_a_slot_is_moved_key_by_key_is_answered() {
    let cluster = Cluster::start(3, &[]);
    let urls: Vec<String> = cluster.nodes.iter().map(Redis::url).collect();
    let session = "redis_timeout = \"3s\"\nredis_mode = \"cluster\"";
    let nodes = Nodes::over(&urls.join(","), session).await;
    let node = nodes.serve(MENSHEN).await;
    let mut grant = node.log_in("alice").await;
    let scan = ["--scan", "--pattern", "menshen:*:s:*"];
    let mut sessions = cluster.nodes.iter().map(|server| server.ask(&scan));
    let session = sessions.find(|found| !found.is_empty()).unwrap();
    let home = cluster.home(&session);
    let slot = cluster.nodes[home].ask(&["CLUSTER", "KEYSLOT", &session]);
    let moves = tokio::task::spawn_blocking(move || {
        let (from, to) = (&cluster.nodes[home], &cluster.nodes[(home + 1) % 3]);
        for _ in 0..10 {
            move_slot(&slot, from, to);
            move_slot(&slot, to, from);
        }
        cluster
    });
    let mut refreshed = 0;
    while !moves.is_finished() {
        let reply = node.refresh(&grant.refresh_token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        grant = Grant::of(reply.json());
        refreshed += 1;
    }
    let _cluster = moves.await.unwrap();
    assert!(refreshed > 20, "{refreshed}");
    says(&node, None).await;
}
