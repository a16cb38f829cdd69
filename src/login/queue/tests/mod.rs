//! Tests of the queue: who calls when, who is turned away, and what they are told.

use std::num::NonZeroU32;

use super::*;

mod crowds;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

fn limits(per_minute: u32, capacity: usize) -> QueueLimits {
    QueueLimits {
        pace: NonZeroU32::new(per_minute).map(Pace::new),
        capacity,
    }
}

struct Scene {
    state: QueueState,
    limits: QueueLimits,
    now: Instant,
}

impl Scene {
    fn new(per_minute: u32, capacity: usize) -> Self {
        Self {
            state: QueueState::default(),
            limits: limits(per_minute, capacity),
            now: Instant::now(),
        }
    }

    fn join(&mut self, first_seen: Instant) -> QueuePosition {
        self.join_from(Network::default(), first_seen)
    }

    fn join_from(&mut self, network: Network, first_seen: Instant) -> QueuePosition {
        let deadline = self.now + PATIENCE;
        let seen = Candidate {
            first: first_seen,
            told: (first_seen < self.now).then_some(self.now),
            network,
            over_limit: false,
        };
        self.state
            .join(&self.limits, seen, deadline, Arc::default(), self.now)
    }

    fn reserve(&mut self, over_limit: bool) -> Duration {
        self.state
            .reserve_new(&self.limits, Network::default(), over_limit, self.now)
    }

    fn come(&mut self) -> (QueuePosition, Step) {
        let position = self.join(self.now);
        (position, self.step(position))
    }

    fn step(&mut self, position: QueuePosition) -> Step {
        self.state.step(&self.limits, position, self.now)
    }

    fn epoch(&mut self) -> Epoch {
        let (_, step) = self.come();
        match step {
            Step::Go(epoch) => epoch,
            other @ (Step::Wait(_) | Step::TurnedAway(_)) => panic!("{other:?}"),
        }
    }

    fn record(&mut self, outcome: CallOutcome, epoch: Epoch) {
        self.state.record(&self.limits, outcome, epoch, self.now, 0);
    }
}

fn network(number: u32) -> Network {
    Network::of(Some(std::net::IpAddr::V4(number.into())))
}

fn waits(step: &Step) -> bool {
    matches!(step, Step::Wait(_))
}

#[test]
fn who_comes_before_their_time_moves_nobody_elses() {
    for shut in [false, true] {
        let mut s = Scene::new(60, 0);
        let epoch = s.epoch();
        if shut {
            s.record(CallOutcome::DayQuota, epoch);
        }
        let told = s.now + SECOND * 20;
        for _ in 0..100 {
            let seen = Candidate {
                first: s.now,
                told: Some(told),
                network: Network::default(),
                over_limit: false,
            };
            let deadline = s.now + PATIENCE;
            let position = s
                .state
                .join(&s.limits, seen, deadline, Arc::default(), s.now);
            assert_eq!(s.step(position), Step::TurnedAway(SECOND * 20));
        }
        assert!(s.state.reservations.is_empty());
    }
}

#[test]
fn who_is_over_the_limit_moves_nobodys_time() {
    let mut s = Scene::new(60, 0);
    s.epoch();
    let before = s.reserve(false);
    for _ in 0..1000 {
        let told = s.state.reserve_new(&s.limits, network(1), true, s.now);
        assert!(told > before && told <= before + SECOND * 2, "{told:?}");
    }
    let next = s.reserve(false);
    assert!(next <= before + SECOND * 2, "{next:?}");
}

#[test]
fn so_many_calls_and_no_more_are_under_way_at_a_time() {
    let mut s = Scene::new(0, 1000);
    let ages: Vec<Epoch> = (0..MAX_CALLS_IN_FLIGHT).map(|_| s.epoch()).collect();
    let (first, step) = s.come();
    assert!(waits(&step));
    let (second, step) = s.come();
    assert!(waits(&step));
    s.record(CallOutcome::Answered, ages[0]);
    assert!(matches!(s.step(first), Step::Go(_)));
    assert!(waits(&s.step(second)));
    s.now += PATIENCE;
    assert!(matches!(s.step(second), Step::TurnedAway(_)));
}

