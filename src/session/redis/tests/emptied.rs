//! What ended stays ended when Redis loses entries of the stream, or everything.

use std::time::{Duration, Instant};

use super::deployed::{Deployed, over_each_deployment};
use super::{log_in, soon};
use crate::clock::Clock;
use crate::session::contract::apps;
use crate::session::{RefreshError, SessionId};

const STREAM: &str = "menshen:revoked";

/// Has sessions end, then Redis lose something, and says that a node which starts afterwards knows all of them.
async fn all_are_known_after(redis: &Deployed, lose: impl AsyncFnOnce()) {
    let clock = Clock::system();
    let store = redis.node(&clock).await;
    let mut ended: Vec<SessionId> = Vec::new();
    for n in 0..3 {
        let opened = log_in(&store, &n.to_string()).await;
        store.end(opened.session.id).await.unwrap();
        ended.push(opened.session.id);
    }
    lose().await;
    let last = log_in(&store, "last").await;
    store.end(last.session.id).await.unwrap();
    ended.push(last.session.id);
    let later = redis.node(&clock).await;
    for id in &ended {
        soon(async || later.revoked().contains(id)).await;
    }
    // And so does one that starts when nobody is left to tell.
    let length = || redis.ask(STREAM, &["XLEN", STREAM]).parse();
    soon(async || length().is_ok_and(|length: usize| length >= ended.len())).await;
    drop((store, later));
    let last = redis.node(&clock).await;
    assert!(ended.iter().all(|id| last.revoked().contains(id)));
}

/// Asks the server that has the stream, and says that entries of it are gone.
async fn cut(redis: &Deployed, words: &[&str], kept: &str) {
    redis.ask(STREAM, words);
    assert_eq!(redis.ask(STREAM, &["XLEN", STREAM]), kept);
}

async fn revocations_are_known_after_everything_was_deleted(redis: &Deployed) {
    all_are_known_after(redis, async || {
        for server in redis.masters() {
            assert_eq!(server.ask(&["FLUSHALL"]), "OK");
        }
    })
    .await;
}

async fn revocations_are_known_after_the_stream_was_trimmed(redis: &Deployed) {
    let trim = ["XTRIM", STREAM, "MAXLEN", "0"];
    all_are_known_after(redis, async || cut(redis, &trim, "0").await).await;
}

