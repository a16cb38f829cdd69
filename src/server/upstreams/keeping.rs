//! Whether a server keeps its connections: only then is one used again for what cannot be sent twice.
//!
//! Some servers close each connection behind the answer without having said so. What is sent before that is noticed is
//! lost, and nobody can tell whether it was read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection that is still open after so long was not closed behind its answer.
const LASTING: Duration = Duration::from_secs(1);

/// Which connections an exchange may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connections {
    /// New ones, and all that were kept.
    Any,
    /// A new one, which nobody gets afterwards.
    New,
    /// One that only whoever names the same number gets.
    Apart(u32),
}

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Whether it answered what was last sent on a kept connection.
    proven: AtomicBool,
    trial: Mutex<Trial>,
}

/// Where everything that is sent is such that it cannot be sent twice, one connection after the other is put to the proof.
#[derive(Debug, Default)]
enum Trial {
    #[default]
    None,
    InUse,
    Left(u32, Instant),
}

impl Keeping {
    /// Returns which connections what cannot be sent twice may have.
    pub(super) fn connections(&self, now: Instant) -> Connections {
        if self.proven.load(Ordering::Relaxed) {
            return Connections::Any;
        }
        let mut trial = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match *trial {
            Trial::None => fastrand::u32(..),
            Trial::Left(number, since) if now.saturating_duration_since(since) >= LASTING => number,
            Trial::InUse | Trial::Left(..) => return Connections::New,
        };
        *trial = Trial::InUse;
        Connections::Apart(number)
    }

    /// Notes that an exchange has left its connection.
    pub(super) fn left(&self, connections: Connections, now: Instant) {
        if let Connections::Apart(number) = connections {
            let mut trial = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
            *trial = Trial::Left(number, now);
        }
    }

    /// Notes that it answered on a connection that had been kept.
    pub(super) fn proven(&self) {
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a connection which had been kept was closed without an answer.
    pub(super) fn disproven(&self) {
        self.proven.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_connection_will_do_once_a_kept_one_was_answered_on_and_until_one_was_not() {
        let (keeping, now) = (Keeping::default(), Instant::now());
        assert_ne!(keeping.connections(now), Connections::Any);
        keeping.proven();
        assert_eq!(keeping.connections(now), Connections::Any);
        keeping.disproven();
        assert_ne!(keeping.connections(now), Connections::Any);
    }

    #[test]
    fn one_connection_at_a_time_is_tried_again_when_it_has_lasted() {
        let (keeping, now) = (Keeping::default(), Instant::now());
        let tried = keeping.connections(now);
        assert!(matches!(tried, Connections::Apart(_)));
        assert_eq!(keeping.connections(now + LASTING), Connections::New);
        let left = now + LASTING;
        keeping.left(tried, left);
        keeping.left(Connections::New, now);
        let early = left + LASTING - Duration::from_millis(1);
        assert_eq!(keeping.connections(early), Connections::New);
        assert_eq!(keeping.connections(left + LASTING), tried);
        assert_eq!(keeping.connections(left + LASTING), Connections::New);
    }
}
