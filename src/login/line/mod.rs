//! The queue before WeChat, of one app: networks take turns, and clients that cannot wait get a time to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::fair::FairQueue;
use self::slots::{Asker, Slots};
use super::breaker::{Age, Breaker, Door, Lesson, Reason};
use super::caller::Network;
use super::quota::{Bucket, Pace};

mod fair;
mod slots;

/// A code lives for five minutes: who would come later than that needs another one in any case.
const LATEST: Duration = Duration::from_secs(300);

/// What is taken for the quota where nobody configured one and there were fewer calls lately.
const FEWEST_CALLS: u32 = 600;
/// Without a quota only trouble turns anybody away, and it may be over at any time.
const LATEST_WITHOUT_QUOTA: Duration = Duration::from_secs(60);

const MINUTE: Duration = Duration::from_secs(60);

/// The most calls that are under way at a time: so many codes at most are lost when WeChat falls silent.
const MOST_UNDER_WAY: usize = 256;

/// How a line is kept; a reload may change it at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// `None` where there is no quota of ours.
    pub(super) pace: Option<Pace>,
    /// The most that wait at a time.
    pub(super) places: usize,
}

/// What is known of a code that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) first: Instant,
    /// When it was told to come back, where it was turned away before.
    pub(super) told: Option<Instant>,
    /// Where it comes from.
    pub(super) network: Network,
    /// Whether what it is told shall move nobody else's time.
    pub(super) crowded: bool,
}

/// The place of somebody in line: among those of one network by when the code was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    first_seen: Instant,
    number: u64,
    seen: Seen,
}

impl Place {
    fn network(&self) -> Network {
        self.seen.network
    }
}

/// Somebody in line.
#[derive(Debug)]
struct Waiter {
    deadline: Instant,
    called: Arc<Notify>,
}

/// What somebody in line is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the call.
    Go(Age),
    /// Wait until then, or until called.
    Wait(Instant),
    /// Come back after this time.
    TurnedAway(Duration),
}

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: FairQueue<Waiter>,
    number: u64,
    under_way: usize,
    bucket: Bucket,
    breaker: Breaker,
    slots: Slots,
    minute: Option<(Instant, u32)>,
    /// How many calls the minute before had.
    minute_before: u32,
}

impl Line {
    /// Takes a place. Who is last and cannot be served in time loses theirs.
    pub(super) fn stand(
        &mut self,
        terms: &Terms,
        seen: Seen,
        deadline: Instant,
        called: Arc<Notify>,
        now: Instant,
    ) -> Place {
        self.number += 1;
        let place = Place {
            first_seen: seen.first,
            number: self.number,
            seen,
        };
        self.waiting.insert(place, Waiter { deadline, called });
        self.thin(terms, now);
        place
    }

    /// Says what somebody in line is to do now.
    pub(super) fn step(&mut self, terms: &Terms, place: Place, now: Instant) -> Step {
        let Some(waiter) = self.waiting.get(&place) else {
            return Step::TurnedAway(self.turn_away(terms, place, now));
        };
        let deadline = waiter.deadline;
        if self.is_first(place) {
            let due = self.due(terms, 0, now);
            if due.is_some_and(|due| due <= now) {
                self.waiting.serve(&place, now);
                self.call_first();
                self.count(terms, now);
                self.under_way += 1;
                return Step::Go(self.breaker.begin(now));
            }
            if now < deadline {
                return Step::Wait(due.map_or(deadline, |due| due.min(deadline)));
            }
        } else if now < deadline {
            return Step::Wait(deadline);
        }
        self.leave(place);
        Step::TurnedAway(self.turn_away(terms, place, now))
    }

    /// Returns after what time somebody should come back who found no place; who comes before their time is told that time again,
    /// and moves nobody else's.
    fn turn_away(&mut self, terms: &Terms, place: Place, now: Instant) -> Duration {
        let Seen {
            told,
            network,
            crowded,
            ..
        } = place.seen;
        let asker = Asker {
            network,
            again: told.is_some(),
            crowded,
        };
        match told {
            Some(told) if told > now => told - now,
            _ => self.promise(terms, asker, now),
        }
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, place: Place) {
        let was_first = self.is_first(place);
        if self.waiting.remove(&place).is_some() && was_first {
            self.call_first();
        }
    }

    /// Learns from a call, and tells whether calls are kept back from now on, or no longer.
    pub(super) fn learn(
        &mut self,
        terms: &Terms,
        lesson: Lesson,
        age: Age,
        now: Instant,
        unix_ms: u64,
    ) -> Option<Door> {
        let was_full = self.is_full();
        self.under_way = self.under_way.saturating_sub(1);
        let before = self.breaker.door(now);
        self.breaker.learn(lesson, age, now, unix_ms);
        let after = self.breaker.door(now);
        if before == after {
            if was_full {
                self.call_first();
            }
            return None;
        }
        if after == Door::Open {
            // Whoever was told to come behind many others need not any more.
            self.slots = Slots::default();
        }
        self.thin(terms, now);
        self.call_first();
        Some(after)
    }

