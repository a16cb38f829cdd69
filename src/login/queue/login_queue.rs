//! Has the logins of one app wait for their turn to call WeChat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::breaker::{BreakerState, CallOutcome, Epoch, Reason};
use super::{Candidate, QueueLimits, QueuePosition, QueueState, Step};
use crate::clock::Clock;
use crate::login::caller::{Caller, Network};
use crate::metrics::Metrics;
use crate::wechat::WarningLimit;

/// The queue of one app, which outlasts a reload.
#[derive(Debug)]
pub(in crate::login) struct LoginQueue {
    /// The app's name when it was first configured.
    app: String,
    state: Mutex<QueueState>,
    /// Limits the warnings that calls are kept back.
    warnings: Mutex<WarningLimit<Reason>>,
    clock: Clock,
}

impl LoginQueue {
    pub(in crate::login) fn new(app: &str, clock: Clock) -> Self {
        Self {
            app: app.to_owned(),
            state: Mutex::default(),
            warnings: Mutex::default(),
            clock,
        }
    }

    /// Waits for the turn of a code; an error is the time after which to come back.
    pub(in crate::login) async fn enter(
        self: &Arc<Self>,
        limits: QueueLimits,
        seen: Candidate,
        deadline: Instant,
    ) -> Result<CallPermit, Duration> {
        let wake = Arc::new(Notify::new());
        let now = self.clock.instant();
        let (position, step) = {
            let mut state = self.state();
            let position = state.join(&limits, seen, deadline, Arc::clone(&wake), now);
            (position, state.step(&limits, position, now))
        };
        let (mut now, mut step) = (now, step);
        let waiting = Waiting {
            queue: self,
            position,
        };
        loop {
            let until = match step {
                Step::Go(epoch) => {
                    return Ok(CallPermit {
                        queue: Arc::clone(self),
                        limits,
                        epoch,
                        over: false,
                    });
                }
                Step::TurnedAway(after) => return Err(after),
                Step::Wait(until) => until,
            };
            tokio::select! {
                () = wake.notified() => {}
                () = sleep(until - now) => {}
            }
            now = self.clock.instant();
            step = self.state().step(&limits, waiting.position, now);
        }
    }

    /// Returns the time after which a client should come back whose call WeChat refused.
    pub(in crate::login) fn reserve(&self, limits: &QueueLimits, caller: &Caller) -> Duration {
        let now = self.clock.instant();
        let network = Network::of(caller.address);
        self.state()
            .reserve_new(limits, network, caller.over_limit, now)
    }

    /// Returns whether the circuit breaker is closed.
    pub(in crate::login) fn is_open(&self) -> bool {
        self.state().breaker_state(self.clock.instant()) == BreakerState::Closed
    }

    /// Sets the gauges. Calls count as held back until one has succeeded.
    pub(in crate::login) fn show(&self, app: &str, metrics: &Metrics) {
        let (waiting, breaker, left) = {
            let (state, now) = (self.state(), self.clock.instant());
            (state.len(), state.breaker_state(now), state.quota_left(now))
        };
        metrics.waiting(app, waiting);
        if let Some(left) = left {
            metrics.quota_left(app, left);
        }
        let kept_back = match breaker {
            BreakerState::Closed => None,
            BreakerState::HalfOpen(reason)
            | BreakerState::Probing(reason)
            | BreakerState::Open(_, reason) => Some(reason),
        };
        for reason in Reason::ALL {
            metrics.kept_back(app, reason.word(), kept_back == Some(reason));
        }
    }

    fn record(&self, limits: &QueueLimits, outcome: CallOutcome, epoch: Epoch) {
        let (now, unix_ms) = (self.clock.instant(), self.clock.unix_ms());
        let changed = self.state().record(limits, outcome, epoch, now, unix_ms);
        let app = &self.app;
        match changed {
            None | Some(BreakerState::HalfOpen(_) | BreakerState::Probing(_)) => {}
            Some(BreakerState::Closed) => tracing::info!(app, "logins go to WeChat again"),
            Some(BreakerState::Open(until, reason)) => {
                let secs = (until - now).as_secs();
                // One user's codes can use up a quota of their own again and again.
                if self.warnings().meet(reason, now).is_none() {
                    let reason = reason.word();
                    tracing::info!(app, secs, reason, "logins wait again");
                    return;
                }
                match reason {
                    Reason::Minute => tracing::warn!(
                        app,
                        secs,
                        "WeChat's quota of this minute is used up: logins wait; login.quota_per_minute would spread them"
                    ),
                    Reason::Day => tracing::error!(
                        app,
                        secs,
                        "WeChat's quota of this day is used up: nobody new can log in; it can be cleared or raised in WeChat's console"
                    ),
                    Reason::Silence => {
                        tracing::warn!(app, secs, "WeChat does not answer: logins wait");
                    }
                    Reason::Busy => {
                        tracing::warn!(app, secs, "WeChat says that it is too busy: logins wait");
                    }
                }
            }
        }
    }

    fn warnings(&self) -> MutexGuard<'_, WarningLimit<Reason>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the queue, which leaves it when dropped.
struct Waiting<'l> {
    queue: &'l LoginQueue,
    position: QueuePosition,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.state().leave(self.position);
    }
}

/// The permission to call WeChat once. Dropping it records that no call was made.
#[derive(Debug)]
pub(in crate::login) struct CallPermit {
    queue: Arc<LoginQueue>,
    limits: QueueLimits,
    epoch: Epoch,
    over: bool,
}

impl CallPermit {
    /// Records the outcome of the call.
    pub(in crate::login) fn finish(mut self, outcome: CallOutcome) {
        self.over = true;
        self.queue.record(&self.limits, outcome, self.epoch);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if !self.over {
            self.queue
                .record(&self.limits, CallOutcome::NotMade, self.epoch);
        }
    }
}
