//! Serves a client of HTTP/1: reads requests and writes responses, one after the other.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::protocols::Stream;

use super::body::{Incoming, Malformed, Outgoing};
use super::head::{write_length, write_response};
use super::stream::Buffered;
use crate::server::message::{Body, Part, ResponseHead};

/// How long a client that was refused may go on sending: to close on it would destroy the answer before it is read.
const LINGERING_TIMEOUT: Duration = Duration::from_secs(5);
/// So much is read of what a client sends before its turn, while it is watched for leaving.
const EARLY: usize = 16 * 1024;

/// The connection.
#[derive(Debug)]
pub(in crate::server) struct ServerSide {
    pub(super) wire: Buffered,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// Whether the client has closed its sending side.
    eof: bool,
    pub(super) is_http10: bool,
    pub(super) is_head_request: bool,
    pub(super) expects_continue: bool,
    pub(super) keeps: bool,
}

impl ServerSide {
    pub(in crate::server) fn new(stream: Stream) -> Self {
        Self {
            wire: Buffered::new(stream),
            incoming: Incoming::Over,
            outgoing: Outgoing::None,
            eof: false,
            is_http10: false,
            is_head_request: false,
            expects_continue: false,
            keeps: true,
        }
    }

    /// Reads the next part of the body.
    pub(in crate::server) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Part, BodyError>> {
        loop {
            if let Some(part) = self.incoming.take(&mut self.wire.input, self.eof)? {
                return Poll::Ready(Ok(part));
            }
            let read = ready!(self.wire.poll_fill(cx)).map_err(|_| BodyError::Gone)?;
            if read == 0 {
                return Poll::Ready(Err(BodyError::Gone));
            }
        }
    }

    /// Resolves when the client has closed its side behind a whole request.
    pub(in crate::server) fn poll_eof(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        if self.eof {
            return Poll::Ready(Ok(()));
        }
        // What else it sends is not taken before its turn, but would hide that it leaves.
        while self.can_be_watched() {
            match ready!(self.wire.poll_fill(cx)) {
                Ok(0) => {
                    self.eof = true;
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(BodyError::Gone)),
            }
        }
        Poll::Pending
    }

    /// Returns whether the client is seen leaving: behind its whole request, and while it has sent little before its turn.
    pub(in crate::server) fn can_be_watched(&self) -> bool {
        self.incoming.is_over() && self.wire.input.len() < EARLY
    }

    /// Returns whether the whole request was read.
    pub(in crate::server) fn has_whole_body(&self) -> bool {
        self.incoming.is_over()
    }

