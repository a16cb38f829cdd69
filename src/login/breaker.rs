//! Keeps calls back that would be in vain: while a quota is used up, and while WeChat does not answer.

use std::time::Duration;

use tokio::time::Instant;

/// After so many calls in a row without an answer, nobody is sent there for a while.
const MAX_UNANSWERED: u32 = 5;
/// The same where WeChat was too busy for some or all of them: three logins with all their tries.
const MAX_FAILED: u32 = 9;
/// After so many calls in a row that were over the minute's quota, the pauses between them grow.
const OVER_QUOTA_BEFORE_BACKOFF: u32 = 3;
/// For how long, the first time; each time after that for twice as long.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The day's quota can be cleared by hand, so that it is tried now and then.
const DAY_PROBE_INTERVAL: Duration = Duration::from_secs(600);
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
pub(super) enum CallOutcome {
    /// WeChat answered, whatever it was.
    Answered,
    /// WeChat is too busy.
    Busy,
    /// The minute's quota is used up.
    MinuteQuota,
    /// The day's quota is used up.
    DayQuota,
    /// Nothing came back, or nothing of WeChat's.
    NoAnswer,
    /// The call was not made.
    NotMade,
}

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// Calls are made.
    Closed,
    /// No calls until then.
    Open(Instant, Reason),
    /// One call may be made, whose outcome decides.
    HalfOpen(Reason),
    /// That call is on its way.
    Probing(Reason),
}

/// Marks a call, so that one that began before the last change teaches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    unanswered: u32,
    /// The same with those that WeChat was too busy for.
    failed: u32,
    /// How often it was opened for these since the last answer of use.
    outages: u32,
    /// How many calls were over the minute's quota since then.
    over_quota: u32,
    epoch: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed,
            unanswered: 0,
            failed: 0,
            outages: 0,
            over_quota: 0,
            epoch: 0,
        }
    }
}

