//! Tests of the queue: who calls when, who is turned away, and what they are told.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

use super::*;

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

    fn join(&mut self, first_seen: Instant) -> Ticket {
        self.join_from(Network::default(), first_seen)
    }

    fn join_from(&mut self, network: Network, first_seen: Instant) -> Ticket {
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

    fn come(&mut self) -> (Ticket, Step) {
        let ticket = self.join(self.now);
        (ticket, self.step(ticket))
    }

    fn step(&mut self, ticket: Ticket) -> Step {
        self.state.step(&self.limits, ticket, self.now)
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
            let ticket = s
                .state
                .join(&s.limits, seen, deadline, Arc::default(), s.now);
            assert_eq!(s.step(ticket), Step::TurnedAway(SECOND * 20));
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
    let (ticket, _) = s.come();
    s.record(CallOutcome::DayQuota, epoch);
    let Step::TurnedAway(after) = s.step(ticket) else {
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
            panic!("there is no ticket");
        };
        assert!(
            after > last && after - last <= SECOND / 32,
            "{last:?} {after:?}"
        );
        last = after;
    }
    for _ in 0..2000 {
        let Step::TurnedAway(after) = s.come().1 else {
            panic!("there is no ticket");
        };
        assert!(after <= LATEST && after > SECOND * 239, "{after:?}");
    }
}

/// A code of the flood, or of a user in it.
#[derive(Clone, Copy)]
struct Sent {
    network: u32,
    first: Instant,
    told: Option<Instant>,
}

/// Lets eight users of different addresses log in, one after the other, while twenty other addresses send made-up codes, new
/// ones and old ones, without caring for what they are told. Returns what each user notices: the longest that it is told to
/// wait, and how long it takes in all.
fn flood(per_minute: u32) -> Vec<(Duration, Duration)> {
    const TICK: Duration = Duration::from_millis(100);
    const MAKE_UP: u32 = 20;
    const USERS: u32 = 8;
    let mut s = Scene::new(per_minute, 1000);
    let start = s.now;
    let mut old: Vec<std::collections::VecDeque<Sent>> = vec![Default::default(); MAKE_UP as usize];
    let mut users: Vec<(Instant, Option<Sent>, Duration)> = (0..USERS)
        .map(|user| (start + SECOND * (60 + user * 5), None, Duration::ZERO))
        .collect();
    let mut waiting: Vec<(Ticket, Sent)> = Vec::new();
    let mut noticed = vec![None; USERS as usize];
    while noticed.iter().any(Option::is_none) {
        s.now += TICK;
        assert!(s.now - start < MINUTE * 20, "they should get in");
        let now = s.now;
        let new = |network| Sent {
            network,
            first: now,
            told: None,
        };
        let mut coming: Vec<Sent> = (0..MAKE_UP).map(new).collect();
        coming.extend(old.iter_mut().filter_map(|old| old.pop_front()));
        for (number, (next, code, _)) in (0..).zip(&mut users) {
            if *next <= now {
                coming.push(code.unwrap_or_else(|| new(MAKE_UP + number)));
                *next = now + MINUTE * 60;
            }
        }
        for sent in coming {
            let seen = Candidate {
                first: sent.first,
                told: sent.told,
                network: network(sent.network),
                over_limit: false,
            };
            let deadline = now + PATIENCE;
            let ticket = s.state.join(&s.limits, seen, deadline, Arc::default(), now);
            waiting.push((ticket, sent));
        }
        let mut moved = true;
        while moved {
            moved = false;
            for (ticket, mut sent) in std::mem::take(&mut waiting) {
                let user = sent.network.checked_sub(MAKE_UP).map(|user| user as usize);
                match s.step(ticket) {
                    Step::Wait(_) => waiting.push((ticket, sent)),
                    Step::Go(epoch) => {
                        s.record(CallOutcome::Answered, epoch);
                        moved = true;
                        if let Some(user) = user {
                            let came = start + SECOND * (60 + user as u32 * 5);
                            noticed[user] = Some((users[user].2, now - came));
                        }
                    }
                    Step::TurnedAway(after) => {
                        // As it is told, in whole seconds.
                        let after = Duration::from_secs(after.as_secs_f64().ceil() as u64);
                        sent.told = Some(now + after);
                        match user {
                            None => old[sent.network as usize].push_back(sent),
                            Some(user) => {
                                let longest = users[user].2.max(after);
                                users[user] = (now + after, Some(sent), longest);
                            }
                        }
                    }
                }
            }
        }
    }
    noticed.into_iter().flatten().collect()
}