    /// Returns after what time somebody should come back for whom there is no place.
    ///
    /// Retry times are spaced at the call rate, starting when half the queue has drained, so the queue never empties and nobody
    /// comes in a crowd. A network has one slot among those of the others at a time. Clients that came in time and found no
    /// place again get theirs before those that were not there yet. A `crowded` caller gets the next free slot without
    /// reserving it.
    fn promise(&mut self, terms: &Terms, asker: Asker, now: Instant) -> Duration {
        let interval = self.interval(terms, now);
        let half = u32::try_from(self.waiting.len() / 2).unwrap_or(u32::MAX);
        let opens = match self.breaker.door(now) {
            Door::Shut(until, _) => until,
            Door::Open | Door::Ajar(_) | Door::Tried(_) => now,
        };
        let earliest = opens + interval.saturating_mul(half).min(LATEST);
        let latest = match terms.pace {
            Some(_) => LATEST,
            None => LATEST_WITHOUT_QUOTA.max(earliest - now).min(LATEST),
        };
        let asker = Asker {
            again: asker.again && self.breaker.door(now) == Door::Open,
            ..asker
        };
        let slot = self
            .slots
            .next(asker, earliest, interval, now + latest, now);
        // They may be too many to come one by one, but must not come all at once either.
        slot.map_or_else(
            || latest.mul_f64(fastrand::f64().mul_add(0.2, 0.8)),
            |slot| slot - now,
        )
    }

    /// Returns after what time a client should come back whose call WeChat refused.
    pub(super) fn promise_new(
        &mut self,
        terms: &Terms,
        network: Network,
        crowded: bool,
        now: Instant,
    ) -> Duration {
        let asker = Asker {
            network,
            again: false,
            crowded,
        };
        self.promise(terms, asker, now)
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Says whether calls are kept back.
    pub(super) fn door(&self, now: Instant) -> Door {
        self.breaker.door(now)
    }

    /// Returns when a call may be made that has so many before it; `None` where nobody can say.
    fn due(&self, terms: &Terms, before: usize, now: Instant) -> Option<Instant> {
        if self.is_full() {
            return None;
        }
        let from = match self.breaker.door(now) {
            Door::Open | Door::Ajar(_) => now,
            Door::Shut(until, _) => until,
            Door::Tried(_) => return None,
        };
        let paced = terms.pace.map(|pace| self.bucket.due(pace, before, now));
        Some(paced.map_or(from, |due| due.max(from)))
    }

    /// Turns away who is too many, or will not be served in time: the last of the network that has most in line.
    fn thin(&mut self, terms: &Terms, now: Instant) {
        while let Some((&place, last)) = self.waiting.last() {
            let (deadline, before) = (last.deadline, self.waiting.len() - 1);
            let in_time = match self.breaker.door(now) {
                // Whoever tries it may wait as long as a call can take.
                Door::Tried(Reason::Silence) => false,
                // Answers are on their way.
                Door::Open if self.is_full() => true,
                Door::Tried(Reason::Minute | Reason::Day | Reason::Busy) => true,
                Door::Open | Door::Ajar(_) | Door::Shut(..) => {
                    let due = self.due(terms, before, now);
                    due.is_some_and(|due| due <= deadline)
                }
            };
            // Who is first and can go at once takes no place.
            let places = terms.places + usize::from(self.may_go(terms, now));
            if in_time && before < places {
                return;
            }
            if let Some(waiter) = self.waiting.remove(&place) {
                waiter.called.notify_one();
            }
        }
    }

    fn is_first(&self, place: Place) -> bool {
        self.waiting
            .first()
            .is_some_and(|(first, _)| *first == place)
    }

    fn is_full(&self) -> bool {
        self.under_way >= MOST_UNDER_WAY
    }

    fn may_go(&self, terms: &Terms, now: Instant) -> bool {
        self.due(terms, 0, now).is_some_and(|due| due <= now)
    }

    fn call_first(&self) {
        if let Some((_, first)) = self.waiting.first() {
            first.called.notify_one();
        }
    }

    fn count(&mut self, terms: &Terms, now: Instant) {
        if let Some(pace) = terms.pace {
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
    fn interval(&self, terms: &Terms, now: Instant) -> Duration {
        if let Some(pace) = terms.pace {
            return pace.interval;
        }
        let lately = self.minute.filter(|(began, _)| now - *began < MINUTE * 2);
        let calls = lately.map_or(0, |(_, calls)| calls.max(self.minute_before));
        MINUTE / calls.max(FEWEST_CALLS)
    }
}

#[cfg(test)]
mod tests;
