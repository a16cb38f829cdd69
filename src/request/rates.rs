//! How many requests an address may send, counted in memory that does not grow with the number of addresses.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Client, Denial};
use crate::config::Limits;

/// Each address is counted in one cell of every row.
const ROWS: usize = 4;

/// 16 bits of one hash pick the cell of a row.
const CELLS: usize = 1 << 16;

/// The counters of all addresses.
///
/// A cell holds the time at which an address that sends evenly would send next. Addresses share cells, and the least
/// busy of an address's cells is believed. So nobody is counted too low, and somebody is counted too high only where
/// others keep all their cells busy, which takes as many requests as 65,536 addresses may send together.
#[derive(Debug)]
pub struct Rates {
    /// The time between two requests of an address that sends evenly, in nanoseconds.
    interval: u64,
    /// How far ahead of that an address may be.
    burst: u64,
    began: Instant,
    /// Drawn at start-up, so that nobody can look for addresses that share another's cells.
    hash: RandomState,
    cells: Vec<AtomicU64>,
}

impl Rates {
    /// Prepares the counters; `None` where there is no limit.
    pub fn new(limits: &Limits) -> Option<Self> {
        let per_minute = limits.requests_per_minute?;
        let burst = limits.request_burst.unwrap_or(per_minute);
        Some(Self::of(per_minute, burst))
    }

    fn of(per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = 60_000_000_000 / u64::from(per_minute.get());
        let cells = std::iter::repeat_with(AtomicU64::default);
        Self {
            interval,
            burst: interval * u64::from(burst.get() - 1),
            began: Instant::now(),
            hash: RandomState::new(),
            cells: cells.take(ROWS * CELLS).collect(),
        }
    }

    /// Counts a request, or refuses it.
    pub fn admit(&self, client: &Client, now: Instant) -> Result<(), Denial> {
        let Some(address) = client.address else {
            return Ok(());
        };
        let now = u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let hash = self.hash.hash_one(network(address));
        let cells = || {
            let rows = hash.to_le_bytes();
            let at = |row: usize, low: u8, high: u8| {
                row * CELLS + usize::from(u16::from_le_bytes([low, high]))
            };
            let [a, b, c, d, e, f, g, h] = rows;
            [at(0, a, b), at(1, c, d), at(2, e, f), at(3, g, h)]
                .into_iter()
                .filter_map(|at| self.cells.get(at))
        };
        let next = cells().map(|cell| cell.load(Ordering::Relaxed)).min();
        let early = next.unwrap_or(0).saturating_sub(now);
        if early > self.burst {
            let wait = Duration::from_nanos(early - self.burst);
            return Err(Denial::TooManyRequests(wait));
        }
        for cell in cells() {
            let later = |next: u64| Some(next.max(now).saturating_add(self.interval));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
        Ok(())
    }
}

/// Returns what counts as one client: an IPv6 customer is given 2^64 addresses at least.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::request::{Connection, client};

    fn rates(per_minute: u32, burst: u32) -> Rates {
        Rates::of(
            NonZeroU32::new(per_minute).unwrap(),
            NonZeroU32::new(burst).unwrap(),
        )
    }

    fn from(address: &str) -> Client {
        from_address(address.parse().unwrap())
    }

    fn from_address(address: IpAddr) -> Client {
        let connection = Connection {
            peer: Some(crate::request::Peer::new(address)),
            tls: false,
        };
        client(&connection, &HeaderMap::new(), None, &[])
    }

    #[test]
    fn a_burst_passes_and_then_one_request_an_interval() {
        let rates = rates(60, 3);
        let client = from("192.0.2.1");
        let start = rates.began;
        let after = |millis| start + Duration::from_millis(millis);
        for _ in 0..3 {
            assert_eq!(rates.admit(&client, start), Ok(()));
        }
        let wait = Duration::from_secs(1);
        assert_eq!(
            rates.admit(&client, start),
            Err(Denial::TooManyRequests(wait))
        );
        let refused = rates.admit(&client, after(400)).unwrap_err();
        assert_eq!(refused.retry_after_secs(), Some(1));
        assert_eq!(rates.admit(&client, after(1000)), Ok(()));
        assert!(rates.admit(&client, after(1000)).is_err());
        // After a rest, the whole burst is there again, and no more.
        for n in 0..4 {
            assert_eq!(rates.admit(&client, after(60_000)).is_ok(), n < 3);
        }
    }

    #[test]
    fn addresses_are_counted_apart_and_a_network_of_ipv6_together() {
        let rates = rates(1, 1);
        for (address, passes) in [
            ("192.0.2.1", true),
            ("192.0.2.2", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:0:ffff::", false),
            ("2001:db8:0:1::1", true),
        ] {
            let admitted = rates.admit(&from(address), rates.began);
            assert_eq!(admitted.is_ok(), passes, "{address}");
        }
    }

    #[test]
    fn ten_thousand_other_addresses_cost_nobody_a_request_and_no_memory() {
        let rates = rates(1, 1);
        let cells = rates.cells.capacity();
        for n in 0..10_000_u32 {
            let address = IpAddr::V4((0x0a00_0000 + n).into());
            let admitted = rates.admit(&from_address(address), rates.began);
            // Four busy cells at a time is a chance of one in two thousand when 10,000 of 65,536 are.
            assert!(admitted.is_ok() || n > 1_000, "{address}");
        }
        let mut refused = 0;
        for n in 0..1_000_u32 {
            let address = IpAddr::V4((0x0b00_0000 + n).into());
            refused += u32::from(rates.admit(&from_address(address), rates.began).is_err());
        }
        assert!(refused < 20, "{refused}");
        assert_eq!(rates.cells.capacity(), cells);
    }
}
