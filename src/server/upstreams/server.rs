//! One server of an upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::balance;
use super::standing::Standing;
use crate::config::ServerAddress;

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: ServerAddress,
    /// What consistent hashing knows it by; the same on every node.
    pub(super) key: u64,
    pub(super) standing: Standing,
    busy: AtomicUsize,
}

/// Counts one exchange for as long as it lives.
#[derive(Debug)]
pub(super) struct Busy(Arc<Server>);

impl Server {
    pub(super) fn new(address: &ServerAddress) -> Self {
        Self {
            address: address.clone(),
            key: balance::key(address.to_string().as_bytes()),
            standing: Standing::new(),
            busy: AtomicUsize::new(0),
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

    pub(super) fn server(&self) -> &Server {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
