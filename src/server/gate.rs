//! Everything that an exchange needs and that does not change while it lasts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

use super::exchange::Exchange;
use super::login_rates::LoginRates;
use super::{Sockets, Upstreams};
use crate::login::{Caller, Logins};
use crate::request::{Denial, Identities, Origins, Pass, Rates, Requests};
use crate::token::Assertions;

/// The parts behind the listener.
pub struct Gate {
    /// Decides.
    pub requests: Requests,
    /// Logs in, renews and logs out.
    pub logins: Logins,
    /// Rewrites headers.
    pub identities: Identities,
    /// Signs assertions; `None` when none are sent.
    pub assertions: Option<Assertions>,
    /// The backends.
    pub upstreams: Upstreams,
    /// The open WebSockets.
    pub sockets: Arc<Sockets>,
    /// The public keys, as JSON.
    pub jwks: Bytes,
    /// Peers whose `X-Forwarded-*` count.
    pub trusted_proxies: Vec<IpNet>,
    /// Which web pages may read answers.
    pub origins: Origins,
    /// Counts the requests of each address; `None` where there is no limit.
    pub rates: Option<Arc<Rates>>,
    /// Counts the codes of each address that were good for nothing; `None` where there is no limit.
    pub login_rates: Option<Arc<LoginRates>>,
    /// Limit between two reads from or two writes to a client.
    pub client_timeout: Duration,
    /// How long an idle connection of a client is kept.
    pub keepalive: Duration,
}

impl Gate {
    /// Has an exchange's client log in, or refuses it for what its address did before.
    pub(super) async fn counting<T>(
        &self,
        exchange: &Exchange,
        login: impl AsyncFnOnce(Caller) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let address = exchange.client.as_ref().and_then(|client| client.address);
        let caller = |crowded| Caller::new(exchange.request_id.clone(), address, crowded);
        match (&self.login_rates, &exchange.client) {
            (Some(rates), Some(client)) => {
                let login = async |crowded| login(caller(crowded)).await;
                rates.counting(client, login).await
            }
            _ => login(caller(false)).await,
        }
    }

    /// Returns the index of the upstream that a request goes to.
    pub(super) fn upstream_of(&self, pass: &Pass) -> Option<usize> {
        let route = self.requests.route(pass.route);
        route.map(|route| route.upstream)
    }
}
