//! How many connections to servers may be open, so that file descriptors are left for everything else.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the connections to all servers, busy or idle.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    open: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    /// Whether the log was told that all are taken, since half of them were free.
    told: AtomicBool,
}

/// One connection, which counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Share(Arc<Budget>);

/// Somebody who waits.
struct Waiting<'b>(&'b AtomicUsize);

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            told: AtomicBool::new(false),
        })
    }

    /// Counts one more connection, unless there are as many as may be.
    pub(super) fn take(self: &Arc<Self>) -> Option<Share> {
        let one_more = |open| (open < self.most).then_some(open + 1);
        let taken = self
            .open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        taken.is_ok().then(|| Share(Arc::clone(self)))
    }

    /// Tries again whenever a connection was closed or became idle, until that brings something.
    pub(super) async fn wait<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        if !self.told.swap(true, Ordering::Relaxed) {
            let most = self.most;
            tracing::warn!(
                most,
                "requests wait: there are as many connections to servers as the limit of file descriptors allows"
            );
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on nothing is missed that happens before the wait begins.
            freed.as_mut().enable();
            if let Some(found) = attempt() {
                return found;
            }
            freed.await;
        }
    }

    /// Notes that somebody who waits may get further.
    pub(super) fn freed(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Share {
    /// Returns what it is a share of.
    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.0)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Self(budget) = self;
        let left = budget.open.fetch_sub(1, Ordering::SeqCst) - 1;
        if left <= budget.most / 2 {
            budget.told.store(false, Ordering::Relaxed);
        }
        budget.freed();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let budget = Budget::new(2);
        let first = budget.take().unwrap();
        let _second = budget.take().unwrap();
        assert!(budget.take().is_none());
        let mut waiting = pin!(budget.wait(|| budget.take()));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        let _third = waiting.as_mut().now_or_never().unwrap();
        assert!(budget.take().is_none());
    }

    #[tokio::test]
    async fn one_who_gives_up_hands_on_what_came_for_it() {
        let budget = Budget::new(1);
        let only = budget.take().unwrap();
        let mut patient = Box::pin(budget.wait(|| budget.take()));
        let mut hasty = Box::pin(budget.wait(|| budget.take()));
        assert!(hasty.as_mut().now_or_never().is_none());
        assert!(patient.as_mut().now_or_never().is_none());
        drop(only);
        drop(hasty);
        assert!(patient.as_mut().now_or_never().is_some());
    }
}
