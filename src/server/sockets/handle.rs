//! A handle by which other tasks end a WebSocket or a long exchange.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::frames;

/// Why it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::server) enum Ending {
    /// The session was revoked, or its time is over.
    SessionOver = 1,
    /// This process stops.
    GoingAway = 2,
}

impl Ending {
    /// Returns the close frame with this reason.
    pub(super) fn frame(self) -> Vec<u8> {
        match self {
            Self::SessionOver => frames::close(4401, "session ended"),
            Self::GoingAway => frames::close(1001, "going away"),
        }
    }
}

/// The state shared by the task that serves it and those that end it.
#[derive(Debug, Default)]
pub(in crate::server) struct Handle {
    /// 0, or an [`Ending`].
    ending: AtomicU8,
    waker: AtomicWaker,
}

impl Handle {
    /// Ends it; the first reason counts.
    pub(super) fn end(&self, why: Ending) {
        let first = self
            .ending
            .compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.waker.wake();
        }
    }

    /// Returns why it was ended, if it was.
    pub(super) fn ending(&self) -> Option<Ending> {
        let ending = self.ending.load(Ordering::Acquire);
        [Ending::SessionOver, Ending::GoingAway]
            .into_iter()
            .find(|why| *why as u8 == ending)
    }

    /// Resolves when it is ended.
    pub(in crate::server) fn poll_ending(&self, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Some(why) = self.ending() {
            return Poll::Ready(why);
        }
        self.waker.register(cx.waker());
        // It may have been ended in between.
        self.ending().map_or(Poll::Pending, Poll::Ready)
    }
}
