//! How many connections there may be, all together and of one address.

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

/// The places for connections.
#[derive(Debug)]
pub(super) struct Seats {
    total: Option<NonZeroU32>,
    per_address: Option<NonZeroU32>,
    taken: Mutex<Taken>,
    refusals: Arc<Semaphore>,
}

/// What a connection gets.
#[derive(Debug)]
pub(super) enum Place {
    /// It is served.
    Seat(Seat),
    /// There is no seat left for it, which it is told.
    Refusal(OwnedSemaphorePermit),
}

/// Holds nothing of an address without connections, and so no more entries than there are connections.
#[derive(Debug, Default)]
struct Taken {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
    /// Whether somebody was turned away since there was last room, so that one line is logged and not thousands.
    full: bool,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
}

impl Seats {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            total: limits.max_connections,
            per_address: limits.max_connections_per_address,
            taken: Mutex::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        }
    }

    /// Takes a place for a connection; `None` when there is none left, not even to be told so.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        self.seat().map(Place::Seat).or_else(|| self.refusal())
    }

    fn refusal(&self) -> Option<Place> {
        let permit = Arc::clone(&self.refusals).try_acquire_owned();
        permit.ok().map(Place::Refusal)
    }

    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let mut taken = self.taken();
        if self.total.is_some_and(|most| taken.total >= most.get()) {
            if !taken.full {
                tracing::warn!(taken.total, "no more connections are accepted");
            }
            taken.full = true;
            return None;
        }
        taken.total = taken.total.saturating_add(1);
        Some(Seat {
            seats: Arc::clone(self),
            address: None,
        })
    }

    /// Returns what a client is counted as; behind those that are `trusted` are many, which only the total limits.
    fn counted(&self, peer: IpAddr, trusted: &[IpNet]) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let trusted = trusted.iter().any(|net| net.contains(&peer));
        (self.per_address.is_some() && !trusted).then(|| network(peer))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts a seat as one of `client`'s, and takes it back when there is no other for that client.
    pub(super) fn claim(self, client: IpAddr, trusted: &[IpNet]) -> Option<Self> {
        let Self::Seat(mut seat) = self else {
            return Some(self);
        };
        if seat.claim(client, trusted) {
            return Some(Self::Seat(seat));
        }
        seat.seats.refusal()
    }
}

impl Seat {
    /// Counts the seat as one of `client`'s, and tells whether there is one.
    fn claim(&mut self, client: IpAddr, trusted: &[IpNet]) -> bool {
        let counted = self.seats.counted(client, trusted);
        let (Some(address), Some(most)) = (counted, self.seats.per_address) else {
            return true;
        };
        let mut taken = self.seats.taken();
        let count = taken.by_address.entry(address).or_default();
        if *count >= most.get() {
            tracing::debug!(%address, "no more connections of this address are accepted");
            return false;
        }
        *count += 1;
        drop(taken);
        self.address = Some(address);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.total = taken.total.saturating_sub(1);
        taken.full = false;
        let Some(address) = self.address else { return };
        let left = taken.by_address.get_mut(&address).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            taken.by_address.remove(&address);
        }
    }
}
