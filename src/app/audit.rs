//! The audit lines of changes of the configuration and of the signing keys.

use std::path::Path;

use super::reload::{ReloadError, Reloaded};
use crate::config::Config;
use crate::token::KeyRing;

/// Says with what the program starts.
pub(super) fn started(keys: &KeyRing, now_ms: u64, dir: &Path) {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(
        target: "menshen::audit",
        event = "configuration",
        outcome = "started",
        version,
        "the configuration was taken over at the start"
    );
    let signing = keys.signing(now_ms).kid();
    for key in keys.iter() {
        let kid = key.kid();
        let state = if kid == signing { "signing" } else { "known" };
        tracing::info!(
            target: "menshen::audit",
            event = "key",
            outcome = state,
            kid,
            dir = %dir.display(),
            "a signing key was read"
        );
    }
}

/// Says what a reload came to that somebody asked for.
pub(super) fn reloaded(by: &str, reloaded: &Result<Reloaded, ReloadError>) {
    match reloaded {
        Ok(Reloaded {
            changed,
            restart_needed,
        }) => {
            tracing::info!(
                target: "menshen::audit",
                event = "configuration",
                outcome = "reloaded",
                by,
                changed = changed.join(" "),
                "the configuration was reloaded"
            );
            for key in restart_needed {
                tracing::warn!(
                    target: "menshen::audit",
                    event = "configuration",
                    outcome = "kept",
                    by,
                    key,
                    "this change waits for the next start"
                );
            }
        }
        Err(error) => {
            for problem in error.lines() {
                tracing::error!(
                    target: "menshen::audit",
                    event = "configuration",
                    outcome = "refused",
                    by,
                    problem,
                    "not reloaded, what runs goes on as it was"
                );
            }
        }
    }
}

/// Says which keys came and which went.
pub(super) fn keys(old: &KeyRing, new: &KeyRing) {
    for key in new.iter().filter(|key| old.find(key.kid()).is_none()) {
        let kid = key.kid();
        tracing::info!(
            target: "menshen::audit",
            event = "key",
            outcome = "added",
            kid,
            "a signing key was added"
        );
    }
    for key in old.iter().filter(|key| new.find(key.kid()).is_none()) {
        let kid = key.kid();
        tracing::warn!(
            target: "menshen::audit",
            event = "key",
            outcome = "retired",
            kid,
            "a signing key was retired: its tokens are refused"
        );
    }
}

/// Returns the sections that differ.
pub(super) fn changed(old: &Config, new: &Config) -> Vec<&'static str> {
    // Every section by name, so that none is added without this.
    let Config {
        server,
        control,
        wechat,
        login,
        apps,
        relay,
        token,
        session,
        cache,
        headers,
        cors,
        web,
        upstreams,
        routes,
        log,
        traces,
        // They say again what the sections do.
        settings: _,
    } = new;
    let sections = [
        ("server", *server != old.server),
        ("control", *control != old.control),
        ("wechat", *wechat != old.wechat),
        ("login", *login != old.login),
        ("app", *apps != old.apps),
        ("relay", *relay != old.relay),
        ("token", *token != old.token),
        ("session", *session != old.session),
        ("cache", *cache != old.cache),
        ("headers", *headers != old.headers),
        ("cors", *cors != old.cors),
        ("web", *web != old.web),
        ("upstream", *upstreams != old.upstreams),
        ("route", *routes != old.routes),
        ("log", *log != old.log),
        ("traces", *traces != old.traces),
    ];
    let differ = sections.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(name, _)| name).collect()
}
