//! Tombstones: what they cost in Redis, and that they refuse a session that comes back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::connect::Connector;
use super::deployed::{Deployed, over_each_deployment};
use super::ends::Ends;
use super::keys;
use super::servers::Redis;
use super::{Cluster, Names, RULES, RedisMode, SKEW_SECS, Server, log_in, soon};
use crate::clock::Clock;
use crate::session::contract::{apps, session_key};
use crate::session::{RefreshError, SessionId};

/// Returns how many bytes a server's tombstones hold, and what they cost with everything round them.
fn cost(server: &Redis) -> [usize; 2] {
    let sum = "local bytes, memory = 0, 0 \
               for _, key in ipairs(redis.call('KEYS', '*}:t')) do \
               bytes = bytes + redis.call('STRLEN', key) \
               memory = memory + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0) end \
               return {bytes, memory}";
    let told = server.ask(&["EVAL", sum, "0"]);
    let mut sums = told.lines().map(|line| line.parse().unwrap());
    [(); 2].map(|()| sums.next().unwrap())
}

#[tokio::test]
async fn a_tombstone_costs_no_more_than_sixty_bytes() {
    const ENDED: usize = 10_000;
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let mut ids = Vec::with_capacity(ENDED);
    for from in (0..ENDED).step_by(100) {
        let openids: Vec<String> = (from..from + 100).map(|n| n.to_string()).collect();
        let opened = openids.iter().map(|openid| log_in(&store, openid));
        let opened = futures::future::join_all(opened).await;
        let opened = opened.into_iter().map(|opened| opened.session.id);
        ids.extend(opened);
    }
    for page in ids.chunks(100) {
        let ended = futures::future::join_all(page.iter().map(|id| store.end(*id))).await;
        assert!(ended.into_iter().all(|ended| ended.unwrap()));
    }
    let [bytes, memory] = cost(&server.0);
    assert_eq!(bytes, ENDED * 20);
    println!("a tombstone costs {} bytes", memory / ENDED);
    assert!(memory <= ENDED * 60, "{memory}");
}

/// Fills every `share`th bucket, as if the tombstones were so many over all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_costs_no_more_than_sixty_bytes_in_a_cluster() {
    for (all, share) in [(5_000, 1), (10_000, 1), (100_000, 16), (1_000_000, 64)] {
        let cluster = Cluster::start(3, &[]);
        let count: usize = all / share;
        fill(&cluster, count, share, all as u64).await;
        let costs = cluster.nodes.iter().map(cost);
        let [bytes, memory] = costs.reduce(|[a, b], [c, d]| [a + c, b + d]).unwrap();
        assert_eq!(bytes, count * 20);
        println!(
            "of {all} in a Cluster, a tombstone costs {} bytes",
            memory / count
        );
        assert!(memory <= count * 60, "{memory}");
    }
}

async fn fill(cluster: &Cluster, count: usize, share: usize, seed: u64) {
    let names = Names::new("menshen:", &RedisMode::Cluster);
    let ends = Ends::new(&names, &RULES, &Clock::system());
    let connector = Arc::new(Connector::new(&cluster.config()).unwrap());
    let connection = connector.connect().await.unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let ids = std::iter::repeat_with(|| rng.u128(..).to_be_bytes());
    let ids = ids
        .filter(|id| keys::bucket(id).is_multiple_of(share))
        .take(count);
    let set = ids.map(|id| {
        let (set, mut connection) = (ends.unknown(SessionId::from_bytes(id)), connection.clone());
        async move {
            let set: redis::Value = set.make_on(&mut connection).await.unwrap();
            set
        }
    });
    let set = futures::stream::iter(set).buffer_unordered(256);
    set.for_each(async |_| {}).await;
}

#[tokio::test]
async fn tombstones_that_are_over_make_room_for_others() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let mut bytes = 0;
    for _ in 0..3 {
        for _ in 0..4 {
            let id = log_in(&store, "a").await.session.id;
            store.end(id).await.unwrap();
        }
        [bytes, _] = cost(&server.0);
        // The key is Redis's own to drop, by a clock that no test moves.
        clock.advance(RULES.session_ttl + Duration::from_secs(700));
    }
    assert_eq!(bytes, 4 * 20);
}

#[tokio::test]
async fn a_logout_writes_its_own_tombstone_and_not_those_of_others() {
    const OTHERS: usize = 2000;
    const ENDED: u64 = 20;
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let key = session_key("k");
    let user = crate::session::contract::identity("a").user();
    let names = Names::new("menshen:", &RedisMode::Single);
    // One of them is over every second.
    let fill = "local now = redis.call('TIME')[1] \
                for n = 1, ARGV[1] do redis.call('APPEND', KEYS[1], \
                string.format('%016d', n) .. struct.pack('>I4', now + n)) end";
    let bucket = names.tombstones(user.as_bytes());
    server
        .0
        .ask(&["EVAL", fill, "1", &bucket, &OTHERS.to_string()]);
    let written = || server.0.info("persistence", "aof_current_size");
    let mut cost = 0;
    for _ in 0..ENDED {
        let opened = store.open_session(crate::session::contract::identity("a"), &key);
        let id = opened.await.unwrap().session.id;
        clock.advance(Duration::from_secs(1));
        let before = written();
        store.end(id).await.unwrap();
        cost += written() - before;
    }
    println!("a logout writes {} bytes", cost / ENDED);
    assert!(cost < ENDED * 2000, "{cost}");
    // In the end they are removed all the same.
    let seconds = Duration::from_secs(OTHERS as u64);
    clock.advance(seconds);
    let id = log_in(&store, "a").await.session.id;
    store.end(id).await.unwrap();
    let left = server.0.ask(&["STRLEN", &bucket]);
    assert_eq!(left, ((ENDED + 1) * 20).to_string());
}

async fn a_session_that_comes_back_is_refused_by_its_tombstone_when_its_revocation_is_over(
    redis: &Deployed,
) {
    let clock = Clock::system();
    let store = redis.node(&clock).await;
    let opened = log_in(&store, "a").await;
    let session = Names::new("menshen:", &redis.config().mode).session(opened.session.id);
    let copy = format!("{session}:copy");
    assert_eq!(redis.ask(&session, &["COPY", &session, &copy]), "1");
    store.end(opened.session.id).await.unwrap();
    clock.advance(RULES.token_ttl + Duration::from_secs(60 + SKEW_SECS + 2));
    soon(async || store.revoked().is_empty()).await;
    assert_eq!(redis.ask(&session, &["COPY", &copy, &session]), "1");
    let refused = store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(refused, Err(RefreshError::Ended)), "{refused:?}");
    assert_eq!(redis.ask(&session, &["EXISTS", &session]), "0");
}

over_each_deployment! {
    a_session_that_comes_back_is_refused_by_its_tombstone_when_its_revocation_is_over
}
