//! A Redis that is away, hangs or has forgotten something.

use std::time::Duration;

use super::deployed::{admit, as_user, node};
use super::servers::{self, Group, MASTER};
use super::{RULES, Server, log_in, refusal, seal_key, soon};
use crate::clock::Clock;
use crate::session::contract::{apps, identity, session_key};
use crate::session::{OpenError, RefreshError, SessionRules, Sessions, StoreError};

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let mut server = Server::start().await;
    server.0.kill();
    let refused = Sessions::redis(&server.config(), &seal_key(1), RULES, Clock::system()).await;
    let Err(error) = refused else {
        panic!("it was opened");
    };
    assert!(
        error
            .to_string()
            .starts_with(&format!("Redis at 127.0.0.1:{}", server.0.port())),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_is_away_says_so_and_recovers_by_itself() {
    let (mut server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let before = log_in(&store, "a").await;
    server.0.kill();
    let refused = store.open_session(identity("b"), &session_key("k")).await;
    assert!(
        matches!(refused, Err(StoreError::Storage(_))),
        "{refused:?}"
    );
    let refused = store.refresh(&before.refresh, &apps()).await;
    assert!(
        matches!(refused, Err(RefreshError::Store(_))),
        "{refused:?}"
    );
    assert!(!store.is_available());
    server.0.restart();
    soon(async || store.is_available()).await;
    store.refresh(&before.refresh, &apps()).await.unwrap();
    log_in(&store, "b").await;
}

#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_for_ever() {
    let (server, clock) = (Server::start().await, Clock::system());
    let mut config = server.config();
    config.timeout = Duration::from_millis(1500);
    let store = Sessions::redis(&config, &seal_key(1), RULES, clock)
        .await
        .unwrap();
    let _: String = server.ask("CLIENT PAUSE 6000 ALL").await;
    let asked = std::time::Instant::now();
    let refused = store.open_session(identity("a"), &session_key("k")).await;
    assert!(
        matches!(refused, Err(StoreError::Storage(_))),
        "{refused:?}"
    );
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    soon(async || {
        store
            .open_session(identity("a"), &session_key("k"))
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_grace_begins_when_redis_replaces_the_token_however_long_that_took() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (mut config, short) = (server.config(), Duration::from_secs(2));
    config.timeout = Duration::from_secs(1);
    let rules = SessionRules {
        refresh_grace: short,
        ..RULES
    };
    let store = Sessions::redis(&config, &seal_key(1), rules, clock).await;
    let store = store.unwrap();
    let opened = log_in(&store, "a").await;
    let _: String = server.ask("CLIENT PAUSE 4000 ALL").await;
    let lost = store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(lost, Err(RefreshError::Store(_))), "{lost:?}");
    // Whatever Redis makes of what it was sent before, the token gives its successor.
    soon(
        async || match store.refresh(&opened.refresh, &apps()).await {
            Ok(_) => true,
            Err(RefreshError::Store(_)) => false,
            Err(error) => panic!("{error}"),
        },
    )
    .await;
}

#[tokio::test]
async fn a_redis_that_forgot_the_scripts_is_given_them_again() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    for _ in 0..2 {
        let opened = log_in(&store, "a").await;
        store.refresh(&opened.refresh, &apps()).await.unwrap();
        let _: String = server.ask("SCRIPT FLUSH").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_refuses_until_it_has_read_what_it_missed() {
    let (server, clock) = (Server::start().await, Clock::system());
    admit(&server.0);
    let mut config = as_user(server.config());
    config.timeout = Duration::from_secs(1);
    config.refuse_after = Some(Duration::from_secs(1));
    let (one, cut) = (server.sessions(&clock).await, node(&config, &clock).await);
    let opened = log_in(&one, "a").await;
    let revoked = cut.revoked();
    assert!(!revoked.is_unknown());
    server.0.ask(&["ACL", "SETUSER", "node", "off"]);
    server.0.ask(&["CLIENT", "KILL", "USER", "node"]);
    soon(async || revoked.is_unknown()).await;
    // More than it reads at once.
    super::fill_stream(&server.0, 50_000);
    one.end(opened.session.id).await.unwrap();
    server.0.ask(&["ACL", "SETUSER", "node", "on"]);
    soon(async || {
        // Looked at in this order, since what is revoked may be told between the two.
        let refuses = revoked.is_unknown();
        assert!(refuses || revoked.contains(&opened.session.id));
        !refuses
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_not_read_revocations_refuses_though_redis_answers() {
    let (server, clock) = (Server::start().await, Clock::system());
    admit(&server.0);
    let mut config = as_user(server.config());
    config.refuse_after = Some(Duration::from_secs(1));
    let cut = node(&config, &clock).await;
    assert_eq!(server.0.ask(&["ACL", "SETUSER", "node", "-xread"]), "OK");
    log_in(&cut, "a").await;
    let one = server.sessions(&clock).await;
    let id = log_in(&one, "b").await.session.id;
    one.end(id).await.unwrap();
    soon(async || cut.revoked().is_unknown()).await;
    assert_eq!(server.0.ask(&["ACL", "SETUSER", "node", "+xread"]), "OK");
    soon(async || !cut.revoked().is_unknown()).await;
    assert!(cut.revoked().contains(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_is_left_though_the_sentinel_named_first_hangs() {
    let (group, other) = (Group::start(0, 2), servers::Redis::start(&[]));
    let mut config = group.config();
    config.timeout = Duration::from_secs(1);
    let store = node(&config, &Clock::system()).await;
    let id = log_in(&store, "a").await.session.id;
    store.end(id).await.unwrap();
    group.sentinels[0].signal("STOP");
    let port = other.port().to_string();
    let sentinel = &group.sentinels[1];
    assert_eq!(sentinel.ask(&["SENTINEL", "REMOVE", MASTER]), "OK");
    let monitor = ["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, "1"];
    assert_eq!(sentinel.ask(&monitor), "OK");
    soon(async || other.ask(&["EXISTS", "menshen:revoked"]) == "1").await;
    soon(async || store.is_available()).await;
    log_in(&store, "b").await;
}

#[test]
fn a_start_in_a_state_that_passes_may_be_tried_again() {
    let server = super::config(super::RedisMode::Cluster, &[]);
    for line in [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down",
    ] {
        let told = format!("-{line}\r\n");
        let told = redis::Parser::new().parse_value(told.as_bytes()).unwrap();
        let refused = refusal::refusal(&told.extract_error().unwrap_err(), &server);
        let OpenError::RedisRefuses { reason, .. } = refused else {
            panic!("{line}: {refused:?}");
        };
        let (code, _) = line.split_once(' ').unwrap();
        assert!(reason.contains(&format!("({code})")), "{reason}");
    }
}
