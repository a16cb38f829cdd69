//! A connection with a buffer in front of each direction, which hold nothing while the connection is idle.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use pingora::protocols::Stream;
use pingora::protocols::l4::ext::get_tcp_info;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::server::tcp::Tcp;

/// A read goes through the stack, so that a connection that waits holds no buffer. A head fits in one.
const SCRATCH: usize = 16 * 1024;
/// What a body is read in, once a read has filled the scratch.
const LARGE: usize = 64 * 1024;
/// The state of a socket of Linux that is connected to nobody any more.
const TCP_CLOSE: u8 = 7;
/// Shorter parts are copied behind each other, longer ones are written from where they are.
const COPIED: usize = 8 * 1024;

/// The connection.
#[derive(Debug)]
pub(in crate::server) struct Buffered {
    stream: Stream,
    /// What was read and not taken yet.
    pub(super) input: BytesMut,
    /// What waits to be written, in this order.
    pub(super) output: BytesMut,
    tail: Bytes,
    after: BytesMut,
    /// Whether the last read was as long as a read can be, so that more is probably there.
    is_streaming: bool,
    unflushed: bool,
    /// How many bytes were written so far.
    written: u64,
    /// What counts it for as long as it is open.
    _counted: Option<Counted>,
}

/// Counts something for as long as it lives.
type Counted = Box<dyn std::fmt::Debug + Send + Sync>;

impl Buffered {
    pub(in crate::server) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            tail: Bytes::new(),
            after: BytesMut::new(),
            is_streaming: false,
            unflushed: false,
            written: 0,
            _counted: None,
        }
    }

    /// Has it counted for as long as it is open.
    pub(in crate::server) fn counted(
        mut self,
        by: impl std::fmt::Debug + Send + Sync + 'static,
    ) -> Self {
        self._counted = Some(Box::new(by));
        self
    }

    /// Returns whether the other side has broken the connection, which a read does not tell behind its end.
    pub(super) fn is_broken(&self) -> bool {
        get_tcp_info(self.stream.id()).is_ok_and(|info| info.tcpi_state == TCP_CLOSE)
    }

    /// Reads once, and returns how many bytes came; 0 is the end.
    pub(in crate::server) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_streaming {
            if self.input.capacity() - self.input.len() < SCRATCH {
                self.input.reserve(LARGE);
            }
            let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input);
            match &read {
                Poll::Ready(Ok(read)) => self.is_streaming = *read >= SCRATCH,
                Poll::Ready(Err(_)) => {}
                Poll::Pending => {
                    self.is_streaming = false;
                    if self.input.is_empty() {
                        self.input = BytesMut::new();
                    }
                }
            }
            return read;
        }
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch))?;
        let read = scratch.filled();
        self.is_streaming = read.len() == SCRATCH;
        self.input.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Takes everything that was read.
    pub(in crate::server) fn take_input(&mut self) -> Bytes {
        self.input.split().freeze()
    }

    /// Returns how many bytes were written so far, by which a slow reader is told from one that does not read.
    pub(in crate::server) fn written(&self) -> u64 {
        self.written
    }

    /// Returns whether something waits to be written.
    pub(in crate::server) fn has_output(&self) -> bool {
        self.unflushed || !self.output.is_empty() || !self.tail.is_empty()
    }

    /// Returns whether so much waits that it should be written before more is put behind it.
    pub(super) fn is_full(&self) -> bool {
        !self.tail.is_empty() || self.output.len() > COPIED
    }

    /// Puts bytes behind what waits to be written.
    pub(in crate::server) fn put(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED || !self.tail.is_empty() {
            self.put_slice(&bytes);
        } else {
            self.tail = bytes;
        }
    }

    /// Puts bytes behind what waits to be written, by copying them.
    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        let last = match self.tail.is_empty() {
            true => &mut self.output,
            false => &mut self.after,
        };
        last.extend_from_slice(bytes);
    }

    /// Writes everything that waits.
    pub(in crate::server) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let stream = Pin::new(&mut self.stream);
            let waiting = (self.output.is_empty(), self.tail.is_empty());
            let written = ready!(match waiting {
                (true, true) => break,
                (false, true) => stream.poll_write(cx, &self.output),
                (_, false) => {
                    let parts = [&self.output[..], &self.tail, &self.after].map(IoSlice::new);
                    stream.poll_write_vectored(cx, &parts)
                }
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.written += written as u64;
            let first = written.min(self.output.len());
            self.output.advance(first);
            let second = (written - first).min(self.tail.len());
            self.tail.advance(second);
            self.after.advance(written - first - second);
            if self.tail.is_empty() && !self.after.is_empty() {
                self.output.extend_from_slice(&self.after);
                self.after.clear();
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        // Neither direction keeps what a large message took.
        if self.output.capacity() > COPIED {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Has a client's connection end with a reset. TLS needs none: its end is missing where nobody sent it.
    pub(super) fn reset_at_end(&self) {
        if let Some(tcp) = (*self.stream).as_any().downcast_ref::<Tcp>() {
            tcp.reset_at_end();
        }
    }

    /// Gives up the buffers, which an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }

    /// Ends the direction that is written, as TLS and TCP each do.
    pub(in crate::server) fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
