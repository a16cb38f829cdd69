//! The private listener while it serves.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Reloader;
use super::parts::Lasting;
use crate::control::{Control, Failures, Listener, Readiness};
use crate::server::PrivateSocket;

/// What answers there, until it is told to stop.
pub(super) struct Private {
    readiness: Arc<Readiness>,
    over: CancellationToken,
    answering: JoinHandle<()>,
}

impl Private {
    /// Begins to answer; `None` where there is no such listener.
    pub(super) fn start(
        socket: Option<&PrivateSocket>,
        lasting: &Lasting,
        reloader: Option<Reloader>,
    ) -> io::Result<Option<Self>> {
        // What waits at the socket stays when these are closed and it is not.
        let listener = match socket {
            None => return Ok(None),
            Some(PrivateSocket::Tcp(listener)) => {
                Listener::Tcp(TcpListener::from_std(listener.try_clone()?)?)
            }
            Some(PrivateSocket::Unix(socket)) => {
                Listener::Unix(UnixListener::from_std(socket.handle()?)?)
            }
        };
        let (readiness, over) = (Arc::<Readiness>::default(), CancellationToken::new());
        let control = Control {
            known: Arc::clone(&lasting.known),
            metrics: lasting.metrics.clone(),
            traffic: Arc::clone(&lasting.traffic),
            hour: Arc::clone(&lasting.hour),
            sessions: lasting.sessions.clone(),
            reach: lasting.reach.clone(),
            readiness: Arc::clone(&readiness),
            recent: Arc::clone(&lasting.recent),
            clock: lasting.clock.clone(),
            failures: Arc::new(Failures::new(lasting.clock.clone())),
            page_logins: Arc::default(),
            resets: lasting.resets.clone(),
            reload: reloader.map(Reloader::for_control),
        };
        let stop = over.clone().cancelled_owned();
        Ok(Some(Self {
            readiness,
            over,
            answering: tokio::spawn(control.serve(listener, stop)),
        }))
    }

    /// Tells those who ask that no more requests should come, and goes on answering.
    pub(super) fn drain(&self) {
        self.readiness.drain();
    }

    /// Answers what has been asked, and stops.
    pub(super) async fn stop(self) {
        self.over.cancel();
        let _ = self.answering.await;
    }
}
