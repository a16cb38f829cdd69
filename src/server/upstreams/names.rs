//! Where servers are: names are looked up again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::sync::Cache as Marks;
use pingora::protocols::l4::socket::SocketAddr;

use crate::config::ServerAddress;

/// How long an answer of the DNS is used.
const RESOLVED_FOR: Duration = Duration::from_secs(10);

/// How long an address that failed comes after the others of its name.
const SHUNNED_FOR: Duration = Duration::from_secs(10);

const MOST: u64 = 10_000;

/// The addresses of names.
#[derive(Debug)]
pub(super) struct Names {
    resolved: Cache<String, Arc<[SocketAddr]>>,
    shunned: Marks<SocketAddr, ()>,
    turn: AtomicUsize,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            resolved: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(RESOLVED_FOR)
                .build(),
            shunned: Marks::builder()
                .max_capacity(MOST)
                .time_to_live(SHUNNED_FOR)
                .build(),
            turn: AtomicUsize::new(0),
        }
    }
}

impl Names {
    /// Returns where a server is, in the order in which to try; none when its name has no address.
    pub(super) async fn places(&self, server: &ServerAddress) -> Vec<SocketAddr> {
        let name = match server {
            ServerAddress::Tcp(name) => name,
            ServerAddress::Unix(path) => {
                let socket = std::os::unix::net::SocketAddr::from_pathname(path);
                return socket.into_iter().map(SocketAddr::Unix).collect();
            }
        };
        if let Ok(address) = name.parse() {
            return vec![SocketAddr::Inet(address)];
        }
        let mut places = self.resolve(name).await;
        if places.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let first = turn % places.len();
            places.rotate_left(first);
            places.sort_by_key(|place| self.shunned.contains_key(place));
        }
        places
    }

    /// Puts an address behind the others of its name for a while.
    pub(super) fn shun(&self, place: &SocketAddr) {
        self.shunned.insert(place.clone(), ());
    }

    async fn resolve(&self, name: &str) -> Vec<SocketAddr> {
        let look_up = async {
            let found = tokio::net::lookup_host(name).await?;
            Ok::<_, std::io::Error>(found.map(SocketAddr::Inet).collect())
        };
        let resolved = self.resolved.try_get_with_by_ref(name, look_up).await;
        match resolved {
            Ok(places) => places.to_vec(),
            Err(error) => {
                tracing::warn!(server = name, %error, "a server's name has no address");
                Vec::new()
            }
        }
    }
}
