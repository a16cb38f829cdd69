//! Makes a connection to one server, to the master of a Sentinel group, or to a Cluster.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates,
    TlsMode, Value,
};
use tokio::sync::Mutex;

use crate::config::{RedisMode, RedisServer};

/// Commands that may wait for the connection to take them; more wait outside it.
const QUEUE: usize = 1024;

/// Knows how to connect.
pub(super) struct Connector {
    way: Way,
    timeout: Duration,
}

enum Way {
    Single(Box<Client>),
    /// Locked while it asks the Sentinels who the master is.
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

impl Connector {
    pub(super) fn new(server: &RedisServer) -> RedisResult<Self> {
        let way = match &server.mode {
            RedisMode::Single => Way::Single(Box::new(single(server)?)),
            RedisMode::Sentinel { .. } => Way::Sentinel(Box::new(Mutex::new(sentinel(server)?))),
            RedisMode::Cluster => Way::Cluster(Box::new(cluster(server)?)),
        };
        Ok(Self {
            way,
            timeout: attempt_timeout(server),
        })
    }

    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(QUEUE);
        match &self.way {
            Way::Single(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Ok(Connection::Node(connection.await?))
            }
            Way::Sentinel(client) => {
                let mut client = client.lock().await;
                let connection = client.get_async_connection_with_config(&config);
                Ok(Connection::Node(connection.await?))
            }
            Way::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
        }
    }
}

/// Half of the time that there is, so that what was lost with a connection can be asked for again on another.
fn attempt_timeout(server: &RedisServer) -> Duration {
    server.timeout / 2
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

fn single(server: &RedisServer) -> RedisResult<Client> {
    let mut nodes = nodes(server)?;
    let Some(node) = nodes.pop() else {
        return Client::open("");
    };
    let node = node.set_redis_settings(settings(server));
    match certificates(server) {
        Some(certificates) => Client::build_with_tls(node, certificates),
        None => Client::open(node),
    }
}

fn sentinel(server: &RedisServer) -> RedisResult<SentinelClient> {
    let RedisMode::Sentinel {
        master,
        user,
        password,
    } = &server.mode
    else {
        return SentinelClientBuilder::new([], "", SentinelServerType::Master)?.build();
    };
    let sentinels = server.nodes.iter().map(|node| address(server, node));
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
        .set_client_to_redis_db(server.database);
    if server.tls {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(server) {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    if let Some(user) = &server.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &server.password {
        builder = builder.set_client_to_redis_password(password.expose());
    }
    if let Some(user) = user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_sentinel_password(password.expose());
    }
    builder.build()
}

fn cluster(server: &RedisServer) -> RedisResult<ClusterClient> {
    let settings = settings(server);
    let nodes = nodes(server)?.into_iter();
    let nodes = nodes.map(|node| node.set_redis_settings(settings.clone()));
    let mut builder = ClusterClient::builder(nodes)
        .connection_timeout(attempt_timeout(server))
        .response_timeout(attempt_timeout(server))
        .retries(3);
    if let Some(certificates) = certificates(server) {
        builder = builder.certs(certificates);
    }
    builder.build()
}

fn nodes(server: &RedisServer) -> RedisResult<Vec<ConnectionInfo>> {
    let nodes = server.nodes.iter();
    nodes
        .map(|node| address(server, node).into_connection_info())
        .collect()
}

fn address(server: &RedisServer, (host, port): &(String, u16)) -> ConnectionAddr {
    if server.tls {
        ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host.clone(), *port)
    }
}

fn settings(server: &RedisServer) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(server.database);
    if let Some(user) = &server.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &server.password {
        settings = settings.set_password(password.expose());
    }
    settings
}

fn certificates(server: &RedisServer) -> Option<TlsCertificates> {
    let client_tls = server.client_certificate.as_ref();
    (server.ca.is_some() || client_tls.is_some()).then(|| TlsCertificates {
        root_cert: server.ca.clone(),
        client_tls: client_tls.map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.to_vec(),
        }),
    })
}
