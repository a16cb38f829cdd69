//! Counts the heads of requests that a client of HTTP/2 sends: the crate h2 says nothing of those that become no request.
//!
//! h2 resets a stream whose head is malformed, answers one whose head is too large, refuses one too many, and waits for the rest
//! of one that is unfinished, all by itself. So the frames are followed here as they are read. A head that h2 has dealt with and
//! that nobody has accepted became no request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outgoing::{Outgoing, Writer};

/// What precedes the first frame.
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What came so far.
#[derive(Debug, Default)]
pub(in crate::server) struct Heads {
    /// Heads of requests that came to their end.
    whole: AtomicU32,
    /// Those of them that h2 had dealt with when it asked for more bytes.
    dealt_with: AtomicU32,
    /// Header sections that were begun, those behind bodies among them.
    begun: AtomicU32,
    is_unfinished: AtomicBool,
    is_used: AtomicBool,
}

impl Heads {
    /// Returns how many heads h2 has dealt with.
    pub(in crate::server) fn dealt_with(&self) -> u32 {
        self.dealt_with.load(Ordering::Relaxed)
    }

    /// Returns how many came to their end.
    pub(in crate::server) fn whole(&self) -> u32 {
        self.whole.load(Ordering::Relaxed)
    }

    /// Returns the number of the header section whose end is still to come.
    pub(in crate::server) fn unfinished(&self) -> Option<u32> {
        let is_unfinished = self.is_unfinished.load(Ordering::Relaxed);
        is_unfinished.then(|| self.begun.load(Ordering::Relaxed))
    }

    /// Returns whether the client has sent anything.
    pub(in crate::server) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }
}

/// A connection whose frames are followed.
#[derive(Debug)]
pub(in crate::server) struct Watched<S> {
    stream: S,
    frames: Frames,
    heads: Arc<Heads>,
    writer: Writer,
}

impl<S> Watched<S> {
    pub(in crate::server) fn new(stream: S, heads: &Arc<Heads>, outgoing: &Arc<Outgoing>) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            heads: Arc::clone(heads),
            writer: Writer(Arc::clone(outgoing)),
        }
    }
}

/// Where in the frames a connection is.
#[derive(Debug, Default)]
struct Frames {
    preface: usize,
    head: [u8; FRAME_HEAD],
    /// How much of the head is there.
    known: usize,
    /// How much of the payload is to come.
    left: u32,
    newest: u32,
    /// Whether the header section that is unfinished begins a request.
    opens: bool,
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8], heads: &Heads) {
        if self.preface < PREFACE {
            let here = bytes.len().min(PREFACE - self.preface);
            self.preface += here;
            bytes = bytes.get(here..).unwrap_or_default();
        }
        while !bytes.is_empty() {
            if self.known == FRAME_HEAD {
                let here = bytes.len().min(self.left as usize);
                self.left -= here as u32;
                bytes = bytes.get(here..).unwrap_or_default();
            } else {
                let here = bytes.len().min(FRAME_HEAD - self.known);
                let (now, later) = bytes.split_at(here);
                for (place, byte) in self.head.iter_mut().skip(self.known).zip(now) {
                    *place = *byte;
                }
                self.known += here;
                bytes = later;
                if self.known == FRAME_HEAD {
                    self.begin(heads);
                }
            }
            if self.known == FRAME_HEAD && self.left == 0 {
                self.end(heads);
            }
        }
    }

    fn begin(&mut self, heads: &Heads) {
        let [a, b, c, kind, _, stream @ ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]);
        if kind == HEADERS {
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            // Trailers are on a stream that there is.
            self.opens = stream > self.newest;
            self.newest = self.newest.max(stream);
            heads.begun.fetch_add(1, Ordering::Relaxed);
            heads.is_unfinished.store(true, Ordering::Relaxed);
        }
    }

    fn end(&mut self, heads: &Heads) {
        let [_, _, _, kind, flags, ..] = self.head;
        self.known = 0;
        let is_section = kind == HEADERS || kind == CONTINUATION;
        if is_section
            && flags & END_HEADERS != 0
            && heads.is_unfinished.swap(false, Ordering::Relaxed)
            && self.opens
        {
            heads.whole.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            frames,
            heads,
            ..
        } = &mut *self;
        // h2 reads only when it has dealt with all whole frames that it has.
        heads.dealt_with.store(heads.whole(), Ordering::Relaxed);
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            heads.is_used.store(true, Ordering::Relaxed);
            frames.follow(new, heads);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.writer.0.wrote(&write);
        write
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
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.writer.0.wrote(&write);
        write
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length.iter().skip(1).copied().collect::<Vec<u8>>();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Follows bytes in pieces of `size`; returns the whole heads, and the section that is unfinished.
    fn followed(bytes: &[u8], size: usize) -> (u32, Option<u32>) {
        let (mut frames, heads) = (Frames::default(), Heads::default());
        for piece in bytes.chunks(size) {
            frames.follow(piece, &heads);
        }
        (heads.whole(), heads.unfinished())
    }

    #[test]
    fn heads_are_counted_however_their_frames_are_cut() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let whole = [
            preface,
            frame(4, 0, 0, &[]),
            frame(HEADERS, 5, 1, b"head"),
            frame(HEADERS, 0, 3, b"he"),
            frame(CONTINUATION, 0, 3, b""),
            frame(CONTINUATION, END_HEADERS, 3, b"ad"),
            // What looks like a head in a body is none.
            frame(0, 0, 3, &frame(HEADERS, 5, 9, b"x")),
            // Trailers.
            frame(HEADERS, 5, 3, b"sum"),
            frame(6, END_HEADERS, 0, &[0; 8]),
            frame(HEADERS, 4, 5, b""),
        ]
        .concat();
        let begun = [&whole[..], &frame(HEADERS, 0, 7, b"he")].concat();
        let half = [&whole[..], &[0, 0, 9, HEADERS, 4, 0, 0, 0, 7, 1]].concat();
        for size in 1..whole.len() {
            assert_eq!(followed(&whole, size), (3, None), "{size}");
            assert_eq!(followed(&begun, size), (3, Some(5)), "{size}");
            assert_eq!(followed(&half, size), (3, Some(5)), "{size}");
        }
    }
}
