//! Reads the heads of a client's requests: each byte once, within limits of time (against slowloris) and size.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, Method, Version};
use tokio::time::Instant;

use super::body::{Incoming, Outgoing};
use super::server::ServerSide;
use crate::request::{
    Chunks, Denial, Framing, Head, check_start, end_of_head, is_handshake, parse_head,
};
use crate::server::message::{Body, RequestHead, Spelling};
use crate::server::timer::Timer;

/// What frames a head beside its target and fields: the method, the version and line ends.
const FIRST_LINE: usize = 256;
/// What a client may take for a head.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Limits {
    /// Until the first byte.
    pub(in crate::server) idle: Duration,
    /// Between two reads.
    pub(in crate::server) read: Duration,
    /// From the first byte to the last.
    pub(in crate::server) whole: Duration,
    /// The bytes of target and fields.
    pub(in crate::server) max_bytes: usize,
}

/// What came instead of the next request, or the request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every read brings a head, and a box would cost each an allocation"
)]
pub(in crate::server) enum Read {
    Head(RequestHead),
    Refused(Denial),
    /// The client left, or was late, with a part of a head.
    Unfinished,
    /// The client left, or was late, and had sent nothing.
    Idle,
}

impl ServerSide {
    /// Reads the next head.
    pub(in crate::server) async fn read_head(
        &mut self,
        timer: &mut Timer,
        limits: &Limits,
    ) -> Read {
        self.wire.shrink();
        // What was known of the request before says nothing of one that cannot be read.
        (self.is_head_request, self.is_http10) = (false, false);
        self.outgoing = Outgoing::None;
        let mut reading = Reading {
            deadline: Instant::now() + limits.idle,
            whole: None,
            skipped: 0,
            seen: 0,
            is_first_line_checked: false,
        };
        poll_fn(|cx| self.poll_read(cx, timer, limits, &mut reading)).await
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        limits: &Limits,
        reading: &mut Reading,
    ) -> Poll<Read> {
        loop {
            if !self.wire.input.is_empty() {
                match self.take_head(limits, reading) {
                    Ok(Some(head)) => return Poll::Ready(Read::Head(head)),
                    Ok(None) => {}
                    Err(denial) => {
                        self.keeps = false;
                        return Poll::Ready(Read::Refused(denial));
                    }
                }
            }
            let unfinished = reading.skipped > 0 || !self.wire.input.is_empty();
            let ended = if unfinished {
                Read::Unfinished
            } else {
                Read::Idle
            };
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {
                    let now = Instant::now();
                    let whole = *reading.whole.get_or_insert(now + limits.whole);
                    reading.deadline = whole.min(now + limits.read);
                }
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(ended),
                Poll::Pending => {
                    ready!(timer.poll(cx, reading.deadline));
                    return Poll::Ready(ended);
                }
            }
        }
    }

    /// Takes a whole head out of what was read.
    fn take_head(
        &mut self,
        limits: &Limits,
        reading: &mut Reading,
    ) -> Result<Option<RequestHead>, Denial> {
        let input = &mut self.wire.input;
        // RFC 9112, section 2.2: a client may send empty lines before a request.
        while input.starts_with(b"\r\n") {
            input.advance(2);
            reading.skipped += 2;
            reading.seen = 0;
        }
        if **input == *b"\r" && reading.skipped < limits.max_bytes {
            return Ok(None);
        }
        let end = end_of_head(input, reading.seen)?;
        if reading.skipped + end.unwrap_or(input.len())
            > limits.max_bytes.saturating_add(FIRST_LINE)
        {
            return Err(Denial::HeadersTooLarge);
        }
        let Some(end) = end else {
            reading.seen = input.len();
            if !reading.is_first_line_checked {
                check_start(input)?;
                reading.is_first_line_checked = memchr::memchr(b'\n', input).is_some();
            }
            return Ok(None);
        };
        let raw = input.split_to(end).freeze();
        let head = parse_head(&raw)?;
        Ok(Some(self.begin(raw, head)))
    }

    fn begin(&mut self, raw: Bytes, head: Head) -> RequestHead {
        let Head {
            method,
            target,
            version,
            headers,
            names,
            framing,
        } = head;
        self.is_http10 = version == Version::HTTP_10;
        self.is_head_request = method == Method::HEAD;
        self.keeps = keeps_alive(&headers, self.is_http10);
        self.outgoing = Outgoing::None;
        let body;
        (self.incoming, body) = match framing {
            Framing::Length(0) => (Incoming::Over, Body::Empty),
            Framing::Length(length) => (Incoming::length(length), Body::Length(length)),
            Framing::Chunks => (Incoming::chunks(Chunks::default()), Body::Unknown),
        };
        let expected = headers.get(EXPECT);
        self.expects_continue = !self.is_http10
            && body != Body::Empty
            && expected.is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        RequestHead {
            handshake: body == Body::Empty && is_handshake(&method, version, &headers),
            method,
            target,
            authority: None,
            names_https: false,
            version,
            headers,
            spelling: Spelling::new(raw, names),
            body,
        }
    }
}

/// How far the next head was read.
#[derive(Debug)]
struct Reading {
    deadline: Instant,
    whole: Option<Instant>,
    /// The bytes of empty lines before it.
    skipped: usize,
    seen: usize,
    is_first_line_checked: bool,
}

/// Returns whether the sender of a head keeps its connection.
pub(super) fn keeps_alive(headers: &HeaderMap, is_http10: bool) -> bool {
    let mut keeps = !is_http10;
    for line in headers.get_all(CONNECTION) {
        for option in line
            .as_bytes()
            .split(|&b| b == b',')
            .map(<[u8]>::trim_ascii)
        {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keeps |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keeps
}
