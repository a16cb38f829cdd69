//! Whether a server keeps its connections: only then is one used again for what cannot be sent twice.
//!
//! Some servers close each connection behind the answer without having said so. What is sent before that is noticed is
//! lost, and nobody can tell whether it was read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A connection that is still open after so long was not closed behind its answer.
pub(super) const LASTING: Duration = Duration::from_secs(1);

/// Which kept connections an exchange may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Reuse {
    /// All.
    Any,
    /// Those that have been idle for [`LASTING`].
    Lasting,
    /// None.
    Never,
}

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct ReusePolicy {
    /// Whether it answered what was last sent on a kept connection.
    is_proven: AtomicBool,
}

impl ReusePolicy {
    /// Returns which connections a request may have that cannot be sent twice.
    pub(super) fn for_unrepeatable(&self) -> Reuse {
        if self.is_proven.load(Ordering::Relaxed) {
            Reuse::Any
        } else {
            Reuse::Lasting
        }
    }

    /// Notes that it answered on a connection that had been kept.
    pub(super) fn answered(&self) {
        // A line of cache that nobody writes is shared for nothing.
        if !self.is_proven.load(Ordering::Relaxed) {
            self.is_proven.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a connection which had been kept was closed without an answer.
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
