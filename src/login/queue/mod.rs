//! The login queue of one app: networks take turns, and clients that cannot be queued get a time to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::breaker::{Breaker, BreakerState, Epoch, Reason};
pub(super) use self::breaker::{CallOutcome, minute_left};
use self::fair::FairQueue;
pub(super) use self::login_queue::{CallPermit, LoginQueue};
use self::pace::Bucket;
pub(super) use self::pace::Pace;
use self::reservations::{Request, Reservations};
use super::caller::Network;

mod breaker;
mod fair;
mod login_queue;
mod pace;
mod reservations;

/// The latest time to come back: a code lives for five minutes, and later another one is needed anyway.
const LATEST: Duration = Duration::from_secs(300);

/// The calls a minute that are assumed without a configured quota, if there were fewer lately.
const FEWEST_CALLS: u32 = 600;
/// The same without a quota: only an open breaker turns clients away, and it may close at any time.
const LATEST_WITHOUT_QUOTA: Duration = Duration::from_secs(60);

const MINUTE: Duration = Duration::from_secs(60);

/// The most calls in flight, and so the most codes that are lost when WeChat falls silent.
const MAX_CALLS_IN_FLIGHT: usize = 256;

/// The configured limits of a queue, which a reload may change at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// `None` without a configured quota.
    pub(super) pace: Option<Pace>,
    /// The most logins that wait at a time.
    pub(super) capacity: usize,
}

/// What is known of a code that wants to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) first: Instant,
    /// When it was told to come back, if it was turned away before.
    pub(super) told: Option<Instant>,
    /// The client's network.
    pub(super) network: Network,
    /// Whether the client's address exceeded its limit, so that no slot is reserved for it.
    pub(super) over_limit: bool,
}

/// The position of a login among those of its network: by when the code was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuePosition {
    first_seen: Instant,
    number: u64,
    seen: Candidate,
}

impl QueuePosition {
    fn network(&self) -> Network {
        self.seen.network
    }
}

/// A login that waits.
#[derive(Debug)]
struct Waiter {
    deadline: Instant,
    wake: Arc<Notify>,
}

/// What a login that waits is to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Make the call.
    Go(Epoch),
    /// Wait until then, or until wake.
    Wait(Instant),
    /// Come back after this time.
    TurnedAway(Duration),
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: FairQueue<Waiter>,
    number: u64,
    in_flight: usize,
    bucket: Bucket,
    breaker: Breaker,
    reservations: Reservations,
    minute: Option<(Instant, u32)>,
    /// The calls of a minute that the latest limits allow.
    quota: Option<u32>,
    /// How many calls the minute before had.
    minute_before: u32,
}

impl QueueState {
    /// Adds a login, and drops those that cannot be served in time.
    fn join(
        &mut self,
        limits: &QueueLimits,
        seen: Candidate,
        deadline: Instant,
        wake: Arc<Notify>,
        now: Instant,
    ) -> QueuePosition {
        self.number += 1;
        self.quota = limits.pace.map(|pace| pace.per_minute);
        let position = QueuePosition {
            first_seen: seen.first,
            number: self.number,
            seen,
        };
        self.waiting.insert(position, Waiter { deadline, wake });
        self.drop_excess(limits, now);
        position
    }

    /// Returns what a login is to do now.
    fn step(&mut self, limits: &QueueLimits, position: QueuePosition, now: Instant) -> Step {
        let Some(waiter) = self.waiting.get(&position) else {
            return Step::TurnedAway(self.retry_after(limits, position, now));
        };
        let deadline = waiter.deadline;
        if self.is_first(position) {
            let due = self.due(limits, 0, now);
            if due.is_some_and(|due| due <= now) {
                self.waiting.serve(&position, now);
                self.wake_first();
                self.count(limits, now);
                self.in_flight += 1;
                return Step::Go(self.breaker.begin(now));
            }
            if now < deadline {
                return Step::Wait(due.map_or(deadline, |due| due.min(deadline)));
            }
        } else if now < deadline {
            return Step::Wait(deadline);
        }
        self.leave(position);
        Step::TurnedAway(self.retry_after(limits, position, now))
    }

    /// Returns the time after which a login that is turned away should come back. A client that comes before its time is told that
    /// time again, and no slot is reserved.
    fn retry_after(
        &mut self,
        limits: &QueueLimits,
        position: QueuePosition,
        now: Instant,
    ) -> Duration {
        let Candidate {
            told,
            network,
            over_limit,
            ..
        } = position.seen;
        let request = Request {
            network,
            again: told.is_some(),
            over_limit,
        };
        match told {
            Some(told) if told > now => told - now,
            _ => self.reserve(limits, request, now),
        }
    }

    /// Removes a login.
    fn leave(&mut self, position: QueuePosition) {
        let was_first = self.is_first(position);
        if self.waiting.remove(&position).is_some() && was_first {
            self.wake_first();
        }
    }

    /// Records the outcome of a call, and returns the breaker's state if that changed.
    fn record(
        &mut self,
        limits: &QueueLimits,
        outcome: CallOutcome,
        epoch: Epoch,
        now: Instant,
        unix_ms: u64,
    ) -> Option<BreakerState> {
        let was_full = self.is_full();
        self.in_flight = self.in_flight.saturating_sub(1);
        let before = self.breaker.state(now);
        self.breaker.record(outcome, epoch, now, unix_ms);
        let after = self.breaker.state(now);
        if before == after {
            if was_full {
                self.wake_first();
            }
            return None;
        }
        if after == BreakerState::Closed {
            // Reservations that were made during an outage are too late now.
            self.reservations = Reservations::default();
        }
        self.drop_excess(limits, now);
        self.wake_first();
        Some(after)
    }

