//! What the private listener knows of the configuration, which a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use subtle::ConstantTimeEq as _;

use super::WeChatApi;
use crate::config::{App, Config, Relay};

/// The apps, the secret, and how WeChat is called.
pub struct Known {
    current: ArcSwap<Current>,
}

struct Current {
    apps: Vec<Arc<App>>,
    /// The digest of the secret, so that comparing tells nothing about its length either.
    secret: Option<Digest>,
    wechat: WeChatApi,
    relay: Arc<Relay>,
}

impl Known {
    /// Takes what is needed from a configuration.
    pub fn new(config: &Config, wechat: WeChatApi) -> Self {
        Self {
            current: ArcSwap::from_pointee(Current::new(config, wechat)),
        }
    }

    /// Takes it from another one.
    pub fn replace(&self, config: &Config, wechat: WeChatApi) {
        self.current.store(Arc::new(Current::new(config, wechat)));
    }

    /// Returns the app with this name.
    pub(super) fn app(&self, name: &str) -> Option<Arc<App>> {
        let current = self.current.load();
        current.apps.iter().find(|app| app.name == name).cloned()
    }

    /// Returns the app with this appid.
    pub(super) fn app_of(&self, appid: &str) -> Option<Arc<App>> {
        let current = self.current.load();
        current.apps.iter().find(|app| app.appid == appid).cloned()
    }

    /// Returns the app for calls of the relay that name none.
    pub(super) fn relayed_app(&self) -> Option<Arc<App>> {
        let current = self.current.load();
        match (current.relay.app, current.apps.as_slice()) {
            (Some(app), apps) => apps.get(app).cloned(),
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
        }
    }

    /// Returns which paths may be called through the relay.
    pub(super) fn relayed(&self) -> Arc<Relay> {
        Arc::clone(&self.current.load().relay)
    }

    /// Returns all apps.
    pub(super) fn apps(&self) -> Vec<Arc<App>> {
        self.current.load().apps.clone()
    }

    /// Returns how WeChat is called.
    pub(super) fn wechat(&self) -> WeChatApi {
        self.current.load().wechat.clone()
    }

    /// Says whether callers need a secret.
    pub(super) fn asks_for_secret(&self) -> bool {
        self.current.load().secret.is_some()
    }

    /// Says, in a time that does not depend on it, whether this is the secret; nothing is where there is none.
    pub(super) fn is_secret(&self, bearer: &[u8]) -> bool {
        let presented = digest(&SHA256, bearer);
        let current = self.current.load();
        let secret = current.secret.as_ref();
        secret.is_some_and(|secret| secret.as_ref().ct_eq(presented.as_ref()).into())
    }
}

impl Current {
    fn new(config: &Config, wechat: WeChatApi) -> Self {
        let secret = config.control.secret.as_ref();
        Self {
            apps: config.apps.iter().cloned().map(Arc::new).collect(),
            secret: secret.map(|secret| digest(&SHA256, secret.expose().as_bytes())),
            wechat,
            relay: Arc::new(config.relay.clone()),
        }
    }
}
