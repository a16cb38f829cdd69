//! Whether a server keeps its connections open: only then does a non-repeatable request use a kept one.
//!
//! Some servers close each connection after the response without announcing it. A request that is sent before that is noticed is
//! lost, and nobody can know whether it was read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A connection that is still open after so long was not closed after its response.
pub(super) const LASTING: Duration = Duration::from_secs(1);

/// Which kept connections an exchange may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Reuse {
    /// All.
    Any,
    /// Those that have been idle for [`LASTING`].
    Lasting,
    /// None.
    Never,
}

/// Whether a server has proved to keep its connections.
#[derive(Debug, Default)]
pub(super) struct ReusePolicy {
    /// Whether it answered the latest request on a kept connection.
    is_proven: AtomicBool,
}

impl ReusePolicy {
    /// Returns which kept connections a non-repeatable request may use.
    pub(super) fn for_unrepeatable(&self) -> Reuse {
        if self.is_proven.load(Ordering::Relaxed) {
            Reuse::Any
        } else {
            Reuse::Lasting
        }
    }

    /// Records a response on a kept connection.
    pub(super) fn answered(&self) {
        // Reading leaves the cache line shared.
        if !self.is_proven.load(Ordering::Relaxed) {
            self.is_proven.store(true, Ordering::Relaxed);
        }
    }

    /// Records that a kept connection was closed without a response.
    pub(super) fn lost(&self) {
        self.is_proven.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_connection_will_do_once_a_kept_one_was_answered_on_and_until_one_was_not() {
        let policy = ReusePolicy::default();
        assert_eq!(policy.for_unrepeatable(), Reuse::Lasting);
        policy.answered();
        assert_eq!(policy.for_unrepeatable(), Reuse::Any);
        policy.lost();
        assert_eq!(policy.for_unrepeatable(), Reuse::Lasting);
    }
}
