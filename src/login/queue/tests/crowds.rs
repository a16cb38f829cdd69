//! Tests of the queue under crowds: a flood of made-up codes, and a storm of users.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

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
    let mut waiting: Vec<(QueuePosition, Sent)> = Vec::new();
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
            let position = s.state.join(&s.limits, seen, deadline, Arc::default(), now);
            waiting.push((position, sent));
        }
        let mut moved = true;
        while moved {
            moved = false;
            for (position, mut sent) in std::mem::take(&mut waiting) {
                let user = sent.network.checked_sub(MAKE_UP).map(|user| user as usize);
                match s.step(position) {
                    Step::Wait(_) => waiting.push((position, sent)),
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
    position: Option<QueuePosition>,
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
            position: None,
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
        let position = users[at].position.take();
        let of = network(at as u32 % networks);
        let position = position.unwrap_or_else(|| s.join_from(of, first_seen));
        let next = match s.step(position) {
            Step::Go(epoch) => {
                served.push(now);
                let before = if same_code { at as u32 } else { count };
                latest = latest.max(now.saturating_duration_since(start + interval * before));
                s.record(CallOutcome::Answered, epoch);
                let first = s.state.waiting.first().map(|(position, _)| *position);
                let woken = first.map(|first| users.iter().position(|u| u.position == Some(first)));
                if let Some(Some(woken)) = woken {
                    users[woken].next = Some(now);
                    events.push(Reverse((Some(now), woken)));
                }
                None
            }
            Step::Wait(until) => {
                users[at].position = Some(position);
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
