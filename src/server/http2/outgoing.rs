//! Counts what h2 holds of the responses on a connection.
//!
//! The crate h2 takes whatever a stream's window lets through, whether or not the socket has room for it, and does not say when it
//! was sent. But it drops each piece when it has written it, or copied it into its buffer of a few KiB, or will not write it any more,
//! and so each piece that it is given counts until then. Which of these it was is known from what the socket took: where that is
//! less than what was dropped, a piece was not written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::HeaderValue;

/// What h2 may hold of a connection when an exchange ends: where it holds more, an exchange ends when nothing of its own is left.
const MOST_HELD: usize = 64 * 1024;
/// What h2's buffer may hold of data that it has dropped.
const BUFFER: u64 = 16 * 1024;

/// What h2 holds of all streams of a connection.
#[derive(Debug, Default)]
pub(in crate::server) struct Outgoing {
    held: AtomicUsize,
    /// How many bytes the socket took, frames and all.
    written: AtomicU64,
    /// How many bytes of data h2 has written.
    sent: AtomicU64,
    is_closed: AtomicBool,
}

impl Outgoing {
    /// Returns how many bytes of data were sent so far: what else goes out, such as the answer to a PING, is no progress.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Takes notice of data that h2 dropped; returns whether it was written.
    fn dropped(&self, bytes: u64) -> bool {
        let sent = self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_written = sent <= self.written.load(Ordering::Relaxed) + BUFFER;
        if !is_written {
            self.sent.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_written
    }

    /// Notes what the socket took.
    pub(super) fn wrote(&self, write: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = *write {
            self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// What h2 holds of one stream.
#[derive(Debug)]
pub(super) struct OutgoingStream {
    held: AtomicUsize,
    is_lost: AtomicBool,
    waiting: AtomicWaker,
    connection: Arc<Outgoing>,
}

/// The connection is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl OutgoingStream {
    pub(super) fn new(connection: Arc<Outgoing>) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
            connection,
        })
    }

    pub(super) fn connection(&self) -> &Outgoing {
        &self.connection
    }

    /// Counts data until h2 drops it.
    pub(super) fn count(self: &Arc<Self>, data: Bytes) -> Bytes {
        let size = data.len();
        self.counted(data, size, size as u64)
    }

    /// Counts a head of this size until h2 drops one of its values, which it does when it has encoded the head.
    pub(super) fn count_head(self: &Arc<Self>, value: &mut HeaderValue, size: usize) {
        let text = Bytes::copy_from_slice(value.as_bytes());
        if let Ok(mut counted) = HeaderValue::from_maybe_shared(self.counted(text, size, 0)) {
            // Any other value may stay in the encoder's table.
            counted.set_sensitive(true);
            *value = counted;
        }
    }

    fn counted(self: &Arc<Self>, data: Bytes, size: usize, sent: u64) -> Bytes {
        self.held.fetch_add(size, Ordering::Relaxed);
        self.connection.held.fetch_add(size, Ordering::Relaxed);
        let stream = Arc::clone(self);
        Bytes::from_owner(Piece {
            data,
            size,
            sent,
            stream,
        })
    }

    /// Returns whether h2 dropped a piece that it had not written.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Returns whether h2 holds little of all the streams.
    pub(super) fn is_little_held(&self) -> bool {
        self.connection.held.load(Ordering::Relaxed) <= MOST_HELD
    }

    /// Resolves when h2 holds nothing of the stream.
    pub(super) fn poll_nothing_held(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.waiting.register(cx.waker());
        if self.held.load(Ordering::SeqCst) > 0 {
            return Poll::Pending;
        }
        // The end of a connection drops heads too, which are not compared with what was written.
        let is_closed = self.connection.is_closed.load(Ordering::SeqCst);
        Poll::Ready(match is_closed || self.is_lost() {
            true => Err(Closed),
            false => Ok(()),
        })
    }
}

/// What h2 is given to send.
struct Piece {
    data: Bytes,
    /// What it counts as.
    size: usize,
    /// What of it are bytes that are sent as they are.
    sent: u64,
    stream: Arc<OutgoingStream>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Self {
            size, sent, stream, ..
        } = self;
        if !stream.connection.dropped(*sent) {
            stream.is_lost.store(true, Ordering::Relaxed);
        }
        stream.connection.held.fetch_sub(*size, Ordering::Relaxed);
        if stream.held.fetch_sub(*size, Ordering::SeqCst) == *size {
            stream.waiting.wake();
        }
    }
}

/// The end of a connection that writes: nothing is sent on it any more.
#[derive(Debug)]
pub(super) struct Writer(pub(super) Arc<Outgoing>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_dropped_before_it_was_written_is_lost() {
        let connection = Arc::new(Outgoing::default());
        let stream = OutgoingStream::new(Arc::clone(&connection));
        let piece = || stream.count(Bytes::from(vec![b'x'; 20_000]));
        for number in 1..=3 {
            let written = piece();
            // A frame has a head, and some of it may still be in the buffer.
            connection.wrote(&Poll::Ready(Ok(20_009)));
            drop(written);
            assert!(!stream.is_lost());
            assert_eq!(connection.sent(), number * 20_000);
        }
        let other = OutgoingStream::new(Arc::clone(&connection));
        let unwritten = [piece(), other.count(Bytes::from(vec![b'x'; 20_000]))];
        assert_eq!(connection.held.load(Ordering::Relaxed), 40_000);
        drop(unwritten);
        assert!(stream.is_lost() && other.is_lost());
        assert_eq!(connection.sent(), 60_000);
        assert_eq!(connection.held.load(Ordering::Relaxed), 0);
    }
}
