//! The connections to WeChat, of which none is used again after a call that was lost on one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;
use tokio::task::spawn_blocking;

use super::client::ClientError;
use crate::config::WeChat;

/// The connections to WeChat.
#[derive(Debug)]
pub(super) struct Connections {
    current: ArcSwap<reqwest::Client>,
    /// Whether new ones are being made.
    renewing: AtomicBool,
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
            renewing: AtomicBool::new(false),
            connect_timeout,
            timeout,
        })
    }

    /// Returns what calls are made with.
    pub(super) fn current(&self) -> Arc<reqwest::Client> {
        self.current.load_full()
    }

    /// Makes new connections in a moment, where these are still the ones in use; calls on them may end.
    ///
    /// A wire that went dead tells nobody: each idle connection would swallow another code.
    pub(super) fn leave(self: &Arc<Self>, used: &Arc<reqwest::Client>) {
        let is_current = Arc::ptr_eq(&self.current.load(), used);
        if !is_current || self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (connections, used) = (Arc::clone(self), Arc::clone(used));
        // Certificates are read for it, and whoever learns from the lost call must not wait for that.
        spawn_blocking(move || connections.renew(&used));
    }

    fn renew(&self, used: &Arc<reqwest::Client>) {
        match client(self.connect_timeout, self.timeout) {
            Ok(new) => {
                self.current.compare_and_swap(used, Arc::new(new));
            }
            Err(error) => {
                tracing::warn!(%error, "connections to WeChat stay in use after a call was lost");
            }
        }
        self.renewing.store(false, Ordering::Release);
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
