//! Tests of the Redis store over real servers, and of the contract over it.

use std::time::Duration;

use self::servers::{Cluster, Group};
use super::*;
use crate::config::RedisMode;
use crate::session::contract::{Subject, apps, identity, session_key};
use crate::session::{Claim, Holder, RefreshError, Sessions};

// That crate depends on this one, so it cannot be used here as a crate.
#[path = "../../../tests/support/src/redis.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is the tests' crate's")]
mod servers;

const LIFETIMES: Lifetimes = Lifetimes {
    session_ttl: Duration::from_secs(30 * 24 * 3600),
    refresh_grace: Duration::from_secs(30),
    token_ttl: Duration::from_secs(2 * 3600),
};

contract_tests!(async || {
    let server = Server::start().await;
    let clock = Clock::system();
    Subject {
        store: server.sessions(&clock).await,
        lifetimes: LIFETIMES,
        pass_time: async move |time| {
            // Kept until the last use of the store.
            let _ = &server;
            clock.advance(time);
        },
    }
});

contract_tests!(
    all_of_the_contract_holds_over_a_cluster,
    Cluster::start(3, &[]),
    |cluster: &Cluster, clause| over(cluster.config(), clause)
);

contract_tests!(
    all_of_the_contract_holds_over_a_group_with_sentinels,
    Group::start(1, 1),
    |group: &Group, clause| over(group.config(), clause)
);

async fn over(mut config: RedisServer, clause: &'static str) -> Subject<impl AsyncFn(Duration)> {
    config.prefix = format!("{clause}:");
    let clock = Clock::system();
    let store = Sessions::redis(&config, &seal_key(1), LIFETIMES, clock.clone()).await;
    Subject {
        store: store.unwrap(),
        lifetimes: LIFETIMES,
        pass_time: async move |time| clock.advance(time),
    }
}

fn config(mode: RedisMode, servers: &[servers::Redis]) -> RedisServer {
    let nodes = servers.iter().map(servers::Redis::port);
    RedisServer {
        nodes: nodes.map(|port| ("127.0.0.1".to_owned(), port)).collect(),
        tls: false,
        user: None,
        password: None,
        database: 0,
        mode,
        ca: None,
        client_certificate: None,
        prefix: "menshen:".to_owned(),
        timeout: Duration::from_secs(4),
    }
}

impl Cluster {
    fn config(&self) -> RedisServer {
        config(RedisMode::Cluster, &self.nodes)
    }
}

impl Group {
    fn config(&self) -> RedisServer {
        let mode = RedisMode::Sentinel {
            master: servers::MASTER.to_owned(),
            user: None,
            password: None,
        };
        config(mode, &self.sentinels)
    }
}

/// A redis-server of the test's own.
struct Server(servers::Redis);

impl Server {
    async fn start() -> Self {
        Self(servers::Redis::durable())
    }

    fn config(&self) -> RedisServer {
        config(RedisMode::Single, std::slice::from_ref(&self.0))
    }

    async fn sessions(&self, clock: &Clock) -> Sessions {
        let (config, key) = (self.config(), seal_key(1));
        let sessions = Sessions::redis(&config, &key, LIFETIMES, clock.clone()).await;
        sessions.unwrap()
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let client = redis::Client::open(self.0.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            asked.arg(word);
        });
        asked.query_async(&mut connection).await.unwrap()
    }
}

fn seal_key(seed: u8) -> Secret {
    use base64::Engine;
    Secret::new(base64::engine::general_purpose::STANDARD.encode([seed; 32]))
}

/// Waits for what must come about soon.
async fn soon(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}

#[tokio::test]
async fn nodes_share_sessions_and_give_one_successor() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let opened = one
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    let here = one.refresh(&opened.refresh, &apps()).await.unwrap();
    let there = other.refresh(&opened.refresh, &apps()).await.unwrap();
    assert_eq!(here.refresh.expose(), there.refresh.expose());
    other.refresh(&there.refresh, &apps()).await.unwrap();
}

