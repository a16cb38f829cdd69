//! Connections that an exchange can cut without a byte of an answer.

use std::future::{self, Future};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A listener whose connections can be cut.
pub(super) struct Wires {
    listener: TcpListener,
    stop: CancellationToken,
}

impl Wires {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            stop: CancellationToken::new(),
        }
    }

    /// Returns what cuts all connections, present and future.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }
}

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, addr) = Listener::accept(&mut self.listener).await;
        // Only a slower answer if it fails.
        let _ = stream.set_nodelay(true);
        let cut = self.stop.child_token();
        let wire = Wire {
            stream,
            was_cut: Box::pin(cut.clone().cancelled_owned()),
            cut,
        };
        (wire, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    cut: CancellationToken,
    was_cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    fn refuse_if_cut(&self) -> io::Result<()> {
        if self.cut.is_cancelled() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Polled, so that a cut also wakes a connection that only waits for its client.
        if self.was_cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_if_cut()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What an exchange cuts its own connection with.
#[derive(Clone)]
pub(super) struct Cutter(Option<CancellationToken>);

impl Connected<IncomingStream<'_, Wires>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        Self(Some(stream.io().cut.clone()))
    }
}

impl Cutter {
    /// Returns the cutter of the connection on which the request came.
    pub(super) fn of(request: &Request) -> Self {
        match request.extensions().get::<ConnectInfo<Self>>() {
            Some(ConnectInfo(cutter)) => cutter.clone(),
            None => Self(None),
        }
    }

    /// Cuts the connection; the response only ends the exchange and is never sent.
    ///
    /// On a server that is not [`Wires`], the response's body fails, which ends the connection there too.
    pub(super) fn cut(self) -> Response {
        if let Some(connection) = self.0 {
            connection.cancel();
        }
        let broken = future::ready(Err::<Bytes, _>(io::Error::other("cut on purpose")));
        Response::new(Body::from_stream(futures::stream::once(broken)))
    }

    /// Waits for as long as the connection lives; a client that leaves ends the exchange, and so the waiting.
    pub(super) async fn wait_for_the_end(&self) {
        match &self.0 {
            Some(connection) => connection.cancelled().await,
            None => future::pending().await,
        }
    }
}
