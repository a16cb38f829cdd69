//! Sessions end by Redis's clock, whatever the nodes' clocks show.

use std::time::Duration;

use super::deployed::{Deployed, over_each_deployment};
use super::{Names, RULES, SKEW_SECS, log_in, seal_key, soon};
use crate::clock::Clock;
use crate::session::{SessionRules, Sessions};

const FIVE_MINUTES: Duration = Duration::from_secs(SKEW_SECS / 2);

async fn a_revocation_outlives_the_tokens_of_nodes_whose_clocks_differ(redis: &Deployed) {
    let (behind, ahead) = (Clock::behind(FIVE_MINUTES), Clock::ahead(FIVE_MINUTES));
    let (slow, fast) = (redis.node(&behind).await, redis.node(&ahead).await);
    let opened = log_in(&fast, "a").await;
    // By the fast node's clock, a token of this moment expires so late.
    let expires = ahead.unix_secs() + RULES.token_ttl.as_secs();
    slow.end(opened.session.id).await.unwrap();
    soon(async || fast.revoked().contains(&opened.session.id)).await;
    let left = Duration::from_secs(expires - behind.unix_secs());
    // Time goes on for both until the slow node takes the token for expired.
    for clock in [&behind, &ahead] {
        clock.advance(left - Duration::from_secs(1));
    }
    let later = redis.node(&behind).await;
    // A node forgets what is over whenever it has read something: so it has done that before it knows of the second.
    for openid in ["b", "c"] {
        let id = log_in(&later, openid).await.session.id;
        later.end(id).await.unwrap();
        for node in [&slow, &fast] {
            soon(async || node.revoked().contains(&id)).await;
        }
    }
    for node in [&later, &slow, &fast] {
        assert!(node.revoked().contains(&opened.session.id));
    }
    for clock in [&behind, &ahead] {
        clock.advance(Duration::from_secs(70));
    }
    for node in [&slow, &fast] {
        soon(async || !node.revoked().contains(&opened.session.id)).await;
    }
}

async fn a_session_lasts_by_rediss_clock_whichever_node_opened_it(redis: &Deployed) {
    let names = Names::new("menshen:", &redis.config().mode);
    for clock in [Clock::behind(FIVE_MINUTES), Clock::ahead(FIVE_MINUTES)] {
        let node = redis.node(&clock).await;
        let opened = log_in(&node, "a").await;
        let session = names.session(opened.session.id);
        let expires = redis.ask(&session, &["HGET", &session, "expires"]);
        let now = redis.ask(&session, &["TIME"]);
        let now: u64 = now.lines().next().unwrap().parse().unwrap();
        let expires: u64 = expires.parse().unwrap();
        let lasts = expires - now;
        assert!(lasts.abs_diff(RULES.session_ttl.as_secs()) <= 2, "{lasts}");
        assert_eq!(opened.session.expires, expires);
    }
}

async fn a_node_that_is_ahead_ends_everywhere_what_still_lives(redis: &Deployed) {
    // By its own clock, it would be over.
    let short = SessionRules {
        session_ttl: FIVE_MINUTES / 2,
        ..RULES
    };
    let (right, ahead) = (Clock::system(), Clock::ahead(FIVE_MINUTES));
    let node = async |clock: &Clock| {
        let (config, key) = (redis.config(), seal_key(1));
        let node = Sessions::redis(&config, &key, short, clock.clone()).await;
        node.unwrap()
    };
    let (one, fast) = (node(&right).await, node(&ahead).await);
    let id = log_in(&one, "a").await.session.id;
    assert_eq!(fast.sessions_of("wx1", "a").await.unwrap().len(), 1);
    assert!(fast.session(id).await.unwrap().is_some());
    assert_eq!(fast.end_all("wx1", "a").await.unwrap(), [id]);
    soon(async || one.revoked().contains(&id)).await;
}

#[tokio::test]
async fn a_clock_that_is_set_wrong_and_right_again_loses_no_revocation() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let (redis, right, wrong) = (Deployed::single(), Clock::system(), Clock::system());
    let (one, other) = (redis.node(&right).await, redis.node(&wrong).await);
    let mut ended = Vec::new();
    for (openid, step) in [("a", 0), ("b", DAY_MS), ("c", 0), ("d", -DAY_MS), ("e", 0)] {
        wrong.step(step);
        let id = log_in(&one, openid).await.session.id;
        one.end(id).await.unwrap();
        ended.push(id);
        // A node forgets what has expired whenever it has read something.
        for id in &ended {
            soon(async || other.revoked().contains(id)).await;
        }
    }
}

over_each_deployment! {
    a_revocation_outlives_the_tokens_of_nodes_whose_clocks_differ
    a_session_lasts_by_rediss_clock_whichever_node_opened_it
    a_node_that_is_ahead_ends_everywhere_what_still_lives
}