#[tokio::test]
async fn a_revocation_is_known_to_the_other_node_within_a_second() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    for _ in 0..5 {
        let opened = one
            .open_session(identity("a"), &session_key("k"))
            .await
            .unwrap();
        let id = opened.session.id;
        let ended = std::time::Instant::now();
        one.end(id).await.unwrap();
        assert!(one.revoked().contains(&id));
        soon(async || other.revoked().contains(&id)).await;
        assert!(
            ended.elapsed() < Duration::from_secs(1),
            "{:?}",
            ended.elapsed()
        );
    }
}

#[tokio::test]
async fn a_node_that_starts_knows_what_was_revoked_before() {
    let (server, clock) = (Server::start().await, Clock::system());
    let one = server.sessions(&clock).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let opened = one
            .open_session(identity("a"), &session_key("k"))
            .await
            .unwrap();
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
    let opened = one
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    // Every connection is cut, again and again, while the session ends.
    for _ in 0..3 {
        let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
    }
    one.end(opened.session.id).await.unwrap();
    let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
    soon(async || other.revoked().contains(&opened.session.id)).await;
}

#[tokio::test]
async fn a_store_that_is_away_says_so_and_recovers_by_itself() {
    let (mut server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let before = store
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
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
    store
        .open_session(identity("b"), &session_key("k"))
        .await
        .unwrap();
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
async fn a_refresh_and_a_login_take_one_round_trip() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = store
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    let opened = store.refresh(&opened.refresh, &apps()).await.unwrap();
    // By now Redis knows the scripts.
    let before = store.operations();
    store
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    assert_eq!(store.operations() - before, 1);
    let opened = store.refresh(&opened.refresh, &apps()).await.unwrap();
    assert_eq!(store.operations() - before, 2);
    store.refresh(&opened.refresh, &apps()).await.unwrap();
    assert_eq!(store.operations() - before, 3);
}

#[tokio::test]
async fn a_redis_that_forgot_the_scripts_is_given_them_again() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    for _ in 0..2 {
        let opened = store
            .open_session(identity("a"), &session_key("k"))
            .await
            .unwrap();
        store.refresh(&opened.refresh, &apps()).await.unwrap();
        let _: String = server.ask("SCRIPT FLUSH").await;
    }
}

#[tokio::test]
async fn redis_drops_by_itself_what_is_over() {
    let (server, clock) = (Server::start().await, Clock::system());
    let short = Lifetimes {
        session_ttl: Duration::from_secs(30),
        ..LIFETIMES
    };
    let store = Sessions::redis(&server.config(), &seal_key(1), short, clock)
        .await
        .unwrap();
    let opened = store
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
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
    assert_eq!(lasting, ["menshen:revoked", "menshen:seal-check"]);
}

#[tokio::test]
async fn a_session_that_ended_leaves_nothing_but_its_revocation() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = store
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    store.end(opened.session.id).await.unwrap();
    store
        .open_session(identity("b"), &session_key("k"))
        .await
        .unwrap();
    store.end_all("wx1", "b").await.unwrap();
    let mut keys: Vec<String> = server.ask("KEYS *").await;
    keys.sort();
    assert_eq!(keys, ["menshen:revoked", "menshen:seal-check"]);
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

#[tokio::test]
async fn a_different_seal_key_is_refused() {
    let (server, clock) = (Server::start().await, Clock::system());
    let _store = server.sessions(&clock).await;
    let other = Sessions::redis(&server.config(), &seal_key(2), LIFETIMES, clock).await;
    assert!(matches!(other, Err(OpenError::SealKeyDiffers(_))));
}

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
async fn revocations_that_are_over_leave_the_memory() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = store
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    store.end(opened.session.id).await.unwrap();
    assert_eq!(store.revoked().len(), 1);
    clock.advance(LIFETIMES.token_ttl + Duration::from_secs(62));
    soon(async || store.revoked().is_empty()).await;
    let later = server.sessions(&clock).await;
    assert!(later.revoked().is_empty());
}

#[tokio::test]
async fn revocations_that_redis_lost_are_told_again_by_who_knows_them() {
    let (mut server, clock) = (Server(servers::Redis::start(&[])), Clock::system());
    let one = server.sessions(&clock).await;
    let opened = one
        .open_session(identity("a"), &session_key("k"))
        .await
        .unwrap();
    one.end(opened.session.id).await.unwrap();
    // It kept nothing on its disk.
    server.0.kill();
    server.0.restart();
    soon(async || server.ask::<u64>("XLEN menshen:revoked").await > 0).await;
    let later = server.sessions(&clock).await;
    assert!(later.revoked().contains(&opened.session.id));
}

