//! The generation of the configuration that new exchanges use; a reload replaces it, and exchanges in flight keep theirs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Generation;

/// Holds the current generation.
pub struct Generations {
    current: ArcSwap<Generation>,
    replaced: watch::Sender<()>,
    /// The exchanges that may use the session store.
    busy: TaskTracker,
}

impl Generations {
    /// Begins with a generation.
    pub fn new(generation: Generation) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(generation),
            replaced: watch::Sender::new(()),
            busy: TaskTracker::new(),
        })
    }

    /// Returns the generation for an exchange that begins now.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Has exchanges that begin from now on use another generation.
    pub fn replace(&self, generation: Generation) {
        let new = Arc::new(generation);
        let old = self.current.swap(Arc::clone(&new));
        // A long exchange may hold the old generation, and a WebSocket its server.
        old.requests.forget_tokens();
        old.upstreams.replaced_by(&new.upstreams);
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

    /// Checks the health of the current generation's servers, until what this returns is dropped.
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
