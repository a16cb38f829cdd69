//! Constructs the parts and hands them to each other; nothing else does.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

pub use self::backup::{Backup, BackupError, Contents, restore};
use self::check::may_open_upgrade_socket;
pub use self::check::{check, try_store};
use self::parts::{Counters, Lasting, generation, wechat};
pub use self::reload::{ReloadError, Reloaded, Reloader, Source};
pub use self::start_error::StartError;
use crate::clock::Clock;
use crate::config::{Config, PrivateAddress, Store};
use crate::control::Known;
use crate::login::LoginState;
use crate::metrics::{Metrics, Traffic};
use crate::server::{Encryption, Generations, Listening, Predecessor, Sockets, Upstreams, WORDS};
use crate::session::{OpenError, SessionRules, Sessions};
use crate::token::{load_or_make, verify_files};
use crate::traces::{Collector, Exporter, Queue};
use crate::wechat::{AccessTokens, Reach};

mod audit;
mod backup;
mod check;
mod observe;
mod parts;
mod private;
mod reload;
mod serve;
mod start_error;

/// How long a process may take to die.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// A proxy that is ready to serve.
pub struct App {
    config: Config,
    listening: Listening,
    tls: Option<Encryption>,
    generations: Arc<Generations>,
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
        predecessor: Option<(Predecessor, Vec<OwnedFd>)>,
    ) -> Result<Self, StartError> {
        install_crypto();
        // Who knows the server by a pin of its certificate does not mind, so that it starts all the same.
        let now = clock.unix_secs();
        let out_of_date = config.certificates_out_of_date(now).into_iter();
        let out_of_date = out_of_date.chain(config.authorities_out_of_date(now));
        for warning in out_of_date.chain(config.warnings()) {
            tracing::warn!("{warning}");
        }
        for server in config.named_servers_at_own_ports() {
            // A resolver may take long, and neither the start nor the end waits for it.
            let looking = move || {
                if let Some(warning) = server.warning() {
                    tracing::warn!("{warning}");
                }
            };
            let named = std::thread::Builder::new().name("own names".to_owned());
            if let Err(error) = named.spawn(looking) {
                tracing::warn!(%error, "a server's name could not be looked up");
            }
        }
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
            &config.control,
            inherited.unwrap_or_default(),
        )?;
        may_open_upgrade_socket(&config)?;
        let tls = Encryption::load(&config.server.tls)?;
        let upstreams = Upstreams::new(
            &config.upstreams,
            config.server.upstream_pool,
            config.server.limits.server_connections(),
            config.own_listeners(),
        )?;
        // A start that fails on the store makes no keys.
        verify_files(&config.token.keys_dir)?;
        let predecessor = match predecessor {
            Some(running) => Some(running.let_go().await.map_err(StartError::HandOver)?),
            None => None,
        };
        let sessions = match &predecessor {
            Some(_) => open_sessions_soon(&config, clock).await?,
            None => open_sessions(&config, clock).await?,
        };
        let keys = Arc::new(load_or_make(
            &config.token.keys_dir,
            config.token.algorithm,
            clock,
        )?);
        audit::started(&keys, clock.unix_ms(), &config.token.keys_dir);
        let (metrics, reach) = (Metrics::default(), Reach::default());
        let tokens = AccessTokens::new(clock.clone(), sessions.clone(), metrics.clone());
        let traffic = Traffic::new(WORDS);
        let wechat = wechat(&config, &tokens, &metrics, &reach)?;
        let spans = Exporter::new(Arc::new(Queue::new(config.traces.queue)));
        spans.aim(Collector::new(&config.traces)?);
        let known = Known::new(&config, wechat, Arc::clone(&keys));
        let lasting = Lasting {
            sockets: Sockets::new(sessions.clone(), clock.clone()),
            sessions,
            clock: clock.clone(),
            known: Arc::new(known),
            tokens,
            reach,
            resets: TaskTracker::new(),
            state: Arc::new(LoginState::new(clock.clone(), metrics.clone())),
            metrics,
            traffic,
            hour: Arc::default(),
            recent: Arc::default(),
            spans,
            cache_uses: Arc::default(),
            reloaded: Arc::default(),
        };
        let generation = generation(&config, &keys, upstreams, Counters::new(&config), &lasting)?;
        let generations = Generations::new(generation);
        observe::observe(&lasting, &generations, tls.as_ref());
        Ok(Self {
            config,
            listening,
            tls,
            generations,
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

    /// Returns the address of the private listener, where it has one.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.listening.private_address()
    }

    /// Returns where the private listener is, where there is one.
    pub fn control_place(&self) -> Option<PrivateAddress> {
        self.listening.private_place()
    }

    /// Returns the WebSockets that are open while it serves.
    pub fn sockets(&self) -> Arc<Sockets> {
        Arc::clone(&self.lasting.sockets)
    }

    /// Returns what replaces the configuration while it serves, for the private listener as well; `source` reads it anew.
    pub fn reloader(&mut self, source: Source) -> Reloader {
        let (generations, lasting) = (Arc::clone(&self.generations), self.lasting.clone());
        let reloader = Reloader::new(self.config.clone(), source, generations, lasting);
        self.reloader = Some(reloader.clone());
        reloader
    }
}

/// Opens the sessions of a process that let go or died; of what a dying one has open, the system closes its connections first
/// and its files a moment later.
async fn open_sessions_soon(config: &Config, clock: &Clock) -> Result<Sessions, StartError> {
    let limit = Instant::now() + EXIT_TIMEOUT;
    loop {
        match open_sessions(config, clock).await {
            Err(StartError::Store(OpenError::InUse(_))) if Instant::now() < limit => {
                sleep(EXIT_TIMEOUT / 100).await;
            }
            opened => return opened,
        }
    }
}

async fn open_sessions(config: &Config, clock: &Clock) -> Result<Sessions, StartError> {
    let session = &config.session;
    let rules = SessionRules {
        session_ttl: session.ttl,
        refresh_grace: session.refresh_grace,
        token_ttl: config.token.ttl,
        unionid_lookup: session.unionid_lookup,
    };
    let (key, clock) = (session.seal_key.clone(), clock.clone());
    let opened = match &session.store {
        Store::Embedded(path) => Sessions::embedded(path, key, rules, clock),
        Store::Redis(server) => {
            let key = key.ok_or(OpenError::ConfiguredSealKeyMalformed)?;
            Sessions::redis(server, &key, rules, clock).await
        }
    };
    Ok(opened?)
}

/// Chooses the crypto provider for every TLS connection, in and out.
pub fn install_crypto() {
    // It fails only when one is installed already, which then is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
