//! The backends: which server is asked, over what connection, and what happens when it does not answer.
//!
//! # Layout
//!
//! [`Upstreams::connect`] is the way in. `group` is one upstream: `balance` picks, by `hashing` where it is asked to, among those of its servers that `server_health` says are up,
//! `names` gives them addresses, `template` and `tls` say how to connect, and `connect` does it within the `budget`. `pool` keeps
//! connections of HTTP/1 where `reuse` says that the server does, `http2` keeps those of HTTP/2, whose `uploads` share a window. `wanted` is what an exchange asks for, `attempts` remembers what it has tried, and
//! `health` asks the servers in the background.

mod attempts;
mod balance;
mod budget;
mod connect;
mod connect_error;
mod group;
mod hashing;
mod health;
mod http2;
mod names;
mod pool;
mod reuse;
mod server;
mod server_health;
mod template;
mod tls;
mod uploads;
mod wanted;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::protocols::l4::socket::SocketAddr;
use tokio::task::JoinSet;

pub(super) use self::attempts::Attempts;
pub(super) use self::connect::Connection;
use self::connect::{Connector, Found, Target};
use self::connect_error::ConnectError;
use self::group::Group;
pub(super) use self::http2::Lease;
use self::names::ResolvedNames;
use self::pool::Kept;
use self::reuse::Reuse;
pub(super) use self::server::Busy;
use self::server::Server;
pub use self::tls::UpstreamError;
pub(super) use self::uploads::Unread;
pub(super) use self::wanted::Wanted;
use crate::config::{OwnListeners, Upstream, UpstreamTimeouts};
use crate::request::network;
use crate::server::http1::ClientSide;

/// Every upstream, by its index in the configuration.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<Arc<Group>>,
    names: Arc<ResolvedNames>,
    connector: Arc<Connector>,
}

/// A connection for one exchange, and where it came from.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    pub(super) is_tls: bool,
    /// The limits of the exchange.
    pub(super) timeouts: UpstreamTimeouts<Duration>,
}

/// Why an exchange gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unconnected {
    /// Each address of each server was tried.
    Unreachable,
    /// There are no file descriptors for another connection, whichever server it is to.
    Exhausted,
}

/// Where a connection goes when its exchange has ended.
#[derive(Debug)]
pub(super) struct Origin {
    server: Arc<Server>,
    place: SocketAddr,
    revision: u32,
    /// The thread whose runtime watches the connection.
    worker: usize,
}

impl Upstreams {
    /// Prepares the upstreams, with so many idle connections at the most, and so many open; certificates and keys are
    /// read here. None that a name stands for is asked where the name leads to `own`.
    pub fn new(
        upstreams: &[Upstream],
        most_idle: usize,
        most_open: usize,
        own: OwnListeners,
    ) -> Result<Self, UpstreamError> {
        let connector = Arc::new(Connector::new(most_idle, most_open));
        let names = Arc::new(ResolvedNames::new(own));
        Self::prepare(upstreams, |_| None, names, connector)
    }

    /// Prepares upstreams in place of these; what is the same keeps its connections and what is known of its servers.
    pub fn renewed(&self, upstreams: &[Upstream]) -> Result<Self, UpstreamError> {
        let same = |config: &Upstream| {
            let group = self.groups.iter().find(|group| group.config == *config);
            group.cloned()
        };
        let connector = Arc::clone(&self.connector);
        Self::prepare(upstreams, same, Arc::clone(&self.names), connector)
    }

