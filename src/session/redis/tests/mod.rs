//! Tests of the Redis store over real servers, and of the contract over it.

mod away;
mod clocks;
mod codes;
mod deployed;
mod emptied;
mod losses;
mod repair;
mod revocations;
mod seal_key;
mod stored;
mod tombstones;
mod unfinished;

use std::time::Duration;

use self::servers::{Cluster, Group};
use super::ends::SKEW_SECS;
use super::*;
use crate::clock::Clock;
use crate::config::{RedisMode, RedisServer};
use crate::secret::Secret;
use crate::session::contract::{Subject, identity, session_key};
use crate::session::{Opened, Sessions};

// That crate depends on this one, so it cannot be used here as a crate.
#[path = "../../../../tests/support/src/redis.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is the tests' crate's")]
mod servers;

const RULES: SessionRules = SessionRules {
    session_ttl: Duration::from_secs(30 * 24 * 3600),
    refresh_grace: Duration::from_secs(30),
    token_ttl: Duration::from_secs(2 * 3600),
    unionid_lookup: false,
};

const WITH_LOOKUP: SessionRules = SessionRules {
    unionid_lookup: true,
    ..RULES
};

contract_tests!(async || {
    let server = Server::start().await;
    let clock = Clock::system();
    let (config, key) = (server.config(), seal_key(1));
    let store = Sessions::redis(&config, &key, WITH_LOOKUP, clock.clone()).await;
    Subject {
        store: store.unwrap(),
        rules: WITH_LOOKUP,
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

contract_tests!(
    all_of_the_contract_holds_over_a_valkey,
    servers::Redis::valkey(),
    |server: &servers::Redis, clause| {
        over(
            config(RedisMode::Single, std::slice::from_ref(server)),
            clause,
        )
    }
);

async fn over(mut config: RedisServer, clause: &'static str) -> Subject<impl AsyncFn(Duration)> {
    config.prefix = format!("{clause}:");
    let clock = Clock::system();
    let store = Sessions::redis(&config, &seal_key(1), WITH_LOOKUP, clock.clone()).await;
    Subject {
        store: store.unwrap(),
        rules: WITH_LOOKUP,
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
        refuse_after: None,
        url_file: None,
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
            password_file: None,
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
        let sessions = Sessions::redis(&config, &key, RULES, clock.clone()).await;
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

/// Logs a user in with a session_key that does not matter.
async fn log_in(store: &Sessions, openid: &str) -> Opened {
    let key = session_key("k");
    let opened = store.open_session(identity(openid), &key).await;
    opened.unwrap()
}

/// Fills the stream with as many revocations of nobody as no test could bring about by logins.
fn fill_stream(server: &servers::Redis, count: usize) {
    let fill = "local before = redis.call('XLEN', KEYS[1]) \
                for n = before + 1, before + ARGV[1] do \
                redis.call('XADD', KEYS[1], '*', 's', string.format('%016d', n), 'u', 4000000000, 'n', n) end \
                redis.call('HSETNX', KEYS[2], 'generation', 'filled') \
                redis.call('HINCRBY', KEYS[2], 'added', ARGV[1])";
    let keys = ["menshen:revoked", "menshen:{menshen:revoked}:state"];
    let count = count.to_string();
    server.ask(&["EVAL", fill, "2", keys[0], keys[1], &count]);
}

/// Lets time pass until the nodes remember no revocation. Each revokes anew from its own time what it finds half ended, perhaps when
/// the time has already passed for the others.
async fn outlast_revocations(nodes: &[&Sessions], clock: &Clock) {
    for _ in 0..3 {
        clock.advance(RULES.token_ttl + Duration::from_secs(60 + SKEW_SECS + 2));
        let all = soon(async || nodes.iter().all(|node| node.revoked().is_empty()));
        if tokio::time::timeout(Duration::from_secs(10), all)
            .await
            .is_ok()
        {
            return;
        }
    }
    panic!("a revocation stays");
}

/// Waits for what must come about. A node that lost a server of a Cluster in the middle of a round has to wait for timeouts first.
async fn soon(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}
