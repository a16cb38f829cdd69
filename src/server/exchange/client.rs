//! The client of an exchange, whichever protocol it speaks.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;

use crate::server::http1::{BodyError, ServerSide};
use crate::server::http2::ServerStream;
use crate::server::message::{Body, Part, ResponseHead};

/// The client.
#[derive(Debug)]
pub(in crate::server) enum Client<'c> {
    Http1(&'c mut ServerSide),
    Http2(&'c mut ServerStream),
}

/// What a client does that has sent its whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It has closed its sending side, and may still read.
    HalfClosed,
    /// It is gone.
    Gone,
}

impl Client<'_> {
    /// Reads the next part of the request's body.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, BodyError>> {
        match self {
            Self::Http1(client) => client.poll_part(cx),
            Self::Http2(client) => client.poll_part(cx),
        }
    }

    /// Resolves when the client leaves.
    pub(super) fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Leaving> {
        match self {
            Self::Http1(client) => client.poll_eof(cx).map(|eof| match eof {
                Ok(()) => Leaving::HalfClosed,
                Err(_) => Leaving::Gone,
            }),
            Self::Http2(client) => client.poll_gone(cx).map(|()| Leaving::Gone),
        }
    }

    pub(super) fn has_whole_body(&self) -> bool {
        match self {
            Self::Http1(client) => client.has_whole_body(),
            Self::Http2(client) => client.has_whole_body(),
        }
    }

    /// Takes what has come already of a body that nobody wants, so that a short one costs no connection.
    pub(super) fn discard_buffered(&mut self) {
        match self {
            Self::Http1(client) => client.discard_buffered(),
            Self::Http2(_) => {}
        }
    }

    /// Returns how many bytes were written so far.
    pub(super) fn written(&self) -> u64 {
        match self {
            Self::Http1(client) => client.written(),
            Self::Http2(client) => client.written(),
        }
    }

    /// Returns whether the client is seen leaving. Where it is not, [`Self::is_broken`] tells of a reset.
    pub(super) fn can_be_watched(&self) -> bool {
        match self {
            Self::Http1(client) => client.can_be_watched(),
            Self::Http2(_) => true,
        }
    }

    /// Returns whether the client's system has said that nobody is there any more.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_broken(),
            Self::Http2(_) => false,
        }
    }

    /// Returns whether the client understands interim responses.
    pub(super) fn knows_interim(&self) -> bool {
        match self {
            Self::Http1(client) => client.knows_interim(),
            Self::Http2(_) => true,
        }
    }

    /// Returns whether no more should be put before what waits is flushed.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_full(),
            Self::Http2(client) => client.has_data(),
        }
    }

    /// Says to the client that its body is wanted, if it waits for that.
    pub(super) fn put_continue(&mut self) {
        match self {
            Self::Http1(client) => client.put_continue(),
            Self::Http2(client) => client.put_continue(),
        }
    }

    /// Writes an interim response.
    pub(super) fn put_interim(&mut self, head: ResponseHead) {
        match self {
            Self::Http1(client) => client.put_interim(&head),
            Self::Http2(client) => client.put_interim(head),
        }
    }

    /// Writes the final head; nothing in it may frame the body.
    pub(super) fn put_head(&mut self, head: ResponseHead, body: Body) {
        match self {
            Self::Http1(client) => client.put_head(&head, body),
            Self::Http2(client) => client.put_head(head, body),
        }
    }

    /// Writes data of the body.
    pub(super) fn put(&mut self, data: Bytes) {
        match self {
            Self::Http1(client) => client.put(data),
            Self::Http2(client) => client.put(data),
        }
    }

    /// Writes the end of the body.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) {
        match self {
            Self::Http1(client) => client.finish(trailers.as_ref()),
            Self::Http2(client) => client.finish(trailers),
        }
    }

    pub(super) fn has_output(&self) -> bool {
        match self {
            Self::Http1(client) => client.has_output(),
            Self::Http2(client) => client.has_output(),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Http1(client) => client.poll_flush(cx).map_err(|_| BodyError::Gone),
            Self::Http2(client) => client.poll_flush(cx),
        }
    }

    /// Flushes, and resolves when the connection has sent it all, as far as can be known.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Http1(_) => self.poll_flush(cx),
            Self::Http2(client) => client.poll_sent(cx),
        }
    }

    /// Lets no other request follow on a connection of HTTP/1.
    pub(super) fn close_after(&mut self) {
        if let Self::Http1(client) = self {
            client.close_after();
        }
    }

    /// Breaks a response off that was begun.
    pub(super) fn break_off(&mut self, reason: Reason) {
        match self {
            Self::Http1(client) => client.break_off(),
            Self::Http2(client) => client.reset(reason),
        }
    }
}
