//! The connection on which a WebSocket is asked for: its answer is not read before the request is over.
//!
//! pingora waits in no order for the answer and for the end of the request's body, which is empty. After a 101 it would
//! take that end for the WebSocket's own. So from when the request is written, nothing is read until pingora has taken
//! the end, upon which it flushes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use http::header::UPGRADE;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::ext;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How far the request for a WebSocket has come; nothing is noted of any other request.
#[derive(Debug, Default)]
pub(in crate::server) struct Handshake(Option<Arc<Stage>>);

/// [`UNASKED`], [`ASKING`] or [`ENDING`].
type Stage = AtomicU8;

/// What is read now belongs to TLS.
const UNASKED: u8 = 0;
const ASKING: u8 = 1;
/// The end of the body waits to be taken: only that can flush now.
const ENDING: u8 = 2;

impl Handshake {
    /// Begins with a request, which is for a WebSocket if pingora passes it on as such.
    ///
    /// With a body it is none: a server may answer before it has read that, and nobody would hear.
    pub(in crate::server) fn of(wire: &mut Session) -> Self {
        let named = wire.req_header().headers.get(UPGRADE);
        let named = named.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
        Self((named && wire.is_upgrade_req() && wire.is_body_empty()).then(Arc::default))
    }

    /// Notes that the request is about to be written.
    pub(in crate::server) fn ask(&self) {
        self.note(ASKING);
    }

    /// Notes that pingora is about to pass the end of the body on.
    pub(in crate::server) fn end(&self) {
        self.note(ENDING);
    }

    /// Returns what makes the connection.
    pub(super) fn connector(&self) -> Option<Connector> {
        self.0.clone().map(Connector)
    }

    fn note(&self, stage: u8) {
        if let Some(noted) = &self.0 {
            noted.store(stage, Ordering::Release);
        }
    }
}

/// Makes the connection.
#[derive(Debug)]
pub(super) struct Connector(Arc<Stage>);

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, place: &SocketAddr) -> Result<Stream> {
        let socket: Box<dyn VirtualSocket> = match place {
            SocketAddr::Inet(address) => {
                Box::new(Connection::new(ext::connect(address, None).await?, &self.0))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname();
                let path = path.ok_or_else(|| Error::new(ErrorType::ConnectError))?;
                Box::new(Connection::new(ext::connect_uds(path).await?, &self.0))
            }
        };
        Ok(VirtualSocketStream::new(socket).into())
    }
}

/// The connection, below TLS.
#[derive(Debug)]
struct Connection<S> {
    socket: S,
    stage: Arc<Stage>,
    /// Set for good when the request is over.
    is_over: bool,
    reader: Option<Waker>,
}

impl<S> Connection<S> {
    fn new(socket: S, stage: &Arc<Stage>) -> Self {
        Self {
            socket,
            stage: Arc::clone(stage),
            is_over: false,
            reader: None,
        }
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_over && this.stage() != UNASKED {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut this.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_over && this.stage() == ENDING {
            this.is_over = true;
            if let Some(reader) = this.reader.take() {
                reader.wake();
            }
        }
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl VirtualSocket for Connection<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            VirtualSockOpt::KeepAlive(_) | _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl VirtualSocket for Connection<UnixStream> {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        // pingora sets none of them on such a socket either.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn the_answer_waits_for_the_end_of_the_request_and_no_more_for_any_flush() {
        let stage = Arc::default();
        let handshake = Handshake(Some(Arc::clone(&stage)));
        let (socket, mut server) = duplex(64);
        let mut client = Connection::new(socket, &stage);
        server.write_all(b"tls101message").await.unwrap();
        let mut part = [0; 3];
        client.read_exact(&mut part).await.unwrap();
        assert_eq!(&part, b"tls");

        handshake.ask();
        assert!(client.read(&mut part).now_or_never().is_none());
        client.flush().await.unwrap();
        assert!(client.read(&mut part).now_or_never().is_none());
        handshake.end();
        assert!(client.read(&mut part).now_or_never().is_none());
        client.flush().await.unwrap();
        assert!(client.read(&mut part).now_or_never().is_some());
        assert_eq!(&part, b"101");

        // The end of the WebSocket is told in the same way.
        handshake.end();
        assert!(client.read(&mut part).now_or_never().is_some());
        assert_eq!(&part, b"mes");
    }

    #[tokio::test]
    async fn who_waits_for_the_answer_is_woken() {
        let stage = Arc::default();
        let handshake = Handshake(Some(Arc::clone(&stage)));
        let (socket, mut server) = duplex(64);
        let (mut reader, mut writer) = tokio::io::split(Connection::new(socket, &stage));
        server.write_all(b"101").await.unwrap();
        handshake.ask();
        let reading = tokio::spawn(async move {
            let mut answer = [0; 3];
            reader.read_exact(&mut answer).await.unwrap();
            answer
        });
        tokio::task::yield_now().await;
        handshake.end();
        writer.flush().await.unwrap();
        assert_eq!(&reading.await.unwrap(), b"101");
    }
}
