//! Constructs the parts and hands them to each other; nothing else does.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;

use self::parts::{Lasting, gate};
use self::private::Private;
pub use self::reload::{ReloadError, Reloaded, Reloader, Source};
use crate::clock::Clock;
use crate::config::{Config, Store};
use crate::control::Known;
use crate::request::Rates;
use crate::server::{
    BindError, Doorway, Encryption, Gates, HandOverError, Listening, Predecessor, Serving, Sockets,
    Successor, TlsError, UpstreamError, Upstreams,
};
use crate::session::{Lifetimes, OpenError, Sessions};
use crate::token::{KeyFileError, NoRandomness, load_or_make, verify_files};
use crate::wechat::ClientError;

mod parts;
mod private;
mod reload;

/// Why Menshen could not start; each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or an address is not this machine's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An upstream's certificates cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The signing keys cannot be read or made.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The session store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An app's name or appid cannot be a header's value.
    #[error("an app's name or appid cannot be a header's value")]
    Header(#[from] http::header::InvalidHeaderValue),
    /// Assertions would be signed with a key that nobody else may have.
    #[error(
        "headers.assertion: the signing key {0} is shared, so no backend can verify with it; make another (menshen keys new --now)"
    )]
    SharedKey(String),
    /// The process that runs does not hand over.
    #[error("the process that runs does not hand over: {0}")]
    HandOver(#[source] HandOverError),
    /// There cannot be a place to ask.
    #[error(transparent)]
    Doorway(HandOverError),
    /// There is no place to ask.
    #[error("server.upgrade_socket is required to take the place of a process that runs")]
    NoUpgradeSocket,
    /// A folder is not there and cannot be made.
    #[error("{}: cannot be made: {cause}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The cache's key cannot be drawn.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The public keys cannot be written as JSON.
    #[error("the public keys cannot be published")]
    Jwks(#[from] serde_json::Error),
}

impl StartError {
    /// Tells whether another try may go better with the same configuration.
    pub fn may_pass(&self) -> bool {
        let elsewhere = matches!(
            self,
            Self::Store(OpenError::RedisAway { .. } | OpenError::InUse(_)) | Self::HandOver(_)
        );
        elsewhere || matches!(self, Self::Bind(error) if error.is_in_use())
    }
}

/// A proxy that is ready to serve.
pub struct App {
    config: Config,
    listening: Listening,
    tls: Option<Encryption>,
    gates: Arc<Gates>,
    lasting: Lasting,
    predecessor: Option<Predecessor>,
    reloader: Option<Reloader>,
}

impl App {
    /// Builds everything that `config` asks for. Call it inside the runtime that will serve.
    pub async fn build(config: Config, clock: &Clock) -> Result<Self, StartError> {
        Self::prepare(config, clock, None).await
    }

    /// Builds everything in place of a process that runs and goes on until this one serves; without one, as at any start.
    pub async fn succeed(config: Config, clock: &Clock) -> Result<Self, StartError> {
        let predecessor = match &config.server.upgrade_socket {
            Some(path) => Predecessor::find(path)
                .await
                .map_err(StartError::HandOver)?,
            None => return Err(StartError::NoUpgradeSocket),
        };
        Self::prepare(config, clock, predecessor).await
    }

    async fn prepare(
        config: Config,
        clock: &Clock,
        predecessor: Option<(Predecessor, Vec<TcpListener>)>,
    ) -> Result<Self, StartError> {
        install_crypto();
        let everybody = |network: &&ipnet::IpNet| network.prefix_len() == 0;
        if let Some(network) = config.server.trusted_proxies.iter().find(everybody) {
            tracing::warn!(
                %network,
                "DANGER: server.trusted_proxies holds every address: any client may say who it is and what is asked about"
            );
        }
        let (predecessor, inherited) = predecessor.unzip();
        // What can fail without leaving anything behind goes first.
        let server = &config.server;
        let listening = Listening::bind(
            &server.listen,
            &server.redirect_http,
            config.control.listen,
            inherited.unwrap_or_default(),
        )?;
        may_open_door(&config)?;
        let tls = Encryption::load(&config.server.tls)?;
        let upstreams = Upstreams::new(&config.upstreams)?;
        // A start that fails on the store makes no keys.
        verify_files(&config.token.keys_dir)?;
        let predecessor = match predecessor {
            Some(running) => Some(running.let_go().await.map_err(StartError::HandOver)?),
            None => None,
        };
        let sessions = open_sessions(&config, clock).await?;
        let keys = Arc::new(load_or_make(
            &config.token.keys_dir,
            config.token.algorithm,
            clock,
        )?);
        let lasting = Lasting {
            sockets: Sockets::new(sessions.clone(), clock.clone()),
            sessions,
            clock: clock.clone(),
            known: Arc::new(Known::new(&config)),
        };
        let rates = Rates::new(&config.server.limits).map(Arc::new);
        let gate = gate(&config, &keys, upstreams, rates, &lasting)?;
        Ok(Self {
            config,
            listening,
            tls,
            gates: Gates::new(gate),
            lasting,
            predecessor,
            reloader: None,
        })
    }

    /// Returns the addresses it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listening.addresses()
    }

    /// Returns the addresses from which it sends on to HTTPS.
    pub fn redirect_addresses(&self) -> Vec<SocketAddr> {
        self.listening.redirect_addresses()
    }

    /// Returns the address of the private listener, where there is one.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.listening.private_address()
    }

    /// Returns the WebSockets that are open while it serves.
    pub fn sockets(&self) -> Arc<Sockets> {
        Arc::clone(&self.lasting.sockets)
    }

    /// Returns what replaces the configuration while it serves, for the private listener as well; `source` reads it anew.
    pub fn reloader(&mut self, source: Source) -> Reloader {
        let (gates, lasting) = (Arc::clone(&self.gates), self.lasting.clone());
        let reloader = Reloader::new(self.config.clone(), source, gates, lasting);
        self.reloader = Some(reloader.clone());
        reloader
    }

    /// Serves until `stop` resolves, or a successor serves, and what is in flight has finished.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (server, tls, stop) = (&self.config.server, self.tls.as_ref(), stop.shared());
        let mut serving = Serving::start(&self.listening, tls, &self.gates, server)?;
        if let Some(predecessor) = self.predecessor
            && let Err(error) = predecessor.dismiss().await
        {
            serving.stop_accepting().await;
            serving.finish().await;
            self.lasting.sessions.close().await;
            return Err(io::Error::other(error));
        }
        loop {
            let private = Private::start(&self.listening, &self.lasting, self.reloader.clone())?;
            let doorway = open_door(server.upgrade_socket.as_deref()).await;
            let successor = tokio::select! {
                () = stop.clone() => None,
                successor = prepared(doorway.as_ref(), &self.listening) => Some(successor),
            };
            tracing::info!("stopping: exchanges in flight may finish");
            if let Some(private) = &private {
                private.drain();
            }
            serving.stop_accepting().await;
            let Some(successor) = successor else {
                drop(self.listening);
                serving.finish().await;
                stop_answering(private).await;
                break;
            };
            stop_answering(private).await;
            // Who comes now waits until somebody accepts again, here or there. The door's place is the successor's.
            drop(doorway);
            tokio::select! {
                () = serving.settle() => {}
                () = stop.clone() => {}
            }
            self.lasting.sessions.release().await;
            match take_over(successor, stop.clone()).await {
                Ok(()) => {
                    drop(self.listening);
                    if let Store::Embedded(_) = self.config.session.store {
                        // Their sessions' ends are heard of elsewhere, where they can be opened again.
                        self.lasting.sockets.go_away();
                    }
                    serving.finish().await;
                    break;
                }
                Err(error) => {
                    self.lasting.sessions.resume().await;
                    tracing::error!(%error, "the successor does not serve: going on");
                    let resumed = serving.resume(&self.listening, tls, &self.gates, server);
                    serving = resumed.await?;
                }
            }
        }
        self.lasting.sessions.close().await;
        Ok(())
    }
}

