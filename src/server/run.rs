//! Serves until told to stop, then lets the exchanges in flight finish.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::protocols::l4::listener::Listener;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::connection::Connections;
use super::phases::{Duty, Proxy};
use super::seats::Seats;
use super::{Encryption, Gates, Listening, http2};
use crate::config::Server;
use crate::request::Secure;

/// How long accepting rests when the system has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How long WebSockets that are told to end may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves `listening` until `stop` resolves, then waits for exchanges in flight, at most `config.drain`.
///
/// pingora's own `Server` is not used: its grace period is a fixed sleep, after which it drops whatever
/// is still running, it ends the process when a port is in use, and it keeps a runtime for each service.
pub async fn run(
    listening: Listening,
    tls: Option<Encryption>,
    gates: Arc<Gates>,
    config: &Server,
    stop: impl Future<Output = ()>,
) {
    let (shutdown, watch) = watch::channel(false);
    let port = listening.addresses().first().map_or(443, SocketAddr::port);
    let secure = Secure::new(config, port);
    let conf = Arc::new(ServerConf {
        upstream_keepalive_pool_size: config.upstream_pool,
        ..ServerConf::default()
    });
    // They end with this function.
    let sockets = Arc::clone(&gates.current().sockets);
    let _keepers = sockets.keep();
    let mut watching = JoinSet::new();
    watching.spawn(Arc::clone(&gates).watch_upstreams());
    let proxy = |duty| Arc::new(http_proxy(&conf, Proxy::new(&gates, duty)));
    let app = proxy(Duty::Serve);
    let redirector = proxy(Duty::Redirect(secure));
    let refuser = proxy(Duty::Refuse);
    let seats = Arc::new(Seats::new(&config.limits, &config.trusted_proxies));
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    let served = listening.listeners.into_iter().zip(&config.listen);
    let served = served.map(|(listener, address)| (listener, address, &app, tls.as_ref()));
    let redirected = listening.redirects.into_iter().zip(&config.redirect_http);
    let redirected = redirected.map(|(listener, address)| (listener, address, &redirector, None));
    for (listener, address, app, tls) in served.chain(redirected) {
        let serving = Arc::new(Connections {
            app: Arc::clone(app),
            refuser: Arc::clone(&refuser),
            acceptor: tls.map(Encryption::acceptor),
            http2: http2::options(config.max_header_bytes),
            client_timeout: config.client_timeout,
            head_timeout: config.limits.head_timeout,
            keepalive: config.keepalive,
            seats: Arc::clone(&seats),
            proxies: config
                .proxy_protocol
                .contains(address)
                .then(|| config.trusted_proxies.clone()),
            shutdown: watch.clone(),
        });
        accepting.spawn(accept(listener, serving, connections.clone()));
    }
    let renewal = tls.map(|tls| tokio::spawn(tls.renew()));
    stop.await;
    tracing::info!("stopping: exchanges in flight may finish");
    let _ = shutdown.send(true);
    if let Some(renewal) = renewal {
        renewal.abort();
    }
    accepting.close();
    accepting.wait().await;
    // Wakes the idle keep-alive connections, which then close.
    app.cleanup().await;
    redirector.cleanup().await;
    refuser.cleanup().await;
    connections.close();
    if timeout(config.drain, connections.wait()).await.is_ok() {
        return;
    }
    sockets.go_away();
    if timeout(FAREWELL, connections.wait()).await.is_err() {
        let left = connections.len();
        tracing::warn!(left, "stopped with exchanges still in flight");
    }
}

async fn accept(listener: TcpListener, serving: Arc<Connections>, connections: TaskTracker) {
    let listener = Listener::from(listener);
    let mut shutdown = serving.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|&stop| stop) => return,
        };
        match accepted {
            Ok(stream) => {
                let Some(place) = serving.seats.take() else {
                    continue;
                };
                let serving = Arc::clone(&serving);
                connections.spawn(async move { serving.serve(stream, place).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}
