//! A client's TCP connection: what was read ahead of its turn is read again, and it can end with a reset.

use std::io::{self, IoSlice};
use std::net::{self, IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

/// The connection.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    peer: SocketAddr,
    /// What is to be read before anything else.
    ahead: Bytes,
}

impl Tcp {
    /// Makes a connection one of the runtime that serves it.
    pub(super) fn adopt(stream: net::TcpStream, peer: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::from_std(stream)?;
        // What is written is whole already.
        let _ = stream.set_nodelay(true);
        Ok(Self {
            stream,
            peer,
            ahead: Bytes::new(),
        })
    }

    /// Returns the address of whoever connected.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Has bytes that were read from it read once more.
    pub(super) fn rewind(&mut self, read: Bytes) {
        self.ahead = match self.ahead.is_empty() {
            true => read,
            false => [read, self.ahead.clone()].concat().into(),
        };
    }

    /// Reads until it is known whether it begins with these bytes, which are read once more; an error where it ends before that.
    pub(super) async fn begins_with(&mut self, expected: &[u8]) -> io::Result<bool> {
        loop {
            let known = self.ahead.len().min(expected.len());
            if self.ahead.get(..known) != expected.get(..known) {
                return Ok(false);
            }
            if known == expected.len() {
                return Ok(true);
            }
            let mut more = [0; 64];
            let read = self.stream.read(&mut more).await?;
            let more = more.get(..read).unwrap_or_default();
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.ahead = [&self.ahead, more].concat().into();
        }
    }

    /// Returns whether something was read that is to be read once more.
    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Has it end with a reset, which takes what is on its way with it: a plain end would say that nothing is missing.
    pub(super) fn reset_at_end(&self) {
        // One that is broken already says so by itself.
        let _ = self.stream.set_zero_linger();
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = buf.remaining().min(self.ahead.len());
        let first = self.ahead.split_to(length);
        buf.put_slice(&first);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
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
        true
    }
}

#[async_trait]
impl Peek for Tcp {
    async fn try_peek(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        self.read_exact(bytes).await?;
        self.rewind(Bytes::copy_from_slice(bytes));
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for Tcp {
    async fn shutdown(&mut self) {
        // One that is broken needs no end.
        let _ = self.stream.shutdown().await;
    }
}

impl UniqueID for Tcp {
    fn id(&self) -> UniqueIDType {
        self.stream.as_raw_fd()
    }
}

impl Ssl for Tcp {}

// Nobody asks for what pingora notes of a connection.

impl GetTimingDigest for Tcp {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Tcp {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Tcp {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
