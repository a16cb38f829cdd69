//! What the private listener knows of the configuration, which a reload replaces.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest::{Digest, SHA256, digest};
use subtle::ConstantTimeEq as _;

use super::WeChatApi;
use super::calls::Limited;
use crate::config::{App, Caller, Config, Relay, Settings};
use crate::token::KeyRing;

/// The apps, the secrets, and how WeChat is called.
pub struct Known {
    current: ArcSwap<Current>,
    refused: ArcSwapOption<RefusedReload>,
}

/// A configuration that was not taken over since the last that was.
#[derive(Debug)]
pub struct RefusedReload {
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// Every problem, one line each, without a secret in it.
    pub problems: Vec<String>,
}

/// By what a secret is known, from which nobody gets the secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretDigest(Digest);

impl SecretDigest {
    /// Returns whether both are of one secret.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

struct Current {
    apps: Vec<Arc<App>>,
    /// The digests of the secrets, so that comparing tells nothing about their length either.
    secrets: Vec<(Digest, Good)>,
    wechat: WeChatApi,
    relay: Arc<Relay>,
    keys: Arc<KeyRing>,
    settings: Settings,
    /// The keys whose new values wait for the next start.
    waiting: Vec<&'static str>,
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
    pub fn new(config: &Config, wechat: WeChatApi, keys: Arc<KeyRing>) -> Self {
        Self {
            current: ArcSwap::from_pointee(Current::new(config, wechat, keys, Vec::new())),
            refused: ArcSwapOption::empty(),
        }
    }

    /// Takes it from another one, of which these keys wait for the next start.
    pub fn replace(
        &self,
        config: &Config,
        wechat: WeChatApi,
        keys: Arc<KeyRing>,
        waiting: Vec<&'static str>,
    ) {
        let current = Current::new(config, wechat, keys, waiting);
        self.current.store(Arc::new(current));
        self.refused.store(None);
    }

    /// Takes notice of one that was not taken over.
    pub fn refuse(&self, refused: RefusedReload) {
        self.refused.store(Some(Arc::new(refused)));
    }

    /// Returns the one that was not taken over last, where none was since.
    pub(super) fn refused(&self) -> Option<Arc<RefusedReload>> {
        self.refused.load_full()
    }

    /// Returns the signing keys.
    pub(super) fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.current.load().keys)
    }

    /// Returns every key of the configuration as it was read.
    pub(super) fn settings(&self) -> Settings {
        self.current.load().settings.clone()
    }

    /// Returns the keys whose new values wait for the next start.
    pub(super) fn waiting(&self) -> Vec<&'static str> {
        self.current.load().waiting.clone()
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
    pub(super) fn sender(&self, secret: &SecretDigest) -> Sender {
        let SecretDigest(presented) = secret;
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

impl SecretDigest {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(digest(&SHA256, secret))
    }
}

impl Current {
    fn new(
        config: &Config,
        wechat: WeChatApi,
        keys: Arc<KeyRing>,
        waiting: Vec<&'static str>,
    ) -> Self {
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
            settings: config.settings.clone(),
            keys,
            waiting,
        }
    }
}