    fn prepare(
        upstreams: &[Upstream],
        same: impl Fn(&Upstream) -> Option<Arc<Group>>,
        names: Arc<ResolvedNames>,
        connector: Arc<Connector>,
    ) -> Result<Self, UpstreamError> {
        let groups = upstreams.iter().map(|config| match same(config) {
            Some(group) => Ok(group),
            None => Group::new(config).map(Arc::new),
        });
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
            names,
            connector,
        })
    }

    /// Keeps no connections any more of what the upstreams in place of these do not share.
    pub(super) fn replaced_by(&self, new: &Self) {
        for group in &self.groups {
            if !new.groups.iter().any(|other| Arc::ptr_eq(group, other)) {
                group.retire();
            }
        }
    }

    /// Returns whether each server is thought to be up, with its upstream's name and its address.
    pub fn standings(&self) -> Vec<(String, String, bool)> {
        let now = Instant::now();
        let servers = self.groups.iter().flat_map(|group| {
            let name = &group.config.name;
            group.servers.iter().map(move |server| {
                let is_up = server.health.is_up(now);
                (name.clone(), server.address.to_string(), is_up)
            })
        });
        servers.collect()
    }

    /// Returns the name of an upstream.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.groups
            .get(index)
            .map(|group| group.config.name.as_str())
    }

    /// Asks servers how they are and reads certificates that change, where there are any, until what is returned is
    /// dropped.
    pub(super) fn watch(&self) -> JoinSet<()> {
        let mut watching = health::watch(&self.groups, &self.names, &self.connector);
        watching.spawn(group::sweep(self.groups.clone()));
        let renewable = |group: &&Arc<Group>| group.template.renewable().is_some();
        let groups: Vec<_> = self.groups.iter().filter(renewable).cloned().collect();
        if !groups.is_empty() {
            watching.spawn(group::renew(groups));
        }
        watching
    }

    /// Connects an exchange to the next server, as long as an address of one is left to try.
    ///
    /// Servers that are down are asked only when no other is left: trying costs less than refusing everybody because
    /// a health check is wrong.
    pub(super) async fn connect(
        &self,
        index: usize,
        wanted: &Wanted<'_>,
        attempts: &mut Attempts,
    ) -> Result<Connected, Unconnected> {
        let group = self.groups.get(index).ok_or(Unconnected::Unreachable)?;
        loop {
            let chosen = group.choose(&self.names, wanted, attempts).await;
            let (server, place) = chosen.ok_or(Unconnected::Unreachable)?;
            let reuse = if attempts.is_retry() {
                Reuse::Never
            } else if wanted.repeatable {
                Reuse::Any
            } else {
                server.reuse.for_unrepeatable()
            };
            // Before it is connected: a change meanwhile must not make an old connection a new one.
            let revision = group.template.revision();
            let target = Target {
                template: &group.template,
                server: &server,
                place: &place,
                speaks: group.template.speaks(wanted),
                revision,
                reuse,
                upload: wanted.upload,
                limit: group.template.timeouts(wanted).connect,
            };
            match self.connector.connect(&target, || self.close_one()).await {
                Ok(Found {
                    connection,
                    reused,
                    connect_time,
                    worker,
                }) => {
                    attempts.connected(reused, connect_time);
                    return Ok(Connected {
                        connection,
                        origin: Origin {
                            server,
                            place,
                            revision,
                            worker,
                        },
                        is_tls: group.template.is_tls(),
                        timeouts: group.template.timeouts(wanted),
                    });
                }
                Err(ConnectError::Exhausted) => return Err(Unconnected::Exhausted),
                Err(error) => {
                    if matches!(error, ConnectError::NoHttp2) {
                        server.tell_of_protocol(&group.config.name, &error);
                    }
                    // Nothing was sent, so whatever is left may be asked.
                    tracing::debug!(server = %server.address, %error, "a server could not be reached");
                    self.unreachable(index, attempts);
                }
            }
        }
    }

    /// Keeps the connection of an exchange that has ended, where another may follow on it.
    pub(super) fn release(&self, connection: ClientSide, origin: Origin) {
        if connection.is_reusable() {
            let Origin {
                server,
                place,
                revision,
                worker,
            } = origin;
            let kept = Kept {
                wire: connection.into_wire(),
                worker,
            };
            server.pool.put(kept, place, revision, &self.connector.room);
            self.connector.budget.freed();
        }
    }

    /// Closes an idle connection to any server, and tells whether there was one.
    fn close_one(&self) -> bool {
        let mut servers = self.groups.iter().flat_map(|group| &group.servers);
        servers.any(|server| server.pool.close_one() || server.http2.close_one())
    }

    /// Notes that the server of an exchange could not be reached.
    pub(super) fn unreachable(&self, index: usize, attempts: &Attempts) {
        self.failed(index, attempts, None);
    }

    /// Notes that it broke off, or said nothing, over a request of `client`.
    pub(super) fn broke_off(&self, index: usize, attempts: &Attempts, client: Option<IpAddr>) {
        // Not to know the client is to know nobody else.
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.failed(index, attempts, Some(network(client)));
    }

    fn failed(&self, index: usize, attempts: &Attempts, over: Option<IpAddr>) {
        let (Some(group), Some((server, place))) = (self.groups.get(index), attempts.current())
        else {
            return;
        };
        self.names.shun(place);
        let Upstream {
            name,
            max_fails,
            fail_timeout,
            ..
        } = &group.config;
        if server
            .health
            .failed(over, *max_fails, *fail_timeout, Instant::now())
        {
            let server = &server.address;
            tracing::warn!(upstream = name, %server, "a server is left out for a while: it failed too often");
        }
    }
}
