//! How many calls of an app a minute the simulator answers, and how many it saw.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

const MINUTE_MS: u64 = 60 * 1000;

/// The quotas that were set, by appid; an app without one may call as often as it likes.
#[derive(Default)]
pub(super) struct Quotas(HashMap<String, Quota>);

/// One quota, and what came of it.
#[derive(Serialize)]
pub(super) struct Quota {
    per_minute: usize,
    /// Calls that were let through.
    passed: u64,
    /// Calls that were answered with 45011.
    refused: u64,
    /// The most calls in 60 seconds, wherever they begin, refused ones included.
    fullest: usize,
    /// The clock's minute, and how many calls it has had.
    #[serde(skip)]
    minute: (u64, usize),
    /// When the calls of the last 60 seconds came.
    #[serde(skip)]
    recent: VecDeque<u64>,
}

impl Quotas {
    /// Sets the quota of an app and begins to count.
    pub(super) fn set(&mut self, appid: &str, per_minute: usize) {
        let quota = Quota {
            per_minute,
            passed: 0,
            refused: 0,
            fullest: 0,
            minute: (0, 0),
            recent: VecDeque::new(),
        };
        self.0.insert(appid.to_owned(), quota);
    }

    /// Counts a call, and returns whether this minute has room for it.
    pub(super) fn admit(&mut self, appid: &str, now_ms: u64) -> bool {
        let quota = self.0.get_mut(appid);
        quota.is_none_or(|quota| quota.admit(now_ms))
    }

    /// Returns every quota by appid.
    pub(super) fn all(&self) -> &HashMap<String, Quota> {
        &self.0
    }
}

impl Quota {
    fn admit(&mut self, now_ms: u64) -> bool {
        let over = |at: &u64| at.saturating_add(MINUTE_MS) <= now_ms;
        while self.recent.front().is_some_and(over) {
            self.recent.pop_front();
        }
        self.recent.push_back(now_ms);
        self.fullest = self.fullest.max(self.recent.len());
        let minute = now_ms / MINUTE_MS;
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        self.minute.1 += 1;
        let admits = self.minute.1 <= self.per_minute;
        if admits {
            self.passed += 1;
        } else {
            self.refused += 1;
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_calls_and_the_next_as_many_again() {
        let mut quotas = Quotas::default();
        quotas.set("wx1", 2);
        let start = 5 * MINUTE_MS + 59_000;
        let passed: Vec<bool> = [0, 100, 200, 1000, 1100, 1200]
            .map(|later| quotas.admit("wx1", start + later))
            .into();
        assert_eq!(passed, [true, true, false, true, true, false]);
        let quota = &quotas.all()["wx1"];
        assert_eq!((quota.passed, quota.refused, quota.fullest), (4, 2, 6));
        assert!(quotas.admit("wx2", start));
    }
}