#[test]
fn without_a_quota_everybody_goes_at_once() {
    let mut s = Scene::new(0, 0);
    for _ in 0..MAX_CALLS_IN_FLIGHT {
        s.epoch();
    }
}

#[test]
fn whoever_came_first_goes_first_also_when_they_were_turned_away() {
    let mut s = Scene::new(60, 2);
    s.epoch();
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
    let back = s.join(early);
    assert!(matches!(s.step(two), Step::TurnedAway(_)));
    s.now += SECOND * 2;
    assert!(waits(&s.step(one)));
    assert!(matches!(s.step(back), Step::Go(_)));
}

#[test]
fn who_leaves_makes_room() {
    let mut s = Scene::new(60, 1);
    s.epoch();
    let (one, _) = s.come();
    s.state.leave(one);
    let (_, step) = s.come();
    assert!(waits(&step));
}

#[test]
fn nobody_waits_who_cannot_be_served_in_time() {
    let mut s = Scene::new(60, 1000);
    s.epoch();
    let waiting = (0..20).filter(|_| waits(&s.come().1)).count();
    assert_eq!(waiting, 4);
}

#[test]
fn an_open_breaker_turns_away_who_would_wait_in_vain() {
    let mut s = Scene::new(60, 1000);
    let epoch = s.epoch();
    let (position, _) = s.come();
    s.record(CallOutcome::DayQuota, epoch);
    let Step::TurnedAway(after) = s.step(position) else {
        panic!("it should be turned away");
    };
    assert!(after > SECOND, "{after:?}");
}

#[test]
fn while_one_call_tries_whether_wechat_answers_nobody_waits_for_it() {
    let mut s = Scene::new(0, 1000);
    for _ in 0..5 {
        let epoch = s.epoch();
        s.record(CallOutcome::NoAnswer, epoch);
    }
    s.now += SECOND;
    let epoch = s.epoch();
    assert!(matches!(s.come().1, Step::TurnedAway(_)));
    s.record(CallOutcome::Answered, epoch);
    s.epoch();
}

#[test]
fn while_one_call_tries_a_quota_the_others_wait_for_its_answer() {
    let mut s = Scene::new(0, 1000);
    let epoch = s.epoch();
    s.record(CallOutcome::MinuteQuota, epoch);
    let (early, step) = s.come();
    assert!(waits(&step));
    s.now += SECOND;
    let Step::Go(epoch) = s.step(early) else {
        panic!("it should go");
    };
    let (late, step) = s.come();
    assert!(waits(&step));
    s.record(CallOutcome::Answered, epoch);
    assert!(matches!(s.step(late), Step::Go(_)));
}

#[test]
fn what_was_promised_in_an_outage_is_forgotten_with_it() {
    let mut s = Scene::new(0, 1000);
    for _ in 0..5 {
        let epoch = s.epoch();
        s.record(CallOutcome::NoAnswer, epoch);
    }
    s.now += SECOND;
    let epoch = s.epoch();
    for _ in 0..2000 {
        let Step::TurnedAway(after) = s.come().1 else {
            panic!("nobody waits for a call into silence");
        };
        assert!(after <= LATEST_WITHOUT_QUOTA, "{after:?}");
    }
    s.record(CallOutcome::Answered, epoch);
    let again = s.reserve(false);
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
            panic!("it is not turned away");
        };
        assert!(
            after > last && after - last <= SECOND / 32,
            "{last:?} {after:?}"
        );
        last = after;
    }
    for _ in 0..2000 {
        let Step::TurnedAway(after) = s.come().1 else {
            panic!("it is not turned away");
        };
        assert!(after <= LATEST && after > SECOND * 239, "{after:?}");
    }
}
