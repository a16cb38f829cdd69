//! Makes a connection to one server, to the master of a Sentinel group, or to a Cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Value};
use tokio::sync::Mutex;

use super::clients::{attempt_timeout, cluster, sentinel, single};
use crate::config::{RedisMode, RedisServer};

/// Commands that may wait for the connection to take them; more wait outside it.
const QUEUE: usize = 1024;
/// How often the Sentinels are asked who the master is.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Knows how to connect.
pub(super) struct Connector {
    server: RwLock<Arc<RedisServer>>,
    way: RwLock<Arc<Way>>,
    timeout: Duration,
    /// Counts the masters; a connection to one before is to be given up, though it may answer.
    masters: AtomicU64,
}

enum Way {
    Single(Box<Client>),
    /// Locked while it asks the Sentinels who the master is.
    Sentinel(Box<Mutex<Group>>),
    Cluster(Box<ClusterClient>),
}

/// The Sentinels, and whom they named last.
struct Group {
    client: SentinelClient,
    master: Option<String>,
}

impl Way {
    fn new(server: &RedisServer) -> RedisResult<Self> {
        Ok(match &server.mode {
            RedisMode::Single => Self::Single(Box::new(single(server)?)),
            RedisMode::Sentinel { .. } => {
                let client = sentinel(server)?;
                let master = None;
                Self::Sentinel(Box::new(Mutex::new(Group { client, master })))
            }
            RedisMode::Cluster => Self::Cluster(Box::new(cluster(server)?)),
        })
    }
}

impl Connector {
    pub(super) fn new(server: &RedisServer) -> RedisResult<Self> {
        Ok(Self {
            way: RwLock::new(Arc::new(Way::new(server)?)),
            server: RwLock::new(Arc::new(server.clone())),
            timeout: attempt_timeout(server),
            masters: AtomicU64::new(0),
        })
    }

    /// Connects; where that fails and the files of the passwords say something else by now, it does so with that.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        match self.try_connect().await {
            Err(_) if self.reread().await? => self.try_connect().await,
            connected => connected,
        }
    }

    async fn try_connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(QUEUE);
        let way = Arc::clone(&self.way.read().unwrap_or_else(PoisonError::into_inner));
        let wire = match &*way {
            Way::Single(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Wire::Node(connection.await?)
            }
            Way::Sentinel(group) => {
                let master = self.master(group).await?;
                let connection = master.get_multiplexed_async_connection_with_config(&config);
                Wire::Node(connection.await?)
            }
            Way::Cluster(client) => Wire::Cluster(client.get_async_connection().await?),
        };
        let master = self.masters.load(Ordering::Acquire);
        Ok(Connection { wire, master })
    }

    /// Asks the Sentinels for the master, and notices when it is another one than before.
    async fn master(&self, group: &Mutex<Group>) -> RedisResult<Client> {
        let mut group = group.lock().await;
        let master = group.client.async_get_client().await?;
        let address = master.get_connection_info().addr().to_string();
        if group.master.as_ref() != Some(&address) {
            if group.master.replace(address).is_some() {
                tracing::info!("the Sentinels name another master");
            }
            self.masters.fetch_add(1, Ordering::Release);
        }
        Ok(master)
    }

    /// Tells whether a connection leads where a new one would.
    pub(super) fn is_current(&self, connection: &Connection) -> bool {
        connection.master == self.masters.load(Ordering::Acquire)
    }

    /// Goes on asking the Sentinels, where there are any: a master that was replaced may still answer.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(ASKED_EVERY).await;
            let way = Arc::clone(&self.way.read().unwrap_or_else(PoisonError::into_inner));
            let Way::Sentinel(group) = &*way else {
                return;
            };
            let asked = tokio::time::timeout(self.timeout, self.master(group)).await;
            if let Ok(Err(error)) = asked {
                tracing::debug!(%error, "the Sentinels cannot be asked");
            }
        }
    }

    /// Reads the files of the passwords again; tells whether something else is in them.
    async fn reread(&self) -> RedisResult<bool> {
        let server = Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner));
        let reread = tokio::task::spawn_blocking(move || server.reread()).await;
        let Ok(Some(server)) = reread else {
            return Ok(false);
        };
        tracing::info!("Redis's password is another one by now, as its file says");
        let way = Way::new(&server)?;
        *self.way.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(way);
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(server);
        Ok(true)
    }
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    wire: Wire,
    /// Of which master it is; see [`Connector::is_current`].
    master: u64,
}

#[derive(Clone)]
enum Wire {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Tells whether keys are on several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.wire, Wire::Cluster(_))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.wire {
            Wire::Node(connection) => connection.req_packed_command(command),
            Wire::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.wire {
            Wire::Node(connection) => connection.req_packed_commands(commands, offset, count),
            Wire::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.wire {
            Wire::Node(connection) => connection.get_db(),
            Wire::Cluster(connection) => connection.get_db(),
        }
    }
}