impl Breaker {
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            BreakerState::Open(until, reason) if now >= until => BreakerState::HalfOpen(reason),
            state => state,
        }
    }

    /// Takes notice of a call that begins, which the door must permit.
    pub(super) fn begin(&mut self, now: Instant) -> Epoch {
        if let BreakerState::HalfOpen(reason) = self.state(now) {
            self.change(BreakerState::Probing(reason));
        }
        Epoch(self.epoch)
    }

    /// Learns from a call; `unix_ms` is the time of day.
    pub(super) fn record(
        &mut self,
        outcome: CallOutcome,
        epoch: Epoch,
        now: Instant,
        unix_ms: u64,
    ) {
        if epoch != Epoch(self.epoch) {
            return;
        }
        let tried = match self.state {
            BreakerState::Probing(reason) => Some(reason),
            BreakerState::Closed | BreakerState::Open(..) | BreakerState::HalfOpen(_) => None,
        };
        match (outcome, tried) {
            (CallOutcome::Answered, _) => {
                if tried.is_some() {
                    self.change(BreakerState::Closed);
                }
                (self.unanswered, self.failed) = (0, 0);
                (self.outages, self.over_quota) = (0, 0);
            }
            // It may be the quota of one user, who must not keep the others out: somebody else is tried.
            (CallOutcome::MinuteQuota, _) => {
                let growing = self
                    .over_quota
                    .saturating_sub(OVER_QUOTA_BEFORE_BACKOFF - 1)
                    .min(8);
                self.over_quota = self.over_quota.saturating_add(1);
                let pause = MIN_BACKOFF * 2_u32.pow(growing);
                self.open(now + pause.min(minute_left(unix_ms)), Reason::Minute);
            }
            (CallOutcome::DayQuota, _) => {
                self.open(now + day_left(unix_ms).min(DAY_PROBE_INTERVAL), Reason::Day);
            }
            (CallOutcome::Busy, _) => {
                (self.unanswered, self.failed) = (0, self.failed + 1);
                if tried.is_some() || self.failed >= MAX_FAILED {
                    self.open_for_outage(now, Reason::Busy);
                }
            }
            (CallOutcome::NoAnswer, _) => {
                (self.unanswered, self.failed) = (self.unanswered + 1, self.failed + 1);
                let enough = self.unanswered >= MAX_UNANSWERED || self.failed >= MAX_FAILED;
                if tried.is_some() || enough {
                    self.open_for_outage(now, Reason::Silence);
                }
            }
            (CallOutcome::NotMade, Some(reason)) => self.open(now, reason),
            (CallOutcome::NotMade, None) => {}
        }
    }

    fn open_for_outage(&mut self, now: Instant, reason: Reason) {
        let pause = MIN_BACKOFF * 2_u32.saturating_pow(self.outages.min(8));
        self.outages = self.outages.saturating_add(1);
        // From now on each call is a try that decides by itself.
        (self.unanswered, self.failed) = (0, 0);
        self.open(now + pause.min(MAX_BACKOFF), reason);
    }

    fn open(&mut self, until: Instant, reason: Reason) {
        self.change(BreakerState::Open(until, reason));
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.epoch += 1;
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

        fn state(&self) -> BreakerState {
            self.breaker.state(self.now)
        }

        fn call(&mut self, outcome: CallOutcome) {
            let epoch = self.breaker.begin(self.now);
            self.breaker.record(outcome, epoch, self.now, self.unix_ms);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.unix_ms += time.as_millis() as u64;
        }

        fn shut_for(&self) -> Duration {
            match self.state() {
                BreakerState::Open(until, _) => until - self.now,
                BreakerState::Closed | BreakerState::HalfOpen(_) | BreakerState::Probing(_) => {
                    Duration::ZERO
                }
            }
        }
    }

    #[test]
    fn a_minutes_quota_is_tried_less_and_less_until_the_minute_is_over() {
        let mut s = Scene::new();
        for secs in [1, 1, 1, 2, 4, 8, 16] {
            s.call(CallOutcome::MinuteQuota);
            assert_eq!(s.shut_for(), SECOND * secs);
            s.pass(s.shut_for());
            assert_eq!(s.state(), BreakerState::HalfOpen(Reason::Minute));
        }
        s.call(CallOutcome::MinuteQuota);
        // 20 s of the minute were over at first, and 33 s since.
        assert_eq!(s.shut_for(), Duration::from_millis(7_500));
        s.pass(s.shut_for());
        s.call(CallOutcome::Answered);
        assert_eq!(s.state(), BreakerState::Closed);
        s.call(CallOutcome::MinuteQuota);
        assert_eq!(s.shut_for(), SECOND);
    }

    #[test]
    fn a_user_who_is_over_their_own_quota_keeps_the_others_out_for_seconds() {
        let mut s = Scene::new();
        // The same user may be the next to be tried.
        for _ in 0..3 {
            s.call(CallOutcome::MinuteQuota);
            s.pass(SECOND);
        }
        s.call(CallOutcome::Answered);
        assert_eq!(s.state(), BreakerState::Closed);
    }

    #[test]
    fn a_days_quota_is_tried_every_ten_minutes_and_at_midnight_in_beijing() {
        let mut s = Scene::new();
        s.call(CallOutcome::DayQuota);
        let mut tries = 0;
        let midnight = EVENING_MS + day_left(EVENING_MS).as_millis() as u64;
        assert_eq!(midnight, 1_795_276_800_500);
        while s.unix_ms < midnight {
            assert!(s.shut_for() > Duration::ZERO);
            s.pass(s.shut_for());
            s.call(CallOutcome::DayQuota);
            tries += 1;
        }
        assert_eq!(tries, 24);
        s.pass(s.shut_for());
        s.call(CallOutcome::Answered);
        assert_eq!(s.state(), BreakerState::Closed);
    }

    #[test]
    fn silence_keeps_calls_back_for_longer_each_time_and_one_answer_ends_it() {
        let mut s = Scene::new();
        for _ in 0..4 {
            s.call(CallOutcome::NoAnswer);
            assert_eq!(s.state(), BreakerState::Closed);
        }
        for secs in [1, 2, 4, 8, 16, 30, 30] {
            s.call(CallOutcome::NoAnswer);
            assert_eq!(s.shut_for(), SECOND * secs);
            s.pass(s.shut_for());
        }
        s.call(CallOutcome::Answered);
        assert_eq!(s.state(), BreakerState::Closed);
        for _ in 0..4 {
            s.call(CallOutcome::NoAnswer);
        }
        assert_eq!(s.state(), BreakerState::Closed);
        s.call(CallOutcome::NoAnswer);
        assert_eq!(s.shut_for(), SECOND);
    }

    #[test]
    fn answers_in_between_are_no_silence() {
        let mut s = Scene::new();
        for _ in 0..4 {
            s.call(CallOutcome::NoAnswer);
            s.call(CallOutcome::Busy);
        }
        assert_eq!(s.state(), BreakerState::Closed);
        s.call(CallOutcome::Answered);
        for _ in 0..20 {
            s.call(CallOutcome::NoAnswer);
            s.call(CallOutcome::Answered);
        }
        assert_eq!(s.state(), BreakerState::Closed);
    }

    #[test]
    fn a_wechat_that_is_too_busy_is_left_alone_for_longer_each_time() {
        let mut s = Scene::new();
        for _ in 0..8 {
            s.call(CallOutcome::Busy);
            assert_eq!(s.state(), BreakerState::Closed);
        }
        for secs in [1, 2, 4, 8, 16, 30, 30] {
            s.call(CallOutcome::Busy);
            assert_eq!(s.shut_for(), SECOND * secs);
            s.pass(s.shut_for());
            assert_eq!(s.state(), BreakerState::HalfOpen(Reason::Busy));
        }
        s.call(CallOutcome::Answered);
        assert_eq!(s.state(), BreakerState::Closed);
        for _ in 0..8 {
            s.call(CallOutcome::Busy);
        }
        assert_eq!(s.state(), BreakerState::Closed);
    }

    #[test]
    fn a_wechat_that_is_busy_or_silent_by_turns_is_left_alone_too() {
        let mut s = Scene::new();
        for outcome in [CallOutcome::Busy, CallOutcome::NoAnswer]
            .into_iter()
            .cycle()
            .take(9)
        {
            assert_eq!(s.state(), BreakerState::Closed);
            s.call(outcome);
        }
        assert_eq!(s.shut_for(), SECOND);
        s.pass(SECOND);
        s.call(CallOutcome::NoAnswer);
        assert_eq!(s.shut_for(), SECOND * 2);
    }

    #[test]
    fn exactly_one_call_probes_a_half_open_breaker() {
        let mut s = Scene::new();
        s.call(CallOutcome::MinuteQuota);
        s.pass(SECOND);
        let epoch = s.breaker.begin(s.now);
        assert_eq!(s.state(), BreakerState::Probing(Reason::Minute));
        s.breaker
            .record(CallOutcome::NotMade, epoch, s.now, s.unix_ms);
        assert_eq!(s.state(), BreakerState::HalfOpen(Reason::Minute));
    }

    #[test]
    fn a_call_that_began_before_the_last_change_is_ignored() {
        let mut s = Scene::new();
        let [early, late] = [s.breaker.begin(s.now), s.breaker.begin(s.now)];
        s.breaker
            .record(CallOutcome::DayQuota, early, s.now, s.unix_ms);
        s.breaker
            .record(CallOutcome::Answered, late, s.now, s.unix_ms);
        assert!(s.shut_for() > SECOND);
    }
}
