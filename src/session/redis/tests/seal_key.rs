//! A node with another seal key is kept out, whatever Redis lost of what tells them apart.

use super::deployed::{Deployed, over_each_deployment};
use super::{Names, RULES, log_in, seal_key, soon};
use crate::clock::Clock;
use crate::session::{OpenError, Sessions};

async fn is_kept_out(redis: &Deployed) {
    let config = redis.config();
    let stranger = Sessions::redis(&config, &seal_key(2), RULES, Clock::system()).await;
    assert!(matches!(stranger, Err(OpenError::SealKeyDiffers(_))));
    let probed = Sessions::try_redis(&config, &seal_key(2), &Clock::system()).await;
    assert!(matches!(probed, Err(OpenError::SealKeyDiffers(_))));
}

fn checks(redis: &Deployed) -> Vec<String> {
    Names::new("menshen:", &redis.config().mode).seal_checks()
}

async fn a_different_seal_key_is_refused(redis: &Deployed) {
    let _node = redis.node(&Clock::system()).await;
    is_kept_out(redis).await;
}

async fn the_seal_key_is_known_after_everything_was_deleted(redis: &Deployed) {
    let clock = Clock::system();
    let _one = redis.node(&clock).await;
    for server in redis.masters() {
        assert_eq!(server.ask(&["FLUSHALL"]), "OK");
    }
    let stranger = Sessions::redis(&redis.config(), &seal_key(2), RULES, Clock::system()).await;
    assert!(matches!(stranger, Err(OpenError::SealKeyDiffers(_))));
    redis.node(&clock).await;
}

async fn what_was_sealed_tells_the_seal_key_where_every_check_is_lost(redis: &Deployed) {
    let clock = Clock::system();
    let one = redis.node(&clock).await;
    for n in 0..5 {
        log_in(&one, &n.to_string()).await;
    }
    drop(one);
    for check in checks(redis) {
        assert_eq!(redis.ask(&check, &["DEL", &check]), "1");
    }
    is_kept_out(redis).await;
    let _one = redis.node(&clock).await;
    for check in checks(redis) {
        assert_eq!(redis.ask(&check, &["EXISTS", &check]), "1");
    }
}

async fn a_check_that_is_lost_is_written_again_while_a_node_runs(redis: &Deployed) {
    let _one = redis.node(&Clock::system()).await;
    for check in checks(redis) {
        assert_eq!(redis.ask(&check, &["DEL", &check]), "1");
    }
    for check in checks(redis) {
        soon(async || redis.ask(&check, &["EXISTS", &check]) == "1").await;
    }
    is_kept_out(redis).await;
}

over_each_deployment! {
    a_different_seal_key_is_refused
    the_seal_key_is_known_after_everything_was_deleted
    what_was_sealed_tells_the_seal_key_where_every_check_is_lost
    a_check_that_is_lost_is_written_again_while_a_node_runs
}

#[tokio::test]
async fn any_one_check_that_a_cluster_loses_leaves_the_others() {
    let redis = Deployed::cluster();
    // There is no session by which to tell.
    drop(redis.node(&Clock::system()).await);
    let checks = checks(&redis);
    for lost in &checks {
        let check = redis.ask(lost, &["GET", lost]);
        assert_eq!(redis.ask(lost, &["DEL", lost]), "1");
        is_kept_out(&redis).await;
        drop(redis.node(&Clock::system()).await);
        assert_eq!(redis.ask(lost, &["GET", lost]), check);
    }
}
