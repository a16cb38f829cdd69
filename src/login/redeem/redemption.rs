//! The course of one redemption: the code is taken, waits its turn, goes to WeChat, and its session is stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::by_browser::endpoint;
use super::failure::{Failure, Release, call_outcome, counted_as, is_unspent, said, unreachable};
use super::redeemer::Redeemer;
use super::single_flight::{Arrival, Flight, Granted, Outcome};
use crate::login::caller::{Caller, Network};
use crate::login::queue::{CallPermit, Candidate, minute_left};
use crate::login::trace::{LoginTrace, end_call, end_step};
use crate::request::Denial;
use crate::session::{Claim, CodeMark, Holder, Opened, SenderMark};
use crate::wechat::{
    AnswerError, CallError, CallFailure, Code, ErrcodeClass, Redeemed, class, is_secret_refused,
};

/// How often a call that surely did not spend the code is made again.
const RETRIES: u32 = 2;
/// The pause before the first of them, give or take a half; the next is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The time that a login may take beyond its limit, to be stored.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_BUSY: Duration = Duration::from_secs(1);
/// How long a code without a nonce brings its session again: many users may share an address.
const REPLAY_BY_ADDRESS: Duration = Duration::from_secs(10);

/// How often somebody looks whether another node is done with a code.
const POLL_INTERVALS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
];

/// The outcome, how long it is replayed, and what happens to the holder's claim.
pub(super) type Ended = (Outcome, Duration, Option<(Holder, Release)>);

/// One code on its way.
pub(super) struct Redemption {
    pub(super) redeemer: Arc<Redeemer>,
    code: Code,
    pub(super) mark: CodeMark,
    /// What is taken with it and never given back.
    pub(super) spends: Option<CodeMark>,
    /// Who brought the code first.
    pub(super) caller: Caller,
    pub(super) sender: SenderMark,
    arrival: Instant,
    pub(super) deadline: Instant,
}

impl Redemption {
    pub(super) fn new(
        redeemer: Arc<Redeemer>,
        code: Code,
        (mark, spends): (CodeMark, Option<CodeMark>),
        caller: Caller,
        sender: SenderMark,
    ) -> Self {
        let arrival = redeemer.clock.instant();
        Self {
            deadline: arrival + redeemer.config.timeout,
            redeemer,
            code,
            mark,
            spends,
            caller,
            sender,
            arrival,
        }
    }

    /// Runs the redemption to its end.
    pub(super) async fn run(self, flight: &Flight) -> Ended {
        let holder = match Holder::random() {
            Ok(holder) => holder,
            Err(error) => return (Outcome::Refused(error.into()), Duration::ZERO, None),
        };
        let done = match self.take(holder, flight).await {
            Ok(None) => match self.spend(holder).await {
                Ok(()) => self.redeem(flight).await,
                Err(failure) => Err(failure),
            },
            Ok(Some((granted, left))) => {
                let keep = left.min(self.redeemer.config.replay);
                return (Outcome::Granted(Box::new(granted)), keep, None);
            }
            Err(failure) => Err(failure),
        };
        match done {
            Ok(opened) => {
                let granted = Granted {
                    opened,
                    first: self.sender,
                    first_id: Some(self.caller.id.clone()),
                };
                (Outcome::Granted(Box::new(granted)), self.replay(), None)
            }
            Err(failure) => {
                let claim = Some((holder, failure.claim));
                (failure.outcome, failure.keep, claim)
            }
        }
    }

    /// Returns for how long the first sender gets the session again.
    pub(super) fn replay(&self) -> Duration {
        let replay = self.redeemer.config.replay;
        if self.sender.is_nonce() {
            replay
        } else {
            replay.min(REPLAY_BY_ADDRESS)
        }
    }

    /// Takes the code, or finds out what it brought elsewhere, and for how long its first sender gets that again.
    async fn take(
        &self,
        holder: Holder,
        flight: &Flight,
    ) -> Result<Option<(Granted, Duration)>, Failure> {
        let (sessions, config) = (&self.redeemer.sessions, &self.redeemer.config);
        // WeChat redeems a code once, so it is left alone while its session could not be stored.
        if !sessions.is_available() {
            return Err(Failure::unspent(Denial::StoreUnavailable));
        }
        let mut looks = POLL_INTERVALS.into_iter();
        let mut pause = Duration::ZERO;
        loop {
            let claim = sessions.claim(self.mark, holder, config.timeout + STORE_TIMEOUT);
            match claim.await {
                Ok(Claim::Yours) => return Ok(None),
                Ok(Claim::Done(opened, first, left)) => {
                    let granted = Granted {
                        opened: *opened,
                        first,
                        first_id: None,
                    };
                    return Ok(Some((granted, left)));
                }
                Ok(Claim::Lost) => return Err(Failure::unknown(Denial::WechatTimeout)),
                Ok(Claim::Spent(_)) => return Err(Failure::final_one(Denial::CodeUsed(None))),
                Ok(Claim::Refused(errcode, left)) => {
                    let known = self.refusal(errcode);
                    return Err(Failure {
                        keep: known.keep.min(left),
                        claim: Release::Kept,
                        ..known
                    });
                }
                Ok(Claim::NotStored(left)) => {
                    let known = Failure::unknown(Denial::LoginNotStored);
                    return Err(Failure {
                        keep: known.keep.min(left),
                        ..known
                    });
                }
                Ok(Claim::Elsewhere) => {}
                Err(error) => return Err(Failure::unspent(error.into())),
            }
            if flight.is_left() {
                return Err(Failure::abandoned());
            }
            pause = looks.next().unwrap_or(pause);
            if self.redeemer.clock.instant() + pause >= self.deadline {
                return Err(Failure::unspent(Denial::WechatBusy(None, RETRY_BUSY)));
            }
            sleep(pause).await;
        }
    }

