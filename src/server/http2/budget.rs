//! Bounds the header sections that a connection of HTTP/2 brings, as they are once they are decoded.
//!
//! HPACK says in one byte what was said before, so the bytes on the wire bound nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

/// The bytes of a decoded section that are not counted: a request of this size costs what any request costs, and a gateway sends
/// thousands of them a second on one connection.
const ORDINARY: usize = 4096;
/// How much larger than [`ORDINARY`] the sections of a connection may be in all, in sections of the largest size, at once and each
/// second.
const LARGE_AT_ONCE: usize = 16;

/// The most bytes of trailers, and their most lines: HTTP/1.1 has no room for more.
const MOST_OF_TRAILERS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 64;

/// A token bucket of the bytes by which header sections, heads and trailers, are larger than ordinary ones.
#[derive(Debug)]
pub(in crate::server) struct SectionBudget {
    capacity: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    since: Instant,
}

impl SectionBudget {
    pub(in crate::server) fn new(max_header_bytes: usize) -> Self {
        let capacity = (max_header_bytes * LARGE_AT_ONCE) as f64;
        Self {
            capacity,
            bucket: Mutex::new(Bucket {
                left: capacity,
                since: Instant::now(),
            }),
        }
    }

    /// Takes the bytes of a section.
    pub(in crate::server) fn take(&self, bytes: usize) {
        let counted = bytes.saturating_sub(ORDINARY);
        // Nearly all of them are ordinary, and need no look at the clock.
        if counted > 0 {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.earn(self.capacity);
            bucket.left -= counted as f64;
        }
    }

    /// Returns for how long no more requests are taken.
    pub(in crate::server) fn pause(&self) -> Duration {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.left >= 0.0 {
            return Duration::ZERO;
        }
        bucket.earn(self.capacity);
        Duration::from_secs_f64((-bucket.left / self.capacity).max(0.0))
    }
}

impl Bucket {
    fn earn(&mut self, capacity: f64) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.left = (self.left + passed * capacity).min(capacity);
    }
}

/// Returns whether trailers are no more than HTTP/1.1 has room for.
pub(in crate::server) fn may_be_trailers(trailers: &HeaderMap) -> bool {
    size_of(trailers) <= MOST_OF_TRAILERS && trailers.len() <= MOST_TRAILERS
}

/// Returns the bytes of a header section.
pub(in crate::server) fn size_of(section: &HeaderMap) -> usize {
    let fields = section.iter();
    fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ordinary_never_waits_and_what_is_large_does_beyond_a_bound() {
        let budget = SectionBudget::new(1000);
        for _ in 0..100 {
            budget.take(ORDINARY);
        }
        budget.take(ORDINARY + 16_000);
        assert_eq!(budget.pause(), Duration::ZERO);
        budget.take(ORDINARY + 32_000);
        let pause = budget.pause();
        assert!(pause > Duration::from_secs(1) && pause <= Duration::from_secs(2));
    }
}
