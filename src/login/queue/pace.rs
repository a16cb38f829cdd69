//! The pace at which an app may call WeChat.
//!
//! Each process counts for itself: a shared count would cost a round trip more. WeChat's minutes begin at a moment that nobody knows,
//! so calls are paced (a token bucket) at 97 % of the quota.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The rate of calls at which no minute has more than the quota, wherever it begins.
///
/// WeChat does not publish when its minutes begin, and counts a call when it arrives, after a delay that varies. So 97 calls take the
/// time of 100, and one in a hundred may be early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::login) struct Pace {
    /// The average time between two calls.
    pub(super) interval: Duration,
    pub(super) per_minute: u32,
    /// The burst tolerance.
    ahead: Duration,
}

impl Pace {
    pub(in crate::login) fn new(per_minute: NonZeroU32) -> Self {
        let interval = MINUTE * 100 / 97 / per_minute.get();
        Self {
            interval,
            per_minute: per_minute.get(),
            ahead: interval * (per_minute.get() / 100),
        }
    }
}

/// A token bucket, kept as the theoretical arrival time of the next call.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    next: Option<Instant>,
}

impl Bucket {
    /// Returns when a call may be made that has so many others before it.
    pub(super) fn due(&self, pace: Pace, before: usize, now: Instant) -> Instant {
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let evenly = self.evenly(now) + pace.interval.saturating_mul(before);
        evenly.checked_sub(pace.ahead).unwrap_or(now).max(now)
    }

    /// Counts a call that is made now.
    pub(super) fn take(&mut self, pace: Pace, now: Instant) {
        self.next = Some(self.evenly(now) + pace.interval);
    }

    fn evenly(&self, now: Instant) -> Instant {
        self.next.map_or(now, |next| next.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes every call as soon as it may be made, each late by what a timer is late, for five minutes.
    fn calls(per_minute: u32, late: Duration) -> Vec<Duration> {
        let pace = Pace::new(NonZeroU32::new(per_minute).unwrap());
        let (start, mut bucket, mut made) = (Instant::now(), Bucket::default(), Vec::new());
        let mut now = start;
        while now - start < MINUTE * 5 {
            bucket.take(pace, now);
            made.push(now - start);
            now = bucket.due(pace, 0, now);
            if now - start > *made.last().unwrap() {
                now += late;
            }
        }
        made
    }

    #[test]
    fn no_minute_has_more_than_the_quota_and_little_of_it_is_left() {
        for per_minute in [1, 7, 60, 99, 100, 101, 2000, 100_000] {
            let made = calls(per_minute, Duration::from_millis(2));
            let quota = per_minute as usize;
            for (at, first) in made.iter().enumerate() {
                let within = made[at..]
                    .iter()
                    .take_while(|call| **call - *first < MINUTE);
                assert!(within.count() <= quota, "{per_minute} from {first:?}");
                if at > 100 && at % 1000 != 0 {
                    break;
                }
            }
            assert!(
                made.len() * 20 >= quota * 5 * 19,
                "{per_minute}: {}",
                made.len()
            );
        }
    }

    #[test]
    fn an_app_that_was_quiet_has_no_more_than_a_small_start() {
        let pace = Pace::new(NonZeroU32::new(2000).unwrap());
        let (mut bucket, now) = (Bucket::default(), Instant::now());
        let mut at_once = 0;
        while bucket.due(pace, 0, now) == now {
            bucket.take(pace, now);
            at_once += 1;
        }
        assert_eq!(at_once, 21);
        assert_eq!(
            bucket.due(pace, 3, now) - bucket.due(pace, 0, now),
            pace.interval * 3
        );
    }
}