    /// Says to the client that its body is wanted, if it waits for that.
    pub(in crate::server) fn put_continue(&mut self) {
        if std::mem::take(&mut self.expects_continue) {
            self.wire.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Returns whether the client understands interim responses, which HTTP/1.0 does not know.
    pub(in crate::server) fn knows_interim(&self) -> bool {
        !self.is_http10
    }

    /// Returns whether the client's system has said that nobody is there any more.
    pub(in crate::server) fn is_broken(&self) -> bool {
        self.wire.is_broken()
    }

    /// Writes an interim response, where the client understands it.
    pub(in crate::server) fn put_interim(&mut self, head: &ResponseHead) {
        if !self.knows_interim() {
            return;
        }
        if head.status == StatusCode::CONTINUE {
            self.expects_continue = false;
        }
        write_response(head, &mut self.wire.output);
        self.wire.put_slice(b"\r\n");
    }

    /// Writes the head of the response; nothing in it may frame the body.
    pub(in crate::server) fn put_head(&mut self, head: &ResponseHead, body: Body) {
        let status = head.status;
        let without_body = self.is_head_request
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || status.is_informational();
        if self.incoming.is_over() && self.has_early_data() {
            self.keeps = false;
        }
        let out = &mut self.wire.output;
        write_response(head, out);
        self.outgoing = match body {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => Outgoing::None,
            Body::Unknown if without_body => Outgoing::None,
            Body::Unknown if self.is_http10 => {
                self.keeps = false;
                Outgoing::UntilEnd
            }
            Body::Unknown => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                Outgoing::Chunks
            }
            Body::Empty | Body::Length(_) => {
                let length = body.length().unwrap_or(0);
                // A head alone says how long the body would be, where somebody knows.
                if status != StatusCode::NO_CONTENT && (body != Body::Empty || !without_body) {
                    write_length(length, out);
                }
                match length {
                    0 => Outgoing::None,
                    _ if without_body => Outgoing::None,
                    length => Outgoing::Length(length),
                }
            }
        };
        if status != StatusCode::SWITCHING_PROTOCOLS {
            out.extend_from_slice(match self.keeps {
                true => b"Connection: keep-alive\r\n",
                false => b"Connection: close\r\n",
            });
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes data of the body.
    pub(in crate::server) fn put(&mut self, data: Bytes) {
        self.outgoing.put(&mut self.wire, data);
    }

    /// Writes the end of the body. One that is shorter than the head said ends the connection.
    pub(in crate::server) fn finish(&mut self, trailers: Option<&HeaderMap>) {
        if !self.outgoing.finish(&mut self.wire, trailers) {
            self.keeps = false;
        }
    }

    pub(in crate::server) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_flush(cx)
    }

    /// Returns whether something waits to be written.
    pub(in crate::server) fn has_output(&self) -> bool {
        self.wire.has_output()
    }

    /// Returns how many bytes were written so far.
    pub(in crate::server) fn written(&self) -> u64 {
        self.wire.written()
    }

    /// Returns whether no more should be put before what waits is flushed.
    pub(in crate::server) fn is_full(&self) -> bool {
        self.wire.is_full()
    }

    /// Takes what has come already of a body that nobody wants.
    pub(in crate::server) fn discard_buffered(&mut self) {
        loop {
            match self.incoming.take(&mut self.wire.input, false) {
                Ok(Some(Part::Data(_))) => {}
                Ok(Some(Part::End(_)) | None) => return,
                Err(_) => {
                    self.keeps = false;
                    return;
                }
            }
        }
    }

    /// Closes the connection behind this response.
    pub(in crate::server) fn close_after(&mut self) {
        self.keeps = false;
    }

    /// Closes the connection so that the client learns that something of this response is missing.
    pub(in crate::server) fn break_off(&mut self) {
        self.keeps = false;
        // Every other framing says itself where the body ends.
        if matches!(self.outgoing, Outgoing::UntilEnd) {
            self.wire.reset_at_end();
        }
    }

    /// Returns whether another request may follow, after a response that was written to its end.
    ///
    /// What was sent before the response is never taken for the next request: it might be the rest of this one.
    pub(in crate::server) fn is_reusable(&self) -> bool {
        self.keeps && !self.eof && self.incoming.is_over() && !self.has_early_data()
    }

    /// Returns whether anything but empty lines came before its turn.
    fn has_early_data(&self) -> bool {
        let mut lines = self.wire.input.chunks(2);
        lines.any(|pair| pair != b"\r\n" && pair != b"\r")
    }

    /// Closes the connection so that the client reads what was written, although it may still be sending.
    pub(in crate::server) async fn linger(mut self) {
        let leaving = poll_fn(|cx| self.wire.poll_shutdown(cx));
        if !matches!(
            tokio::time::timeout(LINGERING_TIMEOUT, leaving).await,
            Ok(Ok(()))
        ) || self.eof
        {
            return;
        }
        let reading = poll_fn(|cx| {
            loop {
                self.wire.input.clear();
                match ready!(self.wire.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        });
        let _ = tokio::time::timeout(LINGERING_TIMEOUT, reading).await;
    }

    /// Returns the connection, which has become a WebSocket.
    pub(in crate::server) fn into_wire(self) -> Buffered {
        self.wire
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum BodyError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the client has left")]
    Gone,
}
