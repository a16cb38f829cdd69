//! What the exchanges of the last hour came to: sums that a timer keeps, so that no exchange costs more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Metrics, Totals, Traffic};

/// How often sums are kept.
const EVERY: Duration = Duration::from_secs(15);
/// As many steps are an hour.
const STEPS: usize = 240;
/// Counters with labels are larger, and kept at each of so many moments.
const COUNTERS_EVERY: usize = 20;
/// The counters that are kept.
const COUNTERS: [&str; 4] = [
    "menshen_logins_total",
    "menshen_wechat_calls_total",
    "menshen_upstream_duration_seconds_sum",
    "menshen_upstream_duration_seconds_count",
];

/// The sums of the last hour; it takes 200 KB, and what 13 copies of some counters with labels take.
#[derive(Debug, Default)]
pub struct Hour {
    moments: Mutex<VecDeque<Moment>>,
}

/// Values by series, as `/metrics` writes it.
pub type Counters = BTreeMap<String, f64>;

#[derive(Debug)]
struct Moment {
    at: Instant,
    totals: Totals,
    counters: Option<Arc<Counters>>,
}

/// What came between two moments.
#[derive(Debug)]
pub struct Step {
    /// How long ago it ended.
    pub ago: Duration,
    /// How long it lasted.
    pub lasted: Duration,
    /// What came.
    pub totals: Totals,
}

impl Hour {
    /// Keeps the sums from time to time, for as long as this is polled; `now` tells the time.
    pub async fn keep(&self, traffic: &Traffic, metrics: &Metrics, now: impl Fn() -> Instant) {
        let mut ticks = interval(EVERY);
        // A machine that slept has nothing to make up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0_usize.. {
            ticks.tick().await;
            let counters = tick.is_multiple_of(COUNTERS_EVERY);
            let counters = counters.then(|| Arc::new(counters_of(metrics)));
            self.note(now(), traffic.totals(), counters);
        }
    }

    fn note(&self, at: Instant, totals: Totals, counters: Option<Arc<Counters>>) {
        let mut moments = self.moments();
        moments.push_back(Moment {
            at,
            totals,
            counters,
        });
        while moments.len() > STEPS + 1 {
            moments.pop_front();
        }
    }

    /// Returns what came in each step, the last of which has not ended; `totals` are the sums by now.
    pub fn steps(&self, now: Instant, totals: Totals) -> Vec<Step> {
        let moments = self.moments();
        let kept = moments.iter().map(|moment| (moment.at, &moment.totals));
        let mut steps = Vec::new();
        let mut before: Option<(Instant, &Totals)> = None;
        for (at, sums) in kept.chain([(now, &totals)]) {
            if let Some((began, earlier)) = before {
                steps.push(Step {
                    ago: now.saturating_duration_since(at),
                    lasted: at.saturating_duration_since(began),
                    totals: sums.since(earlier),
                });
            }
            before = Some((at, sums));
        }
        steps
    }

    /// Returns what came since the latest moment that is this long ago, or since the oldest.
    pub fn since(&self, now: Instant, totals: &Totals, ago: Duration) -> Step {
        let moments = self.moments();
        let is_old = |moment: &&Moment| now.saturating_duration_since(moment.at) >= ago;
        let moment = moments.iter().rfind(is_old).or(moments.front());
        let nothing = Totals::default();
        let (at, before) = moment.map_or((now, &nothing), |moment| (moment.at, &moment.totals));
        Step {
            ago: Duration::ZERO,
            lasted: now.saturating_duration_since(at),
            totals: totals.since(before),
        }
    }

    /// Returns the counters at the beginning of what is known of the last hour.
    pub fn counters_before(&self) -> Option<Arc<Counters>> {
        let moments = self.moments();
        moments.iter().find_map(|moment| moment.counters.clone())
    }

    fn moments(&self) -> MutexGuard<'_, VecDeque<Moment>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counters_of(metrics: &Metrics) -> Counters {
    let samples = metrics.samples().into_iter();
    let kept = samples.filter(|sample| COUNTERS.contains(&sample.name()));
    kept.map(|sample| (sample.series, sample.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(requests: u64) -> Totals {
        Totals {
            requests,
            ..Totals::default()
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (hour, began) = (Hour::default(), Instant::now());
        assert!(hour.steps(began, sums(7)).is_empty());
        for number in 0..1000_u32 {
            hour.note(began + EVERY * number, sums(u64::from(number)), None);
        }
        let now = began + EVERY * 999 + Duration::from_secs(5);
        let steps = hour.steps(now, sums(1010));
        assert_eq!(steps.len(), STEPS + 1);
        let (last, kept) = steps.split_last().unwrap();
        assert_eq!(last.totals.requests, 11);
        assert_eq!(
            (last.ago, last.lasted),
            (Duration::ZERO, Duration::from_secs(5))
        );
        assert!(
            kept.iter()
                .all(|step| step.totals.requests == 1 && step.lasted == EVERY)
        );
        let whole = hour.since(now, &sums(1010), Duration::MAX);
        assert_eq!(whole.lasted, Duration::from_secs(3605));
        assert_eq!(whole.totals.requests, 1010 - 759);
        let lately = hour.since(now, &sums(1010), Duration::from_secs(10));
        assert_eq!(lately.lasted, Duration::from_secs(20));
        assert_eq!(lately.totals.requests, 12);
    }

    #[test]
    fn counters_are_those_of_the_oldest_moment_that_has_any() {
        let (hour, began) = (Hour::default(), Instant::now());
        assert!(hour.counters_before().is_none());
        for number in 0..400_u32 {
            let counters = (number % 20 == 0).then(|| {
                let name = "menshen_logins_total".to_owned();
                Arc::new(Counters::from([(name, f64::from(number))]))
            });
            hour.note(began + EVERY * number, sums(0), counters);
        }
        let before = hour.counters_before().unwrap();
        assert_eq!(before.get("menshen_logins_total"), Some(&160.0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_keeps_a_moment_each_time() {
        let (hour, metrics) = (Hour::default(), Metrics::default());
        let traffic = Traffic::new(crate::metrics::Words {
            decisions: &[],
            reasons: &[],
        });
        metrics.login("shop", "ok", Duration::ZERO);
        let kept = hour.keep(&traffic, &metrics, Instant::now);
        let _ = tokio::time::timeout(Duration::from_secs(61), kept).await;
        assert_eq!(hour.moments().len(), 5);
        let counters = hour.counters_before().unwrap();
        assert_eq!(counters.len(), 1);
    }
}
