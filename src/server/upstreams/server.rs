//! One server of an upstream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pingora::protocols::l4::socket::SocketAddr;

use super::connect_error::ConnectError;
use super::hashing;
use super::http2::Connections;
use super::pool::Pool;
use super::reuse::ReusePolicy;
use super::server_health::ServerHealth;
use crate::config::ServerAddress;

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: ServerAddress,
    /// What consistent hashing knows it by; the same on every node.
    pub(super) key: u64,
    pub(super) health: ServerHealth,
    pub(super) reuse: ReusePolicy,
    pub(super) pool: Pool,
    pub(super) http2: Connections,
    /// Its address where that is no name to look up.
    pub(super) fixed: Option<SocketAddr>,
    /// Those of its addresses that health checks found unwell.
    unwell: Mutex<Arc<[SocketAddr]>>,
    busy: AtomicUsize,
    /// Whether the log was told that it does not speak what the file says.
    told_of_protocol: AtomicBool,
}

/// One exchange with it, which counts for as long as this lives.
#[derive(Debug)]
pub(in crate::server) struct Busy(Arc<Server>);

impl Server {
    pub(super) fn new(address: &ServerAddress) -> Self {
        Self {
            address: address.clone(),
            key: hashing::key(address.to_string().as_bytes()),
            health: ServerHealth::new(),
            reuse: ReusePolicy::default(),
            pool: Pool::default(),
            http2: Connections::default(),
            fixed: fixed(address),
            unwell: Mutex::default(),
            busy: AtomicUsize::new(0),
            told_of_protocol: AtomicBool::new(false),
        }
    }

    /// Tells the log once that it does not speak what the file says: every request finds the same.
    pub(super) fn tell_of_protocol(&self, upstream: &str, error: &ConnectError) {
        if !self.told_of_protocol.swap(true, Ordering::Relaxed) {
            let server = &self.address;
            tracing::warn!(upstream, %server, "{error}; protocol = \"auto\" takes what it chooses");
        }
    }

    /// Notes which of its addresses are unwell.
    pub(super) fn unwell(&self, places: Arc<[SocketAddr]>) {
        *self.unwell.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Returns whether health checks found one of its addresses unwell.
    pub(super) fn is_unwell(&self, place: &SocketAddr) -> bool {
        let unwell = self.unwell.lock().unwrap_or_else(PoisonError::into_inner);
        unwell.contains(place)
    }

    /// Puts the addresses that are unwell behind the others.
    pub(super) fn put_well_first(&self, places: &mut [SocketAddr]) {
        if places.len() > 1 {
            let unwell = self.unwell.lock().unwrap_or_else(PoisonError::into_inner);
            let unwell = Arc::clone(&unwell);
            places.sort_by_key(|place| unwell.contains(place));
        }
    }

    /// Returns how many exchanges are in flight.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }
}

impl Busy {
    pub(super) fn with(server: &Arc<Server>) -> Self {
        server.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(server))
    }

    /// Counts once more.
    pub(super) fn again(&self) -> Self {
        Self::with(&self.0)
    }

    pub(super) fn server(&self) -> &Server {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn fixed(address: &ServerAddress) -> Option<SocketAddr> {
    match address {
        ServerAddress::Tcp(name) => name.parse().ok().map(SocketAddr::Inet),
        ServerAddress::Unix(path) => {
            let socket = std::os::unix::net::SocketAddr::from_pathname(path).ok();
            socket.map(SocketAddr::Unix)
        }
    }
}
