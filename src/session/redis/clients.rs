//! Configures the driver's clients for one server, for Sentinels and for a Cluster.

use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates,
};

use crate::config::{RedisMode, RedisServer};

/// Returns half of the configured timeout, so that a command whose connection was lost can be sent once more on another.
pub(super) fn attempt_timeout(server: &RedisServer) -> Duration {
    server.timeout / 2
}

pub(super) fn single(server: &RedisServer) -> RedisResult<Client> {
    let mut nodes = nodes(server)?;
    let Some(node) = nodes.pop() else {
        return Client::open("");
    };
    client(server, node.set_redis_settings(settings(server)))
}

/// Returns a client for each Sentinel.
pub(super) fn sentinels(server: &RedisServer) -> RedisResult<Vec<Client>> {
    let mut own = RedisConnectionInfo::default();
    if let RedisMode::Sentinel { user, password, .. } = &server.mode {
        if let Some(user) = user {
            own = own.set_username(user);
        }
        if let Some(password) = password {
            own = own.set_password(password.expose());
        }
    }
    let nodes = nodes(server)?.into_iter();
    nodes
        .map(|node| client(server, node.set_redis_settings(own.clone())))
        .collect()
}

/// Returns a client for a server that a Sentinel named.
pub(super) fn named(server: &RedisServer, node: &(String, u16)) -> RedisResult<Client> {
    let node = address(server, node).into_connection_info()?;
    client(server, node.set_redis_settings(settings(server)))
}

pub(super) fn cluster(server: &RedisServer) -> RedisResult<ClusterClient> {
    let settings = settings(server);
    let nodes = nodes(server)?.into_iter();
    let nodes = nodes.map(|node| node.set_redis_settings(settings.clone()));
    let mut builder = ClusterClient::builder(nodes)
        .connection_timeout(attempt_timeout(server))
        .response_timeout(attempt_timeout(server))
        .retries(3)
        // The default of more than a second exceeds the timeout, and the error would not be seen.
        .min_retry_wait(20)
        .max_retry_wait(200);
    if let Some(certificates) = certificates(server) {
        builder = builder.certs(certificates);
    }
    builder.build()
}

fn client(server: &RedisServer, node: ConnectionInfo) -> RedisResult<Client> {
    match certificates(server) {
        Some(certificates) => Client::build_with_tls(node, certificates),
        None => Client::open(node),
    }
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
