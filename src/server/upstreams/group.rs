//! The servers of one upstream: which of them is asked next, and what is done for all of them in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pingora::protocols::l4::socket::SocketAddr;

use super::attempts::Attempts;
use super::names::ResolvedNames;
use super::server::Server;
use super::template::Template;
use super::tls::UpstreamError;
use super::wanted::Wanted;
use super::{balance, hashing};
use crate::config::Upstream;
use crate::server::file_state;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// The servers of one upstream.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) config: Upstream,
    pub(super) template: Template,
    pub(super) servers: Vec<Arc<Server>>,
    turn: AtomicUsize,
}

impl Group {
    pub(super) fn new(config: &Upstream) -> Result<Self, UpstreamError> {
        let servers = config.servers.iter().map(Server::new).map(Arc::new);
        Ok(Self {
            template: Template::new(config)?,
            servers: servers.collect(),
            config: config.clone(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Chooses a server and one of its addresses that were not tried yet; `None` where none is left.
    pub(super) async fn choose(
        &self,
        names: &ResolvedNames,
        wanted: &Wanted<'_>,
        attempts: &mut Attempts,
    ) -> Option<(Arc<Server>, SocketAddr)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let key = wanted.openid.map(hashing::key);
        let now = Instant::now();
        let mut exhausted = Vec::new();
        loop {
            let pick = |allowed: &dyn Fn(usize, &Server) -> bool| {
                let candidates = self.servers.iter().enumerate();
                let candidates = candidates
                    .filter(|(at, server)| !exhausted.contains(at) && allowed(*at, server));
                balance::choose(
                    self.config.balance,
                    self.servers.len(),
                    turn,
                    key,
                    candidates,
                )
            };
            let (at, server) =
                pick(&|at, server| !attempts.has_tried(at) && server.health.is_up(now))
                    .or_else(|| pick(&|at, _| !attempts.has_tried(at)))
                    .or_else(|| pick(&|_, _| true))?;
            let place = match &server.fixed {
                Some(place) => Some(place.clone()),
                None => {
                    let limit = self.template.timeouts(wanted).connect;
                    let mut places = names.places(&server.address, limit).await;
                    server.put_well_first(&mut places);
                    places
                        .into_iter()
                        .find(|place| !attempts.has_tried_at(at, place))
                }
            };
            let Some(place) = place.filter(|place| !attempts.has_tried_at(at, place)) else {
                exhausted.push(at);
                continue;
            };
            attempts.begin(at, server, place.clone());
            return Some((Arc::clone(server), place));
        }
    }

    /// Closes the connections that are idle, and the others once their exchanges have ended.
    pub(super) fn retire(&self) {
        for server in &self.servers {
            server.pool.retire();
            server.http2.retire();
        }
    }
}

/// Closes connections that nobody needs any more, for ever.
pub(super) async fn sweep(groups: Vec<Arc<Group>>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for group in &groups {
            let revision = group.template.revision();
            for server in &group.servers {
                server.pool.sweep(group.config.keepalive, revision);
                server.http2.sweep(group.config.keepalive, revision);
            }
        }
    }
}

/// Reads files that change, for ever.
pub(super) async fn renew(groups: Vec<Arc<Group>>) {
    let mut ticks = tokio::time::interval(file_state::POLL_INTERVAL);
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