async fn stop_answering(private: Option<Private>) {
    if let Some(private) = private {
        private.stop().await;
    }
}

/// Opens the door for a successor; a process can serve without one.
async fn open_door(path: Option<&Path>) -> Option<Doorway> {
    let path = path?;
    let opened = Doorway::open(path).await.inspect_err(|error| {
        let path = path.display();
        tracing::error!(%path, %error, "no successor can be let in");
    });
    opened.ok()
}

fn may_open_door(config: &Config) -> Result<(), StartError> {
    let path = config.server.upgrade_socket.as_deref();
    path.map_or(Ok(()), Doorway::may_open)
        .map_err(StartError::Doorway)
}

/// Waits for a successor, where one can come.
async fn prepared(doorway: Option<&Doorway>, listening: &Listening) -> Successor {
    match doorway {
        Some(doorway) => doorway.prepared(listening).await,
        None => std::future::pending().await,
    }
}

/// Waits until a successor serves. After `stop` nobody comes back here, so that the place is its own in any case.
async fn take_over(
    mut successor: Successor,
    stop: impl Future<Output = ()>,
) -> Result<(), HandOverError> {
    successor.let_have().await?;
    tokio::select! {
        served = successor.serves() => {
            served?;
            tracing::info!("the successor serves");
        }
        () = stop => {
            tracing::warn!("stopping before the successor has said that it serves");
            successor.leave();
        }
    }
    Ok(())
}

