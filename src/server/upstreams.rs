//! Picks a server of an upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moka::future::Cache;
use pingora::upstreams::peer::HttpPeer;

use crate::config::Upstream;

/// How long an answer of the DNS is used.
const RESOLVED_FOR: Duration = Duration::from_secs(10);

/// Every upstream, by its index in the configuration.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<Group>,
    resolved: Cache<String, Arc<[SocketAddr]>>,
}

#[derive(Debug)]
struct Group {
    config: Upstream,
    next: AtomicUsize,
}

impl Upstreams {
    /// Prepares the upstreams.
    pub fn new(upstreams: &[Upstream]) -> Self {
        Self {
            groups: upstreams
                .iter()
                .map(|upstream| Group {
                    config: upstream.clone(),
                    next: AtomicUsize::new(0),
                })
                .collect(),
            resolved: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(RESOLVED_FOR)
                .build(),
        }
    }

    /// Returns the name of an upstream.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.groups
            .get(index)
            .map(|group| group.config.name.as_str())
    }

    /// Returns how many servers an upstream has.
    pub fn servers(&self, index: usize) -> usize {
        self.groups
            .get(index)
            .map_or(0, |group| group.config.servers.len())
    }

    /// Returns the next server in turn; `None` when its name has no address.
    pub(super) async fn pick(&self, index: usize) -> Option<HttpPeer> {
        let group = self.groups.get(index)?;
        let turn = group.next.fetch_add(1, Ordering::Relaxed);
        let servers = &group.config.servers;
        let server = servers.get(turn % servers.len().max(1))?;
        let address = match server.parse() {
            Ok(address) => address,
            Err(_) => self.resolve(server, turn).await?,
        };
        let mut peer = HttpPeer::new(address, false, String::new());
        let options = &mut peer.options;
        options.connection_timeout = Some(group.config.connect_timeout);
        options.total_connection_timeout = Some(group.config.connect_timeout);
        options.read_timeout = Some(group.config.read_timeout);
        options.write_timeout = Some(group.config.write_timeout);
        options.idle_timeout = Some(group.config.keepalive);
        Some(peer)
    }

    async fn resolve(&self, server: &str, turn: usize) -> Option<SocketAddr> {
        let look_up = async {
            let found = tokio::net::lookup_host(server).await?;
            Ok::<_, std::io::Error>(Arc::from(found.collect::<Vec<_>>()))
        };
        let addresses: Arc<[SocketAddr]> = self
            .resolved
            .try_get_with_by_ref(server, look_up)
            .await
            .inspect_err(|error| tracing::warn!(server, %error, "a server's name has no address"))
            .ok()?;
        addresses.get(turn % addresses.len().max(1)).copied()
    }
}
