//! Revocations reach every node, whatever happens to Redis and the connections.

use std::time::{Duration, Instant};

use super::deployed::{Deployed, over_each_deployment};
use super::{RULES, SKEW_SECS, Server, fill_stream, log_in, servers, soon};
use crate::clock::Clock;
use crate::session::contract::{apps, identity, session_key};
use crate::session::{RefreshError, SessionId, StoreError};

async fn a_revocation_is_known_to_the_other_node_within_a_second(redis: &Deployed) {
    let clock = Clock::system();
    let (one, other) = (redis.node(&clock).await, redis.node(&clock).await);
    let mut took = Vec::new();
    for n in 0..20 {
        let id = log_in(&one, &n.to_string()).await.session.id;
        let asked = Instant::now();
        one.end(id).await.unwrap();
        assert!(one.revoked().contains(&id));
        let ended = Instant::now();
        while !other.revoked().contains(&id) {
            assert!(ended.elapsed() < Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        took.push((asked.elapsed(), ended.elapsed()));
    }
    took.sort();
    println!(
        "since a logout was asked for, and answered: half of them {:?}, all {:?}",
        took[9], took[19]
    );
}

over_each_deployment! { a_revocation_is_known_to_the_other_node_within_a_second }

/// A node has read an entry; another master lacks it, and adds others with smaller ids and the same numbers.
#[tokio::test]
async fn what_a_master_adds_whose_clock_is_behind_is_read() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    fill_stream(&server.0, 2);
    soon(async || store.revoked().len() == 2).await;
    let other = SessionId::from_bytes([7; 16]);
    let replace = "local all = redis.call('XRANGE', KEYS[1], '-', '+') \
                   redis.call('DEL', KEYS[1]) \
                   local ids = {string.rep('\\7', 16), all[2][2][2]} \
                   for n = 1, 2 do redis.call('XADD', KEYS[1], n .. '-1', \
                   's', ids[n], 'u', 4000000000, 'n', n) end";
    let replaced = server.0.ask(&["EVAL", replace, "1", "menshen:revoked"]);
    assert_eq!(replaced, "");
    soon(async || store.revoked().contains(&other)).await;
}

#[tokio::test]
async fn a_node_that_starts_knows_what_was_revoked_before() {
    let (server, clock) = (Server::start().await, Clock::system());
    let one = server.sessions(&clock).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let opened = log_in(&one, "a").await;
        ended.push(opened.session.id);
    }
    one.end_all("wx1", "a").await.unwrap();
    let later = server.sessions(&clock).await;
    assert!(ended.iter().all(|id| later.revoked().contains(id)));
    assert_eq!(later.revoked().len(), 3);
}

#[tokio::test]
async fn what_was_revoked_while_a_node_heard_nothing_is_caught_up() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let opened = log_in(&one, "a").await;
    // Every connection is cut, again and again, while the session ends.
    for _ in 0..3 {
        let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
    }
    one.end(opened.session.id).await.unwrap();
    let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
    soon(async || other.revoked().contains(&opened.session.id)).await;
}

#[tokio::test]
async fn revocations_that_are_over_leave_the_memory() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = log_in(&store, "a").await;
    store.end(opened.session.id).await.unwrap();
    assert_eq!(store.revoked().len(), 1);
    clock.advance(RULES.token_ttl + Duration::from_secs(60 + SKEW_SECS + 2));
    soon(async || store.revoked().is_empty()).await;
    let later = server.sessions(&clock).await;
    assert!(later.revoked().is_empty());
}

#[tokio::test]
async fn revocations_that_redis_lost_are_told_again_by_who_knows_them() {
    let (mut server, clock) = (Server(servers::Redis::start(&[])), Clock::system());
    let one = server.sessions(&clock).await;
    let opened = log_in(&one, "a").await;
    one.end(opened.session.id).await.unwrap();
    // It kept nothing on its disk.
    server.0.kill();
    server.0.restart();
    soon(async || server.ask::<u64>("XLEN menshen:revoked").await > 0).await;
    let later = server.sessions(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

#[tokio::test]
async fn revocations_that_were_deleted_are_told_again() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let id = log_in(&store, "a").await.session.id;
    store.end(id).await.unwrap();
    let _: u64 = server.ask("DEL menshen:revoked").await;
    // The follower looks every so often, and whenever it connects.
    let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
    soon(async || server.ask::<u64>("XLEN menshen:revoked").await == 1).await;
    assert!(server.sessions(&clock).await.revoked().contains(&id));
}

#[tokio::test]
async fn an_end_that_is_broken_off_can_be_asked_for_again() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let one = log_in(&store, "a").await;
    let key = session_key("k");
    let others = [(); 2].map(|()| store.open_session(identity("b"), &key));
    let others = futures::future::join_all(others).await;
    let _: String = server.ask("ACL SETUSER default -xadd").await;
    let refused = store.end(one.session.id).await;
    assert!(
        matches!(refused, Err(StoreError::Storage(_))),
        "{refused:?}"
    );
    let refused = store.end_all("wx1", "b").await;
    assert!(
        matches!(refused, Err(StoreError::Storage(_))),
        "{refused:?}"
    );
    // Nothing of it comes back to life, whatever else is not done.
    let ended = store.refresh(&one.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)), "{ended:?}");
    let _: String = server.ask("ACL SETUSER default +xadd").await;
    store.end(one.session.id).await.unwrap();
    for openid in ["a", "b"] {
        store.end_all("wx1", openid).await.unwrap();
    }
    let later = server.sessions(&clock).await;
    assert!(later.revoked().contains(&one.session.id));
    for other in others {
        assert!(later.revoked().contains(&other.unwrap().session.id));
    }
    let keys: Vec<String> = server.ask("KEYS *:e").await;
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_failover_brings_back_of_a_revoked_session_is_removed() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = log_in(&store, "a").await;
    let keys: Vec<String> = server.ask("KEYS *:s:*").await;
    let copy = format!("COPY {} kept", keys[0]);
    let _: u64 = server.ask(&copy).await;
    store.end(opened.session.id).await.unwrap();
    let _: u64 = server.ask(&format!("COPY kept {}", keys[0])).await;
    let entries: u64 = server.ask("XLEN menshen:revoked").await;
    for _ in 0..3 {
        let ended = store.refresh(&opened.refresh, &apps()).await;
        assert!(matches!(ended, Err(RefreshError::Ended)), "{ended:?}");
    }
    let keys: Vec<String> = server.ask("KEYS *:s:*").await;
    assert_eq!(keys, Vec::<String>::new());
    // It was revoked once more when it was removed; a flood of them makes the stream no longer.
    let now: u64 = server.ask("XLEN menshen:revoked").await;
    assert_eq!(now, entries + 1);
}

#[tokio::test]
async fn a_cut_connection_costs_less_than_a_second_however_many_are_revoked() {
    const MANY: usize = 100_000;
    let (server, clock) = (Server::start().await, Clock::system());
    fill_stream(&server.0, MANY);
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    assert_eq!(other.revoked().len(), MANY);
    for _ in 0..3 {
        let id = log_in(&one, "a").await.session.id;
        let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
        one.end(id).await.unwrap();
        let ended = Instant::now();
        soon(async || other.revoked().contains(&id)).await;
        let took = ended.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
