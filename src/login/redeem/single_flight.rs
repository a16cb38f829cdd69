//! Single-flight: one call for a code. A client that sends its code again, during the redemption or shortly after, gets its outcome.

use std::sync::Arc;
use std::time::Duration;

use moka::Expiry;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::request::{Denial, RequestId};
use crate::session::{CodeMark, Opened, SenderMark};

/// The most codes that are remembered; the least recently used one is evicted first.
const MOST_CODES: u64 = 100_000;

/// The longest lifetime of a code, after which nothing about it is remembered.
const LONGEST: Duration = Duration::from_secs(300);

/// How long a code is told again that something else answered in WeChat's place: as long as the longest `Retry-After` of an outage.
const NOT_WECHAT_LASTS: Duration = Duration::from_secs(30);

/// The outcome of a code.
#[derive(Clone, Debug)]
pub(in crate::login) enum Outcome {
    /// It opened a session.
    Granted(Box<Granted>),
    /// It was refused.
    Refused(Denial),
    /// Every client that waited left before the call.
    Abandoned,
}

/// The session that a code opened, which only the code's first sender gets.
#[derive(Clone, Debug)]
pub(in crate::login) struct Granted {
    pub(super) opened: Opened,
    pub(super) first: SenderMark,
    /// The first sender's request, if it came to this node.
    pub(super) first_id: Option<RequestId>,
}

/// An outcome, and until when it is repeated to later requests.
#[derive(Clone, Debug)]
pub(in crate::login) struct Settled {
    pub(super) outcome: Outcome,
    until: Instant,
    keep: Duration,
}

/// A code whose redemption is under way or has ended.
#[derive(Debug)]
pub(in crate::login) struct Flight {
    settled: watch::Sender<Option<Settled>>,
}

/// The first request of a code that was turned away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) first_seen: Instant,
    /// When it was told to come back.
    pub(super) promised: Instant,
}

/// The recent codes, by their digests.
#[derive(Debug)]
pub(in crate::login) struct Codes {
    flights: Cache<CodeMark, Arc<Flight>>,
    arrivals: Cache<CodeMark, Arrival>,
}

/// Drops the outcome with its entry, since it may hold a refresh token.
struct WithOutcome;

impl Expiry<CodeMark, Arc<Flight>> for WithOutcome {
    fn expire_after_update(
        &self,
        _code: &CodeMark,
        flight: &Arc<Flight>,
        _updated: std::time::Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        flight.settled().map(|settled| settled.keep)
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            flights: Cache::builder()
                .max_capacity(MOST_CODES)
                // The default policy would reject new codes in favour of frequent ones.
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(LONGEST)
                .expire_after(WithOutcome)
                .build(),
            arrivals: Cache::builder()
                .max_capacity(MOST_CODES)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(LONGEST)
                .build(),
        }
    }
}

impl Codes {
    /// Returns the flight of a code; with `true` it is new, and the caller has to settle it.
    pub(in crate::login) fn join(&self, code: CodeMark, now: Instant) -> (Arc<Flight>, bool) {
        let new = || {
            let settled = watch::Sender::new(None);
            Arc::new(Flight { settled })
        };
        let entry = self.flights.entry(code);
        let entry = entry.or_insert_with_if(new, |flight| flight.is_over(now));
        let is_new = entry.is_fresh();
        (entry.into_value(), is_new)
    }

    /// Settles a flight with an outcome that is repeated to later requests for this long.
    pub(in crate::login) fn settle(
        &self,
        code: CodeMark,
        flight: &Arc<Flight>,
        outcome: Outcome,
        keep: Duration,
        now: Instant,
    ) {
        let until = now + keep;
        let settled = Settled {
            outcome,
            until,
            keep,
        };
        flight.settled.send_replace(Some(settled));
        // If this flight was evicted, another one of the same code may have begun.
        self.flights.entry(code).and_compute_with(|entry| {
            let is_this = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), flight));
            match is_this {
                false => Op::Nop,
                true if keep.is_zero() => Op::Remove,
                true => Op::Put(Arc::clone(flight)),
            }
        });
    }

    /// Drops expired entries, which would otherwise stay until the next request.
    pub(in crate::login) fn sweep(&self) {
        self.flights.run_pending_tasks();
    }

    /// Returns the first request of a code that was turned away before.
    pub(super) fn arrival(&self, code: CodeMark) -> Option<Arrival> {
        self.arrivals.get(&code)
    }

    /// Stores a code that is turned away.
    pub(super) fn turned_away(&self, code: CodeMark, arrival: Arrival) {
        self.arrivals.insert(code, arrival);
    }
}

impl Settled {
    /// Returns the outcome for a request now; of a `Retry-After` only the rest is left.
    pub(super) fn outcome_at(self, now: Instant) -> Outcome {
        let age = (now + self.keep).saturating_duration_since(self.until);
        match self.outcome {
            Outcome::Refused(Denial::WechatBusy(errcode, _)) => {
                let left = self.until.saturating_duration_since(now);
                Outcome::Refused(Denial::WechatBusy(errcode, left))
            }
            Outcome::Refused(Denial::WechatUnreachable(_)) => {
                let left = self.until.saturating_duration_since(now);
                Outcome::Refused(Denial::WechatUnreachable(left))
            }
            // A client that has waited needs another code, since this one may be spent.
            Outcome::Refused(Denial::NotWechat(_)) if age >= NOT_WECHAT_LASTS => {
                Outcome::Refused(Denial::WechatTimeout)
            }
            Outcome::Refused(Denial::NotWechat(after)) => {
                Outcome::Refused(Denial::NotWechat(after.saturating_sub(age)))
            }
            outcome @ (Outcome::Granted(_) | Outcome::Refused(_) | Outcome::Abandoned) => outcome,
        }
    }
}

impl Flight {
    /// Returns the outcome if it is known already.
    pub(super) fn settled(&self) -> Option<Settled> {
        self.settled.borrow().clone()
    }

    /// Subscribes to the outcome.
    pub(super) fn listen(&self) -> watch::Receiver<Option<Settled>> {
        self.settled.subscribe()
    }

    /// Waits until every subscriber has left.
    pub(super) async fn left(&self) {
        self.settled.closed().await;
    }

    /// Returns whether every subscriber has left.
    pub(super) fn is_left(&self) -> bool {
        self.settled.is_closed()
    }

    fn is_over(&self, now: Instant) -> bool {
        let settled = self.settled.borrow();
        settled.as_ref().is_some_and(|settled| settled.until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_pause_only_the_rest_is_left() {
        let start = Instant::now();
        let secs = Duration::from_secs;
        let settled = Settled {
            outcome: Outcome::Refused(Denial::NotWechat(secs(20))),
            until: start + secs(300),
            keep: secs(300),
        };
        let at = |age| match settled.clone().outcome_at(start + age) {
            Outcome::Refused(denial) => Some(denial),
            Outcome::Granted(_) | Outcome::Abandoned => None,
        };
        assert_eq!(at(secs(0)), Some(Denial::NotWechat(secs(20))));
        assert_eq!(at(secs(5)), Some(Denial::NotWechat(secs(15))));
        assert_eq!(at(secs(25)), Some(Denial::NotWechat(secs(0))));
        assert_eq!(at(NOT_WECHAT_LASTS), Some(Denial::WechatTimeout));
    }
}
