//! Histograms of durations with fixed buckets, which two additions count in.
//!
//! No power of two has two bounds, so that the number of a duration's highest bit leaves one bound to compare with: the bucket is found
//! without a search.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shards::Sharded;

/// The upper bounds of the buckets, in micro- or nanoseconds; what is longer than all is in one more bucket.
const BOUNDS: [u64; BUCKETS - 1] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
const BUCKETS: usize = 16;
/// How many bounds are below all numbers of so many bits.
static BELOW: [u8; 65] = below();

/// Durations that were measured.
#[derive(Debug, Default)]
pub struct Durations(Sharded<Counted>);

/// The same of one thread, in whichever unit.
#[derive(Debug, Default)]
pub(super) struct Counted {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// What was counted up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    sum: u64,
    unit: Unit,
}

/// What the numbers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Micros,
    Nanos,
}

#[expect(
    clippy::indexing_slicing,
    reason = "it runs when it is compiled, where an index out of range is an error"
)]
const fn below() -> [u8; 65] {
    let mut below = [0; 65];
    let mut bits = 1;
    while bits <= 64 {
        let least = 1_u64 << (bits - 1);
        let mut count = 0;
        while count < BOUNDS.len() && BOUNDS[count] < least {
            count += 1;
        }
        below[bits] = count as u8;
        bits += 1;
    }
    below
}

impl Durations {
    /// Counts one.
    pub fn note(&self, took: Duration) {
        self.0.mine().note(micros(took));
    }

    /// Returns what was counted by now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.0.iter(), Unit::Micros)
    }
}

impl Counted {
    /// Counts one.
    pub(super) fn note(&self, units: u64) {
        let bits = (u64::BITS - units.leading_zeros()) as usize;
        let below = usize::from(BELOW.get(bits).copied().unwrap_or_default());
        let is_over = BOUNDS.get(below).is_some_and(|bound| *bound < units);
        if let Some(bucket) = self.buckets.get(below + usize::from(is_over)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(units, Ordering::Relaxed);
    }
}

/// Returns the whole microseconds; those of 128 bits that the standard library has cost more than all else here.
pub(super) fn micros(took: Duration) -> u64 {
    let secs = took.as_secs().saturating_mul(1_000_000);
    secs.saturating_add(u64::from(took.subsec_micros()))
}

/// Returns the nanoseconds.
pub(super) fn nanos(took: Duration) -> u64 {
    let secs = took.as_secs().saturating_mul(1_000_000_000);
    secs.saturating_add(u64::from(took.subsec_nanos()))
}

impl Unit {
    fn seconds(self, units: u64) -> f64 {
        match self {
            Self::Micros => Duration::from_micros(units).as_secs_f64(),
            Self::Nanos => Duration::from_nanos(units).as_secs_f64(),
        }
    }
}

impl Snapshot {
    /// Returns the sum of what threads counted by now.
    pub(super) fn of<'c>(all: impl Iterator<Item = &'c Counted>, unit: Unit) -> Self {
        let mut seen = Self {
            unit,
            ..Self::default()
        };
        for counted in all {
            for (sum, bucket) in seen.buckets.iter_mut().zip(&counted.buckets) {
                *sum = sum.wrapping_add(bucket.load(Ordering::Relaxed));
            }
            let more = counted.sum.load(Ordering::Relaxed);
            seen.sum = seen.sum.wrapping_add(more);
        }
        seen
    }

    /// Returns what was counted since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut seen = self.clone();
        for (bucket, before) in seen.buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        seen.sum = seen.sum.saturating_sub(earlier.sum);
        seen
    }

    /// Adds what was counted elsewhere in the same unit.
    pub(super) fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.wrapping_add(more);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Estimates the seconds that so many percent of all did not exceed; `None` where nothing was counted.
    ///
    /// Those of a bucket are taken to lie evenly in it, and those above all bounds to be as long as the last bound.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let wanted = self.count().saturating_mul(percent).div_ceil(100).max(1);
        let (mut counted, mut lower) = (0_u64, 0);
        for (bound, in_bucket) in BOUNDS.into_iter().zip(self.buckets) {
            if counted + in_bucket >= wanted {
                #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
                let part = (wanted - counted) as f64 / in_bucket as f64;
                let (lower, bound) = (self.unit.seconds(lower), self.unit.seconds(bound));
                return Some(lower + (bound - lower) * part);
            }
            (counted, lower) = (counted + in_bucket, bound);
        }
        (self.count() > 0).then(|| self.unit.seconds(lower))
    }

    /// Returns how many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.unit.seconds(self.sum)
    }

    /// Returns the buckets by their upper bound in seconds, each without what is in the ones below.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.map(|bound| self.unit.seconds(bound));
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn percentiles_are_estimated_within_their_bucket() {
        let durations = Durations::default();
        assert_eq!(durations.snapshot().percentile(50), None);
        for _ in 0..98 {
            durations.note(Duration::from_micros(900));
        }
        let before = durations.snapshot();
        durations.note(Duration::from_millis(40));
        durations.note(Duration::from_secs(100));
        let seen = durations.snapshot();
        let of = |percent| seen.percentile(percent).unwrap();
        assert!(of(50) > 0.0005 && of(50) < 0.001, "{}", of(50));
        assert!((of(99) - 0.05).abs() < 1e-9, "{}", of(99));
        assert!((of(100) - 30.0).abs() < 1e-9, "{}", of(100));
        let since = seen.since(&before);
        assert_eq!(since.count(), 2);
        assert!((since.percentile(50).unwrap() - 0.05).abs() < 1e-9);
    }

    #[test]
    fn no_power_of_two_has_two_bounds() {
        let bits = BOUNDS.map(|bound| bound.ilog2());
        assert!(bits.is_sorted_by(|one, next| one < next), "{bits:?}");
    }

    proptest! {
        #[test]
        fn the_bucket_is_the_one_that_a_search_finds(units: u64, small in 0_u64..100_000_000, bound in 0_usize..15, beside in -1_i64..=1) {
            let near = BOUNDS[bound].saturating_add_signed(beside);
            for units in [units, small, near, 0, u64::MAX] {
                let counted = Counted::default();
                counted.note(units);
                let expected = BOUNDS.partition_point(|bound| *bound < units);
                let found = counted.buckets.iter().position(|bucket| bucket.load(Ordering::Relaxed) == 1);
                prop_assert_eq!(found, Some(expected), "{}", units);
            }
        }

        #[test]
        fn units_are_those_of_the_standard_library(secs in 0_u64..1_000_000, rest in 0_u32..1_000_000_000) {
            let took = Duration::new(secs, rest);
            prop_assert_eq!(u128::from(micros(took)), took.as_micros());
            prop_assert_eq!(u128::from(nanos(took)), took.as_nanos());
        }
    }
}
