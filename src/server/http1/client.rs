//! Asks a server over HTTP/1: writes a request and reads the responses to it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

use super::body::{Incoming, Malformed, Outgoing};
use super::head::{Parsed, end_of_response, parse_response, write_length};
use super::reading::keeps_alive;
use super::stream::Buffered;
use crate::request::Chunks;
use crate::server::message::{Body, InterimBudget, Part, ResponseHead};

/// The longest head of a response.
const MAX_HEAD: usize = 256 * 1024;

/// A connection to a server, with one request at a time.
#[derive(Debug)]
pub(in crate::server) struct ClientSide {
    wire: Buffered,
    incoming: Incoming,
    outgoing: Outgoing,
    eof: bool,
    is_head_request: bool,
    interim: InterimBudget,
    seen: usize,
    keeps: bool,
    /// Whether the request was written to its end.
    is_sent: bool,
    is_answered: bool,
}

/// Why there is no response, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum ResponseError {
    /// The connection ended before the first byte of a response.
    #[error("the server closed the connection without an answer")]
    Closed,
    #[error("the server's answer broke off")]
    BrokenOff,
    #[error("the server's answer is malformed")]
    Malformed,
    /// The server says that it did not look at the request.
    #[error("the server did not process the request")]
    Unprocessed,
}

impl ClientSide {
    pub(in crate::server) fn new(wire: Buffered) -> Self {
        Self {
            wire,
            incoming: Incoming::Over,
            outgoing: Outgoing::None,
            eof: false,
            is_head_request: false,
            interim: InterimBudget::default(),
            seen: 0,
            keeps: true,
            is_sent: false,
            is_answered: false,
        }
    }

    /// Writes the head of a request; `write` writes its first line and its fields, of which none may frame the body.
    pub(in crate::server) fn put_head(
        &mut self,
        is_head_request: bool,
        body: Body,
        always_says_length: bool,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let out = &mut self.wire.output;
        out.reserve(1024);
        write(out);
        self.outgoing = match body {
            Body::Empty => {
                if always_says_length {
                    write_length(0, out);
                }
                Outgoing::None
            }
            Body::Length(length) => {
                write_length(length, out);
                Outgoing::Length(length)
            }
            Body::Unknown => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                Outgoing::Chunks
            }
        };
        out.extend_from_slice(b"\r\n");
        self.is_head_request = is_head_request;
        (self.interim, self.seen) = (InterimBudget::default(), 0);
        self.keeps = true;
        self.is_answered = false;
        self.is_sent = body == Body::Empty;
        self.incoming = Incoming::Over;
    }

    pub(in crate::server) fn put(&mut self, data: Bytes) {
        self.outgoing.put(&mut self.wire, data);
    }

    /// Writes the end of the request's body.
    pub(in crate::server) fn finish(&mut self, trailers: Option<&HeaderMap>) {
        self.is_sent = self.outgoing.finish(&mut self.wire, trailers);
    }

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

    pub(in crate::server) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_flush(cx)
    }

    /// Reads the next head: of an interim response, or of the final one.
    pub(in crate::server) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseError>> {
        loop {
            if self.wire.input.len() > self.seen {
                let end = end_of_response(&self.wire.input, self.seen);
                self.seen = self.wire.input.len();
                // Much may come at once: a head that has its end may be as much too long as one that has none yet.
                if end.unwrap_or(self.seen) > MAX_HEAD {
                    return Poll::Ready(Err(ResponseError::Malformed));
                }
                if let Some(end) = end {
                    return Poll::Ready(self.take_head(end));
                }
            }
            let silent = self.wire.input.is_empty() && self.interim.is_untouched();
            match ready!(self.wire.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(_) | Err(_) if silent => return Poll::Ready(Err(ResponseError::Closed)),
                Ok(_) | Err(_) => return Poll::Ready(Err(ResponseError::BrokenOff)),
            }
        }
    }

    fn take_head(&mut self, end: usize) -> Result<ResponseHead, ResponseError> {
        self.seen = 0;
        let raw = self.wire.input.split_to(end).freeze();
        let parsed = parse_response(&raw).ok_or(ResponseError::Malformed)?;
        if parsed.head.is_interim() {
            if !self.interim.take(end) {
                return Err(ResponseError::Malformed);
            }
            return Ok(parsed.head);
        }
        self.is_answered = true;
        self.incoming = self.framing(&parsed)?;
        Ok(parsed.head)
    }

    /// Finds where the response's body ends (RFC 9112, section 6.3).
    fn framing(&mut self, parsed: &Parsed) -> Result<Incoming, ResponseError> {
        let Parsed { head, is_http10 } = parsed;
        let headers = &head.headers;
        self.keeps = keeps_alive(headers, *is_http10);
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let length = one_length(headers)?;
        let without_body = self.is_head_request
            || head.status.is_informational()
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let coding = codings.next();
        if codings.next().is_some()
            || coding.is_some_and(|coding| {
                !coding
                    .as_bytes()
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"chunked")
            })
        {
            return Err(ResponseError::Malformed);
        }
        if without_body {
            return Ok(Incoming::Over);
        }
        if coding.is_some() {
            // Who sends both, or chunks to HTTP/1.0, is not believed about what follows.
            self.keeps &= length.is_none() && !is_http10;
            return Ok(Incoming::chunks(Chunks::padded()));
        }
        Ok(match length {
            Some(length) => Incoming::length(length),
            None => {
                self.keeps = false;
                Incoming::UntilEnd
            }
        })
    }

    /// Returns how long the response's body is, as far as its head said.
    pub(in crate::server) fn body(&self) -> Body {
        match &self.incoming {
            Incoming::Over => Body::Empty,
            Incoming::Length(length) => Body::Length(*length),
            Incoming::Chunks(_) | Incoming::UntilEnd | Incoming::Broken(_) => Body::Unknown,
        }
    }

    /// Reads the next part of the response's body.
    pub(in crate::server) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Part, ResponseError>> {
        loop {
            match self.incoming.take(&mut self.wire.input, self.eof) {
                Ok(Some(part)) => return Poll::Ready(Ok(part)),
                Ok(None) => {}
                Err(Malformed::BrokenOff) => return Poll::Ready(Err(ResponseError::BrokenOff)),
                Err(_) => return Poll::Ready(Err(ResponseError::Malformed)),
            }
            match ready!(self.wire.poll_fill(cx)) {
                Ok(read) => self.eof = read == 0,
                Err(_) => return Poll::Ready(Err(ResponseError::BrokenOff)),
            }
        }
    }

    /// Returns whether another request may follow on this connection.
    pub(in crate::server) fn is_reusable(&self) -> bool {
        self.keeps
            && self.is_sent
            && self.is_answered
            && !self.eof
            && self.incoming.is_over()
            && self.wire.input.is_empty()
            && !self.wire.has_output()
    }

    /// Returns the connection, for another request or as a WebSocket.
    pub(in crate::server) fn into_wire(self) -> Buffered {
        self.wire
    }
}

/// Returns the length that a head says; one that is repeated is said once (RFC 9110, section 8.6).
fn one_length(headers: &HeaderMap) -> Result<Option<u64>, ResponseError> {
    let mut found = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for length in line.as_bytes().split(|&b| b == b',') {
            let digits =
                std::str::from_utf8(length.trim_ascii()).map_err(|_| ResponseError::Malformed)?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ResponseError::Malformed);
            }
            let length: u64 = digits.parse().map_err(|_| ResponseError::Malformed)?;
            if found.is_some_and(|found| found != length) {
                return Err(ResponseError::Malformed);
            }
            found = Some(length);
        }
    }
    Ok(found)
}