#[tokio::test]
async fn an_end_that_is_broken_off_can_be_asked_for_again() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let one = store.open_session(identity("a"), &session_key("k")).await;
    let one = one.unwrap();
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
    let keys: Vec<String> = server.ask("KEYS *:e:*").await;
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_failover_brings_back_of_a_revoked_session_is_removed() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let opened = opened.unwrap();
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
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let opened = opened.unwrap();
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
async fn revocations_that_were_deleted_are_told_again() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let id = opened.unwrap().session.id;
    store.end(id).await.unwrap();
    let _: u64 = server.ask("DEL menshen:revoked").await;
    // The follower looks every so often, and whenever it connects.
    let _: u64 = server.ask("CLIENT KILL TYPE normal SKIPME yes").await;
    soon(async || server.ask::<u64>("XLEN menshen:revoked").await == 1).await;
    assert!(server.sessions(&clock).await.revoked().contains(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_redeems_a_code_and_the_others_learn_what_it_brought() {
    let server = Server::start().await;
    let clock = Clock::system();
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let (code, lease) = (one.mark("wx1", "0a1b2c"), Duration::from_secs(10));
    let [first, second] = [(); 2].map(|()| Holder::random().unwrap());
    let claim = one.claim(code, first, lease).await.unwrap();
    assert!(matches!(claim, Claim::Yours), "{claim:?}");
    let claim = other.claim(code, second, lease).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
    // Who does not have it cannot give it back.
    other.give_back(code, second).await.unwrap();
    let claim = other.claim(code, second, lease).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
    let claim = other.claim(code, second, Duration::ZERO).await.unwrap();
    assert!(matches!(claim, Claim::Lost), "{claim:?}");
    let opened = one
        .open_session_for(code, lease, identity("a"), &session_key("k"))
        .await
        .unwrap();
    let claim = async || other.claim(code, second, lease).await.unwrap();
    soon(async || !matches!(claim().await, Claim::Elsewhere)).await;
    let claim = claim().await;
    let Claim::Done(told, _) = claim else {
        panic!("{claim:?}");
    };
    assert_eq!(told.session, opened.session);
    assert_eq!(told.refresh.expose(), opened.refresh.expose());
    one.refresh(&opened.refresh, &apps()).await.unwrap();
    let claim = other.claim(code, second, lease).await.unwrap();
    assert!(matches!(claim, Claim::Spent), "{claim:?}");
}

// On one thread, so that what goes on behind the answer has not begun when it is there.
#[tokio::test]
async fn a_login_takes_two_round_trips_and_leaves_no_token_in_clear() {
    let server = Server::start().await;
    let store = server.sessions(&Clock::system()).await;
    let (code, lease) = (store.mark("wx1", "0a1b2c"), Duration::from_secs(10));
    let before = store.operations();
    let holder = Holder::random().unwrap();
    store.claim(code, holder, lease).await.unwrap();
    let opened = store
        .open_session_for(code, lease, identity("a"), &session_key("k"))
        .await
        .unwrap();
    assert_eq!(store.operations() - before, 2);
    let kept = || server.0.ask(&["--scan", "--pattern", "menshen:*:c:*"]);
    soon(async || !kept().is_empty()).await;
    let kept = kept();
    let kept = server.0.ask(&["GET", &kept]);
    assert!(
        !kept.is_empty() && !kept.contains(opened.refresh.expose()),
        "{kept}"
    );
}

#[tokio::test]
async fn what_a_code_brought_is_told_only_where_its_session_is_stored() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let (code, minute) = (store.mark("wx1", "0a"), Duration::from_secs(60));
    let [first, second] = [(); 2].map(|()| Holder::random().unwrap());
    store.claim(code, first, minute).await.unwrap();
    server.ask::<()>("ACL SETUSER default -evalsha -eval").await;
    let key = session_key("some key");
    let opened = store.open_session_for(code, minute, identity("alice"), &key);
    assert!(opened.await.is_err());
    server.ask::<()>("ACL SETUSER default +evalsha +eval").await;
    let claim = store.claim(code, second, minute).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
}
