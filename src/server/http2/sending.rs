//! Sends a body on a stream of HTTP/2, as far as the other side's window lets it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

use super::outgoing::OutgoingStream;

/// What h2 is given at once: as much as a frame has, so that what is sent of a response is seen frame by frame.
const MOST_AT_ONCE: usize = 16 * 1024;

/// What waits to be sent on a stream.
#[derive(Debug)]
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    waiting: Bytes,
    end: Option<End>,
    is_over: bool,
    /// How many bytes the window has let through so far.
    sent: u64,
    /// Where they count as long as h2 holds them.
    outgoing: Option<Arc<OutgoingStream>>,
}

#[derive(Debug)]
enum End {
    Data,
    Trailers(HeaderMap),
}

/// The stream was reset, or its connection is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost;

impl Sending {
    /// Goes on behind a head that was sent.
    pub(super) fn new(
        stream: SendStream<Bytes>,
        is_over: bool,
        outgoing: Option<Arc<OutgoingStream>>,
    ) -> Self {
        Self {
            stream,
            waiting: Bytes::new(),
            end: None,
            is_over,
            sent: 0,
            outgoing,
        }
    }

    /// Puts data behind what waits, which must be short or nothing.
    pub(super) fn put(&mut self, data: Bytes) {
        if self.waiting.is_empty() {
            self.waiting = data;
        } else {
            self.waiting = [&self.waiting[..], &data].concat().into();
        }
    }

    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) {
        if !self.is_over {
            self.end = Some(trailers.map_or(End::Data, End::Trailers));
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.end.is_some()
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn length(&self) -> u64 {
        self.sent + self.waiting.len() as u64
    }

    pub(super) fn has_data(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether the end was sent.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while !self.waiting.is_empty() {
            self.stream.reserve_capacity(self.waiting.len());
            if self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Err(Lost)),
                }
            }
            let here = self
                .stream
                .capacity()
                .min(self.waiting.len())
                .min(MOST_AT_ONCE);
            if here == 0 {
                continue;
            }
            let mut data = self.waiting.split_to(here);
            self.sent += here as u64;
            if let Some(outgoing) = &self.outgoing {
                data = outgoing.count(data);
            }
            let is_last = self.waiting.is_empty() && matches!(self.end, Some(End::Data));
            self.stream.send_data(data, is_last).map_err(|_| Lost)?;
            if is_last {
                self.end = None;
                self.is_over = true;
            }
        }
        let sent = match self.end.take() {
            None => return Poll::Ready(Ok(())),
            Some(End::Data) => self.stream.send_data(Bytes::new(), true),
            Some(End::Trailers(trailers)) => self.stream.send_trailers(trailers),
        };
        self.is_over = true;
        Poll::Ready(sent.map_err(|_| Lost))
    }

    /// Resolves when the other side has reset the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reason>> {
        self.stream.poll_reset(cx).map(Result::ok)
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        if !self.is_over {
            self.stream.send_reset(reason);
        }
    }
}
