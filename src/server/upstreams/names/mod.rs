//! Resolves the names of servers, again and again. The last addresses are used while the resolver fails, and ours never: a request
//! would come back, and be forwarded again.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use moka::sync::Cache as Marks;
use pingora::protocols::l4::socket::SocketAddr;
use tokio::time::{Instant, timeout};

use crate::config::{OwnListeners, ServerAddress};

/// How long an answer of the DNS is used, and the pause after a failed look-up.
const RESOLVED_FOR: Duration = Duration::from_secs(10);

/// How long an address that failed is tried after the others of its name.
const SHUNNED_FOR: Duration = Duration::from_secs(10);

const MOST: u64 = 10_000;

/// Resolves a name with a port.
type LookUp = Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The addresses of names.
pub(super) struct ResolvedNames {
    look_up: LookUp,
    own: OwnListeners,
    /// Only names of the configuration, so that it has a bound.
    known: Mutex<HashMap<String, Arc<Name>>>,
    shunned: Marks<SocketAddr, ()>,
    turn: AtomicUsize,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Name {
    resolution: Mutex<Resolution>,
    /// Held during a look-up.
    asking: tokio::sync::Mutex<()>,
}

/// The result of the last look-ups of a name.
#[derive(Clone, Debug, Default)]
struct Resolution {
    places: Arc<[SocketAddr]>,
    /// When it was last looked up.
    asked: Option<Instant>,
    /// How often it was looked up.
    times: u64,
    is_failing: bool,
    /// Whether an address of it is ours.
    leads_here: bool,
}

impl ResolvedNames {
    /// Has the system resolve names, and leaves out the addresses that lead to `own`.
    pub(super) fn new(own: OwnListeners) -> Self {
        let look_up: LookUp = Box::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host(name).await?;
                Ok(found.map(SocketAddr::Inet).collect())
            })
        });
        Self::asking(look_up, own)
    }

    fn asking(look_up: LookUp, own: OwnListeners) -> Self {
        Self {
            look_up,
            own,
            known: Mutex::default(),
            shunned: Marks::builder()
                .max_capacity(MOST)
                .time_to_live(SHUNNED_FOR)
                .build(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Returns the addresses of a name in the order in which to try them, after `limit` at the latest; none if it has none.
    pub(super) async fn places(&self, server: &ServerAddress, limit: Duration) -> Vec<SocketAddr> {
        let ServerAddress::Tcp(name) = server else {
            return Vec::new();
        };
        let mut places = self.resolve(name, limit).await.to_vec();
        if places.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let first = turn % places.len();
            places.rotate_left(first);
            places.sort_by_key(|place| self.shunned.contains_key(place));
        }
        places
    }

    /// Has an address tried after the others of its name for a while.
    pub(super) fn shun(&self, place: &SocketAddr) {
        self.shunned.insert(place.clone(), ());
    }

    /// Returns the addresses of a name. The last ones stay until others are found, so that a failing resolver takes no server away.
    async fn resolve(&self, name: &str, limit: Duration) -> Arc<[SocketAddr]> {
        let known = self.known(name);
        let resolution = known.resolution();
        if resolution.is_fresh() {
            return resolution.places;
        }
        let turn = match known.asking.try_lock() {
            Ok(turn) => turn,
            Err(_) if !resolution.places.is_empty() => return resolution.places,
            Err(_) => match timeout(limit, known.asking.lock()).await {
                Ok(turn) => turn,
                Err(_) => return resolution.places,
            },
        };
        let before = resolution.times;
        let resolution = known.resolution();
        // Another task has looked it up meanwhile, perhaps without success.
        if resolution.times != before {
            return resolution.places;
        }
        let found = timeout(limit, (self.look_up)(name.to_owned())).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let places = known.note(name, found, &self.own);
        drop(turn);
        places
    }

    fn known(&self, name: &str) -> Arc<Name> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(known.entry(name.to_owned()).or_default())
    }
}

impl Name {
    fn resolution(&self) -> Resolution {
        self.locked().clone()
    }

    /// Stores the result of a look-up, and returns the addresses to use.
    fn note(
        &self,
        name: &str,
        found: io::Result<Vec<SocketAddr>>,
        own: &OwnListeners,
    ) -> Arc<[SocketAddr]> {
        let mut here = None;
        let found = found.and_then(|mut places| {
            places.retain(|place| {
                let listener = place.as_inet().and_then(|place| own.reached_at(*place));
                here = here.or(listener);
                listener.is_none()
            });
            match places.is_empty() {
                true if here.is_some() => Err(io::Error::other("it leads to Menshen itself")),
                true => Err(io::Error::other("it has none")),
                false => Ok(places),
            }
        });
        let mut resolution = self.locked();
        if let Some((address, key)) = here
            && !resolution.leads_here
        {
            tracing::warn!(
                server = name,
                %address,
                key,
                "a server's name leads to Menshen itself: requests are not sent there"
            );
        }
        resolution.leads_here = here.is_some();
        resolution.asked = Some(Instant::now());
        resolution.times += 1;
        match found {
            Ok(mut places) => {
                // Resolvers shuffle addresses; the order of turns is made here.
                places.sort_by_key(ToString::to_string);
                places.dedup();
                if resolution.is_failing {
                    tracing::info!(server = name, "a server's name has addresses again");
                }
                resolution.places = places.into();
                resolution.is_failing = false;
            }
            Err(error) => {
                if !resolution.is_failing {
                    let last = resolution.places.len();
                    tracing::warn!(
                        server = name,
                        %error,
                        last_addresses_used = last,
                        "the addresses of a server's name cannot be found"
                    );
                }
                resolution.is_failing = true;
            }
        }
        Arc::clone(&resolution.places)
    }

    fn locked(&self) -> MutexGuard<'_, Resolution> {
        self.resolution
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolution {
    fn is_fresh(&self) -> bool {
        let asked_lately = |asked: Instant| asked.elapsed() < RESOLVED_FOR;
        !self.places.is_empty() && self.asked.is_some_and(asked_lately)
    }
}

impl std::fmt::Debug for ResolvedNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolvedNames").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
