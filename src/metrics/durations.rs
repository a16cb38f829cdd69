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
