//! A Redis that is away, hangs or has forgotten something.

use std::time::Duration;

use super::{LIFETIMES, Server, log_in, seal_key, soon};
use crate::clock::Clock;
use crate::session::contract::{apps, identity, session_key};
use crate::session::{Lifetimes, RefreshError, Sessions, StoreError};

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let mut server = Server::start().await;
    server.0.kill();
    let refused = Sessions::redis(&server.config(), &seal_key(1), LIFETIMES, Clock::system()).await;
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
    let store = Sessions::redis(&config, &seal_key(1), LIFETIMES, clock)
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
    let lifetimes = Lifetimes {
        refresh_grace: short,
        ..LIFETIMES
    };
    let store = Sessions::redis(&config, &seal_key(1), lifetimes, clock).await;
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
