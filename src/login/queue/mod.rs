//! The queue before WeChat, of one app: networks take turns, and clients that cannot wait get a time to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::fair::FairQueue;
pub(super) use self::login_queue::{CallPermit, LoginQueue};
use self::reservations::{Request, Reservations};
use super::breaker::{Breaker, BreakerState, CallOutcome, Epoch, Reason};
use super::caller::Network;
use super::quota::{Bucket, Pace};

mod fair;
mod login_queue;
mod reservations;

/// A code lives for five minutes: who would come later than that needs another one in any case.
const LATEST: Duration = Duration::from_secs(300);

/// What is taken for the quota where nobody configured one and there were fewer calls lately.
const FEWEST_CALLS: u32 = 600;
/// Without a quota only trouble turns anybody away, and it may be over at any time.
const LATEST_WITHOUT_QUOTA: Duration = Duration::from_secs(60);

const MINUTE: Duration = Duration::from_secs(60);

/// The most calls that are under way at a time: so many codes at most are lost when WeChat falls silent.
const MAX_CALLS_IN_FLIGHT: usize = 256;

/// How a line is kept; a reload may change it at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// `None` where there is no quota of ours.
    pub(super) pace: Option<Pace>,
    /// The most that wait at a time.
    pub(super) capacity: usize,
}

/// What is known of a code that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) first: Instant,
    /// When it was told to come back, where it was turned away before.
    pub(super) told: Option<Instant>,
    /// Where it comes from.
    pub(super) network: Network,
    /// Whether what it is told shall move nobody else's time.
    pub(super) over_limit: bool,
}

/// The place of somebody in line: among those of one network by when the code was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    first_seen: Instant,
    number: u64,
    seen: Candidate,
}

impl Ticket {
    fn network(&self) -> Network {
        self.seen.network
    }
}

/// Somebody in line.
#[derive(Debug)]
struct Waiter {
    deadline: Instant,
    wake: Arc<Notify>,
}

/// What somebody in line is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the call.
    Go(Epoch),
    /// Wait until then, or until wake.
    Wait(Instant),
    /// Come back after this time.
    TurnedAway(Duration),
}

#[derive(Debug, Default)]
pub(super) struct QueueState {
    waiting: FairQueue<Waiter>,
    number: u64,
    in_flight: usize,
    bucket: Bucket,
    breaker: Breaker,
    reservations: Reservations,
    minute: Option<(Instant, u32)>,
    /// How many calls the minute before had.
    minute_before: u32,
}

impl QueueState {
    /// Takes a place. Who is last and cannot be served in time loses theirs.
    pub(super) fn join(
        &mut self,
        limits: &QueueLimits,
        seen: Candidate,
        deadline: Instant,
        wake: Arc<Notify>,
        now: Instant,
    ) -> Ticket {
        self.number += 1;
        let ticket = Ticket {
            first_seen: seen.first,
            number: self.number,
            seen,
        };
        self.waiting.insert(ticket, Waiter { deadline, wake });
        self.drop_excess(limits, now);
        ticket
    }

    /// Says what somebody in line is to do now.
    pub(super) fn step(&mut self, limits: &QueueLimits, ticket: Ticket, now: Instant) -> Step {
        let Some(waiter) = self.waiting.get(&ticket) else {
            return Step::TurnedAway(self.retry_after(limits, ticket, now));
        };
        let deadline = waiter.deadline;
        if self.is_first(ticket) {
            let due = self.due(limits, 0, now);
            if due.is_some_and(|due| due <= now) {
                self.waiting.serve(&ticket, now);
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
        self.leave(ticket);
        Step::TurnedAway(self.retry_after(limits, ticket, now))
    }

    /// Returns after what time somebody should come back who found no place; who comes before their time is told that time again,
    /// and moves nobody else's.
    fn retry_after(&mut self, limits: &QueueLimits, ticket: Ticket, now: Instant) -> Duration {
        let Candidate {
            told,
            network,
            over_limit,
            ..
        } = ticket.seen;
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

    /// Gives a place up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        let was_first = self.is_first(ticket);
        if self.waiting.remove(&ticket).is_some() && was_first {
            self.wake_first();
        }
    }

    /// Learns from a call, and tells whether calls are kept back from now on, or no longer.
    pub(super) fn record(
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
            // Whoever was told to come behind many others need not any more.
            self.reservations = Reservations::default();
        }
        self.drop_excess(limits, now);
        self.wake_first();
        Some(after)
    }

    /// Returns after what time somebody should come back for whom there is no place.
    ///
    /// Retry times are spaced at the call rate, starting when half the queue has drained, so the queue never empties and nobody
    /// comes in a crowd. A network has one slot among those of the others at a time. Clients that came in time and found no
    /// place again get theirs before those that were not there yet. A `crowded` caller gets the next free slot without
    /// reserving it.
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
        // They may be too many to come one by one, but must not come all at once either.
        slot.map_or_else(
            || latest.mul_f64(fastrand::f64().mul_add(0.2, 0.8)),
            |slot| slot - now,
        )
    }

    /// Returns after what time a client should come back whose call WeChat refused.
    pub(super) fn reserve_new(
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

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Says whether calls are kept back.
    pub(super) fn breaker_state(&self, now: Instant) -> BreakerState {
        self.breaker.state(now)
    }

    /// Returns when a call may be made that has so many before it; `None` where nobody can say.
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

    /// Turns away who is too many, or will not be served in time: the last of the network that has most in line.
    fn drop_excess(&mut self, limits: &QueueLimits, now: Instant) {
        while let Some((&ticket, last)) = self.waiting.last() {
            let (deadline, before) = (last.deadline, self.waiting.len() - 1);
            let in_time = match self.breaker.state(now) {
                // Whoever tries it may wait as long as a call can take.
                BreakerState::Probing(Reason::Silence) => false,
                // Answers are on their way.
                BreakerState::Closed if self.is_full() => true,
                BreakerState::Probing(Reason::Minute | Reason::Day | Reason::Busy) => true,
                BreakerState::Closed | BreakerState::HalfOpen(_) | BreakerState::Open(..) => {
                    let due = self.due(limits, before, now);
                    due.is_some_and(|due| due <= deadline)
                }
            };
            // Who is first and can go at once takes no place.
            let capacity = limits.capacity + usize::from(self.may_go(limits, now));
            if in_time && before < capacity {
                return;
            }
            if let Some(waiter) = self.waiting.remove(&ticket) {
                waiter.wake.notify_one();
            }
        }
    }

    fn is_first(&self, ticket: Ticket) -> bool {
        self.waiting
            .first()
            .is_some_and(|(first, _)| *first == ticket)
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

    /// Returns the time between two calls, where no quota is known by how many there were lately.
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
