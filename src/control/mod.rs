//! The private listener, for those who run Menshen and for backends.
//!
//! # Layout
//! `listener` serves the connections, within limits. `exchange` goes round every request: `guard` says who may ask, a
//! `denial` gets its one shape, and a line is logged. `router` lists the calls, and `calls` says who may ask for which; `health`, `metrics`, `sessions`, `reload`, `vault`,
//! `session_key`, `phone_number`, `access_token`, `requests` and `status` answer them, and `ask` asks from the command line. `relay` passes calls on to WeChat. `path` reads what a path names, `body` what a body holds. `failures` counts what did not open, and wrong secrets.
//! `known` is what a reload changes.

mod access_token;
mod ask;
mod backup;
mod body;
mod calls;
mod denial;
mod exchange;
mod failures;
mod guard;
mod health;
mod known;
mod listener;
mod metrics;
mod path;
mod phone_number;
mod relay;
mod reload;
mod requests;
mod router;
mod session_key;
mod sessions;
mod status;
mod unionids;
mod vault;

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::{Hour, Metrics, Traffic};
use crate::request::Recent;
use crate::session::Sessions;
use crate::token::RelayTokens;
use crate::wechat::Reach;

pub use ask::{AskError, ask};
pub use failures::Failures;
pub use health::Readiness;
pub use known::{Known, RefusedReload};
pub use listener::Listener;
pub use reload::{Reload, ReloadRefused};
pub use session_key::WeChatApi;
pub use status::PageLogins;

/// What the calls need; clones share it.
#[derive(Clone)]
pub struct Control {
    /// The apps, the secret, and how WeChat is called.
    pub known: Arc<Known>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is counted of exchanges.
    pub traffic: Arc<Traffic>,
    /// The same over the last hour.
    pub hour: Arc<Hour>,
    /// The stored logins.
    pub sessions: Sessions,
    /// Whether WeChat can be reached.
    pub reach: Reach,
    /// Whether requests should come here.
    pub readiness: Arc<Readiness>,
    /// The last exchanges of the public listener.
    pub recent: Arc<Recent>,
    /// Tells the time.
    pub clock: Clock,
    /// What did not open of late, and the wrong secrets that came.
    pub failures: Arc<Failures>,
    /// The browsers that brought a secret to the status page.
    pub page_logins: Arc<PageLogins>,
    /// The session_keys that are being reset.
    pub resets: TaskTracker,
    /// Reloads the configuration; `None` where it came from no file.
    pub reload: Option<Reload>,
}

impl Control {
    /// Returns what makes and checks what is good at the relay, with the keys of the moment.
    fn relay_tokens(&self) -> RelayTokens {
        RelayTokens::new(self.known.keys(), self.clock.clone())
    }

    /// Answers on this listener until `stop` resolves and what is in flight was answered, or took too long.
    pub async fn serve(self, listener: Listener, stop: impl Future<Output = ()>) {
        let (known, over) = (Arc::clone(&self.known), CancellationToken::new());
        let keeping = tokio::spawn(access_token::keep_fresh(known, over.clone()));
        let sampling = tokio::spawn(status::sample(self.clone(), over.clone()));
        listener::serve(listener, router::router(self), stop).await;
        over.cancel();
        let _ = tokio::join!(keeping, sampling);
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    #[test]
    fn its_clones_are_small_since_each_call_holds_several() {
        let size = size_of::<Control>();
        assert!(size <= 256, "{size}");
    }
}
