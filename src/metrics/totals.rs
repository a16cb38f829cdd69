//! The sums of all exchanges, whatever their route.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Snapshot;
use super::durations::Unit;
use super::traffic::{CLASSES, RouteTraffic, Traffic, locked};

/// What all exchanges came to up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How many there were.
    pub requests: u64,
    /// How many were refused, by the place of the reason.
    pub refused: Vec<u64>,
    /// How many were answered with a status of 500 or more, refusals included.
    pub failed: u64,
    /// The bytes of the requests' bodies.
    pub received: u64,
    /// The bytes of the responses' bodies.
    pub sent: u64,
    /// How long they took.
    pub durations: Snapshot,
}

impl Traffic {
    /// Returns the sums by now.
    pub fn totals(&self) -> Totals {
        let routes = locked(&self.routes).clone();
        let mut totals = Totals {
            refused: vec![0; self.words.reasons.len()],
            ..Totals::default()
        };
        for route in routes.values() {
            totals.add(route);
        }
        totals
    }
}

impl Totals {
    fn add(&mut self, route: &RouteTraffic) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let is_failure = |class: usize| class + 1 == CLASSES.len();
        for passed in route.passed.iter() {
            self.received += load(&passed.received);
            self.sent += load(&passed.sent);
            for counts in &passed.counts {
                for (class, count) in counts.iter().enumerate() {
                    self.count(load(count), is_failure(class));
                }
            }
        }
        for (reason, counts) in route.refused.chunks(CLASSES.len()).enumerate() {
            for (class, count) in counts.iter().enumerate() {
                let count = load(count);
                self.count(count, is_failure(class));
                if let Some(refused) = self.refused.get_mut(reason) {
                    *refused += count;
                }
            }
        }
        let durations = route.passed.iter().map(|passed| &passed.durations);
        self.durations.add(&Snapshot::of(durations, Unit::Micros));
    }

    fn count(&mut self, count: u64, failed: bool) {
        self.requests += count;
        if failed {
            self.failed += count;
        }
    }

    /// Returns what came since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.refused.iter().copied().chain(std::iter::repeat(0));
        let refused = self.refused.iter().zip(before);
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            refused: refused
                .map(|(now, before)| now.saturating_sub(before))
                .collect(),
            failed: self.failed.saturating_sub(earlier.failed),
            received: self.received.saturating_sub(earlier.received),
            sent: self.sent.saturating_sub(earlier.sent),
            durations: self.durations.since(&earlier.durations),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Course, Ended, Words};

    const ENDED: Ended = Ended {
        course: Course::Passed(0),
        status: 200,
        received: 3,
        sent: 5,
        took: Duration::from_millis(1),
        decided_in: None,
    };

    #[test]
    fn every_route_is_in_the_sums_and_the_difference_is_what_came_since() {
        let traffic = Traffic::new(Words {
            decisions: &["public", "own"],
            reasons: &["one", "other"],
        });
        traffic.route(None, "/a").note(&ENDED);
        let before = traffic.totals();
        traffic.route(Some("host"), "/a").note(&Ended {
            course: Course::Passed(1),
            status: 502,
            ..ENDED
        });
        traffic.no_route().note(&Ended {
            course: Course::Refused(1),
            status: 503,
            ..ENDED
        });
        let all = traffic.totals();
        assert_eq!((all.requests, all.failed), (3, 2));
        assert_eq!((all.received, all.sent), (9, 15));
        assert_eq!(all.durations.count(), 3);
        let since = all.since(&before);
        assert_eq!((since.requests, since.failed), (2, 2));
        assert_eq!(since.refused, [0, 1]);
        assert_eq!(since.durations.count(), 2);
        assert_eq!(all.since(&Totals::default()).refused, [0, 1]);
    }
}
