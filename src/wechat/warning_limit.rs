//! Limits a warning to one a minute for each thing that it warns of, and counts how often that was met meanwhile.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How often the log warns of the same thing.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// How many things are remembered; then those that were not warned of lately are forgotten.
const MOST_THINGS: usize = 64;

/// When the log last warned of each thing.
#[derive(Debug)]
pub struct WarningLimit<K>(HashMap<K, Logged>);

#[derive(Debug)]
struct Logged {
    last: Instant,
    /// How often the thing was met since.
    times: u64,
}

impl<K> Default for WarningLimit<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> WarningLimit<K> {
    /// Takes notice of a thing; returns how often it was met since the last warning where another one is due.
    pub fn meet(&mut self, thing: K, now: Instant) -> Option<u64> {
        let is_recent = |logged: &Logged| now.saturating_duration_since(logged.last) < LOG_EVERY;
        if let Some(logged) = self.0.get_mut(&thing) {
            logged.times += 1;
            if is_recent(logged) {
                return None;
            }
            logged.last = now;
            return Some(std::mem::take(&mut logged.times));
        }
        if self.0.len() >= MOST_THINGS {
            self.0.retain(|_, logged| is_recent(logged));
        }
        // Whoever answers in WeChat's place may invent numbers without end.
        if self.0.len() >= MOST_THINGS {
            return None;
        }
        let logged = Logged {
            last: now,
            times: 0,
        };
        self.0.insert(thing, logged);
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_warned_of_once_a_minute_and_counted_meanwhile() {
        let mut limit = WarningLimit::default();
        let start = Instant::now();
        assert_eq!(limit.meet("a", start), Some(1));
        for _ in 0..5 {
            assert_eq!(limit.meet("a", start + LOG_EVERY / 2), None);
        }
        assert_eq!(limit.meet("b", start + LOG_EVERY / 2), Some(1));
        assert_eq!(limit.meet("a", start + LOG_EVERY), Some(6));
        assert_eq!(limit.meet("a", start + LOG_EVERY), None);
    }

    #[test]
    fn however_many_things_there_are_the_warnings_are_bounded() {
        let mut limit = WarningLimit::default();
        let start = Instant::now();
        let told = |limit: &mut WarningLimit<u32>, now| {
            let things = 0..10_000;
            things
                .filter(|thing| limit.meet(*thing, now).is_some())
                .count()
        };
        assert_eq!(told(&mut limit, start), MOST_THINGS);
        assert_eq!(told(&mut limit, start + LOG_EVERY / 2), 0);
        assert_eq!(told(&mut limit, start + LOG_EVERY), MOST_THINGS);
    }
}
