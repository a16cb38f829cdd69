//! Puts the parts behind the listeners together, at the start and again at each reload.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::observe::LastReload;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Known, WeChatApi};
use crate::login::{LoginRates, LoginState, Logins};
use crate::metrics::{Hour, Metrics, Traffic};
use crate::request::{Identities, InFlight, Origins, Rates, Recent, Requests};
use crate::server::{ExchangeRecent, ExchangeTraffic, Generation, Sockets, Upstreams};
use crate::session::Sessions;
use crate::token::{
    Assertions, CacheUses, Issuer, KeyRing, RelayHeaders, RelayTokens, Tokens, Verifier,
};
use crate::traces::{Exporter, Tracer};
use crate::wechat::{AccessTokens, Client, Reach, Transport};

/// The parts that no reload replaces.
#[derive(Clone)]
pub(super) struct Lasting {
    pub(super) sessions: Sessions,
    pub(super) sockets: Arc<Sockets>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    /// What is counted of exchanges.
    pub(super) traffic: Arc<Traffic>,
    /// The sums of the last hour.
    pub(super) hour: Arc<Hour>,
    /// The last exchanges.
    pub(super) recent: Arc<Recent>,
    /// Sends spans.
    pub(super) spans: Exporter,
    /// What is counted of the cache of tokens.
    pub(super) cache_uses: Arc<CacheUses>,
    /// The last reload, as metrics show it.
    pub(super) reloaded: Arc<LastReload>,
    /// What logins know.
    pub(super) state: Arc<LoginState>,
    /// What the private listener knows of the configuration.
    pub(super) known: Arc<Known>,
    pub(super) tokens: AccessTokens,
    /// Whether WeChat can be reached.
    pub(super) reach: Reach,
    /// The session_keys that are being reset.
    pub(super) resets: TaskTracker,
}

impl Lasting {
    /// Waits until no code is being redeemed and no session_key reset.
    pub(super) async fn is_idle(&self) {
        self.state.is_idle().await;
        self.resets.close();
        self.resets.wait().await;
        self.resets.reopen();
    }
}

/// Puts together how WeChat is called for the private listener.
pub(super) fn wechat(
    config: &Config,
    tokens: &AccessTokens,
    metrics: &Metrics,
    reach: &Reach,
) -> Result<WeChatApi, StartError> {
    let client = Client::new(&config.wechat)?.noting_in(reach.clone());
    Ok(WeChatApi {
        client: client.counted_in(metrics.clone()),
        tokens: tokens.clone(),
        transport: Transport::new(&config.wechat, reach.clone())?,
    })
}

/// What counts by address, which a reload replaces only where its limit is another.
pub(super) struct Counters {
    requests: Option<Arc<Rates>>,
    in_flight: Option<Arc<InFlight>>,
    logins: Option<Arc<LoginRates>>,
    refreshes: Option<Arc<Rates>>,
}

impl Counters {
    pub(super) fn new(config: &Config) -> Self {
        let logins = config.login.refused_per_minute;
        let refreshes = config.login.refreshes_per_minute;
        let in_flight = config.server.limits.max_requests_per_address;
        Self {
            in_flight: in_flight.map(|most| Arc::new(InFlight::new(most))),
            requests: Rates::new(&config.server.limits).map(Arc::new),
            logins: logins.map(|count| Arc::new(LoginRates::new(count))),
            refreshes: refreshes.map(|count| Arc::new(Rates::per_minute(count))),
        }
    }

    pub(super) fn renewed(config: &Config, running: &Config, old: &Generation) -> Self {
        let mut renewed = Self::new(config);
        if config.server.limits == running.server.limits {
            renewed.requests.clone_from(&old.rates);
        }
        if config.server.limits.max_requests_per_address
            == running.server.limits.max_requests_per_address
        {
            renewed.in_flight.clone_from(&old.in_flight);
        }
        if config.login.refused_per_minute == running.login.refused_per_minute {
            renewed.logins.clone_from(&old.login_rates);
        }
        if config.login.refreshes_per_minute == running.login.refreshes_per_minute {
            renewed.refreshes.clone_from(&old.refresh_rates);
        }
        renewed
    }
}

/// Builds a generation.
pub(super) fn generation(
    config: &Config,
    keys: &Arc<KeyRing>,
    upstreams: Upstreams,
    counters: Counters,
    lasting: &Lasting,
) -> Result<Generation, StartError> {
    if config.headers.assertion
        && let Some(shared) = keys.shared_signer(lasting.clock.unix_ms())
    {
        return Err(StartError::SharedKey(shared.kid().to_owned()));
    }
    let wechat = Client::new(&config.wechat)?.noting_in(lasting.reach.clone());
    let Lasting {
        sessions,
        sockets,
        clock,
        state,
        ..
    } = lasting.clone();
    let token = &config.token;
    let verifier = Verifier::new(keys, &token.issuer, &config.apps, token.ttl, clock.clone());
    let tokens = Arc::new(Tokens::counted(
        verifier,
        config.cache.max_tokens,
        clock.clone(),
        Arc::clone(&lasting.cache_uses),
    )?);
    let issuer = Issuer::new(
        Arc::clone(keys),
        token.issuer.clone(),
        token.ttl,
        clock.clone(),
    );
    let assertions = config.headers.assertion.then(|| {
        Assertions::new(
            Arc::clone(keys),
            token.issuer.clone(),
            &config.apps,
            clock.clone(),
        )
    });
    let relay_headers = config.headers.relay_token.then(|| {
        let tokens = RelayTokens::new(Arc::clone(keys), clock.clone());
        RelayHeaders::new(tokens, &config.apps)
    });
    Ok(Generation {
        requests: Requests::new(config, tokens, sessions.revoked().clone()),
        sockets,
        logins: Logins::new(config, &wechat, sessions, issuer, &state, clock),
        identities: Identities::new(&config.headers, &config.apps, &config.routes)?,
        assertions,
        relay_headers,
        upstreams,
        traffic: ExchangeTraffic::new(config, &lasting.traffic),
        recent: ExchangeRecent::new(config, &lasting.recent),
        tracer: Tracer::new(&config.traces, lasting.spans.queue()),
        keys: Arc::clone(keys),
        jwks: Bytes::from(serde_json::to_vec(&keys.jwks())?),
        trusted_proxies: config.server.trusted_proxies.clone(),
        origins: Origins::new(config),
        rates: counters.requests,
        in_flight: counters.in_flight,
        login_rates: counters.logins,
        refresh_rates: counters.refreshes,
        client_timeout: config.server.client_timeout,
        keepalive: config.server.keepalive,
        min_body_rate: config.server.min_body_rate,
        max_header_bytes: config.server.max_header_bytes,
    })
}
