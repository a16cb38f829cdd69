//! The gate that new exchanges go through, which a reload replaces while those in flight keep theirs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Gate;

/// Hands out the gate of the moment.
pub struct Gates {
    current: ArcSwap<Gate>,
    replaced: watch::Sender<()>,
    /// The exchanges that may use the session store.
    busy: TaskTracker,
}

impl Gates {
    /// Begins with a gate.
    pub fn new(gate: Gate) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(gate),
            replaced: watch::Sender::new(()),
            busy: TaskTracker::new(),
        })
    }

    /// Returns the gate for an exchange that begins now.
    pub fn current(&self) -> Arc<Gate> {
        self.current.load_full()
    }

    /// Sends exchanges that begin from now on through another gate.
    pub fn replace(&self, gate: Gate) {
        let old = self.current.swap(Arc::new(gate));
        // A WebSocket may hold the old gate for long.
        old.requests.forget_tokens();
        self.replaced.send_replace(());
    }

    /// Marks an exchange as one that may use the session store, until what this returns is dropped.
    pub(super) fn busy(&self) -> TaskTrackerToken {
        self.busy.token()
    }

    /// Waits until no exchange may use the session store.
    pub(in crate::server) async fn are_idle(&self) {
        self.busy.close();
        self.busy.wait().await;
        self.busy.reopen();
    }

    /// Looks after the servers of whichever gate there is, until what this returns is dropped.
    pub(in crate::server) async fn watch_upstreams(self: Arc<Self>) {
        let mut replaced = self.replaced.subscribe();
        loop {
            replaced.mark_unchanged();
            let _watching = self.current().upstreams.watch();
            if replaced.changed().await.is_err() {
                return;
            }
        }
    }
}
