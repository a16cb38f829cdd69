//! Serves until told to stop, then lets the exchanges in flight finish (graceful shutdown).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::Listening;
use crate::config::Server;
use crate::request::Secure;
use crate::server::connection::Encryption;
use crate::server::connection::{ConnectionLimits, Connections, SHUTDOWN_DELAY};
use crate::server::exchange::{Duty, Generations, Proxy};
use crate::server::sockets::Sockets;
use crate::server::tcp::Tcp;
use crate::server::workers::Workers;

/// How long accepting rests when the system has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How long what was begun with WeChat or the store may hold up a successor or an end.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long WebSockets that are told to end may take.
const SOCKET_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What serves, from the start until the last exchange has finished.
///
/// pingora's own `Server` is not used: its grace period is a fixed sleep, after which it drops whatever
/// is still running, it ends the process when a port is in use, and it keeps a runtime for each service.
pub struct Serving {
    shutdown: watch::Sender<bool>,
    accepting: TaskTracker,
    connections: TaskTracker,
    limits: Arc<ConnectionLimits>,
    sockets: Arc<Sockets>,
    generations: Arc<Generations>,
    drain: Duration,
    /// What goes on beside the connections, and ends with this.
    beside: JoinSet<()>,
    _keepers: JoinSet<()>,
}

impl Serving {
    /// Begins to serve.
    pub fn start(
        listening: &Listening,
        tls: Option<&Encryption>,
        generations: &Arc<Generations>,
        config: &Server,
        workers: &Workers,
    ) -> io::Result<Self> {
        let limits = Arc::new(ConnectionLimits::new(&config.limits));
        let open = (TaskTracker::new(), limits);
        Self::with(listening, tls, generations, config, workers, open)
    }

    /// Serves again after accepting has stopped; what is open stays open, and is waited for with what comes now.
    pub async fn resume(
        mut self,
        listening: &Listening,
        tls: Option<&Encryption>,
        generations: &Arc<Generations>,
        config: &Server,
        workers: &Workers,
    ) -> io::Result<Self> {
        self.beside.abort_all();
        self.connections.reopen();
        let open = (self.connections.clone(), Arc::clone(&self.limits));
        Self::with(listening, tls, generations, config, workers, open)
    }

    fn with(
        listening: &Listening,
        tls: Option<&Encryption>,
        generations: &Arc<Generations>,
        config: &Server,
        workers: &Workers,
        (connections, limits): (TaskTracker, Arc<ConnectionLimits>),
    ) -> io::Result<Self> {
        let (shutdown, watch) = watch::channel(false);
        let port = listening.addresses().first().map_or(443, SocketAddr::port);
        let secure = Secure::new(config, port);
        let sockets = Arc::clone(&generations.current().sockets);
        let keepers = sockets.keep();
        let mut beside = JoinSet::new();
        beside.spawn(Arc::clone(generations).watch_upstreams());
        if let Some(tls) = tls {
            beside.spawn(tls.clone().renew());
        }
        let proxy = |duty| Proxy::new(generations, duty);
        let server = proxy(Duty::Serve);
        let redirector = proxy(Duty::Redirect(secure));
        let refuser = proxy(Duty::Refuse);
        let accepting = TaskTracker::new();
        let served = listening.listeners.iter().zip(&config.listen);
        let served = served.map(|(listener, address)| (listener, address, &server, tls));
        let redirected = listening.redirects.iter().zip(&config.redirect_http);
        let redirected =
            redirected.map(|(listener, address)| (listener, address, &redirector, None));
        for (listener, address, proxy, tls) in served.chain(redirected) {
            let serving = Arc::new(Connections {
                proxy: proxy.clone(),
                refuser: refuser.clone(),
                acceptor: tls.map(Encryption::acceptor),
                head_timeout: config.limits.head_timeout,
                limits: Arc::clone(&limits),
                proxied: config.proxy_protocol.contains(address),
                shutdown: watch.clone(),
                generations: Arc::clone(generations),
            });
            // A second handle: what waits to be accepted stays when this one is closed and the other is not.
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            let accepting_one = accept(listener, serving, connections.clone(), workers.clone());
            accepting.spawn(accepting_one);
        }
        Ok(Self {
            shutdown,
            accepting,
            connections,
            limits,
            sockets,
            generations: Arc::clone(generations),
            drain: config.drain,
            beside,
            _keepers: keepers,
        })
    }

    /// Accepts nobody any more; connections end with the exchange that they are in, or after a moment without one.
    pub async fn stop_accepting(&mut self) {
        let _ = self.shutdown.send(true);
        self.accepting.close();
        self.accepting.wait().await;
        self.connections.close();
    }

    /// Waits until nothing that is in flight needs the session store, and then for `others`, or nobody would wait any longer.
    pub async fn settle(&self, others: impl Future<Output = ()>) {
        // Until then somebody may still ask on a connection that was idle.
        sleep(SHUTDOWN_DELAY).await;
        let settled = async {
            self.generations.are_idle().await;
            others.await;
        };
        let _ = timeout(SETTLE_TIMEOUT, settled).await;
    }

    /// Waits for exchanges in flight, as long as the configuration says.
    pub async fn finish(mut self) {
        self.beside.abort_all();
        if timeout(self.drain, self.connections.wait()).await.is_ok() {
            return;
        }
        self.sockets.go_away();
        if timeout(SOCKET_CLOSE_TIMEOUT, self.connections.wait())
            .await
            .is_err()
        {
            let left = self.connections.len();
            tracing::warn!(left, "stopped with exchanges still in flight");
        }
    }
}

async fn accept(
    listener: TcpListener,
    serving: Arc<Connections>,
    connections: TaskTracker,
    workers: Workers,
) {
    let mut shutdown = serving.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|&stop| stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(slot) = serving.limits.take() else {
                    continue;
                };
                // The runtime that watches it from now on is the one that serves it.
                let Ok(stream) = stream.into_std() else {
                    continue;
                };
                let serving = Arc::clone(&serving);
                let serving = async move {
                    match Tcp::adopt(stream, peer) {
                        // Boxed: each step that it is handed to would hold the room for it in the connection's task.
                        Ok(stream) => serving.serve(Box::new(stream), slot).await,
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be served");
                        }
                    }
                };
                connections.spawn_on(serving, workers.next());
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
}
