//! What the private listener knows of the configuration, which a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use subtle::ConstantTimeEq as _;

use super::WeChatApi;
use super::calls::Limited;
use crate::config::{App, Caller, Config, Relay};

/// The apps, the secrets, and how WeChat is called.
pub struct Known {
    current: ArcSwap<Current>,
}

struct Current {
    apps: Vec<Arc<App>>,
    /// The digests of the secrets, so that comparing tells nothing about their length either.
    secrets: Vec<(Digest, Good)>,
    wechat: WeChatApi,
    relay: Arc<Relay>,
}

/// What a secret is good for.
#[derive(Clone)]
enum Good {
    ForAll,
    ForSome(Arc<Caller>),
}

/// Who sent a secret.
pub(super) enum Sender {
    /// Nobody who is known.
    Stranger,
    /// Somebody who may do everything.
    Trusted,
    /// Somebody whose secret is good for some calls only.
    Limited(Limited),
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

    /// Returns whether callers need a secret.
    pub(super) fn asks_for_secret(&self) -> bool {
        !self.current.load().secrets.is_empty()
    }

    /// Finds out, in a time that does not depend on it, whose secret this is.
    pub(super) fn sender(&self, bearer: &[u8]) -> Sender {
        let presented = digest(&SHA256, bearer);
        let current = self.current.load();
        let mut sender = Sender::Stranger;
        for (known, good) in &current.secrets {
            if known.as_ref().ct_eq(presented.as_ref()).into() {
                sender = match good {
                    Good::ForAll => Sender::Trusted,
                    Good::ForSome(caller) => Sender::Limited(Limited::new(caller)),
                };
            }
        }
        sender
    }
}

impl Current {
    fn new(config: &Config, wechat: WeChatApi) -> Self {
        let of = |secret: &str| digest(&SHA256, secret.as_bytes());
        let control = &config.control;
        let shared = control.secret.iter();
        let shared = shared.map(|secret| (of(secret.expose()), Good::ForAll));
        let own = control.callers.iter().map(|caller| {
            let good = Good::ForSome(Arc::new(caller.clone()));
            (of(caller.secret.expose()), good)
        });
        Self {
            secrets: shared.chain(own).collect(),
            apps: config.apps.iter().cloned().map(Arc::new).collect(),
            wechat,
            relay: Arc::new(config.relay.clone()),
        }
    }
}
