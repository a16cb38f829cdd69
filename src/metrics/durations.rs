//! Histograms of durations with fixed buckets, which two additions count in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shards::Sharded;

/// The upper bounds of the buckets, in microseconds; what is longer than all is in one more bucket.
const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations that were measured.
#[derive(Debug, Default)]
pub struct Durations(Sharded<Counted>);

/// The same of one thread.
#[derive(Debug, Default)]
pub(super) struct Counted {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// What was counted up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    micros: u64,
}

impl Durations {
    /// Counts one.
    pub fn note(&self, took: Duration) {
        self.0.mine().note(took);
    }

    /// Returns what was counted by now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.0.iter())
    }
}

impl Counted {
    /// Counts one.
    pub(super) fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Snapshot {
    /// Returns the sum of what threads counted by now.
    pub(super) fn of<'c>(all: impl Iterator<Item = &'c Counted>) -> Self {
        let mut seen = Self::default();
        for counted in all {
            for (sum, bucket) in seen.buckets.iter_mut().zip(&counted.buckets) {
                *sum = sum.wrapping_add(bucket.load(Ordering::Relaxed));
            }
            let micros = counted.micros.load(Ordering::Relaxed);
            seen.micros = seen.micros.wrapping_add(micros);
        }
        seen
    }

    /// Returns how many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        Duration::from_micros(self.micros).as_secs_f64()
    }

    /// Returns the buckets by their upper bound in seconds, each without what is in the ones below.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.map(|micros| Duration::from_micros(micros).as_secs_f64());
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_of_the_next_bound() {
        let durations = Durations::default();
        for micros in [0, 500, 501, 1_000, 30_000_000, 30_000_001] {
            durations.note(Duration::from_micros(micros));
        }
        let seen = durations.snapshot();
        let filled: Vec<_> = seen.buckets().into_iter().filter(|(_, n)| *n > 0).collect();
        let expected = [(0.0005, 2), (0.001, 2), (30.0, 1), (f64::INFINITY, 1)];
        assert_eq!(filled, expected);
        assert_eq!(seen.count(), 6);
        assert!((seen.seconds() - 60.002_002).abs() < 1e-9);
    }
}
