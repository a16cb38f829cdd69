//! The state of logins that outlasts a reload: recent codes, the login queues, and redemptions in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::queue::LoginQueue;
use super::redeem::Codes;
use super::web::{Spent, Tickets};
use crate::clock::Clock;
use crate::config::App;
use crate::metrics::Metrics;

/// How late expired entries may be dropped: they hold refresh tokens.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The queues by appid, each with the latest name of its app.
type Queues = HashMap<String, (String, Arc<LoginQueue>)>;

/// The state of logins that outlasts a reload.
#[derive(Debug)]
pub struct LoginState {
    pub(super) codes: Arc<Codes>,
    /// Is aborted when dropped.
    _sweeping: JoinSet<()>,
    /// The codes that are being redeemed.
    pub(super) tasks: TaskTracker,
    /// The states and tickets that were used.
    pub(super) spent: Spent,
    pub(super) tickets: Arc<Tickets>,
    queues: Arc<Mutex<Queues>>,
    /// Whether no login may wait in a queue.
    closed: watch::Sender<bool>,
    pub(super) metrics: Metrics,
    clock: Clock,
}

impl LoginState {
    /// Makes an empty state. It must be called in a runtime.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        let queues: Arc<Mutex<Queues>> = Arc::default();
        let shown = Arc::downgrade(&queues);
        metrics.look(move |metrics| {
            let Some(queues) = shown.upgrade() else {
                return;
            };
            let queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
            for (app, queue) in queues.values() {
                queue.show(app, metrics);
            }
        });
        let codes = Arc::new(Codes::default());
        let mut sweeping = JoinSet::new();
        let swept = Arc::clone(&codes);
        sweeping.spawn(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                swept.sweep();
            }
        });
        Self {
            codes,
            _sweeping: sweeping,
            tasks: TaskTracker::new(),
            spent: Spent::default(),
            tickets: Arc::default(),
            queues,
            closed: watch::Sender::new(false),
            metrics,
            clock,
        }
    }

    /// Returns the queue of an app, which is the same for as long as the process lives.
    pub(super) fn queue(&self, app: &App) -> Arc<LoginQueue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let queue = LoginQueue::new(&app.name, self.clock.clone());
            (app.name.clone(), Arc::new(queue))
        };
        let (name, queue) = queues.entry(app.appid.clone()).or_insert_with(new);
        name.clone_from(&app.name);
        Arc::clone(queue)
    }

    /// Turns away logins that wait or would have to; calls that need not wait are still made.
    pub fn close_queues(&self) {
        self.closed.send_replace(true);
    }

    /// Lets logins wait again.
    pub fn open_queues(&self) {
        self.closed.send_replace(false);
    }

    /// Waits until no login may wait.
    pub(super) async fn queues_closed(&self) {
        // The sender is here, so that this does not fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Waits until no code is being redeemed, which takes at most a login's timeout.
    pub async fn is_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;
    use tokio::time::Instant;

    use super::*;
    use crate::login::redeem::Outcome;
    use crate::request::Denial;
    use crate::session::CodeMark;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_a_code_brought_is_let_go_when_its_time_is_over_though_nobody_comes() {
        let state = LoginState::new(Clock::system(), Metrics::default());
        let (codes, mark) = (&state.codes, CodeMark::of_nothing());
        for keep in [Duration::ZERO, Duration::from_millis(50)] {
            let now = Instant::now();
            let (flight, is_new) = codes.join(mark, now);
            assert!(is_new);
            let held = Arc::downgrade(&flight);
            let refused = Outcome::Refused(Denial::CodeUsed(None));
            codes.settle(mark, &flight, refused, keep, now);
            drop(flight);
            while held.upgrade().is_some() {
                assert!(now.elapsed() < PATIENCE, "{keep:?}");
                yield_now().await;
            }
            assert!(now.elapsed() >= keep);
        }
    }
}