    /// Calls WeChat, repeats a call only when it cannot have spent the code, and stores the session.
    async fn redeem(&self, flight: &Flight) -> Result<Opened, Failure> {
        let Redeemer {
            wechat,
            credentials,
            sessions,
            config,
            clock,
            ..
        } = &*self.redeemer;
        let mut app = credentials.in_use();
        let mut other_tried = false;
        let mut busy = None;
        let mut retries = 0;
        let redeemed = loop {
            let permit = self.turn(flight, busy).await?;
            if !sessions.is_available() {
                return Err(Failure::unspent(Denial::StoreUnavailable));
            }
            let limit = self.deadline.saturating_duration_since(clock.instant());
            if limit < config.least_for_call {
                drop(permit);
                return Err(Failure::unspent(Denial::WechatBusy(busy, self.pause())));
            }
            let started = Instant::now();
            let (to, at) = (endpoint(app.kind), wechat.authority());
            let span = self.trace().map(|trace| trace.call(to, at, retries));
            let called = wechat.redeem(app, &self.code, limit).await;
            permit.finish(call_outcome(&called));
            let result = counted_as(&called);
            end_call(
                span,
                &result,
                called.as_ref().err().and_then(|error| error.errcode()),
            );
            self.redeemer
                .state
                .metrics
                .call(&app.name, to, result, Some(started.elapsed()));
            let error = match called {
                Ok(redeemed) => {
                    credentials.took(app);
                    break redeemed;
                }
                Err(error) => error,
            };
            let errcode = error.errcode();
            self.caller.note(said(&error));
            tracing::debug!(request_id = %self.caller.id, app = app.name, %error, "code not redeemed");
            if busy.is_some()
                && errcode.is_some_and(|errcode| class(errcode) == ErrcodeClass::CodeUsed)
            {
                // The call before, which was answered with -1, had redeemed the code, and its result is lost.
                return Err(Failure::unknown(Denial::WechatTimeout));
            }
            busy = busy.or(errcode.filter(|errcode| class(*errcode) == ErrcodeClass::Busy));
            // The secret is looked at before the code, which is as good as before.
            if errcode.is_some_and(is_secret_refused)
                && !other_tried
                && let Some(other) = credentials.other(app)
            {
                (app, other_tried) = (other, true);
                continue;
            }
            if errcode.is_some_and(proves_secret) {
                credentials.took(app);
            }
            let pause = FIRST_BACKOFF * 2_u32.pow(retries);
            let pause = pause.mul_f64(fastrand::f64() + 0.5);
            let next = clock.instant() + pause + config.least_for_call;
            if !is_unspent(&error) || retries == RETRIES || next > self.deadline {
                return Err(self.failure(&error));
            }
            retries += 1;
            sleep(pause).await;
        };
        if redeemed.is_snapshot {
            return Err(Failure::final_one(Denial::SnapshotUser));
        }
        let profile = self.profile(&redeemed).await;
        let Redeemed {
            identity,
            session_key,
            ..
        } = redeemed;
        let storing = self.trace().map(|trace| trace.step("store the session"));
        let used = self.use_of_code();
        let opened = sessions.open_session_for(used, identity, session_key.as_ref());
        let opened = opened.await;
        end_step(storing, opened.is_err().then_some("store_unavailable"));
        let opened = opened.map_err(|error| {
            tracing::error!(request_id = %self.caller.id, %error, "a login could not be stored");
            Failure::not_stored()
        })?;
        Ok(Opened { profile, ..opened })
    }

