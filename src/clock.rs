//! The time that Menshen itself keeps, which a test can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The system's clock plus an offset that clones share.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
    /// By how much the machine's clock is wrong, where a test says so.
    #[cfg(test)]
    wrong_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Returns a clock that shows the system's time.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns the clock of a machine whose time is behind.
    #[cfg(test)]
    pub(crate) fn behind(by: Duration) -> Self {
        let clock = Self::default();
        clock.step(-millis(by));
        clock
    }

    /// Returns the clock of a machine whose time is ahead.
    #[cfg(test)]
    pub(crate) fn ahead(by: Duration) -> Self {
        let clock = Self::default();
        clock.step(millis(by));
        clock
    }

    /// Makes the machine's clock wrong, or right again, as when an operator or NTP sets it.
    #[cfg(test)]
    pub(crate) fn step(&self, by_ms: i64) {
        self.wrong_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Returns milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads it"
        )]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        #[cfg(test)]
        let now = now + self.wrong_ms.load(Ordering::Relaxed);
        let moved = now.saturating_add(self.offset_ms.load(Ordering::Relaxed));
        u64::try_from(moved).unwrap_or(0)
    }

    /// Returns whole seconds since the Unix epoch.
    pub fn unix_secs(&self) -> u64 {
        self.unix_ms() / 1000
    }

    /// Returns a time for measuring that never goes back, and that [`Self::advance`] moves too.
    pub fn instant(&self) -> Instant {
        let moved = u64::try_from(self.offset_ms.load(Ordering::Relaxed)).unwrap_or(0);
        Instant::now() + Duration::from_millis(moved)
    }

    /// Returns the whole seconds by which this clock was moved from the system's time.
    pub fn moved_secs(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed) / 1000
    }

    /// Moves this clock and its clones forward.
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(millis(by), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_move_together() {
        let clock = Clock::system();
        let other = clock.clone();
        let before = other.unix_secs();
        clock.advance(Duration::from_secs(3600));
        assert!(other.unix_secs() >= before + 3600);
    }
}
