//! An end that its node began and did not finish is finished by another, or at the next start.

use std::time::Duration;

use super::deployed::{Deployed, node, over_each_deployment};
use super::losses::log_in_elsewhere;
use super::servers::Cluster;
use super::{Names, RULES, log_in, soon};
use crate::clock::Clock;
use crate::session::contract::apps;
use crate::session::{Opened, RefreshError, Sessions};

const STREAM: &str = "menshen:revoked";

/// Uses a refresh token twice, the second time after the grace and while revocations cannot be written.
async fn reuse_that_is_broken_off(redis: &Deployed, clock: &Clock, store: &Sessions) -> Opened {
    let opened = log_in(store, "a").await;
    store.refresh(&opened.refresh, &apps()).await.unwrap();
    clock.advance(RULES.refresh_grace + Duration::from_secs(2));
    let forbid = ["ACL", "SETUSER", "default", "-xadd"];
    assert_eq!(redis.ask(STREAM, &forbid), "OK");
    let broken_off = store.refresh(&opened.refresh, &apps()).await;
    assert!(
        matches!(broken_off, Err(RefreshError::Store(_))),
        "{broken_off:?}"
    );
    opened
}

fn allow(redis: &Deployed) {
    let allow = ["ACL", "SETUSER", "default", "+xadd"];
    assert_eq!(redis.ask(STREAM, &allow), "OK");
}

async fn a_reuse_whose_node_died_is_finished_by_another(redis: &Deployed) {
    let clock = Clock::system();
    let (one, other) = (redis.node(&clock).await, redis.node(&clock).await);
    let id = reuse_that_is_broken_off(redis, &clock, &one)
        .await
        .session
        .id;
    assert!(one.revoked().contains(&id), "it refuses by itself");
    drop(one);
    assert_eq!(redis.ask(STREAM, &["XLEN", STREAM]), "0");
    let noted = Names::new("menshen:", &redis.config().mode).ending(id.as_bytes());
    assert_eq!(redis.ask(&noted, &["SCARD", &noted]), "1");
    allow(redis);
    soon(async || other.revoked().contains(&id)).await;
    // The note is deleted after the revocation is in the stream.
    soon(async || redis.ask(&noted, &["EXISTS", &noted]) == "0").await;
    let later = redis.node(&clock).await;
    assert!(later.revoked().contains(&id));
}

#[tokio::test]
async fn a_reuse_is_finished_by_another_node_when_the_server_of_the_stream_answers_again() {
    let (cluster, clock) = (Cluster::start(3, &[]), Clock::system());
    let config = cluster.config();
    let (one, other) = (node(&config, &clock).await, node(&config, &clock).await);
    let (_, opened) = log_in_elsewhere(&cluster, &one).await;
    one.refresh(&opened.refresh, &apps()).await.unwrap();
    clock.advance(RULES.refresh_grace + Duration::from_secs(2));
    let stream = &cluster.nodes[cluster.home(STREAM)];
    stream.signal("STOP");
    let broken_off = one.refresh(&opened.refresh, &apps()).await;
    assert!(
        matches!(broken_off, Err(RefreshError::Store(_))),
        "{broken_off:?}"
    );
    drop(one);
    stream.signal("CONT");
    soon(async || other.revoked().contains(&opened.session.id)).await;
    let later = node(&config, &clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

async fn a_reuse_that_no_node_finished_is_finished_at_the_next_start(redis: &Deployed) {
    let clock = Clock::system();
    let one = redis.node(&clock).await;
    let opened = reuse_that_is_broken_off(redis, &clock, &one).await;
    drop(one);
    allow(redis);
    let later = redis.node(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

async fn a_reuse_is_finished_by_its_node_when_that_becomes_possible(redis: &Deployed) {
    let clock = Clock::system();
    let one = redis.node(&clock).await;
    let opened = reuse_that_is_broken_off(redis, &clock, &one).await;
    allow(redis);
    soon(async || redis.ask(STREAM, &["XLEN", STREAM]) != "0").await;
    let later = redis.node(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

over_each_deployment! {
    a_reuse_whose_node_died_is_finished_by_another
    a_reuse_that_no_node_finished_is_finished_at_the_next_start
    a_reuse_is_finished_by_its_node_when_that_becomes_possible
}
