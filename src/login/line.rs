//! The line before WeChat, of one app: whoever came first calls first, and who cannot wait is told when to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::{Age, Breaker, Door, Lesson, Reason};
use super::quota::{Bucket, Pace};

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

/// The place of somebody in line: by when the code was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    first_seen: Instant,
    number: u64,
    /// When they were told to come back, where they were turned away before.
    told: Option<Instant>,
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
    waiting: BTreeMap<Place, Waiter>,
    number: u64,
    under_way: usize,
    bucket: Bucket,
    breaker: Breaker,
    /// When the last of those who were turned away is to come.
    promised: Option<Instant>,
    /// The same for those who came when told, and found no place again.
    promised_again: Option<Instant>,
    minute: Option<(Instant, u32)>,
    /// How many calls the minute before had.
    minute_before: u32,
}

impl Line {
    /// Takes a place. Who is last and cannot be served in time loses theirs.
    pub(super) fn stand(
        &mut self,
        terms: &Terms,
        (first_seen, told): (Instant, Option<Instant>),
        deadline: Instant,
        called: Arc<Notify>,
        now: Instant,
    ) -> Place {
        self.number += 1;
        let place = Place {
            first_seen,
            number: self.number,
            told,
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
        let is_first = self.waiting.keys().next() == Some(&place);
        if is_first {
            let due = self.due(terms, 0, now);
            if due.is_some_and(|due| due <= now) {
                self.leave(place);
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
        match place.told {
            Some(told) if told > now => told - now,
            told => self.promise(terms, told.is_some(), now),
        }
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, place: Place) {
        let was_first = self.waiting.keys().next() == Some(&place);
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
            (self.promised, self.promised_again) = (None, None);
        }
        self.thin(terms, now);
        self.call_first();
        Some(after)
    }

    /// Returns after what time somebody should come back for whom there is no place.
    ///
    /// They come one behind the other at the pace of the calls, from when half the line is gone: so who comes finds a few
    /// before them, no call that could be made is not, and nobody comes in a crowd.
    /// Who finds no place `again` comes before all who were not there yet, instead of behind them.
    pub(super) fn promise(&mut self, terms: &Terms, again: bool, now: Instant) -> Duration {
        let interval = self.interval(terms, now);
        let half = u32::try_from(self.waiting.len() / 2).unwrap_or(u32::MAX);
        let opens = match self.breaker.door(now) {
            Door::Shut(until, _) => until,
            Door::Open | Door::Ajar(_) | Door::Tried(_) => now,
        };
        let earliest = opens + interval.saturating_mul(half).min(LATEST);
        let promised = if again && self.breaker.door(now) == Door::Open {
            &mut self.promised_again
        } else {
            &mut self.promised
        };
        let last = promised.unwrap_or(earliest).max(earliest);
        let next = last + interval;
        let latest = match terms.pace {
            Some(_) => LATEST,
            None => LATEST_WITHOUT_QUOTA.max(earliest - now).min(LATEST),
        };
        if next - now > latest {
            // They are too many to come one by one, but must not come all at once either.
            return latest.mul_f64(fastrand::f64().mul_add(0.2, 0.8));
        }
        *promised = Some(next);
        next - now
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

    /// Turns away from the end of the line who is too many, or will not be served in time.
    fn thin(&mut self, terms: &Terms, now: Instant) {
        while let Some(last) = self.waiting.last_entry() {
            let (deadline, before) = (last.get().deadline, self.waiting.len() - 1);
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
            if let Some((_, waiter)) = self.waiting.pop_last() {
                waiter.called.notify_one();
            }
        }
    }

    fn is_full(&self) -> bool {
        self.under_way >= MOST_UNDER_WAY
    }

    fn may_go(&self, terms: &Terms, now: Instant) -> bool {
        self.due(terms, 0, now).is_some_and(|due| due <= now)
    }

    fn call_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
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
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::num::NonZeroU32;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(5);

    fn terms(per_minute: u32, places: usize) -> Terms {
        Terms {
            pace: NonZeroU32::new(per_minute).map(Pace::new),
            places,
        }
    }

    struct Scene {
        line: Line,
        terms: Terms,
        now: Instant,
    }

    impl Scene {
        fn new(per_minute: u32, places: usize) -> Self {
            Self {
                line: Line::default(),
                terms: terms(per_minute, places),
                now: Instant::now(),
            }
        }

        fn stand(&mut self, first_seen: Instant) -> Place {
            let deadline = self.now + PATIENCE;
            let seen = (first_seen, (first_seen < self.now).then_some(self.now));
            self.line
                .stand(&self.terms, seen, deadline, Arc::default(), self.now)
        }

        fn come(&mut self) -> (Place, Step) {
            let place = self.stand(self.now);
            (place, self.step(place))
        }

        fn step(&mut self, place: Place) -> Step {
            self.line.step(&self.terms, place, self.now)
        }

        fn age(&mut self) -> Age {
            let (_, step) = self.come();
            match step {
                Step::Go(age) => age,
                other @ (Step::Wait(_) | Step::TurnedAway(_)) => panic!("{other:?}"),
            }
        }

        fn learn(&mut self, lesson: Lesson, age: Age) {
            self.line.learn(&self.terms, lesson, age, self.now, 0);
        }
    }

    fn waits(step: &Step) -> bool {
        matches!(step, Step::Wait(_))
    }

    #[test]
    fn who_comes_before_their_time_moves_nobody_elses() {
        for shut in [false, true] {
            let mut s = Scene::new(60, 0);
            let age = s.age();
            if shut {
                s.learn(Lesson::Day, age);
            }
            let told = s.now + SECOND * 20;
            for _ in 0..100 {
                let seen = (s.now, Some(told));
                let deadline = s.now + PATIENCE;
                let place = s
                    .line
                    .stand(&s.terms, seen, deadline, Arc::default(), s.now);
                assert_eq!(s.step(place), Step::TurnedAway(SECOND * 20));
            }
            assert_eq!((s.line.promised, s.line.promised_again), (None, None));
        }
    }

    #[test]
    fn so_many_calls_and_no_more_are_under_way_at_a_time() {
        let mut s = Scene::new(0, 1000);
        let ages: Vec<Age> = (0..MOST_UNDER_WAY).map(|_| s.age()).collect();
        let (first, step) = s.come();
        assert!(waits(&step));
        let (second, step) = s.come();
        assert!(waits(&step));
        s.learn(Lesson::Answered, ages[0]);
        assert!(matches!(s.step(first), Step::Go(_)));
        assert!(waits(&s.step(second)));
        s.now += PATIENCE;
        assert!(matches!(s.step(second), Step::TurnedAway(_)));
    }

    #[test]
    fn without_a_quota_everybody_goes_at_once() {
        let mut s = Scene::new(0, 0);
        for _ in 0..MOST_UNDER_WAY {
            s.age();
        }
    }

    #[test]
    fn whoever_came_first_goes_first_also_when_they_were_turned_away() {
        let mut s = Scene::new(60, 2);
        s.age();
        let early = s.now;
        s.now += Duration::from_millis(10);
        let (one, step) = s.come();
        assert!(waits(&step));
        s.now += Duration::from_millis(10);
        let (two, step) = s.come();
        assert!(waits(&step));
        s.now += Duration::from_millis(10);
        let (_, step) = s.come();
        assert!(matches!(step, Step::TurnedAway(_)), "{step:?}");
        let back = s.stand(early);
        assert!(matches!(s.step(two), Step::TurnedAway(_)));
        s.now += SECOND * 2;
        assert!(waits(&s.step(one)));
        assert!(matches!(s.step(back), Step::Go(_)));
    }

    #[test]
    fn who_leaves_makes_room() {
        let mut s = Scene::new(60, 1);
        s.age();
        let (one, _) = s.come();
        s.line.leave(one);
        let (_, step) = s.come();
        assert!(waits(&step));
    }

    #[test]
    fn nobody_waits_who_cannot_be_served_in_time() {
        let mut s = Scene::new(60, 1000);
        s.age();
        let waiting = (0..20).filter(|_| waits(&s.come().1)).count();
        assert_eq!(waiting, 4);
    }

    #[test]
    fn a_door_that_shuts_turns_away_who_would_wait_in_vain() {
        let mut s = Scene::new(60, 1000);
        let age = s.age();
        let (place, _) = s.come();
        s.learn(Lesson::Day, age);
        let Step::TurnedAway(after) = s.step(place) else {
            panic!("it should be turned away");
        };
        assert!(after > SECOND, "{after:?}");
    }

    #[test]
    fn while_one_call_tries_whether_wechat_answers_nobody_waits_for_it() {
        let mut s = Scene::new(0, 1000);
        for _ in 0..5 {
            let age = s.age();
            s.learn(Lesson::Silence, age);
        }
        s.now += SECOND;
        let age = s.age();
        assert!(matches!(s.come().1, Step::TurnedAway(_)));
        s.learn(Lesson::Answered, age);
        s.age();
    }

    #[test]
    fn while_one_call_tries_a_quota_the_others_wait_for_its_answer() {
        let mut s = Scene::new(0, 1000);
        let age = s.age();
        s.learn(Lesson::Minute, age);
        let (early, step) = s.come();
        assert!(waits(&step));
        s.now += SECOND;
        let Step::Go(age) = s.step(early) else {
            panic!("it should go");
        };
        let (late, step) = s.come();
        assert!(waits(&step));
        s.learn(Lesson::Answered, age);
        assert!(matches!(s.step(late), Step::Go(_)));
    }

    #[test]
    fn what_was_promised_in_an_outage_is_forgotten_with_it() {
        let mut s = Scene::new(0, 1000);
        for _ in 0..5 {
            let age = s.age();
            s.learn(Lesson::Silence, age);
        }
        s.now += SECOND;
        let age = s.age();
        for _ in 0..2000 {
            let Step::TurnedAway(after) = s.come().1 else {
                panic!("nobody waits for a call into silence");
            };
            assert!(after <= LATEST_WITHOUT_QUOTA, "{after:?}");
        }
        s.learn(Lesson::Answered, age);
        let again = s.line.promise(&s.terms, false, s.now);
        assert!(again <= SECOND, "{again:?}");
    }

    #[test]
    fn those_who_are_turned_away_come_back_one_by_one() {
        let mut s = Scene::new(2000, 0);
        let mut last = loop {
            match s.come().1 {
                Step::TurnedAway(after) => break after,
                Step::Go(_) | Step::Wait(_) => {}
            }
        };
        assert!(last <= SECOND / 32);
        for _ in 0..9000 {
            let Step::TurnedAway(after) = s.come().1 else {
                panic!("there is no place");
            };
            assert!(
                after > last && after - last <= SECOND / 32,
                "{last:?} {after:?}"
            );
            last = after;
        }
        for _ in 0..2000 {
            let Step::TurnedAway(after) = s.come().1 else {
                panic!("there is no place");
            };
            assert!(after <= LATEST && after > SECOND * 239, "{after:?}");
        }
    }

    /// What a user of the storm is about to do, and when.
    #[derive(Clone, Copy)]
    struct User {
        next: Option<Instant>,
        first_came: Option<Instant>,
        place: Option<Place>,
    }

    /// Lets users come evenly within a minute, who do as they are told until they are served. Returns how long it took in all,
    /// by how much somebody was later than those who came before make them, and the most calls in a minute.
    fn storm(count: u32, same_code: bool) -> (Duration, Duration, usize) {
        let mut s = Scene::new(2000, 1000);
        let start = s.now;
        let interval = s.terms.pace.unwrap().interval;
        let (mut served, mut latest, mut events) = (Vec::new(), Duration::ZERO, BinaryHeap::new());
        let mut users = Vec::new();
        for user in 0..count as usize {
            let next = Some(start + MINUTE * user as u32 / count);
            events.push(Reverse((next, user)));
            users.push(User {
                next,
                first_came: None,
                place: None,
            });
        }
        while let Some(Reverse((next, at))) = events.pop() {
            // Whoever was called meanwhile has another time.
            let (Some(now), true) = (next, next == users[at].next) else {
                continue;
            };
            s.now = now;
            let first = *users[at].first_came.get_or_insert(now);
            let first_seen = if same_code { first } else { now };
            let place = users[at].place.take();
            let place = place.unwrap_or_else(|| s.stand(first_seen));
            let next = match s.step(place) {
                Step::Go(age) => {
                    served.push(now);
                    let before = if same_code { at as u32 } else { count };
                    latest = latest.max(now.saturating_duration_since(start + interval * before));
                    s.learn(Lesson::Answered, age);
                    let called = s.line.waiting.keys().next().copied();
                    let called =
                        called.map(|called| users.iter().position(|u| u.place == Some(called)));
                    if let Some(Some(called)) = called {
                        users[called].next = Some(now);
                        events.push(Reverse((Some(now), called)));
                    }
                    None
                }
                Step::Wait(until) => {
                    users[at].place = Some(place);
                    Some(until.max(now + SECOND / 1000))
                }
                Step::TurnedAway(after) => {
                    let secs = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                    Some(now + Duration::from_secs(secs.max(1)))
                }
            };
            users[at].next = next;
            if next.is_some() {
                events.push(Reverse((next, at)));
            }
        }
        assert_eq!(served.len(), count as usize);
        let minute = |first: &Instant| {
            let within = served
                .iter()
                .filter(|call| *call >= first && **call - *first < MINUTE);
            within.count()
        };
        let fullest = served.iter().step_by(50).map(minute).max();
        (*served.last().unwrap() - start, latest, fullest.unwrap())
    }

    #[test]
    fn ten_thousand_users_are_served_in_five_minutes_whether_they_keep_their_code_or_not() {
        for same_code in [true, false] {
            let (whole, late, fullest) = storm(10_000, same_code);
            println!(
                "same code {same_code}: {whole:?}, {late:?} late at most, fullest minute {fullest}"
            );
            // 95 % of the quota is used.
            assert!(whole < MINUTE * 5 * 100 / 95, "{whole:?}");
            // Who has to make room for somebody is told so late here: when their time in line is over.
            assert!(late < SECOND * 20, "{late:?}");
            assert!((1900..=2000).contains(&fullest), "{fullest}");
        }
    }
}
