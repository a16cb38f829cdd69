//! Keeps calls back that would be in vain: while a quota is used up, and while WeChat does not answer.

use std::time::Duration;

use tokio::time::Instant;

/// After so many calls in a row without an answer, nobody is sent there for a while.
const UNANSWERED: u32 = 5;
/// The same where WeChat was too busy for some or all of them: three logins with all their tries.
const IN_VAIN: u32 = 9;
/// After so many calls in a row that were over the minute's quota, the pauses between them grow.
const OVER_QUOTA: u32 = 3;
/// For how long, the first time; each time after that for twice as long.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The day's quota can be cleared by hand, so that it is tried now and then.
const DAY_TRIES: Duration = Duration::from_secs(600);
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// WeChat's days begin in Beijing, eight hours before those of the Unix epoch.
const BEIJING_MS: u64 = 8 * 60 * MINUTE_MS;
/// WeChat's clock may be a little behind.
const SLACK_MS: u64 = 500;

/// Why calls are kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reason {
    /// This minute's quota is used up, of the app or only of one user.
    Minute,
    /// This day's quota is used up.
    Day,
    /// WeChat gives no answer of use.
    Silence,
    /// WeChat answers that it is too busy, again and again.
    Busy,
}

impl Reason {
    pub(super) const ALL: [Self; 4] = [Self::Minute, Self::Day, Self::Silence, Self::Busy];

    /// Returns the word under which it is counted.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Silence => "silence",
            Self::Busy => "busy",
        }
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// WeChat answered, whatever it was.
    Answered,
    /// WeChat is too busy.
    Busy,
    /// The minute's quota is used up.
    Minute,
    /// The day's quota is used up.
    Day,
    /// Nothing came back, or nothing of WeChat's.
    Silence,
    /// The call was not made.
    NotMade,
}

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// One call may be made, whose outcome decides.
    Ajar(Reason),
    /// That call is on its way.
    Tried(Reason),
    /// Nothing until then.
    Shut(Instant, Reason),
}

/// Marks a call, so that one that began before the last change teaches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age(u64);

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    unanswered: u32,
    /// The same with those that WeChat was too busy for.
    in_vain: u32,
    /// How often it was opened for these since the last answer of use.
    outages: u32,
    /// How many calls were over the minute's quota since then.
    over_quota: u32,
    age: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant, reason: Reason },
    HalfOpen(Reason),
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            unanswered: 0,
            in_vain: 0,
            outages: 0,
            over_quota: 0,
            age: 0,
        }
    }
}

impl Breaker {
    pub(super) fn door(&self, now: Instant) -> Door {
        match self.state {
            State::Closed => Door::Open,
            State::Open { until, reason } if now < until => Door::Shut(until, reason),
            State::Open { reason, .. } => Door::Ajar(reason),
            State::HalfOpen(reason) => Door::Tried(reason),
        }
    }

    /// Takes notice of a call that begins, which the door must permit.
    pub(super) fn begin(&mut self, now: Instant) -> Age {
        if let Door::Ajar(reason) = self.door(now) {
            self.change(State::HalfOpen(reason));
        }
        Age(self.age)
    }

    /// Learns from a call; `unix_ms` is the time of day.
    pub(super) fn learn(&mut self, lesson: Lesson, age: Age, now: Instant, unix_ms: u64) {
        if age != Age(self.age) {
            return;
        }
        let tried = match self.state {
            State::HalfOpen(reason) => Some(reason),
            State::Closed | State::Open { .. } => None,
        };
        match (lesson, tried) {
            (Lesson::Answered, _) => {
                if tried.is_some() {
                    self.change(State::Closed);
                }
                (self.unanswered, self.in_vain) = (0, 0);
                (self.outages, self.over_quota) = (0, 0);
            }
            // It may be the quota of one user, who must not keep the others out: somebody else is tried.
            (Lesson::Minute, _) => {
                let growing = self.over_quota.saturating_sub(OVER_QUOTA - 1).min(8);
                self.over_quota = self.over_quota.saturating_add(1);
                let pause = SHORTEST * 2_u32.pow(growing);
                self.open(now + pause.min(minute_left(unix_ms)), Reason::Minute);
            }
            (Lesson::Day, _) => {
                self.open(now + day_left(unix_ms).min(DAY_TRIES), Reason::Day);
            }
            (Lesson::Busy, _) => {
                (self.unanswered, self.in_vain) = (0, self.in_vain + 1);
                if tried.is_some() || self.in_vain >= IN_VAIN {
                    self.open_for_outage(now, Reason::Busy);
                }
            }
            (Lesson::Silence, _) => {
                (self.unanswered, self.in_vain) = (self.unanswered + 1, self.in_vain + 1);
                let enough = self.unanswered >= UNANSWERED || self.in_vain >= IN_VAIN;
                if tried.is_some() || enough {
                    self.open_for_outage(now, Reason::Silence);
                }
            }
            (Lesson::NotMade, Some(reason)) => self.open(now, reason),
            (Lesson::NotMade, None) => {}
        }
    }

