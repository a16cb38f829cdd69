//! How often somebody did something of late, counted in memory that does not grow with how many they are.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Everybody is counted in one cell of every row.
const ROWS: usize = 4;

/// 16 bits of one hash pick the cell of a row.
const CELLS: usize = 1 << 16;

/// The counters of everybody.
///
/// A cell holds the time at which somebody who does it evenly would do it next. Cells are shared, and the least
/// busy of somebody's cells is believed. So nobody is counted too low, and somebody is counted too high only where
/// others keep all their cells busy, which takes as much as 65,536 may do together.
#[derive(Debug)]
pub struct Counts {
    /// The time between two times of somebody who does it evenly, in nanoseconds.
    interval: u64,
    /// How far ahead of that somebody may be.
    burst: u64,
    /// Drawn at start-up, so that nobody can look for names that share another's cells.
    hash: RandomState,
    cells: Vec<AtomicU64>,
}

impl Counts {
    /// Prepares the counters: `burst` times at once, and then once an `interval`.
    pub fn new(interval: Duration, burst: NonZeroU32) -> Self {
        let interval = nanos(interval);
        let cells = std::iter::repeat_with(AtomicU64::default);
        Self {
            interval,
            burst: interval.saturating_mul(u64::from(burst.get() - 1)),
            hash: RandomState::new(),
            cells: cells.take(ROWS * CELLS).collect(),
        }
    }

    /// Returns whether somebody may do it, or for how long not; `now` is since any fixed time.
    pub fn check(&self, who: &impl Hash, now: Duration) -> Result<(), Duration> {
        let next = self.cells(who).map(|cell| cell.load(Ordering::Relaxed));
        let early = next.min().unwrap_or(0).saturating_sub(nanos(now));
        if early > self.burst {
            return Err(Duration::from_nanos(early - self.burst));
        }
        Ok(())
    }

    /// Counts that somebody did it.
    pub fn count(&self, who: &impl Hash, now: Duration) {
        let now = nanos(now);
        for cell in self.cells(who) {
            let later = |next: u64| Some(next.max(now).saturating_add(self.interval));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
    }

    /// Takes one such count back.
    pub fn take_back(&self, who: &impl Hash) {
        for cell in self.cells(who) {
            let earlier = |next: u64| Some(next.saturating_sub(self.interval));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
        }
    }

    fn cells(&self, who: &impl Hash) -> impl Iterator<Item = &AtomicU64> {
        let at = |row: usize, low: u8, high: u8| {
            row * CELLS + usize::from(u16::from_le_bytes([low, high]))
        };
        let [a, b, c, d, e, f, g, h] = self.hash.hash_one(who).to_le_bytes();
        [at(0, a, b), at(1, c, d), at(2, e, f), at(3, g, h)]
            .into_iter()
            .filter_map(|at| self.cells.get(at))
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.cells.capacity()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
