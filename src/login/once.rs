//! One code, one call (single-flight): a client that sends its code again, while it is redeemed or shortly after, gets what it brings.

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

/// The most codes that are remembered; the one that was not asked for the longest is forgotten first.
const MOST_CODES: u64 = 100_000;

/// No code is good for longer, so nothing about one is worth knowing after that.
const LONGEST: Duration = Duration::from_secs(300);

/// What became of a code.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It opened a session.
    Granted(Box<Granted>),
    /// It was refused.
    Refused(Denial),
    /// Nobody waited any more before it was sent to WeChat.
    Abandoned,
}

/// A session that a code opened, which only the code's first sender gets.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) opened: Opened,
    pub(super) first: SenderMark,
    /// The request that brought the code first, where it came to this node.
    pub(super) first_id: Option<RequestId>,
}

/// An outcome, and until when it goes for whoever comes later.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    until: Instant,
    keep: Duration,
}

/// A code that is being redeemed, or was.
#[derive(Debug)]
pub(super) struct Flight {
    settled: watch::Sender<Option<Settled>>,
}

/// When a code came that was turned away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) first_seen: Instant,
    /// When it was told to come back.
    pub(super) promised: Instant,
}

/// The codes of the last minutes, by their digests.
#[derive(Debug)]
pub(super) struct Codes {
    flights: Cache<CodeMark, Arc<Flight>>,
    arrivals: Cache<CodeMark, Arrival>,
}

/// Lets a flight go with its outcome, which may hold a refresh token.
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
                // The default would keep new codes out in favour of those that were asked for often.
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
    /// Returns the flight of a code; `true` says that it is a new one, which the caller has to bring to its end.
    pub(super) fn join(&self, code: CodeMark, now: Instant) -> (Arc<Flight>, bool) {
        let new = || {
            let settled = watch::Sender::new(None);
            Arc::new(Flight { settled })
        };
        let entry = self.flights.entry(code);
        let entry = entry.or_insert_with_if(new, |flight| flight.is_over(now));
        let is_new = entry.is_fresh();
        (entry.into_value(), is_new)
    }

    /// Ends a flight with an outcome that goes for this long for whoever comes later.
    pub(super) fn settle(
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
        // Another flight of this code has begun where this one was forgotten for the sake of others.
        self.flights.entry(code).and_compute_with(|entry| {
            let is_this = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), flight));
            match is_this {
                false => Op::Nop,
                true if keep.is_zero() => Op::Remove,
                true => Op::Put(Arc::clone(flight)),
            }
        });
    }

    /// Lets go of what is over: without this it would stay until others come.
    pub(super) fn sweep(&self) {
        self.flights.run_pending_tasks();
    }

    /// Returns when a code came that was turned away before.
    pub(super) fn arrival(&self, code: CodeMark) -> Option<Arrival> {
        self.arrivals.get(&code)
    }

    /// Remembers a code that is turned away.
    pub(super) fn turned_away(&self, code: CodeMark, arrival: Arrival) {
        self.arrivals.insert(code, arrival);
    }
}

impl Settled {
    /// Returns the outcome for whoever comes now; a time to come back has passed in part.
    pub(super) fn outcome_at(self, now: Instant) -> Outcome {
        match self.outcome {
            Outcome::Refused(Denial::WechatBusy(errcode, _)) => {
                let left = self.until.saturating_duration_since(now);
                Outcome::Refused(Denial::WechatBusy(errcode, left))
            }
            Outcome::Refused(Denial::WechatUnreachable(_)) => {
                let left = self.until.saturating_duration_since(now);
                Outcome::Refused(Denial::WechatUnreachable(left))
            }
            outcome @ (Outcome::Granted(_) | Outcome::Refused(_) | Outcome::Abandoned) => outcome,
        }
    }
}

impl Flight {
    /// Returns the outcome where it is known already.
    pub(super) fn settled(&self) -> Option<Settled> {
        self.settled.borrow().clone()
    }

    /// Begins to wait for the outcome.
    pub(super) fn listen(&self) -> watch::Receiver<Option<Settled>> {
        self.settled.subscribe()
    }

    /// Waits until nobody waits for the outcome.
    pub(super) async fn left(&self) {
        self.settled.closed().await;
    }

    /// Returns whether nobody waits for the outcome.
    pub(super) fn is_left(&self) -> bool {
        self.settled.is_closed()
    }

    fn is_over(&self, now: Instant) -> bool {
        let settled = self.settled.borrow();
        settled.as_ref().is_some_and(|settled| settled.until <= now)
    }
}
