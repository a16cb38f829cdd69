//! The circuit breaker before WeChat: no calls while a quota is used up, or while WeChat is busy or does not answer.

use std::time::Duration;

use tokio::time::Instant;

/// The breaker opens after so many calls in a row without an answer.
const MAX_UNANSWERED: u32 = 5;
/// It opens after so many calls in a row that failed or were answered with -1: three logins with all their attempts.
const MAX_FAILED: u32 = 9;
/// The pauses grow after so many calls in a row over the minute's quota.
const OVER_QUOTA_BEFORE_BACKOFF: u32 = 3;
/// The first pause of the exponential backoff; each one after it is twice as long.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The pause while the day's quota is used up. An operator can clear that quota by hand at any time.
const DAY_PROBE_INTERVAL: Duration = Duration::from_secs(600);
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// WeChat's days begin in Beijing, eight hours before those of the Unix epoch.
const BEIJING_MS: u64 = 8 * 60 * MINUTE_MS;
/// WeChat's clock may be a little behind.
const SLACK_MS: u64 = 500;

/// Why the breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reason {
    /// This minute's quota is used up, of the app or only of one user.
    Minute,
    /// This day's quota is used up.
    Day,
    /// WeChat does not answer, or something else answers in its place.
    Silence,
    /// WeChat answers -1, too busy, again and again.
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

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::login) enum CallOutcome {
    /// WeChat answered, with success or with another errcode.
    Answered,
    /// WeChat is too busy.
    Busy,
    /// The minute's quota is used up.
    MinuteQuota,
    /// The day's quota is used up.
    DayQuota,
    /// There was no answer, or none of WeChat's.
    NoAnswer,
    /// The call was not made.
    NotMade,
}

/// Which calls may be made.
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

/// Counts the changes of state. The outcome of a call that began before the last change is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Calls in a row without an answer.
    unanswered: u32,
    /// Calls in a row without an answer or with -1.
    failed: u32,
    /// How often it opened for these since the last answer.
    outages: u32,
    /// Calls over the minute's quota since then.
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
        if let BreakerState::Open(until, reason) = self.state
            && now >= until
        {
            return BreakerState::HalfOpen(reason);
        }
        self.state
    }

    /// Records that a call begins, which the state must permit.
    pub(super) fn begin(&mut self, now: Instant) -> Epoch {
        if let BreakerState::HalfOpen(reason) = self.state(now) {
            self.change(BreakerState::Probing(reason));
        }
        Epoch(self.epoch)
    }

    /// Records the outcome of a call; `unix_ms` is the time of day.
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
            // This may be the limit of one user, so another user's call probes soon.
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
        // From now on each call is a probe that decides alone.
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

/// Returns the time to the end of the clock's minute, when WeChat's minute quota begins anew.
pub(in crate::login) fn minute_left(unix_ms: u64) -> Duration {
    Duration::from_millis(MINUTE_MS - unix_ms % MINUTE_MS + SLACK_MS)
}

/// Returns the time to midnight in Beijing, when WeChat's day quota begins anew.
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
