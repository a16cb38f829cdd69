//! What others than who serves a WebSocket can do to it: have it end.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::sleep;

use super::frames;

/// When a socket is cut that did not end by itself, because nobody reads or writes it: its backend takes nothing.
const OVERDUE: Duration = Duration::from_millis(600);

/// Why a WebSocket is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::server) enum Ending {
    /// The session was revoked, or its time is over.
    SessionOver = 2,
    /// This process stops.
    GoingAway = 3,
}

/// Not a WebSocket, or not yet.
const HTTP: u8 = 0;
const OPEN: u8 = 1;

impl Ending {
    /// Returns the close frame that says so.
    pub(super) fn frame(self) -> Vec<u8> {
        match self {
            Self::SessionOver => frames::close(4401, "session ended"),
            Self::GoingAway => frames::close(1001, "going away"),
        }
    }
}

/// What can be known about and done to a client's connection by others than who serves it.
#[derive(Debug, Default)]
pub(in crate::server) struct Socket {
    /// [`HTTP`], [`OPEN`] or an [`Ending`].
    state: AtomicU8,
    leaving: AtomicBool,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
    server: AtomicWaker,
}

impl Socket {
    /// Notes that the connection becomes a WebSocket with the answer that is written next.
    pub(super) fn open(&self) {
        self.state.store(OPEN, Ordering::Release);
    }

    /// Has an open WebSocket end; the first reason counts.
    pub(super) fn end(&self, why: Ending) {
        let _ = self
            .state
            .compare_exchange(OPEN, why as u8, Ordering::AcqRel, Ordering::Acquire);
        for waker in [&self.reader, &self.writer, &self.server] {
            waker.wake();
        }
    }

    /// Returns some time after the socket was told to end, unless it is about to be gone.
    pub(in crate::server) async fn overdue(&self) {
        std::future::poll_fn(|cx| {
            self.server.register(cx.waker());
            match self.ending() {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        })
        .await;
        // Boxed, since every connection has room for this future and few come so far.
        Box::pin(sleep(OVERDUE)).await;
        if self.leaving.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    /// Notes that all is over but for the client's answer.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Tells whether it is not a WebSocket, or not yet.
    pub(super) fn is_http(&self) -> bool {
        self.state.load(Ordering::Acquire) == HTTP
    }

    /// Says why it was told to end, if it was.
    pub(super) fn ending(&self) -> Option<Ending> {
        let state = self.state.load(Ordering::Acquire);
        [Ending::SessionOver, Ending::GoingAway]
            .into_iter()
            .find(|why| *why as u8 == state)
    }
}