#[test]
fn made_up_codes_of_twenty_addresses_push_nobodys_slot_away() {
    for (per_minute, told_at_most, takes_at_most) in [(60, 20, 45), (600, 5, 10)] {
        for (told, took) in flood(per_minute) {
            println!("{per_minute} a minute: told {told:?} at most, in after {took:?}");
            assert!(told <= SECOND * told_at_most, "{told:?}");
            assert!(took <= SECOND * takes_at_most, "{took:?}");
        }
    }
}

/// What a user of the storm is about to do, and when.
#[derive(Clone, Copy)]
struct User {
    next: Option<Instant>,
    first_came: Option<Instant>,
    ticket: Option<Ticket>,
}

/// Lets users come evenly within a minute, who do as they are told until they are served. Returns how long it took in all,
/// by how much somebody was later than those who came before make them, and the most calls in a minute.
fn storm(count: u32, same_code: bool, networks: u32) -> (Duration, Duration, usize) {
    let mut s = Scene::new(2000, 1000);
    let start = s.now;
    let interval = s.limits.pace.unwrap().interval;
    let (mut served, mut latest, mut events) = (Vec::new(), Duration::ZERO, BinaryHeap::new());
    let mut users = Vec::new();
    for user in 0..count as usize {
        let next = Some(start + MINUTE * user as u32 / count);
        events.push(Reverse((next, user)));
        users.push(User {
            next,
            first_came: None,
            ticket: None,
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
        let ticket = users[at].ticket.take();
        let of = network(at as u32 % networks);
        let ticket = ticket.unwrap_or_else(|| s.join_from(of, first_seen));
        let next = match s.step(ticket) {
            Step::Go(epoch) => {
                served.push(now);
                let before = if same_code { at as u32 } else { count };
                latest = latest.max(now.saturating_duration_since(start + interval * before));
                s.record(CallOutcome::Answered, epoch);
                let first = s.state.waiting.first().map(|(ticket, _)| *ticket);
                let woken = first.map(|first| users.iter().position(|u| u.ticket == Some(first)));
                if let Some(Some(woken)) = woken {
                    users[woken].next = Some(now);
                    events.push(Reverse((Some(now), woken)));
                }
                None
            }
            Step::Wait(until) => {
                users[at].ticket = Some(ticket);
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
    let scenes = [true, false].map(|same_code| [10_000, 100, 1].map(|from| (same_code, from)));
    for (same_code, networks) in scenes.into_iter().flatten() {
        let (whole, late, fullest) = storm(10_000, same_code, networks);
        println!(
            "same code {same_code}, {networks} networks: {whole:?}, {late:?} late at most, fullest minute {fullest}"
        );
        // 95 % of the quota is used, and 90 % where users share networks: the last of these come one by one.
        let used = if networks == 100 { 90 } else { 95 };
        assert!(whole < MINUTE * 5 * 100 / used, "{whole:?}");
        // Who has to make room for somebody is told so late here: when their time in line is over. Where users share networks,
        // turns are not in the order in which they came.
        let most = if networks == 100 { 30 } else { 20 };
        assert!(late < SECOND * most, "{late:?}");
        assert!((1900..=2000).contains(&fullest), "{fullest}");
    }
}