    /// Waits until it is this code's turn, and no longer than somebody waits for it. Who has been told that WeChat is `busy`
    /// hears of that.
    async fn turn(&self, flight: &Flight, busy: Option<i64>) -> Result<CallPermit, Failure> {
        let Redeemer {
            state,
            queue,
            wechat,
            limits,
            config,
            clock,
            ..
        } = &*self.redeemer;
        let known = state.codes.arrival(self.mark);
        let first_seen = known.map_or(self.arrival, |known| known.first_seen);
        let seen = Candidate {
            first: first_seen,
            told: known.map(|known| known.promised),
            network: Network::of(self.caller.address),
            over_limit: self.caller.over_limit,
        };
        let now = clock.instant();
        let latest = self.deadline.checked_sub(config.least_for_call);
        let deadline = (now + config.queue_timeout).min(latest.unwrap_or(now));
        let waiting = self.trace().map(|trace| trace.step("wait for a turn"));
        let entered = tokio::select! {
            // Who can go at once does.
            biased;
            entered = queue.enter(*limits, seen, deadline) => entered,
            () = flight.left() => return Err(Failure::abandoned()),
            () = state.queues_closed() => Err(RETRY_BUSY),
        };
        end_step(waiting, entered.is_err().then_some("wechat_busy"));
        let waited = clock.instant().saturating_duration_since(now);
        state.metrics.waited(self.redeemer.name(), waited);
        entered.map_err(|after| {
            let arrival = Arrival {
                first_seen,
                promised: clock.instant() + after,
            };
            state.codes.turned_away(self.mark, arrival);
            let cause = wechat.unreachable_cause().filter(|_| busy.is_none());
            Failure::unspent(match cause {
                Some(cause) => {
                    self.caller.note(unreachable(cause));
                    Denial::WechatUnreachable(after)
                }
                None => Denial::WechatBusy(busy, after),
            })
        })
    }

    fn failure(&self, error: &CallFailure) -> Failure {
        match error {
            CallFailure::Call(CallError::Unreachable(_)) => {
                Failure::unspent(Denial::WechatUnreachable(self.pause()))
            }
            CallFailure::Call(CallError::NoAnswer | CallError::BrokenOff) => {
                Failure::unknown(Denial::WechatTimeout)
            }
            CallFailure::Call(CallError::Gateway(_) | CallError::NotWeChat(_)) => {
                Failure::unknown(Denial::NotWechat(self.pause()))
            }
            CallFailure::Call(CallError::NotAnAnswer(_))
            | CallFailure::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject) => {
                Failure::unknown(Denial::WechatError(None))
            }
            CallFailure::Answer(AnswerError::Errcode { errcode, .. }) => self.refusal(*errcode),
        }
    }

    fn refusal(&self, errcode: i64) -> Failure {
        match class(errcode) {
            ErrcodeClass::CodeInvalid if self.redeemer.wechat.is_simulated() => {
                Failure::final_one(Denial::CodeNotSimulated(errcode))
            }
            ErrcodeClass::CodeInvalid => Failure::final_one(Denial::CodeInvalid(errcode)),
            ErrcodeClass::CodeUsed => Failure::final_one(Denial::CodeUsed(Some(errcode))),
            ErrcodeClass::UserBlocked => Failure::final_one(Denial::UserBlocked(errcode)),
            ErrcodeClass::Busy => Failure::unspent(Denial::WechatBusy(Some(errcode), self.pause())),
            ErrcodeClass::MinuteQuota => {
                let left = minute_left(self.redeemer.clock.unix_ms());
                let after = left.max(self.promise());
                // Of a user who is over a limit of their own, the same code must not be tried again and again: each time would
                // keep all others back.
                Failure {
                    keep: left,
                    ..Failure::unspent(Denial::WechatBusy(Some(errcode), after))
                }
            }
            ErrcodeClass::DayQuota => {
                Failure::unspent(Denial::WechatBusy(Some(errcode), self.promise()))
            }
            ErrcodeClass::Misconfigured => Failure::unspent(Denial::WechatMisconfigured(errcode)),
            ErrcodeClass::Unknown => Failure::unspent(Denial::WechatError(Some(errcode))),
        }
    }

    fn trace(&self) -> Option<&LoginTrace> {
        self.caller.trace.as_ref()
    }

    /// Returns when to come back after a spell of the moment, which is when others may call again.
    fn pause(&self) -> Duration {
        if self.redeemer.queue.is_open() {
            RETRY_BUSY
        } else {
            self.promise()
        }
    }

    fn promise(&self) -> Duration {
        self.redeemer
            .queue
            .reserve(&self.redeemer.limits, &self.caller)
    }
}

/// Returns whether WeChat had taken the secret when it said this.
fn proves_secret(errcode: i64) -> bool {
    match class(errcode) {
        ErrcodeClass::CodeInvalid | ErrcodeClass::CodeUsed | ErrcodeClass::UserBlocked => true,
        ErrcodeClass::Busy
        | ErrcodeClass::MinuteQuota
        | ErrcodeClass::DayQuota
        | ErrcodeClass::Misconfigured
        | ErrcodeClass::Unknown => false,
    }
}
