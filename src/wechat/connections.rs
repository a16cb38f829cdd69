//! The connections to WeChat, of which none is used again after a call that was lost on one of them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;

use super::client::ClientError;
use crate::config::WeChat;

/// The connections to WeChat.
#[derive(Debug)]
pub(super) struct Connections {
    current: ArcSwap<reqwest::Client>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl Connections {
    pub(super) fn new(config: &WeChat) -> Result<Self, ClientError> {
        let WeChat {
            connect_timeout,
            timeout,
            ..
        } = *config;
        Ok(Self {
            current: ArcSwap::from_pointee(client(connect_timeout, timeout)?),
            connect_timeout,
            timeout,
        })
    }

    /// Returns what calls are made with.
    pub(super) fn current(&self) -> Arc<reqwest::Client> {
        self.current.load_full()
    }

    /// Makes new connections from now on, where these are still the ones in use; calls on them may end.
    ///
    /// A wire that went dead tells nobody: each idle connection would swallow another code.
    pub(super) fn leave(&self, used: &Arc<reqwest::Client>) {
        if !Arc::ptr_eq(&self.current.load(), used) {
            return;
        }
        match client(self.connect_timeout, self.timeout) {
            Ok(new) => {
                self.current.compare_and_swap(used, Arc::new(new));
            }
            Err(error) => {
                tracing::warn!(%error, "connections to WeChat stay in use after a call was lost")
            }
        }
    }
}

fn client(connect_timeout: Duration, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .timeout(timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        // A redirect would carry the secret to somebody else.
        .redirect(Policy::none())
        .referer(false)
        // The environment decides nothing, and least of all who else sees the secret.
        .no_proxy()
        .build()
        .map_err(|error| ClientError(error.without_url()))
}
