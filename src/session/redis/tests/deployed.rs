//! The three ways in which Redis servers work together, for histories that are the same over each.

use super::servers::{self, Cluster, Group};
use super::{Names, RULES, RedisMode, RedisServer, config, seal_key};
use crate::clock::Clock;
use crate::secret::Secret;
use crate::session::{SessionId, Sessions};

/// Has a history run over one server, over a group with Sentinels and over a Cluster, as three tests.
macro_rules! over_each_deployment {
    ($($(#[$doc:meta])* $history:ident)+) => {$(
        $(#[$doc])*
        mod $history {
            use super::super::deployed::Deployed;

            #[tokio::test]
            async fn over_one_server() {
                super::$history(&Deployed::single()).await;
            }

            #[tokio::test]
            async fn over_a_group() {
                super::$history(&Deployed::group()).await;
            }

            #[tokio::test]
            async fn over_a_cluster() {
                super::$history(&Deployed::cluster()).await;
            }
        }
    )+};
}
pub(super) use over_each_deployment;

/// Servers that work together.
pub(super) enum Deployed {
    Single(servers::Redis),
    Group(Group),
    Cluster(Cluster),
}

impl Deployed {
    pub(super) fn single() -> Self {
        Self::Single(servers::Redis::durable())
    }

    pub(super) fn group() -> Self {
        Self::Group(Group::start(1, 1))
    }

    pub(super) fn cluster() -> Self {
        Self::Cluster(Cluster::start(3, &[]))
    }

    pub(super) fn config(&self) -> RedisServer {
        match self {
            Self::Single(server) => config(RedisMode::Single, std::slice::from_ref(server)),
            Self::Group(group) => group.config(),
            Self::Cluster(cluster) => cluster.config(),
        }
    }

    /// Returns the masters.
    pub(super) fn masters(&self) -> &[servers::Redis] {
        match self {
            Self::Single(server) => std::slice::from_ref(server),
            Self::Group(group) => &group.servers[..1],
            Self::Cluster(cluster) => &cluster.nodes,
        }
    }

    /// Returns the master that has a key.
    pub(super) fn home(&self, key: &str) -> &servers::Redis {
        match self {
            Self::Single(_) | Self::Group(_) => &self.masters()[0],
            Self::Cluster(cluster) => &cluster.nodes[cluster.home(key)],
        }
    }

    pub(super) fn ask(&self, key: &str, words: &[&str]) -> String {
        self.home(key).ask(words)
    }

    /// Returns how often the masters were sent a command since their start.
    pub(super) fn calls(&self, command: &str) -> u64 {
        let masters = self.masters().iter();
        masters.map(|master| calls(master, command)).sum()
    }

    pub(super) async fn node(&self, clock: &Clock) -> Sessions {
        node(&self.config(), clock).await
    }
}

/// Starts a node.
pub(super) async fn node(server: &RedisServer, clock: &Clock) -> Sessions {
    let opened = Sessions::redis(server, &seal_key(1), RULES, clock.clone()).await;
    opened.unwrap()
}

/// Returns how often a server was sent a command since its start.
pub(super) fn calls(server: &servers::Redis, command: &str) -> u64 {
    let told = server.ask(&["INFO", "commandstats"]);
    let begins = format!("cmdstat_{command}:calls=");
    let line = told.lines().find_map(|line| line.strip_prefix(&begins));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Has nodes come as a user of their own, whom [`admit`] lets in.
pub(super) fn as_user(mut server: RedisServer) -> RedisServer {
    server.user = Some("node".to_owned());
    server.password = Some(Secret::new("open"));
    server
}

/// Lets nodes in: no server hears of another's users, and none remembers its own.
pub(super) fn admit(server: &servers::Redis) {
    let user = ["ACL", "SETUSER", "node", "on", ">open", "~*", "&*", "+@all"];
    assert_eq!(server.ask(&user), "OK");
}

/// Says that a server knows a session as it was before it ended, and of no end.
pub(super) fn knows_no_end(server: &servers::Redis, server_mode: &RedisMode, id: SessionId) {
    let names = Names::new("menshen:", server_mode);
    assert!(server.ask(&["ROLE"]).starts_with("master"));
    assert_eq!(server.ask(&["EXISTS", &names.session(id)]), "1");
    for noted in [names.tombstones(id.as_bytes()), names.ending(id.as_bytes())] {
        assert_eq!(server.ask(&["EXISTS", &noted]), "0", "{noted}");
    }
}
