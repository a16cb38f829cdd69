//! A client's stream that can be ended from outside: a WebSocket with a close frame where one fits, else at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::frames::Frames;
use super::socket::{Ending, Socket};

/// How long a close frame may take to leave.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long the client may take to answer a close frame; its backend is gone by then.
const LINGER: Duration = Duration::from_secs(2);

/// The stream; as long as it speaks HTTP it only passes on.
#[derive(Debug)]
pub(in crate::server) struct Closable {
    pub(in crate::server) stream: Stream,
    socket: Arc<Socket>,
    /// Where the server's frames stand that the client got.
    frames: Frames,
    farewell: Option<Box<Farewell>>,
}

/// The end of a WebSocket.
#[derive(Debug)]
struct Farewell {
    frame: Vec<u8>,
    sent: usize,
    stage: Stage,
    deadline: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sending,
    /// The client has got everything that there was to say.
    Said,
    /// The client cannot be told any more.
    Cut,
}

impl Closable {
    /// Wraps the stream of a client that speaks HTTP/1.
    pub(in crate::server) fn new(stream: Stream, socket: Arc<Socket>) -> Self {
        Self {
            stream,
            socket,
            frames: Frames::new(),
            farewell: None,
        }
    }

    /// Returns what others may hold of this stream; `None` for a stream that is none of these.
    pub(super) fn socket(stream: &Stream) -> Option<&Arc<Socket>> {
        // Of what is in the box, and not of the box.
        let closable = (**stream).as_any().downcast_ref::<Self>();
        closable.map(|closable| &closable.socket)
    }

    /// Says why it ends, if it does; not before the handshake was answered, so that the client learns why.
    fn ending(&self) -> Option<Ending> {
        let why = self.socket.ending()?;
        (!self.frames.before_first()).then_some(why)
    }

    /// Ends the direction to the client.
    fn poll_farewell(&mut self, why: Ending, cx: &mut Context<'_>) -> Poll<()> {
        let frames = self.frames;
        let farewell = self
            .farewell
            .get_or_insert_with(|| Box::new(Farewell::new(why, frames)));
        if farewell.stage == Stage::Sending {
            let sent = farewell.poll_send(Pin::new(&mut self.stream), cx);
            farewell.stage = match sent {
                Poll::Ready(Ok(())) => Stage::Said,
                Poll::Ready(Err(_)) => Stage::Cut,
                Poll::Pending => {
                    ready!(farewell.deadline.as_mut().poll(cx));
                    Stage::Cut
                }
            };
        }
        Poll::Ready(())
    }

    /// Writes to the client of a WebSocket, and follows what it got.
    fn poll_write_frames(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.socket.writer.register(cx.waker());
        if let Some(why) = self.ending() {
            // Nothing more goes to the client, and reading tells that it is over.
            let all = parts.iter().map(|part| part.len()).sum();
            return self.poll_farewell(why, cx).map(|()| Ok(all));
        }
        let written = ready!(write(Pin::new(&mut self.stream), cx))?;
        let mut left = written;
        for part in parts {
            let here = part.get(..left).unwrap_or(part);
            self.frames.advance(here);
            left -= here.len();
        }
        Poll::Ready(Ok(written))
    }

    fn stage(&self) -> Option<Stage> {
        self.farewell.as_ref().map(|farewell| farewell.stage)
    }
}

impl Farewell {
    fn new(why: Ending, frames: Frames) -> Self {
        let (frame, stage) = match frames {
            Frames::Between => (why.frame(), Stage::Sending),
            // The server has said it by itself.
            Frames::Closed => (Vec::new(), Stage::Sending),
            Frames::Head { .. }
            | Frames::Length { .. }
            | Frames::LongLength { .. }
            | Frames::Payload { .. } => (Vec::new(), Stage::Cut),
        };
        Self {
            frame,
            sent: 0,
            stage,
            deadline: Box::pin(sleep(PATIENCE)),
        }
    }

    fn poll_send(
        &mut self,
        mut stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(left @ [_, ..]) = self.frame.get(self.sent..) {
            match ready!(stream.as_mut().poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        stream.poll_flush(cx)
    }
}

impl AsyncRead for Closable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.socket.is_http() {
            this.socket.reader.register(cx.waker());
            if let Some(why) = this.ending() {
                // The end of the stream has the backend's side closed too.
                return this.poll_farewell(why, cx).map(Ok);
            }
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Closable {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.socket.is_http() {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        let parts = [IoSlice::new(buf)];
        this.poll_write_frames(cx, &parts, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.socket.is_http() {
            return Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        }
        this.poll_write_frames(cx, parts, |stream, cx| {
            stream.poll_write_vectored(cx, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.socket.is_http() {
            this.socket.writer.register(cx.waker());
            if let Some(why) = this.ending() {
                return this.poll_farewell(why, cx).map(Ok);
            }
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stage() == Some(Stage::Cut) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Closable {
    async fn shutdown(&mut self) {
        self.socket.leave();
        match self.stage() {
            None => self.stream.shutdown().await,
            Some(Stage::Said) => {
                self.stream.shutdown().await;
                // Closing on what the client still sends would destroy the close frame before it is read.
                let mut unread = [0; 512];
                let answered = async { while let Ok(1..) = self.stream.read(&mut unread).await {} };
                let _ = timeout(LINGER, answered).await;
            }
            Some(Stage::Sending | Stage::Cut) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn frames_that_are_written_in_parts_are_followed() {
        let (ours, mut client) = tokio::io::duplex(4096);
        let socket = Arc::<Socket>::default();
        let mut stream = Closable::new(Box::new(ours), Arc::clone(&socket));
        // Else pingora would write the three parts of a chunk one by one.
        assert!(stream.is_write_vectored());
        let chunk = [b"2\r\n", &b"hi"[..], b"\r\n"].map(IoSlice::new);
        assert_eq!(stream.write_vectored(&chunk).await.unwrap(), 7);
        socket.open();
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let parts = [&head[..], b"\x82", b"", b"\x02h", b"i"].map(IoSlice::new);
        let length = head.len() + 4;
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), length);
        socket.end(Ending::SessionOver);
        let rest = [b"\x82\x02", &b"no"[..]].map(IoSlice::new);
        assert_eq!(stream.write_vectored(&rest).await.unwrap(), 4);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        drop(stream);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        let expected = Ending::SessionOver.frame();
        assert!(got.ends_with(&expected) && got.len() == 7 + length + expected.len());
    }
}
