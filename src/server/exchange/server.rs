//! The server of an exchange, whichever protocol it speaks.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use crate::server::http1::{ClientSide, ResponseError};
use crate::server::http2::ClientStream;
use crate::server::message::{Body, Part, ResponseHead};
use crate::server::upstreams::{Lease, Origin};

/// The server, and what was lent for it.
#[derive(Debug)]
pub(super) enum Server {
    Http1(ClientSide, Origin),
    Http2(ClientStream, Lease),
}

impl Server {
    pub(super) fn put(&mut self, data: Bytes) {
        match self {
            Self::Http1(server, _) => server.put(data),
            Self::Http2(server, _) => server.put(data),
        }
    }

    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) {
        match self {
            Self::Http1(server, _) => server.finish(trailers.as_ref()),
            Self::Http2(server, lease) => {
                lease.end(server.length());
                server.finish(trailers);
            }
        }
    }

    pub(super) fn has_output(&self) -> bool {
        match self {
            Self::Http1(server, _) => server.has_output(),
            Self::Http2(server, _) => server.has_output(),
        }
    }

    /// Returns how many bytes were written so far.
    pub(super) fn written(&self) -> u64 {
        match self {
            Self::Http1(server, _) => server.written(),
            Self::Http2(server, _) => server.written(),
        }
    }

    /// Gives a connection that others share no more exchanges.
    pub(super) fn retire(self) {
        if let Self::Http2(stream, lease) = self {
            drop(stream);
            lease.retire();
        }
    }

    /// Returns whether no more should be put before what waits is flushed.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Http1(server, _) => server.is_full(),
            Self::Http2(server, _) => server.has_data(),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ResponseError>> {
        match self {
            Self::Http1(server, _) => server.poll_flush(cx).map_err(|_| ResponseError::BrokenOff),
            Self::Http2(server, _) => server.poll_flush(cx),
        }
    }

    /// Returns whether heads that are not read stay with the server. Those of HTTP/2 are kept by the connection, however many come.
    pub(super) fn holds_heads_back(&self) -> bool {
        matches!(self, Self::Http1(..))
    }

    /// Reads the next head: of an interim response, or of the final one.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseError>> {
        match self {
            Self::Http1(server, _) => server.poll_head(cx),
            Self::Http2(server, _) => server.poll_head(cx),
        }
    }

    /// Returns how long the response's body is, as far as its head said.
    pub(super) fn body(&self) -> Body {
        match self {
            Self::Http1(server, _) => server.body(),
            Self::Http2(server, _) => server.body(),
        }
    }

    /// Reads the next part of the response's body.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, ResponseError>> {
        match self {
            Self::Http1(server, _) => server.poll_part(cx),
            Self::Http2(server, _) => server.poll_part(cx),
        }
    }
}