    fn open_for_outage(&mut self, now: Instant, reason: Reason) {
        let pause = SHORTEST * 2_u32.saturating_pow(self.outages.min(8));
        self.outages = self.outages.saturating_add(1);
        // From now on each call is a try that decides by itself.
        (self.unanswered, self.in_vain) = (0, 0);
        self.open(now + pause.min(LONGEST), reason);
    }

    fn open(&mut self, until: Instant, reason: Reason) {
        self.change(State::Open { until, reason });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.age += 1;
    }
}

/// Returns how long the minute's quota stays used up: WeChat says "retry next minute", so to the end of the clock's minute.
pub(super) fn minute_left(unix_ms: u64) -> Duration {
    Duration::from_millis(MINUTE_MS - unix_ms % MINUTE_MS + SLACK_MS)
}

/// Returns how long the day's quota stays used up.
pub(super) fn day_left(unix_ms: u64) -> Duration {
    Duration::from_millis(DAY_MS - (unix_ms + BEIJING_MS) % DAY_MS + SLACK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 20:00:20 in Beijing.
    const EVENING_MS: u64 = 1_795_262_420_000;
    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        breaker: Breaker,
        now: Instant,
        unix_ms: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                breaker: Breaker::default(),
                now: Instant::now(),
                unix_ms: EVENING_MS,
            }
        }

        fn door(&self) -> Door {
            self.breaker.door(self.now)
        }

        fn call(&mut self, lesson: Lesson) {
            let age = self.breaker.begin(self.now);
            self.breaker.learn(lesson, age, self.now, self.unix_ms);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.unix_ms += time.as_millis() as u64;
        }

        fn shut_for(&self) -> Duration {
            match self.door() {
                Door::Shut(until, _) => until - self.now,
                Door::Open | Door::Ajar(_) | Door::Tried(_) => Duration::ZERO,
            }
        }
    }

    #[test]
    fn a_minutes_quota_is_tried_less_and_less_until_the_minute_is_over() {
        let mut s = Scene::new();
        for secs in [1, 1, 1, 2, 4, 8, 16] {
            s.call(Lesson::Minute);
            assert_eq!(s.shut_for(), SECOND * secs);
            s.pass(s.shut_for());
            assert_eq!(s.door(), Door::Ajar(Reason::Minute));
        }
        s.call(Lesson::Minute);
        // 20 s of the minute were over at first, and 33 s since.
        assert_eq!(s.shut_for(), Duration::from_millis(7_500));
        s.pass(s.shut_for());
        s.call(Lesson::Answered);
        assert_eq!(s.door(), Door::Open);
        s.call(Lesson::Minute);
        assert_eq!(s.shut_for(), SECOND);
    }

    #[test]
    fn a_user_who_is_over_their_own_quota_keeps_the_others_out_for_seconds() {
        let mut s = Scene::new();
        // The same user may be the next to be tried.
        for _ in 0..3 {
            s.call(Lesson::Minute);
            s.pass(SECOND);
        }
        s.call(Lesson::Answered);
        assert_eq!(s.door(), Door::Open);
    }

    #[test]
    fn a_days_quota_is_tried_every_ten_minutes_and_at_midnight_in_beijing() {
        let mut s = Scene::new();
        s.call(Lesson::Day);
        let mut tries = 0;
        let midnight = EVENING_MS + day_left(EVENING_MS).as_millis() as u64;
        assert_eq!(midnight, 1_795_276_800_500);
        while s.unix_ms < midnight {
            assert!(s.shut_for() > Duration::ZERO);
            s.pass(s.shut_for());
            s.call(Lesson::Day);
            tries += 1;
        }
        assert_eq!(tries, 24);
        s.pass(s.shut_for());
        s.call(Lesson::Answered);
        assert_eq!(s.door(), Door::Open);
    }

    #[test]
    fn silence_keeps_calls_back_for_longer_each_time_and_one_answer_ends_it() {
        let mut s = Scene::new();
        for _ in 0..4 {
            s.call(Lesson::Silence);
            assert_eq!(s.door(), Door::Open);
        }
        for secs in [1, 2, 4, 8, 16, 30, 30] {
            s.call(Lesson::Silence);
            assert_eq!(s.shut_for(), SECOND * secs);
            s.pass(s.shut_for());
        }
        s.call(Lesson::Answered);
        assert_eq!(s.door(), Door::Open);
        for _ in 0..4 {
            s.call(Lesson::Silence);
        }
        assert_eq!(s.door(), Door::Open);
        s.call(Lesson::Silence);
        assert_eq!(s.shut_for(), SECOND);
    }

    #[test]
    fn answers_in_between_are_no_silence() {
        let mut s = Scene::new();
        for _ in 0..4 {
            s.call(Lesson::Silence);
            s.call(Lesson::Busy);
        }
        assert_eq!(s.door(), Door::Open);
        s.call(Lesson::Answered);
        for _ in 0..20 {
            s.call(Lesson::Silence);
            s.call(Lesson::Answered);
        }
        assert_eq!(s.door(), Door::Open);
    }

    #[test]
    fn a_wechat_that_is_too_busy_is_left_alone_for_longer_each_time() {
        let mut s = Scene::new();
        for _ in 0..8 {
            s.call(Lesson::Busy);
            assert_eq!(s.door(), Door::Open);
        }
        for secs in [1, 2, 4, 8, 16, 30, 30] {
            s.call(Lesson::Busy);
            assert_eq!(s.shut_for(), SECOND * secs);
            s.pass(s.shut_for());
            assert_eq!(s.door(), Door::Ajar(Reason::Busy));
        }
        s.call(Lesson::Answered);
        assert_eq!(s.door(), Door::Open);
        for _ in 0..8 {
            s.call(Lesson::Busy);
        }
        assert_eq!(s.door(), Door::Open);
    }

    #[test]
    fn a_wechat_that_is_busy_or_silent_by_turns_is_left_alone_too() {
        let mut s = Scene::new();
        for lesson in [Lesson::Busy, Lesson::Silence].into_iter().cycle().take(9) {
            assert_eq!(s.door(), Door::Open);
            s.call(lesson);
        }
        assert_eq!(s.shut_for(), SECOND);
        s.pass(SECOND);
        s.call(Lesson::Silence);
        assert_eq!(s.shut_for(), SECOND * 2);
    }

    #[test]
    fn exactly_one_call_goes_through_a_door_that_is_ajar() {
        let mut s = Scene::new();
        s.call(Lesson::Minute);
        s.pass(SECOND);
        let age = s.breaker.begin(s.now);
        assert_eq!(s.door(), Door::Tried(Reason::Minute));
        s.breaker.learn(Lesson::NotMade, age, s.now, s.unix_ms);
        assert_eq!(s.door(), Door::Ajar(Reason::Minute));
    }

    #[test]
    fn a_call_from_before_teaches_nothing() {
        let mut s = Scene::new();
        let [early, late] = [s.breaker.begin(s.now), s.breaker.begin(s.now)];
        s.breaker.learn(Lesson::Day, early, s.now, s.unix_ms);
        s.breaker.learn(Lesson::Answered, late, s.now, s.unix_ms);
        assert!(s.shut_for() > SECOND);
    }
}
