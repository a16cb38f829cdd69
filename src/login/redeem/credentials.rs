//! The two secrets of an app while one replaces the other: which one WeChat accepts.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::App;
use crate::wechat::SECRET_REFUSED;

/// An app with its current and its previous secret.
pub(super) struct Credentials {
    current: App,
    /// The same with its previous secret.
    previous: Option<App>,
    uses_previous: AtomicBool,
}

impl Credentials {
    pub(super) fn new(app: &App) -> Self {
        let previous = app.previous_secret.as_ref().map(|secret| App {
            secret: secret.clone(),
            ..app.clone()
        });
        Self {
            current: app.clone(),
            previous,
            uses_previous: AtomicBool::new(false),
        }
    }

    /// Returns the app with the secret that worked last.
    pub(super) fn in_use(&self) -> &App {
        match &self.previous {
            Some(previous) if self.uses_previous.load(Ordering::Relaxed) => previous,
            Some(_) | None => &self.current,
        }
    }

    /// Returns the app with the secret that `refused` does not have; `None` if there is no other.
    pub(super) fn other(&self, refused: &App) -> Option<&App> {
        let previous = self.previous.as_ref()?;
        Some(if refused.secret == previous.secret {
            &self.current
        } else {
            previous
        })
    }

    /// Records that WeChat accepted the secret of `app`, which is used from now on.
    pub(super) fn took(&self, app: &App) {
        let Some(previous) = &self.previous else {
            return;
        };
        let is_previous = app.secret == previous.secret;
        if self.uses_previous.swap(is_previous, Ordering::Relaxed) == is_previous {
            return;
        }
        if is_previous {
            tracing::error!(
                app = app.name,
                errcode = SECRET_REFUSED,
                "WeChat refuses the app's secret, and takes its previous_secret, which is used from now on: \
                 put the secret that WeChat's console shows into the configuration, and reload"
            );
        } else {
            tracing::warn!(
                app = app.name,
                "WeChat accepts the app's new secret and no longer its previous_secret, which can be removed"
            );
        }
    }
}
