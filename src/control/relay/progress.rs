//! How far the body of a call has come, so that who is slow can be told from who has gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::control::denial::ControlDenial;

/// How much has moved on a connection, in both directions; clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Moved(Arc<AtomicU64>);

impl Moved {
    /// Returns a number that is another one whenever something has moved.
    pub(in crate::control) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How far one body has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    moved: AtomicU64,
    sent: AtomicBool,
    refused: Mutex<Option<ControlDenial>>,
    connection: Moved,
}

impl Progress {
    pub(super) fn on(connection: Moved) -> Self {
        Self {
            connection,
            ..Self::default()
        }
    }

    pub(super) fn moved(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.fetch_add(1, Ordering::Relaxed);
            self.connection.add();
        }
    }

    pub(super) fn is_sent(&self) {
        self.sent.store(true, Ordering::Release);
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how far it is, and whether it is sent.
    pub(super) fn state(&self) -> (u64, bool) {
        let moved = self.moved.load(Ordering::Relaxed);
        (moved, self.sent.load(Ordering::Acquire))
    }

    /// Keeps why the body was given up.
    pub(super) fn refuse(&self, refusal: ControlDenial) {
        let refused = self.refused.lock();
        *refused.unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(super) fn refused(&self) -> Option<ControlDenial> {
        let refused = self.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).take()
    }
}