    /// Reserves a slot, and returns the time until it.
    ///
    /// Retry times are spaced at the call rate, starting when half the queue has drained, so the queue never empties. A
    /// network has one slot at a time among those of the others. Clients that came in time and were turned away again get a slot
    /// before the newcomers. A client over its limit is told the next free slot without reserving it.
    fn reserve(&mut self, limits: &QueueLimits, request: Request, now: Instant) -> Duration {
        let interval = self.interval(limits, now);
        let half = u32::try_from(self.waiting.len() / 2).unwrap_or(u32::MAX);
        let opens = match self.breaker.state(now) {
            BreakerState::Open(until, _) => until,
            BreakerState::Closed | BreakerState::HalfOpen(_) | BreakerState::Probing(_) => now,
        };
        let earliest = opens + interval.saturating_mul(half).min(LATEST);
        let latest = match limits.pace {
            Some(_) => LATEST,
            None => LATEST_WITHOUT_QUOTA.max(earliest - now).min(LATEST),
        };
        let request = Request {
            again: request.again && self.breaker.state(now) == BreakerState::Closed,
            ..request
        };
        let slot = self
            .reservations
            .next(request, earliest, interval, now + latest, now);
        // Without a free slot, jitter keeps the clients from returning at once.
        slot.map_or_else(
            || latest.mul_f64(fastrand::f64().mul_add(0.2, 0.8)),
            |slot| slot - now,
        )
    }

    /// Reserves a slot for a client whose call WeChat refused.
    fn reserve_new(
        &mut self,
        limits: &QueueLimits,
        network: Network,
        over_limit: bool,
        now: Instant,
    ) -> Duration {
        let request = Request {
            network,
            again: false,
            over_limit,
        };
        self.reserve(limits, request, now)
    }

    /// Returns how many logins wait.
    fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many calls the quota leaves for this minute, as it is counted here; `None` where there is none.
    fn quota_left(&self, now: Instant) -> Option<u32> {
        let made = self.minute.filter(|(began, _)| now - *began < MINUTE);
        let made = made.map_or(0, |(_, calls)| calls);
        self.quota.map(|quota| quota.saturating_sub(made))
    }

    /// Returns the circuit breaker's state.
    fn breaker_state(&self, now: Instant) -> BreakerState {
        self.breaker.state(now)
    }

    /// Returns when a call may be made that has so many before it; `None` if that is not known.
    fn due(&self, limits: &QueueLimits, before: usize, now: Instant) -> Option<Instant> {
        if self.is_full() {
            return None;
        }
        let from = match self.breaker.state(now) {
            BreakerState::Closed | BreakerState::HalfOpen(_) => now,
            BreakerState::Open(until, _) => until,
            BreakerState::Probing(_) => return None,
        };
        let paced = limits.pace.map(|pace| self.bucket.due(pace, before, now));
        Some(paced.map_or(from, |due| due.max(from)))
    }

    /// Drops logins beyond the capacity, or that will not be served in time: the last of the network with most entries first.
    fn drop_excess(&mut self, limits: &QueueLimits, now: Instant) {
        while let Some((&position, last)) = self.waiting.last() {
            let (deadline, before) = (last.deadline, self.waiting.len() - 1);
            let in_time = match self.breaker.state(now) {
                // The probe may take as long as a call can.
                BreakerState::Probing(Reason::Silence) => false,
                // Calls in flight will make room.
                BreakerState::Closed if self.is_full() => true,
                BreakerState::Probing(Reason::Minute | Reason::Day | Reason::Busy) => true,
                BreakerState::Closed | BreakerState::HalfOpen(_) | BreakerState::Open(..) => {
                    let due = self.due(limits, before, now);
                    due.is_some_and(|due| due <= deadline)
                }
            };
            // A first login that can call at once does not count.
            let capacity = limits.capacity + usize::from(self.may_go(limits, now));
            if in_time && before < capacity {
                return;
            }
            if let Some(waiter) = self.waiting.remove(&position) {
                waiter.wake.notify_one();
            }
        }
    }

    fn is_first(&self, position: QueuePosition) -> bool {
        self.waiting
            .first()
            .is_some_and(|(first, _)| *first == position)
    }

    fn is_full(&self) -> bool {
        self.in_flight >= MAX_CALLS_IN_FLIGHT
    }

    fn may_go(&self, limits: &QueueLimits, now: Instant) -> bool {
        self.due(limits, 0, now).is_some_and(|due| due <= now)
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.waiting.first() {
            first.wake.notify_one();
        }
    }

    fn count(&mut self, limits: &QueueLimits, now: Instant) {
        if let Some(pace) = limits.pace {
            self.bucket.take(pace, now);
        }
        match &mut self.minute {
            Some((began, calls)) if now - *began < MINUTE => *calls += 1,
            minute => {
                self.minute_before = minute.map_or(0, |(_, calls)| calls);
                *minute = Some((now, 1));
            }
        }
    }

    /// Returns the time between two calls: by the quota, or without one by the number of recent calls.
    fn interval(&self, limits: &QueueLimits, now: Instant) -> Duration {
        if let Some(pace) = limits.pace {
            return pace.interval;
        }
        let lately = self.minute.filter(|(began, _)| now - *began < MINUTE * 2);
        let calls = lately.map_or(0, |(_, calls)| calls.max(self.minute_before));
        MINUTE / calls.max(FEWEST_CALLS)
    }
}

#[cfg(test)]
mod tests;