/// Does the checks of a start that leave nothing behind, and returns each problem with the key that it is about.
pub fn check(config: &Config) -> Vec<(&'static str, StartError)> {
    let (tls, session) = (&config.server.tls, &config.session);
    let tls = Encryption::load(tls);
    let upstreams = Upstreams::new(&config.upstreams);
    let keys = verify_files(&config.token.keys_dir);
    // Whether Redis can be reached is not asked: a check changes nothing and needs no network.
    let store = match &session.store {
        Store::Embedded(path) => {
            let checked = Sessions::check_embedded(path, session.seal_key.clone());
            may_make(path).and_then(|()| checked.map_err(StartError::from))
        }
        Store::Redis(_) => Ok(()),
    };
    let listen = Listening::can_bind(&config.server.listen);
    let control = Listening::can_bind(config.control.listen.as_slice());
    let checks = [
        ("server.listen", listen.map_err(StartError::from)),
        ("control.listen", control.map_err(StartError::from)),
        ("server.upgrade_socket", may_open_door(config)),
        ("token.keys_dir", may_make(&config.token.keys_dir)),
        ("server.tls", tls.map(drop).map_err(StartError::from)),
        ("upstream", upstreams.map(drop).map_err(StartError::from)),
        ("token.keys_dir", keys.map_err(StartError::from)),
        ("session.path", store),
    ];
    checks
        .into_iter()
        .filter_map(|(key, checked)| checked.err().map(|problem| (key, problem)))
        .collect()
}

async fn open_sessions(config: &Config, clock: &Clock) -> Result<Sessions, StartError> {
    let session = &config.session;
    let lifetimes = Lifetimes {
        session_ttl: session.ttl,
        refresh_grace: session.refresh_grace,
        token_ttl: config.token.ttl,
    };
    let (key, clock) = (session.seal_key.clone(), clock.clone());
    let opened = match &session.store {
        Store::Embedded(path) => Sessions::embedded(path, key, lifetimes, clock),
        Store::Redis(server) => {
            let key = key.ok_or(OpenError::ConfiguredSealKeyMalformed)?;
            Sessions::redis(server, &key, lifetimes, clock).await
        }
    };
    Ok(opened?)
}

/// Says whether a folder that is not there yet can be made, by making a file where it would be and taking it away.
fn may_make(folder: &Path) -> Result<(), StartError> {
    if folder.exists() {
        return Ok(());
    }
    let above = folder.ancestors().find(|above| above.exists());
    let above = above.unwrap_or(Path::new("."));
    tempfile::tempfile_in(above)
        .map(drop)
        .map_err(|cause| StartError::Folder {
            folder: folder.to_owned(),
            cause,
        })
}

/// Chooses the crypto provider for every TLS connection, in and out.
pub fn install_crypto() {
    // It fails only when one is installed already, which then is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
