//! Counts by name in fixed memory: a count-min sketch, and GCRA in one.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each name has one cell in every row of the sketch.
const ROWS: usize = 4;

/// The cells of a row: 16 bits of one hash pick one.
const CELLS: usize = 1 << 16;

/// The counters of all names.
///
/// A cell holds the theoretical arrival time of GCRA. Names share cells, and the least loaded of a name's cells is believed. So no
/// name is counted too low, and one is counted too high only if others load all of its cells, which takes what 65,536 names may do
/// together.
#[derive(Debug)]
pub struct Counts {
    /// The emission interval, in nanoseconds.
    interval: u64,
    /// The burst tolerance, in nanoseconds.
    burst: u64,
    sketch: Sketch,
}

/// The cells of all names, and where those of each are.
#[derive(Debug)]
pub(super) struct Sketch {
    /// Keyed at start-up, so that nobody can search for names that share another's cells.
    hash: RandomState,
    cells: Vec<AtomicU64>,
}

/// Where the cells of one name are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot([u8; 8]);

impl Sketch {
    pub(super) fn new() -> Self {
        let cells = std::iter::repeat_with(AtomicU64::default);
        Self {
            hash: RandomState::new(),
            cells: cells.take(ROWS * CELLS).collect(),
        }
    }

    pub(super) fn spot(&self, who: &impl Hash) -> Spot {
        Spot(self.hash.hash_one(who).to_le_bytes())
    }

    pub(super) fn cells(
        &self,
        Spot([a, b, c, d, e, f, g, h]): Spot,
    ) -> impl Iterator<Item = &AtomicU64> {
        let at = |row: usize, low: u8, high: u8| {
            row * CELLS + usize::from(u16::from_le_bytes([low, high]))
        };
        [at(0, a, b), at(1, c, d), at(2, e, f), at(3, g, h)]
            .into_iter()
            .filter_map(|at| self.cells.get(at))
    }
}

impl Counts {
    /// Makes counters that allow `burst` events at once, and then one each `interval`.
    pub fn new(interval: Duration, burst: NonZeroU32) -> Self {
        let interval = nanos(interval);
        Self {
            interval,
            burst: interval.saturating_mul(u64::from(burst.get() - 1)),
            sketch: Sketch::new(),
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
        self.sketch.cells(self.sketch.spot(who))
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.sketch.cells.capacity()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
