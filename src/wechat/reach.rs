//! Whether WeChat can be reached: the log says once in a while why it cannot, and once that it can again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use tokio::time::Instant;

use super::{UnreachableCause, WarningLimit};
use crate::config::{Proxy, WeChat};

/// How long a cause is believed in that nobody has met again.
const BELIEVED: Duration = Duration::from_secs(600);

/// Whether WeChat can be reached, as far as the last call says; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Reach(Arc<Mutex<ReachState>>);

#[derive(Debug, Default)]
struct ReachState {
    /// The cause that the last call met; `None` where WeChat answered it.
    met: Option<Met>,
    /// How many connections in a row ended without an answer.
    broken_off: u32,
    warnings: WarningLimit<UnreachableCause>,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    cause: UnreachableCause,
    at: Instant,
    /// Whether the log has named any cause since WeChat was last reached.
    logged: bool,
}

/// Where calls go.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// WeChat's host, as in the configuration.
    pub(super) host: String,
    /// The proxy in between, without its password.
    pub(super) proxy: Option<String>,
}

impl Way {
    pub(super) fn of(config: &WeChat) -> Self {
        let (_, rest) = config.api_base.split_once("://").unwrap_or_default();
        let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
        Self {
            host: host.to_owned(),
            proxy: match &config.proxy {
                Proxy::None => None,
                Proxy::Environment => proxy_of_environment(&config.api_base),
                Proxy::Url(url) => Some(url.clone()),
            },
        }
    }
}

/// Returns the proxy that reqwest's own matcher takes from the environment for an address, without its user and password.
fn proxy_of_environment(api_base: &str) -> Option<String> {
    let proxy = Matcher::from_env().intercept(&api_base.parse().ok()?)?;
    // A password with an "@" in it may be in the authority still.
    let (scheme, host) = (proxy.uri().scheme_str()?, proxy.uri().host()?);
    let port = proxy.uri().port_u16().map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    Some(format!("{scheme}://{host}{port}, of the environment"))
}

impl Reach {
    /// Returns why the last call did not reach WeChat.
    pub fn unreachable_cause(&self) -> Option<UnreachableCause> {
        let met = self.state().met.filter(|met| met.at.elapsed() < BELIEVED);
        met.map(|met| met.cause)
    }

    /// Takes notice of a call that WeChat answered.
    pub(super) fn reached(&self, way: &Way) {
        let met = {
            let mut state = self.state();
            state.broken_off = 0;
            state.met.take()
        };
        if met.is_some_and(|met| met.logged) {
            tracing::info!(host = way.host, "WeChat can be reached again");
        }
    }

    /// Takes notice of a call that did not reach WeChat; `detail` is what the system or TLS said.
    pub(super) fn met(&self, cause: UnreachableCause, detail: Option<&str>, way: &Way) {
        let now = Instant::now();
        let calls = {
            let mut state = self.state();
            if cause == UnreachableCause::BrokenOff {
                state.broken_off += 1;
                // WeChat closes connections that were idle, and one may meet a call on its way.
                if state.broken_off == 1 {
                    return;
                }
            }
            let due = state.warnings.meet(cause, now);
            let was_logged = state.met.is_some_and(|met| met.logged);
            state.met = Some(Met {
                cause,
                at: now,
                logged: was_logged || due.is_some(),
            });
            due
        };
        if let Some(calls) = calls {
            tracing::warn!(
                host = way.host,
                proxy = way.proxy,
                %cause,
                detail,
                calls,
                "WeChat cannot be reached: {}",
                cause.advice()
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, ReachState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
