//! Limits on open connections, in all and for each address.
//!
//! A connection that is closed without an answer looks like a fault, and an answer to each costs what the limits are
//! there to save. So up to 64 connections over the limit at a time get TLS and 429 to their first request, and are closed
//! within `head_timeout` and at most three seconds, over HTTP/2 after GOAWAY. Those beyond are closed without an answer,
//! which is what most clients of a flood see. The limit for each address does not apply to trusted proxies.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::request::network;

/// How many connections are told at a time that there is no place for them: what an answer costs, with TLS above all,
/// is what the limits are there to save, so whoever comes with a flood of connections sees the most of them just closed.
const REFUSALS: usize = 64;

/// The connections that are open, and how many may be.
#[derive(Debug)]
pub(in crate::server) struct ConnectionLimits {
    total: Option<NonZeroU32>,
    per_address: Option<NonZeroU32>,
    open: Mutex<Open>,
    refusals: Arc<Semaphore>,
}

/// What a connection gets.
#[derive(Debug)]
pub(in crate::server) enum Slot {
    /// It is served.
    Served(Permit),
    /// It is over a limit, which its first request is told.
    Refused(OwnedSemaphorePermit),
}

/// Holds nothing of an address without connections, and so no more entries than there are connections.
#[derive(Debug, Default)]
struct Open {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
    /// Whether somebody was turned away since there was last room, so that one line is logged and not thousands.
    full: bool,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Permit {
    limits: Arc<ConnectionLimits>,
    address: Option<IpAddr>,
}

impl ConnectionLimits {
    pub(in crate::server) fn new(limits: &Limits) -> Self {
        let total = limits.client_connections();
        if let (Some(most), true) = (total, total != limits.max_connections) {
            tracing::warn!(
                most,
                "no more connections are accepted than the limit of file descriptors allows, whatever server.max_connections says"
            );
        }
        Self {
            total,
            per_address: limits.max_connections_per_address,
            open: Mutex::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        }
    }

    /// Admits a connection; `None` when there is none left, not even to be told so.
    pub(in crate::server) fn take(self: &Arc<Self>) -> Option<Slot> {
        self.permit().map(Slot::Served).or_else(|| self.refusal())
    }

    fn refusal(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.refusals).try_acquire_owned();
        permit.ok().map(Slot::Refused)
    }

    fn permit(self: &Arc<Self>) -> Option<Permit> {
        let mut open = self.open();
        if self.total.is_some_and(|most| open.total >= most.get()) {
            if !open.full {
                tracing::warn!(open.total, "no more connections are accepted");
            }
            open.full = true;
            return None;
        }
        open.total = open.total.saturating_add(1);
        Some(Permit {
            limits: Arc::clone(self),
            address: None,
        })
    }

    /// Returns what a client is counted as; behind those that are `trusted` are many, which only the total limits.
    fn counted(&self, peer: IpAddr, trusted: &[IpNet]) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let trusted = trusted.iter().any(|net| net.contains(&peer));
        (self.per_address.is_some() && !trusted).then(|| network(peer))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Counts the connection as one of `client`'s, and refuses it where that client has too many.
    pub(super) fn claim(self, client: IpAddr, trusted: &[IpNet]) -> Option<Self> {
        let Self::Served(mut permit) = self else {
            return Some(self);
        };
        if permit.claim(client, trusted) {
            return Some(Self::Served(permit));
        }
        permit.limits.refusal()
    }
}

impl Permit {
    /// Counts it as one of `client`'s, and tells whether it may be.
    fn claim(&mut self, client: IpAddr, trusted: &[IpNet]) -> bool {
        let counted = self.limits.counted(client, trusted);
        let (Some(address), Some(most)) = (counted, self.limits.per_address) else {
            return true;
        };
        let mut open = self.limits.open();
        let count = open.by_address.entry(address).or_default();
        if *count >= most.get() {
            tracing::debug!(%address, "no more connections of this address are accepted");
            return false;
        }
        *count += 1;
        drop(open);
        self.address = Some(address);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limits.open();
        open.total = open.total.saturating_sub(1);
        open.full = false;
        let Some(address) = self.address else { return };
        let left = open.by_address.get_mut(&address).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            open.by_address.remove(&address);
        }
    }
}
