//! Counts what h2 holds of the responses on a connection.
//!
//! The crate h2 takes whatever a stream's window lets through, whether or not the socket has room for it, and does not say when it
//! was sent. But it drops each piece when it has written it, or will not write it any more, and so each piece that it is given
//! counts until then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::HeaderValue;

/// What h2 may hold of a connection when an exchange ends: where it holds more, an exchange ends when nothing of its own is left.
const MOST_HELD: usize = 64 * 1024;

/// What h2 holds of all streams of a connection.
#[derive(Debug, Default)]
pub(in crate::server) struct Outgoing {
    held: AtomicUsize,
    written: AtomicU64,
    is_closed: AtomicBool,
}

impl Outgoing {
    /// Returns how many bytes the socket took so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
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
        self.counted(data, size)
    }

    /// Counts a head of this size until h2 drops one of its values, which it does when it has encoded the head.
    pub(super) fn count_head(self: &Arc<Self>, value: &mut HeaderValue, size: usize) {
        let text = Bytes::copy_from_slice(value.as_bytes());
        if let Ok(mut counted) = HeaderValue::from_maybe_shared(self.counted(text, size)) {
            // Any other value may stay in the encoder's table.
            counted.set_sensitive(true);
            *value = counted;
        }
    }

    fn counted(self: &Arc<Self>, data: Bytes, size: usize) -> Bytes {
        self.held.fetch_add(size, Ordering::Relaxed);
        self.connection.held.fetch_add(size, Ordering::Relaxed);
        let stream = Arc::clone(self);
        Bytes::from_owner(Piece { data, size, stream })
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
        // The end of a connection drops what was not written.
        Poll::Ready(match self.connection.is_closed.load(Ordering::SeqCst) {
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
    stream: Arc<OutgoingStream>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Self { size, stream, .. } = self;
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
