//! What all exchanges of one generation of the configuration share; nothing in it is replaced while an exchange lasts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

use super::counters::ExchangeTraffic;
use super::recent_ring::ExchangeRecent;
use crate::login::{LoginRates, Logins};
use crate::request::{Identities, InFlight, Origins, Rates, Requests};
use crate::server::sockets::Sockets;
use crate::server::upstreams::Upstreams;
use crate::token::{Assertions, KeyRing, RelayHeaders};
use crate::traces::Tracer;

/// The parts behind the listener, built from the configuration at the start and again at each reload.
pub struct Generation {
    /// Decides.
    pub requests: Requests,
    /// Logs in, renews and logs out.
    pub logins: Logins,
    /// Rewrites headers.
    pub identities: Identities,
    /// Signs assertions; `None` when none are sent.
    pub assertions: Option<Assertions>,
    /// What backends call WeChat with through the relay; `None` when they get nothing of the kind.
    pub relay_headers: Option<RelayHeaders>,
    /// The backends.
    pub upstreams: Upstreams,
    /// What is counted.
    pub traffic: ExchangeTraffic,
    /// The last exchanges, for whoever asks.
    pub recent: ExchangeRecent,
    /// Begins traces; `None` where there are none.
    pub tracer: Option<Tracer>,
    /// The open WebSockets.
    pub sockets: Arc<Sockets>,
    /// The keys that sign and verify.
    pub keys: Arc<KeyRing>,
    /// The public keys, as JSON.
    pub jwks: Bytes,
    /// Peers whose `X-Forwarded-*` count.
    pub trusted_proxies: Vec<IpNet>,
    /// Which web pages may read answers.
    pub origins: Origins,
    /// Counts the requests of each address; `None` where there is no limit.
    pub rates: Option<Arc<Rates>>,
    /// Counts the requests in flight of each address; `None` where there is no limit.
    pub in_flight: Option<Arc<InFlight>>,
    /// Counts the codes of each address that were good for nothing; `None` where there is no limit.
    pub login_rates: Option<Arc<LoginRates>>,
    /// Counts the refreshes of each address; `None` where there is no limit.
    pub refresh_rates: Option<Arc<Rates>>,
    /// Limit between two reads from or two writes to a client.
    pub client_timeout: Duration,
    /// How long an idle connection of a client is kept.
    pub keepalive: Duration,
    /// The bytes a second that a request's body must bring in the long run; `None` where it may be as slow as it likes.
    pub min_body_rate: Option<u64>,
    /// The most bytes of a header section.
    pub max_header_bytes: usize,
}