async fn a_node_that_starts_right_after_everything_was_deleted_hears_what_the_others_know(
    redis: &Deployed,
) {
    let clock = Clock::system();
    let one = redis.node(&clock).await;
    let opened = log_in(&one, "a").await;
    one.end(opened.session.id).await.unwrap();
    for server in redis.masters() {
        assert_eq!(server.ask(&["FLUSHALL"]), "OK");
    }
    let later = redis.node(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

#[tokio::test]
async fn a_node_that_starts_when_an_emptied_redis_has_memory_again_hears_what_the_others_know() {
    let (redis, clock) = (Deployed::single(), Clock::system());
    let one = redis.node(&clock).await;
    let opened = log_in(&one, "a").await;
    one.end(opened.session.id).await.unwrap();
    let memory = |limit| redis.ask(STREAM, &["CONFIG", "SET", "maxmemory", limit]);
    // The moment decides whether a node is about to try again.
    for _ in 0..6 {
        assert_eq!(memory("1"), "OK");
        assert_eq!(redis.ask(STREAM, &["FLUSHALL"]), "OK");
        // The node has read the stream, and cannot add what is missing.
        let before = redis.calls("xrange");
        soon(async || redis.calls("xrange") > before).await;
        assert_eq!(memory("0"), "OK");
        let later = redis.node(&clock).await;
        assert!(later.revoked().contains(&opened.session.id));
    }
}

async fn a_node_that_starts_waits_while_others_add_again_what_was_lost(redis: &Deployed) {
    const REPAIR: &str = "menshen:{menshen:revoked}:repair";
    let clock = Clock::system();
    drop(redis.node(&clock).await);
    assert_eq!(redis.ask(REPAIR, &["SET", REPAIR, "1", "PX", "1500"]), "OK");
    let begun = Instant::now();
    let _later = redis.node(&clock).await;
    assert!(begun.elapsed() > Duration::from_millis(1400));
}

async fn revocations_are_known_after_several_losses_in_a_row(redis: &Deployed) {
    let clock = Clock::system();
    let nodes = [redis.node(&clock).await, redis.node(&clock).await];
    let mut ended = Vec::new();
    for loss in 0..8 {
        let node = &nodes[loss % 2];
        let id = log_in(node, &loss.to_string()).await.session.id;
        node.end(id).await.unwrap();
        ended.push(id);
        // What one loss has nodes do is not over when the next one comes.
        match loss % 4 {
            0 => drop(redis.ask(STREAM, &["XTRIM", STREAM, "MAXLEN", "1"])),
            1 => drop(redis.ask(STREAM, &["DEL", STREAM])),
            2 => drop(redis.ask(STREAM, &["DEL", "menshen:{menshen:revoked}:state"])),
            _ => {
                for server in redis.masters() {
                    assert_eq!(server.ask(&["FLUSHALL"]), "OK");
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(90 * loss as u64)).await;
    }
    let later = redis.node(&clock).await;
    for id in &ended {
        soon(async || later.revoked().contains(id)).await;
    }
    let length = || redis.ask(STREAM, &["XLEN", STREAM]).parse();
    soon(async || length().is_ok_and(|length: usize| length >= ended.len())).await;
    drop((nodes, later));
    let last = redis.node(&clock).await;
    assert!(ended.iter().all(|id| last.revoked().contains(id)));
}

async fn a_redis_that_was_trimmed_while_nobody_ran_is_used_all_the_same(redis: &Deployed) {
    let clock = Clock::system();
    let one = redis.node(&clock).await;
    let opened = log_in(&one, "a").await;
    one.end(opened.session.id).await.unwrap();
    drop(one);
    cut(redis, &["XTRIM", STREAM, "MAXLEN", "0"], "0").await;
    let later = redis.node(&clock).await;
    assert!(later.revoked().is_empty());
    // The session itself is gone.
    let refused = later.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
}

over_each_deployment! {
    revocations_are_known_after_everything_was_deleted
    revocations_are_known_after_the_stream_was_trimmed
    a_node_that_starts_right_after_everything_was_deleted_hears_what_the_others_know
    a_node_that_starts_waits_while_others_add_again_what_was_lost
    revocations_are_known_after_several_losses_in_a_row
    a_redis_that_was_trimmed_while_nobody_ran_is_used_all_the_same
}

#[tokio::test]
async fn revocations_are_known_after_all_but_one_were_trimmed() {
    let redis = &Deployed::single();
    let trim = ["XTRIM", STREAM, "MAXLEN", "1"];
    all_are_known_after(redis, async || cut(redis, &trim, "1").await).await;
}

#[tokio::test]
async fn revocations_are_known_after_one_of_the_streams_keys_was_evicted() {
    for key in [STREAM, "menshen:{menshen:revoked}:state"] {
        let redis = &Deployed::single();
        let evict = async || assert_eq!(redis.ask(key, &["DEL", key]), "1");
        all_are_known_after(redis, evict).await;
    }
}

#[tokio::test]
async fn revocations_are_known_after_an_eviction() {
    let redis = &Deployed::single();
    let set = |name: &str, value: &str| {
        assert_eq!(redis.ask("", &["CONFIG", "SET", name, value]), "OK");
    };
    all_are_known_after(redis, async || {
        set("maxmemory-policy", "allkeys-lru");
        set("maxmemory", "1");
        let evicted = || redis.masters()[0].info("stats", "evicted_keys");
        soon(async || evicted() > 3).await;
        set("maxmemory", "0");
    })
    .await;
}
