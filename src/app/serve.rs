//! Serves from the start until told to stop, or until a successor does.

use std::future::Future;
use std::io;
use std::path::Path;

use futures::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::App;
use super::private::Private;
use crate::config::Store;
use crate::server::{
    HandOverError, Listening, SETTLE_TIMEOUT, Serving, Successor, UpgradeSocket, Workers,
    supervisor,
};

impl App {
    /// Serves until `stop` resolves, or a successor serves, and what is in flight has finished; `ready` is called when it
    /// serves and a successor could come. Connections are served by `workers`.
    pub async fn serve(
        self,
        workers: &Workers,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(),
    ) -> io::Result<()> {
        let mut ready = Some(ready);
        let (server, tls, stop) = (&self.config.server, self.tls.as_ref(), stop.shared());
        let mut serving = Serving::start(&self.listening, tls, &self.generations, server, workers)?;
        let _signs = supervisor::signs_of_life(workers);
        let sending = self.lasting.spans.start();
        let mut upgrade_socket = None;
        if let Some(predecessor) = self.predecessor {
            match predecessor.dismiss().await {
                Ok(inherited) => upgrade_socket = inherited,
                Err(error) => {
                    serving.stop_accepting().await;
                    serving.finish().await;
                    self.lasting.sessions.close().await;
                    return Err(io::Error::other(error));
                }
            }
        }
        loop {
            let private = Private::start(
                self.listening.private(),
                &self.lasting,
                self.reloader.clone(),
            )?;
            if upgrade_socket.is_none() {
                upgrade_socket = open_upgrade_socket(server.upgrade_socket.as_deref());
            }
            if let Some(ready) = ready.take() {
                ready();
                supervisor::ready();
            }
            let successor = tokio::select! {
                () = stop.clone() => None,
                successor = prepared(upgrade_socket.as_ref(), &self.listening) => Some(successor),
            };
            tracing::info!("stopping: exchanges in flight may finish");
            if let Some(private) = &private {
                private.drain();
            }
            if successor.is_none() {
                supervisor::stopping();
                // Who asks whether to send requests here learns that it should not before a connection is refused.
                sleep(server.shutdown_delay).await;
            }
            serving.stop_accepting().await;
            // Their codes are good for whoever serves next; only calls that were made are waited for.
            self.lasting.state.close_queues();
            let Some(successor) = successor else {
                // A socket's file goes last, when nobody is answered there any more.
                let socket = self.listening.into_private();
                serving.finish().await;
                stop_answering(private).await;
                drop(socket);
                break;
            };
            stop_answering(private).await;
            // Who comes now waits until somebody accepts again, here or there.
            tokio::select! {
                () = serving.settle(self.lasting.is_idle()) => {}
                () = stop.clone() => {}
            }
            self.lasting.sessions.release().await;
            match take_over(successor, upgrade_socket.as_ref(), stop.clone()).await {
                Ok(()) => {
                    drop(self.listening);
                    if let Some(upgrade_socket) = upgrade_socket {
                        upgrade_socket.give_away();
                    }
                    if let Store::Embedded(_) = self.config.session.store {
                        // Their sessions' ends are heard of elsewhere, where they can be opened again.
                        self.lasting.sockets.go_away();
                    }
                    serving.finish().await;
                    break;
                }
                Err(error) => {
                    self.lasting.sessions.resume().await;
                    self.lasting.state.open_queues();
                    tracing::error!(%error, "the successor does not serve: going on");
                    let resumed =
                        serving.resume(&self.listening, tls, &self.generations, server, workers);
                    serving = resumed.await?;
                }
            }
        }
        // Whoever sent these codes has left, but may come back with them.
        if timeout(SETTLE_TIMEOUT, self.lasting.is_idle())
            .await
            .is_err()
        {
            tracing::warn!("stopped with calls to WeChat still under way");
        }
        // The last requests have ended, and their spans with them.
        self.lasting.spans.finish(sending).await;
        self.lasting.sessions.close().await;
        Ok(())
    }
}

async fn stop_answering(private: Option<Private>) {
    if let Some(private) = private {
        private.stop().await;
    }
}

/// Opens the socket for a successor; a process can serve without one.
fn open_upgrade_socket(path: Option<&Path>) -> Option<UpgradeSocket> {
    let path = path?;
    let opened = UpgradeSocket::open(path).inspect_err(|error| {
        let path = path.display();
        tracing::error!(%path, %error, "no successor can be let in");
    });
    opened.ok()
}

/// Waits for a successor, where one can come.
async fn prepared(upgrade_socket: Option<&UpgradeSocket>, listening: &Listening) -> Successor {
    match upgrade_socket {
        Some(upgrade_socket) => upgrade_socket.prepared(listening).await,
        None => std::future::pending().await,
    }
}

/// Waits until a successor serves. After `stop` nobody comes back here, so that the place is its own in any case.
async fn take_over(
    mut successor: Successor,
    upgrade_socket: Option<&UpgradeSocket>,
    stop: impl Future<Output = ()>,
) -> Result<(), HandOverError> {
    successor.let_have(upgrade_socket).await?;
    tokio::select! {
        served = successor.serves() => {
            served?;
            // Before the successor hears that this process leaves: what it then says is the main process's word.
            if let Some(process) = successor.process() {
                supervisor::succeeded_by(process);
            }
            tracing::info!("the successor serves");
        }
        () = stop => {
            tracing::warn!("stopping before the successor has said that it serves");
            successor.leave();
        }
    }
    Ok(())
}
