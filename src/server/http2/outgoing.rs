//! Counts what a connection of HTTP/2 was given to send and has not sent yet.
//!
//! The crate h2 takes whatever a stream's window lets through, whether or not the socket has room for it, and does not say when it
//! was sent. So bytes are counted where h2 is given them, and again where it writes them. What it writes has frames and heads
//! besides, so the difference is at most what is unsent, and nothing once h2 has no more to write.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// What may be unsent when an exchange ends: more counts as held by those whose responses it is.
pub(super) const MOST_UNSENT: usize = 64 * 1024;

/// What is unsent of all streams of a connection.
#[derive(Debug, Default)]
pub(in crate::server) struct Outgoing {
    unsent: AtomicUsize,
    written: AtomicU64,
    /// Whether the socket has no room.
    is_blocked: AtomicBool,
    is_closed: AtomicBool,
    has_waiting: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

/// The connection is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl Outgoing {
    /// Counts what h2 is about to be given.
    pub(super) fn give(&self, bytes: usize) {
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes the socket took so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Returns whether the socket has no room.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Notes what the socket took.
    pub(super) fn wrote(&self, write: &Poll<io::Result<usize>>) {
        self.is_blocked.store(write.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = *write {
            self.written.fetch_add(bytes as u64, Ordering::Relaxed);
            let unsent = self.unsent.load(Ordering::Relaxed);
            // Nobody else subtracts, and what is added meanwhile stays.
            self.unsent.fetch_sub(bytes.min(unsent), Ordering::SeqCst);
            if unsent.saturating_sub(bytes) <= MOST_UNSENT {
                self.wake();
            }
        }
    }

    /// Notes whether the socket took what TLS had kept.
    pub(super) fn flushed(&self, flush: &Poll<io::Result<()>>) {
        self.is_blocked.store(flush.is_pending(), Ordering::Relaxed);
    }

    /// Notes that h2 has nothing more to write, but for what the socket has no room for.
    pub(in crate::server) fn settle(&self) {
        if !self.is_blocked() && self.unsent.load(Ordering::Relaxed) > 0 {
            self.unsent.store(0, Ordering::SeqCst);
            self.wake();
        }
    }

    /// Resolves when no more than `most` is unsent.
    pub(super) fn poll_unsent(
        &self,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        if self.unsent.load(Ordering::Relaxed) <= most {
            return Poll::Ready(Ok(()));
        }
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(cx.waker().clone());
        self.has_waiting.store(true, Ordering::SeqCst);
        // Whatever was written before that woke nobody.
        if self.is_closed.load(Ordering::SeqCst) {
            return Poll::Ready(Err(Closed));
        }
        match self.unsent.load(Ordering::SeqCst) <= most {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.has_waiting.swap(false, Ordering::SeqCst) {
            let waiting =
                std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

/// The end of a connection that writes: nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Writer(pub(super) std::sync::Arc<Outgoing>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.close();
    }
}
