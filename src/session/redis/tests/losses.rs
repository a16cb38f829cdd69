//! What ended stays ended when Redis loses writes, entries or everything, and when nodes die or their clocks differ.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::servers::{Cluster, Group, Redis};
use super::{LIFETIMES, SKEW_SECS, Server, log_in, seal_key, soon};
use crate::clock::Clock;
use crate::config::RedisServer;
use crate::session::contract::apps;
use crate::session::{OpenError, Opened, RefreshError, Sessions};

async fn node(server: &RedisServer, clock: &Clock) -> Sessions {
    let opened = Sessions::redis(server, &seal_key(1), LIFETIMES, clock.clone()).await;
    opened.unwrap()
}

/// Says that a session is over for good, also when nobody knows of its revocation any more.
async fn stays_ended(nodes: &[&Sessions], clock: &Clock, opened: &Opened) {
    let has_ended = async |node: &Sessions| {
        let refused = node.refresh(&opened.refresh, &apps()).await;
        assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
    };
    for node in nodes {
        soon(async || node.is_available()).await;
        assert!(node.revoked().contains(&opened.session.id));
    }
    // Nobody asks about it meanwhile, who would remove it.
    soon(async || matches!(nodes[0].session(opened.session.id).await, Ok(None))).await;
    clock.advance(LIFETIMES.token_ttl + Duration::from_secs(60 + SKEW_SECS + 2));
    for node in nodes {
        soon(async || node.revoked().is_empty()).await;
        has_ended(node).await;
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[tokio::test]
async fn a_session_that_an_older_copy_of_the_file_brings_back_stays_ended() {
    let (mut server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let opened = log_in(&one, "a").await;
    let (kept, own) = (
        tempfile::tempdir().unwrap(),
        server.0.folder().join("appendonlydir"),
    );
    copy(&own, kept.path());
    one.end(opened.session.id).await.unwrap();
    soon(async || other.revoked().contains(&opened.session.id)).await;
    server.0.kill();
    std::fs::remove_dir_all(&own).unwrap();
    copy(&kept.path().join("appendonlydir"), server.0.folder());
    server.0.restart();
    stays_ended(&[&one, &other], &clock, &opened).await;
}

#[tokio::test]
async fn a_session_that_a_failover_brings_back_stays_ended() {
    let (mut group, clock) = (Group::start(1, 1), Clock::system());
    let config = group.config();
    let (one, other) = (node(&config, &clock).await, node(&config, &clock).await);
    let opened = log_in(&one, "a").await;
    group.replicate();
    group.servers[1].signal("STOP");
    one.end(opened.session.id).await.unwrap();
    soon(async || other.revoked().contains(&opened.session.id)).await;
    group.servers[0].kill();
    group.servers[1].signal("CONT");
    soon(async || group.master() == 1).await;
    stays_ended(&[&one, &other], &clock, &opened).await;
}

#[tokio::test]
async fn a_session_that_a_failover_in_a_cluster_brings_back_stays_ended() {
    let (mut cluster, clock) = (Cluster::start(3, &[]), Clock::system());
    let config = cluster.config();
    let one = node(&config, &clock).await;
    let (home, opened) = log_in_elsewhere(&cluster, &one).await;
    cluster.add_replica(home);
    let replica = cluster.nodes.len() - 1;
    let other = node(&config, &clock).await;
    cluster.nodes[replica].signal("STOP");
    one.end(opened.session.id).await.unwrap();
    soon(async || other.revoked().contains(&opened.session.id)).await;
    cluster.nodes[home].kill();
    cluster.nodes[replica].signal("CONT");
    cluster.took_over(home);
    // The stream was not cut, so that only a search finds the session; it is made when a node starts, for one.
    let later = node(&config, &clock).await;
    stays_ended(&[&later, &one, &other], &clock, &opened).await;
}

/// Logs users in until one's session is not on the server that has the stream; returns which server has it.
async fn log_in_elsewhere(cluster: &Cluster, store: &Sessions) -> (usize, Opened) {
    let names = super::Names::new("menshen:", &super::RedisMode::Cluster);
    let stream = cluster.home("menshen:revoked");
    for n in 0..1000 {
        let opened = log_in(store, &n.to_string()).await;
        let home = cluster.home(&names.session(opened.session.id));
        if home != stream {
            return (home, opened);
        }
    }
    panic!("all sessions are on one server");
}

#[tokio::test]
async fn a_reuse_that_its_node_did_not_finish_in_a_cluster_is_finished_by_another() {
    let (cluster, clock) = (Cluster::start(3, &[]), Clock::system());
    let config = cluster.config();
    let (one, other) = (node(&config, &clock).await, node(&config, &clock).await);
    let (_, opened) = log_in_elsewhere(&cluster, &one).await;
    one.refresh(&opened.refresh, &apps()).await.unwrap();
    clock.advance(LIFETIMES.refresh_grace + Duration::from_secs(2));
    let stream = &cluster.nodes[cluster.home("menshen:revoked")];
    stream.signal("STOP");
    let broken_off = one.refresh(&opened.refresh, &apps()).await;
    assert!(
        matches!(broken_off, Err(RefreshError::Store(_))),
        "{broken_off:?}"
    );
    drop(one);
    assert!(!other.revoked().contains(&opened.session.id));
    stream.signal("CONT");
    soon(async || other.revoked().contains(&opened.session.id)).await;
}

/// Uses a refresh token twice, the second time after the grace and while revocations cannot be written.
async fn reuse_that_is_broken_off(server: &Server, clock: &Clock, store: &Sessions) -> Opened {
    let opened = log_in(store, "a").await;
    store.refresh(&opened.refresh, &apps()).await.unwrap();
    clock.advance(LIFETIMES.refresh_grace + Duration::from_secs(2));
    let _: String = server.ask("ACL SETUSER default -xadd").await;
    let broken_off = store.refresh(&opened.refresh, &apps()).await;
    assert!(
        matches!(broken_off, Err(RefreshError::Store(_))),
        "{broken_off:?}"
    );
    opened
}

#[tokio::test]
async fn a_reuse_that_its_node_did_not_finish_is_finished_by_another() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let opened = reuse_that_is_broken_off(&server, &clock, &one).await;
    let id = opened.session.id;
    assert!(one.revoked().contains(&id), "it refuses by itself");
    drop(one);
    let _: String = server.ask("ACL SETUSER default +xadd").await;
    soon(async || other.revoked().contains(&id)).await;
    // A revocation is read from the stream before the note of it is deleted.
    soon(async || server.ask::<Vec<String>>("KEYS *:e").await.is_empty()).await;
}

#[tokio::test]
async fn a_reuse_that_no_node_finished_is_finished_at_the_next_start() {
    let (server, clock) = (Server::start().await, Clock::system());
    let one = server.sessions(&clock).await;
    let opened = reuse_that_is_broken_off(&server, &clock, &one).await;
    drop(one);
    let _: String = server.ask("ACL SETUSER default +xadd").await;
    let later = server.sessions(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

#[tokio::test]
async fn a_reuse_is_finished_by_its_node_when_that_becomes_possible() {
    let (server, clock) = (Server::start().await, Clock::system());
    let one = server.sessions(&clock).await;
    let opened = reuse_that_is_broken_off(&server, &clock, &one).await;
    let _: String = server.ask("ACL SETUSER default +xadd").await;
    soon(async || server.ask::<u64>("XLEN menshen:revoked").await > 0).await;
    let later = server.sessions(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

/// Has sessions end, then Redis lose something, and says that a node which starts afterwards knows all of them.
async fn all_are_known_after(config: &RedisServer, servers: &[Redis], stream: usize, loss: &str) {
    let clock = Clock::system();
    let store = node(config, &clock).await;
    let mut ended = Vec::new();
    for n in 0..3 {
        let opened = log_in(&store, &n.to_string()).await;
        store.end(opened.session.id).await.unwrap();
        ended.push(opened.session.id);
    }
    let loss: Vec<&str> = loss.split(' ').collect();
    for server in servers {
        // In a Cluster, those that have not the key refuse.
        server.ask(&loss);
    }
    let last = log_in(&store, "last").await;
    store.end(last.session.id).await.unwrap();
    ended.push(last.session.id);
    let later = node(config, &clock).await;
    for id in &ended {
        soon(async || later.revoked().contains(id)).await;
    }
    // And so does one that starts when nobody is left to tell.
    let length = || servers[stream].ask(&["XLEN", "menshen:revoked"]).parse();
    soon(async || length().is_ok_and(|length: usize| length >= ended.len())).await;
    drop((store, later));
    let last = node(config, &clock).await;
    assert!(ended.iter().all(|id| last.revoked().contains(id)));
}

async fn all_are_known_over_one_server_after(loss: &str) {
    let server = Server::start().await;
    let servers = std::slice::from_ref(&server.0);
    all_are_known_after(&server.config(), servers, 0, loss).await;
}

#[tokio::test]
async fn revocations_are_known_after_everything_was_deleted() {
    all_are_known_over_one_server_after("FLUSHALL").await;
}

#[tokio::test]
async fn revocations_are_known_after_everything_was_deleted_from_a_group() {
    let group = Group::start(1, 1);
    all_are_known_after(&group.config(), &group.servers[..1], 0, "FLUSHALL").await;
}

#[tokio::test]
async fn revocations_are_known_after_everything_was_deleted_from_a_cluster() {
    let cluster = Cluster::start(3, &[]);
    let stream = cluster.home("menshen:revoked");
    all_are_known_after(&cluster.config(), &cluster.nodes, stream, "FLUSHALL").await;
}

#[tokio::test]
async fn revocations_are_known_after_the_stream_was_trimmed() {
    for kept in ["1", "0"] {
        let trim = format!("XTRIM menshen:revoked MAXLEN {kept}");
        all_are_known_over_one_server_after(&trim).await;
    }
}

#[tokio::test]
async fn revocations_are_known_after_the_stream_was_trimmed_in_a_cluster() {
    let cluster = Cluster::start(3, &[]);
    let stream = cluster.home("menshen:revoked");
    let trim = "XTRIM menshen:revoked MAXLEN 0";
    all_are_known_after(&cluster.config(), &cluster.nodes, stream, trim).await;
}

#[tokio::test]
async fn revocations_are_known_after_the_stream_was_evicted() {
    // What an eviction does: a key is gone, whichever.
    for key in ["menshen:revoked", "menshen:{menshen:revoked}:state"] {
        all_are_known_over_one_server_after(&format!("DEL {key}")).await;
    }
}

#[tokio::test]
async fn a_node_that_starts_right_after_everything_was_deleted_hears_what_the_others_know() {
    let (server, clock) = (Server::start().await, Clock::system());
    let one = server.sessions(&clock).await;
    let opened = log_in(&one, "a").await;
    one.end(opened.session.id).await.unwrap();
    server.0.ask(&["FLUSHALL"]);
    let later = server.sessions(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

#[tokio::test]
async fn the_seal_key_is_known_after_everything_was_deleted() {
    let (server, clock) = (Server::start().await, Clock::system());
    let _one = server.sessions(&clock).await;
    server.0.ask(&["FLUSHALL"]);
    let stranger = Sessions::redis(&server.config(), &seal_key(2), LIFETIMES, clock.clone()).await;
    assert!(matches!(stranger, Err(OpenError::SealKeyDiffers(_))));
    server.sessions(&clock).await;
}

#[tokio::test]
async fn a_revocation_outlives_the_tokens_of_nodes_whose_clocks_differ() {
    let server = Server::start().await;
    let five = Duration::from_secs(SKEW_SECS / 2);
    let (behind, ahead) = (Clock::behind(five), Clock::ahead(five));
    let (slow, fast) = (
        server.sessions(&behind).await,
        server.sessions(&ahead).await,
    );
    let opened = log_in(&fast, "a").await;
    // By the fast node's clock, a token of this moment expires so late.
    let expires = ahead.unix_secs() + LIFETIMES.token_ttl.as_secs();
    slow.end(opened.session.id).await.unwrap();
    soon(async || fast.revoked().contains(&opened.session.id)).await;
    let left = Duration::from_secs(expires - behind.unix_secs());
    // Time goes on for both until the slow node takes the token for expired.
    for clock in [&behind, &ahead] {
        clock.advance(left - Duration::from_secs(1));
    }
    // Both forget and trim meanwhile, as often as they do.
    let (before, kept) = (slow.operations(), server.sessions(&behind).await);
    assert!(kept.revoked().contains(&opened.session.id), "{before}");
    for node in [&slow, &fast] {
        assert!(node.revoked().contains(&opened.session.id));
    }
    for clock in [&behind, &ahead] {
        clock.advance(Duration::from_secs(70));
    }
    for node in [&slow, &fast] {
        soon(async || node.revoked().is_empty()).await;
    }
}

#[tokio::test]
async fn a_redis_that_was_trimmed_while_nobody_ran_is_used_all_the_same() {
    let (server, clock) = (Server::start().await, Clock::system());
    let one = server.sessions(&clock).await;
    let opened = log_in(&one, "a").await;
    one.end(opened.session.id).await.unwrap();
    drop(one);
    let redis: &Redis = &server.0;
    redis.ask(&["XTRIM", "menshen:revoked", "MAXLEN", "0"]);
    let later = server.sessions(&clock).await;
    assert!(later.revoked().is_empty());
    // The session itself is gone.
    let refused = later.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
}
