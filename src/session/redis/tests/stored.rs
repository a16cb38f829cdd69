//! What is in Redis, for how long, and what it takes to put it there.

use std::time::Duration;

use super::{Cluster, RULES, Server, log_in, seal_key, soon};
use crate::clock::Clock;
use crate::session::contract::{apps, identity, session_key};
use crate::session::{SessionRules, Sessions};

/// The keys that do not go by themselves.
const LASTING: [&str; 3] = [
    "menshen:revoked",
    "menshen:seal-check",
    "menshen:{menshen:revoked}:state",
];

#[tokio::test]
async fn nodes_share_sessions_and_give_one_successor() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let opened = log_in(&one, "a").await;
    let here = one.refresh(&opened.refresh, &apps()).await.unwrap();
    let there = other.refresh(&opened.refresh, &apps()).await.unwrap();
    assert_eq!(here.refresh.expose(), there.refresh.expose());
    other.refresh(&there.refresh, &apps()).await.unwrap();
}

#[tokio::test]
async fn a_session_whose_last_rotations_redis_lost_goes_on() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let mut opened = log_in(&store, "a").await;
    let keys: Vec<String> = server.ask("KEYS *:s:*").await;
    let [session] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    for lost in [1, 2, 5] {
        let _: u8 = server.ask(&format!("COPY {session} copy")).await;
        for _ in 0..lost {
            opened = store.refresh(&opened.refresh, &apps()).await.unwrap();
        }
        let _: u8 = server.ask(&format!("COPY copy {session} REPLACE")).await;
        let _: u8 = server.ask("DEL copy").await;
        opened = store.refresh(&opened.refresh, &apps()).await.unwrap();
    }
}

#[tokio::test]
async fn the_sessions_are_counted_and_nothing_else_is() {
    let (server, clock) = (Server::start().await, Clock::system());
    let first = server.sessions(&clock).await;
    let opened = log_in(&first, "a").await;
    log_in(&first, "a").await;
    log_in(&first, "b").await;
    first.end(opened.session.id).await.unwrap();
    // Those of another prefix, and names enough for several pages.
    let fill = "for n = 1, 2500 do redis.call('SET', 'other:{abcd}:s:' .. n, 1) end";
    server.0.ask(&["EVAL", fill, "0"]);
    let second = server.sessions(&clock).await;
    soon(async || second.stored() == Some(2)).await;
}

#[tokio::test]
async fn the_sessions_on_every_master_of_a_cluster_are_counted() {
    let (cluster, clock) = (Cluster::start(3, &[]), Clock::system());
    let (config, key) = (cluster.config(), seal_key(1));
    let connect = async || {
        let sessions = Sessions::redis(&config, &key, RULES, clock.clone());
        sessions.await.unwrap()
    };
    let first = connect().await;
    for user in 0..30 {
        log_in(&first, &user.to_string()).await;
    }
    let second = connect().await;
    soon(async || second.stored() == Some(30)).await;
}

#[tokio::test]
async fn redis_drops_by_itself_what_is_over() {
    let (server, clock) = (Server::start().await, Clock::system());
    let short = SessionRules {
        session_ttl: Duration::from_secs(30),
        ..RULES
    };
    let store = Sessions::redis(&server.config(), &seal_key(1), short, clock)
        .await
        .unwrap();
    let opened = log_in(&store, "a").await;
    store.refresh(&opened.refresh, &apps()).await.unwrap();
    let keys: Vec<String> = server.ask("KEYS *").await;
    let mut lasting = Vec::new();
    for key in keys {
        let secs: i64 = server.ask(&format!("TTL {key}")).await;
        if secs < 0 {
            lasting.push(key);
        } else {
            assert!((30..=95).contains(&secs), "{key}: {secs}");
        }
    }
    lasting.sort();
    // Nothing was revoked.
    assert_eq!(lasting, LASTING[1..]);
}

#[tokio::test]
async fn a_session_that_ended_leaves_nothing_but_its_revocation_and_its_tombstone() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = log_in(&store, "a").await;
    store.end(opened.session.id).await.unwrap();
    log_in(&store, "b").await;
    store.end_all("wx1", "b").await.unwrap();
    let keys: Vec<String> = server.ask("KEYS *").await;
    let (tombstones, mut others): (Vec<String>, Vec<String>) =
        keys.into_iter().partition(|key| key.ends_with("}:t"));
    others.sort();
    assert_eq!(others, LASTING);
    let month = RULES.session_ttl.as_secs() as i64;
    for tombstones in tombstones {
        let lasts: i64 = server.ask(&format!("TTL {tombstones}")).await;
        assert!((month..month + 700).contains(&lasts), "{lasts}");
    }
}

#[tokio::test]
async fn neither_session_keys_nor_refresh_tokens_are_in_redis() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let key = session_key("wanted");
    let first = store.open_session(identity("a"), &key).await.unwrap();
    let second = store.refresh(&first.refresh, &apps()).await.unwrap();
    let log = server.0.folder().join("appendonlydir");
    let files = std::fs::read_dir(log).unwrap();
    let bytes: Vec<u8> = files
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(has(b"wx1"), "the search finds what is there");
    assert!(!has(key.expose().as_bytes()));
    for token in [first.refresh, second.refresh] {
        assert!(!has(token.expose().as_bytes()));
    }
}
