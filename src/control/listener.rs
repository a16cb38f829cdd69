//! Serves the connections of the private listener, so that no client can hold one for ever.
//!
//! pingora has nothing for JSON calls and `axum::serve` has no limits, so this drives hyper itself. hyper refuses malformed, oversized
//! and overlong heads alone, with 400 or 431 without a body and without a line in the log; to say it in our words, heads would have to
//! be parsed twice.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exchange::Peer;
use super::relay::Moved;

/// The most connections at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 512;
/// How long a head may take, the wait for the first one included.
const HEAD: Duration = Duration::from_secs(5);
/// After this a connection is closed behind the answer on its way.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long a connection without any request is waited for at the end: one may be on its way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(300);
/// How long that answer may take, and how long what is in flight may when the program stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEADERS: usize = 64;
/// The largest head, in bytes; no more than this is read ahead of a body, or waits to be written.
const MAX_HEAD: usize = 8 * 1024;
/// How long accepting rests when the system has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Where connections come in.
#[derive(Debug)]
pub enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// At a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Either<TcpStream, UnixStream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Only a slower answer if it fails.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), Peer::Address(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Either::Right(stream), Peer::User(user)))
            }
        }
    }
}

/// Serves until `stop` resolves, then lets what is in flight be answered.
pub(super) async fn serve(listener: Listener, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (connections, stopping) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::debug!("no more connections to the private listener are accepted");
                    continue;
                };
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, stopping).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the private listener could not be accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
    drop(listener);
    stopping.cancel();
    connections.close();
    connections.wait().await;
}

/// Serves one connection.
async fn connection(
    stream: Either<TcpStream, UnixStream>,
    peer: Peer,
    router: Router,
    stopping: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let moved = Moved::default();
    let carried = moved.clone();
    let begun = CancellationToken::new();
    let first = begun.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        first.cancel();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(carried.clone());
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        // A body that is written by reference keeps each buffer that it was read into, however little is in it. A copy takes twice
        // this size at most.
        .writev(false)
        .max_buf_size(MAX_HEAD);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    let stopped = stopping.clone();
    let over = async {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = sleep(LIFETIME) => {}
        }
    };
    tokio::select! {
        ended = served.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the private listener failed");
            }
            return;
        }
        () = over => {}
    }
    tokio::select! {
        _ = served.as_mut() => return,
        () = begun.cancelled() => {}
        () = sleep(FIRST_REQUEST_GRACE) => {}
    }
    served.as_mut().graceful_shutdown();
    // What is being relayed may be large: it goes on for as long as it moves.
    let mut so_far = moved.so_far();
    while timeout(DRAIN_TIMEOUT, served.as_mut()).await.is_err() {
        let now = moved.so_far();
        if stopping.is_cancelled() || now == so_far {
            return;
        }
        so_far = now;
    }
}
