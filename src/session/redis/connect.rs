//! Makes connections to one server, to the master of a Sentinel group, or to a Cluster.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError,
    RedisFuture, RedisResult, Role, Value,
};
use tokio::sync::Mutex;

use super::clients::{attempt_timeout, cluster, named, sentinels, single};
use super::link::no_answer;
use super::sentinels::{Quorum, Sentinels};
use crate::config::{RedisMode, RedisServer};

/// How many commands a connection queues; more wait outside it.
const QUEUE: usize = 1024;
/// How many pipelines are sent to a Cluster at the same time.
const CONCURRENT_PIPELINES: usize = 64;
/// How many timeouts of an attempt it may take to connect to a Cluster, since the driver connects to several servers.
const CLUSTER_ATTEMPTS: u32 = 4;
/// How often the Sentinels are asked who the master is.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Host and port of a server.
pub(super) type Address = (String, u16);

/// Makes connections.
pub(super) struct Connector {
    server: RwLock<Arc<RedisServer>>,
    way: RwLock<Arc<Way>>,
    timeout: Duration,
    /// Counts the masters that the Sentinels named; a connection to an earlier one must be given up, though it may answer.
    masters: AtomicU64,
}

enum Way {
    Single(Box<Client>),
    /// Locked while the Sentinels are asked.
    Sentinel(Box<Mutex<Group>>),
    Cluster(Box<ClusterClient>),
}

/// The Sentinels, and the master that they named last.
struct Group {
    sentinels: Sentinels,
    master: Option<Address>,
    /// When all were asked the last time.
    all_asked: Option<Instant>,
}

impl Way {
    fn new(server: &RedisServer) -> RedisResult<Self> {
        Ok(match &server.mode {
            RedisMode::Single => Self::Single(Box::new(single(server)?)),
            RedisMode::Sentinel { master, .. } => {
                let clients = sentinels(server)?;
                let sentinels = Sentinels::new(clients, master, attempt_timeout(server));
                Self::Sentinel(Box::new(Mutex::new(Group {
                    sentinels,
                    master: None,
                    all_asked: None,
                })))
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

    /// Connects; where that fails and the files have another password than before, it tries again with that.
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
        let mut number = 0;
        let wire = match &*way {
            Way::Single(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Wire::Node(connection.await?)
            }
            Way::Sentinel(group) => {
                let master;
                (master, number) = self.master(&mut *group.lock().await, Quorum::Most).await?;
                let server =
                    Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner));
                let client = named(&server, &master)?;
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Wire::Node(of_master(connection.await?).await?)
            }
            Way::Cluster(client) => {
                // The driver may try servers that do not answer again and again, while one that does is already there.
                let limit = self.timeout * CLUSTER_ATTEMPTS;
                let connected = tokio::time::timeout(limit, client.get_async_connection()).await;
                Wire::Cluster(connected.map_err(|_| no_answer())??)
            }
        };
        Ok(Connection {
            wire,
            master: number,
        })
    }

    /// Asks the Sentinels for the master, counts it when it is another one than before, and returns it with the count.
    async fn master(&self, group: &mut Group, quorum: Quorum) -> RedisResult<(Address, u64)> {
        let master = group.sentinels.master(quorum).await?;
        if group.master.as_ref() != Some(&master) {
            if group.master.replace(master.clone()).is_some() {
                tracing::info!("the Sentinels name another master");
            }
            self.masters.fetch_add(1, Ordering::Release);
        }
        Ok((master, self.masters()))
    }

    /// Returns the count of the present master.
    pub(super) fn masters(&self) -> u64 {
        self.masters.load(Ordering::Acquire)
    }

    /// Returns whether the master is still the one of this count, as all Sentinels say that answer. Whoever waits for others that ask
    /// takes their answer.
    pub(super) async fn is_still(&self, master: u64) -> RedisResult<bool> {
        let way = Arc::clone(&self.way.read().unwrap_or_else(PoisonError::into_inner));
        let Way::Sentinel(group) = &*way else {
            return Ok(true);
        };
        let since = Instant::now();
        let mut group = group.lock().await;
        if group.all_asked.is_none_or(|asked| asked < since) {
            let asked = Instant::now();
            self.master(&mut group, Quorum::All).await?;
            group.all_asked = Some(asked);
        }
        Ok(self.masters() == master)
    }

    /// Returns whether a connection leads where a new one would.
    pub(super) fn is_current(&self, connection: &Connection) -> bool {
        connection.master == self.masters()
    }

    /// Asks the Sentinels again and again, where there are any: a master that was replaced may still answer.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(ASKED_EVERY).await;
            let way = Arc::clone(&self.way.read().unwrap_or_else(PoisonError::into_inner));
            let Way::Sentinel(group) = &*way else {
                return;
            };
            let mut group = group.lock().await;
            if let Err(error) = self.master(&mut group, Quorum::Most).await {
                tracing::debug!(%error, "the Sentinels cannot be asked");
            }
        }
    }

    /// Reads the files of the passwords again; returns whether a password changed.
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

/// Checks that a server is the master, as the Sentinels say; it may have become a replica since.
async fn of_master(mut connection: MultiplexedConnection) -> RedisResult<MultiplexedConnection> {
    let role: Role = redis::cmd("ROLE").query_async(&mut connection).await?;
    if matches!(role, Role::Primary { .. }) {
        return Ok(connection);
    }
    Err(RedisError::from((
        ErrorKind::MasterNameNotFoundBySentinel,
        "the master that the Sentinels name is none any more",
    )))
}

