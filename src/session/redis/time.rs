//! Redis's time, by which all nodes agree when a revocation expires.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use super::ends::SKEW_SECS;
use crate::clock::Clock;

/// A clock that differs from Redis's by more than this is worth a warning, in milliseconds.
const NOTICEABLE_MS: i64 = 5_000;

/// Redis's time, which goes on by the machine's monotonic clock, so that nothing expires early when the node's clock is set wrong;
/// clones share it.
#[derive(Clone, Debug)]
pub(super) struct Time {
    clock: Clock,
    begun: Instant,
    /// What Redis's clock showed when this began, in milliseconds.
    begun_ms: Arc<AtomicI64>,
    warned: Arc<AtomicBool>,
}

impl Time {
    /// Begins with the node's own time.
    pub(super) fn new(clock: Clock) -> Self {
        let time = Self {
            begun: Instant::now(),
            begun_ms: Arc::default(),
            warned: Arc::default(),
            clock,
        };
        let own_ms = time.own_ms();
        time.begun_ms.store(own_ms, Ordering::Relaxed);
        time
    }

    /// Takes over what Redis's clock shows, and returns by how many milliseconds that is ahead of the node's.
    pub(super) fn measured(&self, redis_ms: u64) -> i64 {
        let redis_ms = i64::try_from(redis_ms).unwrap_or(i64::MAX);
        let begun_ms = redis_ms.saturating_sub(self.elapsed_ms());
        self.begun_ms.store(begun_ms, Ordering::Relaxed);
        redis_ms.saturating_sub(self.own_ms())
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
        let moved_secs = self.clock.moved_secs();
        u64::try_from(self.redis_ms() / 1000 + moved_secs).unwrap_or(0)
    }

    /// Returns what the node's own clock showed when Redis's showed this, in seconds since the Unix epoch.
    pub(super) fn own(&self, redis_secs: u64) -> u64 {
        let own_ahead_ms = self.own_ms().saturating_sub(self.redis_ms());
        redis_secs.saturating_add_signed(own_ahead_ms / 1000)
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn redis_ms(&self) -> i64 {
        let begun_ms = self.begun_ms.load(Ordering::Relaxed);
        begun_ms.saturating_add(self.elapsed_ms())
    }

    /// Returns the time of the node's clock, without what a test has moved it, since Redis's clock does not move.
    fn own_ms(&self) -> i64 {
        let own_ms = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
        own_ms.saturating_sub(self.clock.moved_secs().saturating_mul(1000))
    }
}

/// Returns a sentence about a node's clock that differs from Redis's noticeably.
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

    #[test]
    fn the_time_goes_on_evenly_when_the_nodes_clock_is_set_wrong() {
        let (redis, clock) = (Clock::system(), Clock::system());
        let time = Time::new(clock.clone());
        time.measured(redis.unix_ms());
        for hours in [5, -10] {
            clock.step(hours * 3_600_000);
            assert!(time.now().abs_diff(redis.unix_secs()) <= 1);
            assert!(time.own(redis.unix_secs()).abs_diff(clock.unix_secs()) <= 1);
        }
    }
}
