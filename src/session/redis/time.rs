//! Redis's time as this node knows it, by which nodes agree when a revocation is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::ends::SKEW_SECS;
use crate::clock::Clock;

/// A clock that differs from Redis's by more than this is worth a warning, in milliseconds.
const NOTICEABLE_MS: i64 = 5_000;

/// The node's clock, and by how much Redis's is ahead of it; clones share that.
#[derive(Clone, Debug)]
pub(super) struct Time {
    clock: Clock,
    ahead_ms: Arc<AtomicI64>,
    warned: Arc<AtomicBool>,
}

impl Time {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ahead_ms: Arc::default(),
            warned: Arc::default(),
        }
    }

    /// Takes notice of what Redis's clock shows at this moment, and returns by how much that is ahead of the node's.
    pub(super) fn measured(&self, redis_ms: u64) -> i64 {
        let own_ms = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
        let own_ms = own_ms.saturating_sub(self.clock.moved_secs().saturating_mul(1000));
        let redis_ms = i64::try_from(redis_ms).unwrap_or(i64::MAX);
        let ahead_ms = redis_ms.saturating_sub(own_ms);
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        ahead_ms
    }

    /// Warns when the clocks begin to differ.
    pub(super) fn warn(&self, ahead_ms: i64) {
        let warning = warning(ahead_ms);
        let warned = self.warned.swap(warning.is_some(), Ordering::Relaxed);
        if let Some(warning) = warning.filter(|_| !warned) {
            tracing::warn!("{warning}");
        }
    }

    /// Returns the seconds since the Unix epoch by Redis's clock.
    pub(super) fn now(&self) -> u64 {
        let own_ms = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
        let now_ms = own_ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed));
        u64::try_from(now_ms / 1000).unwrap_or(0)
    }

    /// Returns what the node's own clock showed when Redis's showed this, in seconds since the Unix epoch.
    pub(super) fn own(&self, redis_secs: u64) -> u64 {
        let ahead_secs = self.ahead_ms.load(Ordering::Relaxed) / 1000;
        redis_secs.saturating_add_signed(ahead_secs.saturating_neg())
    }
}

/// Says by how much a node's clock differs from Redis's, where that is worth saying.
pub(super) fn warning(redis_ahead_ms: i64) -> Option<String> {
    if redis_ahead_ms.abs() <= NOTICEABLE_MS {
        return None;
    }
    let secs = redis_ahead_ms.abs() / 1000;
    let direction = if redis_ahead_ms > 0 {
        "behind"
    } else {
        "ahead of"
    };
    let borne = SKEW_SECS / 2;
    Some(format!(
        "this node's clock is {secs} s {direction} Redis's; set it, since a difference of more than {borne} s lets \
         tokens of ended sessions pass, and nodes refuse tokens of one that is more than 60 s ahead of them"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_is_rediss_whatever_the_nodes_clock_shows() {
        let redis = Clock::system();
        let five = Duration::from_secs(300);
        for (clock, word) in [
            (Clock::behind(five), "behind"),
            (Clock::ahead(five), "ahead of"),
        ] {
            let time = Time::new(clock.clone());
            let ahead_ms = time.measured(redis.unix_ms());
            assert!(time.now().abs_diff(redis.unix_secs()) <= 1);
            assert!(time.own(redis.unix_secs()).abs_diff(clock.unix_secs()) <= 1);
            let warning = warning(ahead_ms).unwrap();
            assert!(warning.contains(word), "{warning}");
        }
        assert_eq!(warning(4000), None);
    }
}
