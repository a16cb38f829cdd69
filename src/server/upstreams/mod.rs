//! The backends: which server is asked, over what connection, and what happens when it does not answer.
//!
//! # Layout
//!
//! [`Upstreams::choose`] is the way in. `balance` picks among the servers that `standing` says are up, `names` gives
//! them addresses, `peer` and `tls` say how to connect, `handshake` is the connection of a WebSocket. `keeping` knows
//! which servers keep connections, `attempts` remembers what one exchange has tried, and `health` asks the servers in the
//! background.

mod attempts;
mod balance;
mod handshake;
mod health;
mod keeping;
mod names;
mod peer;
mod server;
mod standing;
mod tls;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pingora::upstreams::peer::HttpPeer;
use tokio::task::JoinSet;

pub(super) use self::attempts::Attempts;
pub(super) use self::handshake::Handshake;
use self::keeping::Connections;
use self::names::Names;
use self::peer::Template;
use self::server::Server;
pub use self::tls::UpstreamError;
use super::looks;
use crate::config::{Patience, Protocol, Upstream};
use crate::request::network;

/// Every upstream, by its index in the configuration.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<Arc<Group>>,
    names: Arc<Names>,
}

/// The servers of one upstream.
#[derive(Debug)]
struct Group {
    config: Upstream,
    template: Template,
    servers: Vec<Arc<Server>>,
    turn: AtomicUsize,
}

impl Group {
    fn new(config: &Upstream) -> Result<Self, UpstreamError> {
        let servers = config.servers.iter().map(Server::new).map(Arc::new);
        Ok(Self {
            template: Template::new(config)?,
            servers: servers.collect(),
            config: config.clone(),
            turn: AtomicUsize::new(0),
        })
    }
}

/// What an exchange asks of its upstream.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Who is asking, to be sent to the same server again.
    pub(super) openid: Option<&'a [u8]>,
    /// Whether it is about to leave HTTP, which only HTTP/1.1 can.
    pub(super) upgrade: bool,
    /// What notes how far that has come.
    pub(super) handshake: &'a Handshake,
    /// Whether it may be sent twice.
    pub(super) repeatable: bool,
    /// The route's own limits.
    pub(super) patience: Patience<Option<Duration>>,
}

impl Upstreams {
    /// Prepares the upstreams; certificates and keys are read here.
    pub fn new(upstreams: &[Upstream]) -> Result<Self, UpstreamError> {
        Self::prepare(upstreams, |_| None, Arc::default())
    }

    /// Prepares upstreams in place of these; what is the same keeps its connections and what is known of its servers.
    pub fn renewed(&self, upstreams: &[Upstream]) -> Result<Self, UpstreamError> {
        let same = |config: &Upstream| {
            let group = self.groups.iter().find(|group| group.config == *config);
            group.cloned()
        };
        Self::prepare(upstreams, same, Arc::clone(&self.names))
    }

    fn prepare(
        upstreams: &[Upstream],
        same: impl Fn(&Upstream) -> Option<Arc<Group>>,
        names: Arc<Names>,
    ) -> Result<Self, UpstreamError> {
        let groups = upstreams.iter().map(|config| match same(config) {
            Some(group) => Ok(group),
            None => Group::new(config).map(Arc::new),
        });
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
            names,
        })
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
        let mut watching = health::watch(&self.groups, &self.names);
        let renewable = |group: &&Arc<Group>| group.template.renewable().is_some();
        let groups: Vec<_> = self.groups.iter().filter(renewable).cloned().collect();
        if !groups.is_empty() {
            watching.spawn(renew(groups));
        }
        watching
    }

    /// Chooses the next server for an exchange; `None` when each address of each server was tried.
    ///
    /// Servers that are down are asked only when no other is left: trying costs less than refusing everybody because
    /// a health check is wrong.
    pub(super) async fn choose(
        &self,
        index: usize,
        wanted: &Wanted<'_>,
        attempts: &mut Attempts,
    ) -> Option<HttpPeer> {
        let group = self.groups.get(index)?;
        let turn = group.turn.fetch_add(1, Ordering::Relaxed);
        let key = wanted.openid.map(balance::key);
        let now = Instant::now();
        let mut exhausted = Vec::new();
        loop {
            let pick = |allowed: &dyn Fn(usize, &Server) -> bool| {
                let candidates = group.servers.iter().enumerate();
                let candidates = candidates
                    .filter(|(at, server)| !exhausted.contains(at) && allowed(*at, server));
                balance::choose(
                    group.config.balance,
                    group.servers.len(),
                    turn,
                    key,
                    candidates,
                )
            };
            let (at, server) =
                pick(&|at, server| !attempts.has_tried(at) && server.standing.is_up(now))
                    .or_else(|| pick(&|at, _| !attempts.has_tried(at)))
                    .or_else(|| pick(&|_, _| true))?;
            let limit = group.template.connect_limit(wanted);
            let mut places = self.names.places(&server.address, limit).await;
            server.put_well_first(&mut places);
            let Some(place) = attempts.untried(at, &places) else {
                exhausted.push(at);
                continue;
            };
            let connections = if attempts.is_second_chance() {
                Connections::New
            } else if wanted.repeatable || group.config.protocol == Protocol::Http2 {
                Connections::Any
            } else {
                server.keeping.connections(now)
            };
            attempts.begin(at, server, place.clone(), connections);
            return Some(group.template.peer(server, place, wanted, connections));
        }
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
            .standing
            .failed(over, *max_fails, *fail_timeout, Instant::now())
        {
            let server = &server.address;
            tracing::warn!(upstream = name, %server, "a server is left out for a while: it failed too often");
        }
    }
}

/// Reads files that change, for ever.
async fn renew(groups: Vec<Arc<Group>>) {
    let mut ticks = tokio::time::interval(looks::PAUSE);
    loop {
        ticks.tick().await;
        for group in &groups {
            let group = Arc::clone(group);
            // A disk may hang, and then only this waits for it.
            let reading = tokio::task::spawn_blocking(move || {
                if let Some(tls) = group.template.renewable() {
                    tls.renew(&group.config);
                }
            });
            let _ = reading.await;
        }
    }
}
