//! What the private listener knows of the configuration, which a reload replaces.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use subtle::ConstantTimeEq as _;

use crate::config::Config;

/// The apps and the secret.
pub struct Known {
    current: ArcSwap<Current>,
}

struct Current {
    /// Name and appid of each app.
    apps: Vec<(String, String)>,
    /// The digest of the secret, so that comparing tells nothing about its length either.
    secret: Option<Digest>,
}

impl Known {
    /// Takes what is needed from a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            current: ArcSwap::from_pointee(Current::new(config)),
        }
    }

    /// Takes it from another one.
    pub fn replace(&self, config: &Config) {
        self.current.store(Arc::new(Current::new(config)));
    }

    /// Returns the appid of the app with this name.
    pub(super) fn appid(&self, name: &str) -> Option<String> {
        let current = self.current.load();
        let found = current.apps.iter().find(|(known, _)| known == name);
        found.map(|(_, appid)| appid.clone())
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
    fn new(config: &Config) -> Self {
        let apps = config.apps.iter();
        let secret = config.control.secret.as_ref();
        Self {
            apps: apps
                .map(|app| (app.name.clone(), app.appid.clone()))
                .collect(),
            secret: secret.map(|secret| digest(&SHA256, secret.expose().as_bytes())),
        }
    }
}
