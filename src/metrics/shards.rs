//! Counters that each thread has a copy of, so that counting moves no cache line between cores.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// As many threads count without sharing; more share copies, and count just as right.
const SHARDS: usize = 16;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Gives the thread that calls this a copy, by its number; all that have none share one.
pub fn count_as(number: usize) {
    SHARD.set(number % SHARDS);
}

/// A copy for each thread.
#[derive(Debug, Default)]
pub struct Sharded<T>([Aligned<T>; SHARDS]);

/// Processors fetch cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

impl<T> Sharded<T> {
    /// Returns the copy of this thread.
    pub fn mine(&self) -> &T {
        let Self([first, ..]) = self;
        &self.0.get(SHARD.get()).unwrap_or(first).0
    }

    /// Iterates over all copies.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}

/// A counter.
#[derive(Debug, Default)]
pub struct Count(Sharded<AtomicU64>);

impl Count {
    /// Adds to it.
    pub fn add(&self, number: u64) {
        self.0.mine().fetch_add(number, Ordering::Relaxed);
    }

    /// Takes from it, where it counts what is open; another thread may have added that.
    pub fn take(&self, number: u64) {
        self.0.mine().fetch_sub(number, Ordering::Relaxed);
    }

    /// Returns the sum of what all threads added and took.
    pub fn sum(&self) -> u64 {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        counts.fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_is_summed_whoever_takes_it_back() {
        let count = Count::default();
        std::thread::scope(|scope| {
            for number in 0..2 * SHARDS {
                let count = &count;
                scope.spawn(move || {
                    count_as(number);
                    count.add(3);
                });
            }
        });
        assert_eq!(count.sum(), 6 * SHARDS as u64);
        count.take(6 * SHARDS as u64);
        assert_eq!(count.sum(), 0);
    }
}
