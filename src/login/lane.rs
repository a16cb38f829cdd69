//! Lets the logins of one app call WeChat in turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::breaker::{Age, Door, Lesson, Reason};
use super::caller::{Caller, Network};
use super::line::{Line, Place, Seen, Step, Terms};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The line of one app, which outlasts a reload.
#[derive(Debug)]
pub(super) struct Lane {
    /// The app's name when it was first configured.
    app: String,
    line: Mutex<Line>,
    clock: Clock,
}

impl Lane {
    pub(super) fn new(app: &str, clock: Clock) -> Self {
        Self {
            app: app.to_owned(),
            line: Mutex::default(),
            clock,
        }
    }

    /// Waits for the turn of a code; an error says when to come back.
    pub(super) async fn enter(
        self: &Arc<Self>,
        terms: Terms,
        seen: Seen,
        deadline: Instant,
    ) -> Result<Turn, Duration> {
        let called = Arc::new(Notify::new());
        let now = self.clock.instant();
        let (place, step) = {
            let mut line = self.line();
            let place = line.stand(&terms, seen, deadline, Arc::clone(&called), now);
            (place, line.step(&terms, place, now))
        };
        let (mut now, mut step) = (now, step);
        let waiting = Waiting { lane: self, place };
        loop {
            let until = match step {
                Step::Go(age) => {
                    return Ok(Turn {
                        lane: Arc::clone(self),
                        terms,
                        age,
                        over: false,
                    });
                }
                Step::TurnedAway(after) => return Err(after),
                Step::Wait(until) => until,
            };
            tokio::select! {
                () = called.notified() => {}
                () = sleep(until - now) => {}
            }
            now = self.clock.instant();
            step = self.line().step(&terms, waiting.place, now);
        }
    }

    /// Returns after what time somebody should come back whose call WeChat refused.
    pub(super) fn promise(&self, terms: &Terms, caller: &Caller) -> Duration {
        let now = self.clock.instant();
        let network = Network::of(caller.address);
        self.line().promise_new(terms, network, caller.crowded, now)
    }

    /// Says whether calls are made as they come.
    pub(super) fn is_open(&self) -> bool {
        self.line().door(self.clock.instant()) == Door::Open
    }

    /// Says how it is now; calls are kept back until one went well, also while that one is waited for.
    pub(super) fn show(&self, app: &str, metrics: &Metrics) {
        let (waiting, door) = {
            let line = self.line();
            (line.len(), line.door(self.clock.instant()))
        };
        metrics.waiting(app, waiting);
        let kept_back = match door {
            Door::Open => None,
            Door::Ajar(reason) | Door::Tried(reason) | Door::Shut(_, reason) => Some(reason),
        };
        for reason in Reason::ALL {
            metrics.kept_back(app, reason.word(), kept_back == Some(reason));
        }
    }

    fn learn(&self, terms: &Terms, lesson: Lesson, age: Age) {
        let (now, unix_ms) = (self.clock.instant(), self.clock.unix_ms());
        let changed = self.line().learn(terms, lesson, age, now, unix_ms);
        let app = &self.app;
        match changed {
            None | Some(Door::Ajar(_) | Door::Tried(_)) => {}
            Some(Door::Open) => tracing::info!(app, "logins go to WeChat again"),
            Some(Door::Shut(until, reason)) => {
                let secs = (until - now).as_secs();
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

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line, which is given up when nobody waits for it any more.
struct Waiting<'l> {
    lane: &'l Lane,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.line().leave(self.place);
    }
}

/// The right to call WeChat once.
#[derive(Debug)]
pub(super) struct Turn {
    lane: Arc<Lane>,
    terms: Terms,
    age: Age,
    over: bool,
}

impl Turn {
    /// Says what came of the call.
    pub(super) fn brought(mut self, lesson: Lesson) {
        self.over = true;
        self.lane.learn(&self.terms, lesson, self.age);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            self.lane.learn(&self.terms, Lesson::NotMade, self.age);
        }
    }
}
