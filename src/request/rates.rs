//! The rate limit of requests by address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{Client, Counts, Denial};
use crate::config::Limits;

const MINUTE: Duration = Duration::from_secs(60);

/// The counters of all addresses.
#[derive(Debug)]
pub struct Rates {
    counts: Counts,
    began: Instant,
}

impl Rates {
    /// Prepares the counters; `None` where there is no limit.
    pub fn new(limits: &Limits) -> Option<Self> {
        let per_minute = limits.requests_per_minute?;
        let burst = limits.request_burst.unwrap_or(per_minute);
        Some(Self::of(per_minute, burst))
    }

    /// Prepares the counters of a limit that is reached at once, or steadily.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self::of(count, count)
    }

    fn of(per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            counts: Counts::new(MINUTE / per_minute.get(), burst),
            began: Instant::now(),
        }
    }

    /// Refuses a request where there were too many.
    pub fn check(&self, client: &Client, now: Instant) -> Result<(), Denial> {
        let Some(address) = client.address else {
            return Ok(());
        };
        let now = now.duration_since(self.began);
        let checked = self.counts.check(&network(address), now);
        checked.map_err(Denial::TooManyRequests)
    }

    /// Counts a request, or refuses it.
    pub fn admit(&self, client: &Client, now: Instant) -> Result<(), Denial> {
        self.check(client, now)?;
        self.count(client, now);
        Ok(())
    }

    /// Counts a request.
    pub fn count(&self, client: &Client, now: Instant) {
        if let Some(address) = client.address {
            let now = now.duration_since(self.began);
            self.counts.count(&network(address), now);
        }
    }

    /// Takes back what was counted for a request.
    pub fn take_back(&self, client: &Client) {
        if let Some(address) = client.address {
            self.counts.take_back(&network(address));
        }
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
        let cells = rates.counts.size();
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
        assert_eq!(rates.counts.size(), cells);
    }
}