/// Slots of a Cluster that are beside each other.
pub(super) type Slots = RangeInclusive<u16>;

/// What one of several masters answers.
pub(super) struct Answered {
    /// Its slots, in a Cluster.
    pub(super) slots: Vec<Slots>,
    pub(super) answer: RedisResult<Value>,
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    wire: Wire,
    /// The count of its master; see [`Connector::is_current`].
    master: u64,
}

#[derive(Clone)]
enum Wire {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.wire, Wire::Cluster(_))
    }

    /// Asks each master; returns the answers, in a Cluster with the address of each.
    pub(super) async fn ask_masters(
        &mut self,
        command: &Cmd,
    ) -> RedisResult<Vec<(Option<Address>, Value)>> {
        let connection = match &mut self.wire {
            Wire::Node(_) => return Ok(vec![(None, command.query_async(self).await?)]),
            Wire::Cluster(connection) => connection,
        };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(answers) = connection.route_command(command.clone(), all).await? else {
            return Err(RedisError::from((
                ErrorKind::Parse,
                "no answer of each master",
            )));
        };
        let answers = answers.into_iter().map(|(address, answer)| {
            let address: String = redis::from_redis_value(address)?;
            let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
            let port = port.parse().unwrap_or(0);
            Ok((Some((host.to_owned(), port)), answer.extract_error()?))
        });
        answers.collect()
    }

    /// Asks each master; returns an answer for each, also where others do not answer.
    pub(super) async fn ask_each_master(&mut self, command: &Cmd) -> RedisResult<Vec<Answered>> {
        let Wire::Cluster(cluster) = self.wire.clone() else {
            let answer = command.query_async(self).await;
            let slots = Vec::new();
            return Ok(vec![Answered { slots, answer }]);
        };
        let mut ranges = redis::cmd("CLUSTER");
        let ranges = ranges.arg("SLOTS").query_async(self).await?;
        let mut myid = redis::cmd("CLUSTER");
        myid.arg("MYID");
        let asked = slots_of_masters(ranges)?
            .into_iter()
            .map(async |(name, slots)| {
                let any = slots.first().map_or(0, |range| *range.start());
                let master = SingleNodeRoutingInfo::SpecificNode(Route::new(any, SlotAddr::Master));
                let there = RoutingInfo::SingleNode(master);
                let mut cluster = cluster.clone();
                let mut answer = cluster.route_command(myid.clone(), there.clone()).await;
                // In the place of a server that is not there the driver asks any other.
                let is_there =
                    |id: &Value| redis::from_redis_value_ref(id).is_ok_and(|id: String| id == name);
                if answer.as_ref().is_ok_and(|id| !is_there(id)) {
                    answer = Err(no_answer());
                }
                if answer.is_ok() {
                    answer = cluster.route_command(command.clone(), there).await;
                }
                Answered { slots, answer }
            });
        Ok(futures::future::join_all(asked).await)
    }

    /// Asks the master at an address that [`Self::ask_masters`] returned.
    pub(super) async fn ask_at(
        &mut self,
        address: Option<&Address>,
        command: &Cmd,
    ) -> RedisResult<Value> {
        match (&mut self.wire, address) {
            (Wire::Cluster(connection), Some((host, port))) => {
                let (host, port) = (host.clone(), *port);
                let there = SingleNodeRoutingInfo::ByAddress { host, port };
                let there = RoutingInfo::SingleNode(there);
                connection.route_command(command.clone(), there).await
            }
            (Wire::Cluster(_) | Wire::Node(_), _) => command.query_async(self).await,
        }
    }

    /// Sends pipelines, to a Cluster several at the same time. Returns the answers in the order of the pipelines, each beside the value
    /// that its pipeline came with. In a Cluster all keys of a pipeline must be in one slot.
    pub(super) fn ask_pipelines<W, T>(
        &self,
        pipelines: impl Iterator<Item = (W, Pipeline)>,
    ) -> impl Stream<Item = (W, RedisResult<Vec<T>>)>
    where
        T: FromRedisValue,
    {
        let at_once = if self.is_cluster() {
            CONCURRENT_PIPELINES
        } else {
            1
        };
        let asked = pipelines.map(|(with, pipeline)| {
            let mut connection = self.clone();
            async move { (with, pipeline.query_async(&mut connection).await) }
        });
        futures::stream::iter(asked).buffered(at_once)
    }
}

/// Returns the name and the slots of each master, from what `CLUSTER SLOTS` returns: ranges, each with the servers that have it, the
/// master first.
fn slots_of_masters(ranges: Vec<Vec<Value>>) -> RedisResult<HashMap<String, Vec<Slots>>> {
    let mut masters: HashMap<String, Vec<Slots>> = HashMap::new();
    for range in ranges {
        let mut range = range.into_iter();
        let (Some(first), Some(last), Some(master)) = (range.next(), range.next(), range.next())
        else {
            continue;
        };
        let master: Vec<Value> = redis::from_redis_value(master)?;
        // Its address and its port; then its name, which no other has.
        if let Some(name) = master.into_iter().nth(2) {
            let slots = redis::from_redis_value(first)?..=redis::from_redis_value(last)?;
            let name = redis::from_redis_value(name)?;
            masters.entry(name).or_default().push(slots);
        }
    }
    Ok(masters)
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
