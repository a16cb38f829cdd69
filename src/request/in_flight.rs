//! How many requests of each address are in flight at a time, over all its connections.
//!
//! What one exchange holds is bounded, and how many there are on a connection, but not how many connections an address has. So this
//! bounds what the exchanges of one address hold together: memory, and connections to servers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::IpNet;

use super::counts::{Sketch, Spot};
use super::{Client, Denial, network};

/// How long a client should wait before it asks again: nobody knows when a request ends.
const RETRY: Duration = Duration::from_secs(1);

/// The requests in flight of all addresses.
#[derive(Debug)]
pub struct InFlight {
    most: NonZeroU32,
    sketch: Sketch,
}

/// A request that counts until this is dropped.
#[derive(Debug)]
pub struct InFlightPermit {
    counted: Arc<InFlight>,
    spot: Spot,
}

impl InFlight {
    /// Allows each address so many at a time.
    pub fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            sketch: Sketch::new(),
        }
    }

    /// Counts a request, or refuses it where its address has too many. Behind a `trusted` proxy that names no client may be any number of
    /// them, which are not counted.
    pub fn enter(
        self: &Arc<Self>,
        client: &Client,
        trusted: &[IpNet],
    ) -> Result<Option<InFlightPermit>, Denial> {
        let Some(address) = client.address else {
            return Ok(None);
        };
        if trusted.iter().any(|net| net.contains(&address)) {
            return Ok(None);
        }
        let spot = self.sketch.spot(&network(address));
        let cells = self.sketch.cells(spot);
        let before = cells.map(|cell| cell.fetch_add(1, Ordering::Relaxed));
        // Others share some of the cells: the least loaded is the nearest to the truth, and never below it. All of them must be counted.
        let fewest = before.fold(u64::MAX, u64::min);
        let permit = InFlightPermit {
            counted: Arc::clone(self),
            spot,
        };
        if fewest >= u64::from(self.most.get()) {
            return Err(Denial::TooManyRequests(RETRY));
        }
        Ok(Some(permit))
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        for cell in self.counted.sketch.cells(self.spot) {
            cell.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::request::{Connection, Peer, client};

    fn from(address: &str) -> Client {
        let connection = Connection {
            peer: Some(Peer::new(address.parse().unwrap())),
            tls: false,
        };
        client(&connection, &HeaderMap::new(), None, &[])
    }

    #[test]
    fn an_address_has_so_many_at_a_time_and_another_as_many() {
        let counted = Arc::new(InFlight::new(NonZeroU32::new(2).unwrap()));
        let enter = |address: &str| counted.enter(&from(address), &[]);
        let _held = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        for _ in 0..3 {
            assert_eq!(
                enter("2001:db8::3").unwrap_err(),
                Denial::TooManyRequests(RETRY)
            );
        }
        assert!(enter("2001:db8:0:1::1").is_ok());
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_err());
        drop(first);
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn what_has_ended_leaves_nothing_behind() {
        let counted = Arc::new(InFlight::new(NonZeroU32::MIN));
        for _ in 0..10 {
            let _permit = counted.enter(&from("192.0.2.1"), &[]).unwrap();
            assert!(counted.enter(&from("192.0.2.1"), &[]).is_err());
        }
        let cells = counted
            .sketch
            .cells(counted.sketch.spot(&network("192.0.2.1".parse().unwrap())));
        assert_eq!(
            cells.map(|cell| cell.load(Ordering::Relaxed)).max(),
            Some(0)
        );
    }

    #[test]
    fn a_trusted_proxy_is_many_clients() {
        let counted = Arc::new(InFlight::new(NonZeroU32::MIN));
        let trusted = ["192.0.2.0/24".parse().unwrap()];
        for _ in 0..3 {
            assert!(
                counted
                    .enter(&from("192.0.2.1"), &trusted)
                    .unwrap()
                    .is_none()
            );
        }
    }
}
