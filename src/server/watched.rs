//! A client's connection whose chunked bodies are followed while pingora reads them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::request::{Chunks, MalformedChunks};

/// Says what is followed on a connection that pingora has.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Chunks>>>);

/// The connection; reading fails at what breaks the grammar, before pingora sees it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: Stream,
    watch: Watch,
}

impl Watch {
    /// Follows a chunked body from where `chunks` is, or nothing.
    pub(super) fn set(&self, chunks: Option<Chunks>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chunks;
    }

    fn follow(&self, bytes: &[u8]) -> Result<(), MalformedChunks> {
        let mut chunks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chunks
            .as_mut()
            .map_or(Ok(()), |chunks| chunks.follow(bytes))
    }
}

impl Watched {
    /// Takes a connection, on which nothing is followed yet.
    pub(super) fn new(stream: Stream) -> (Self, Watch) {
        let watch = Watch::default();
        let watched = Self {
            stream,
            watch: watch.clone(),
        };
        (watched, watch)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.watch.follow(read).map_err(io::Error::other))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}
