//! The parts behind the listeners: upstreams, the store, keys, certificates, the process and its configuration.

use std::collections::BTreeMap;
use std::ops::Add as _;

use serde::Serialize;

use super::apps::mean_ms;
use super::shown::Shown;
use crate::config::{Setting, SettingValue};
use crate::control::Control;

/// An upstream.
#[derive(Default, Serialize)]
pub(super) struct Upstream {
    servers: Vec<Server>,
    /// How many responses came in the last hour.
    hour: f64,
    /// How long they took on average, in milliseconds.
    hour_ms: Option<f64>,
}

#[derive(Serialize)]
struct Server {
    address: String,
    up: bool,
}

/// The session store.
#[derive(Serialize)]
pub(super) struct Store {
    available: bool,
    trouble: Option<&'static str>,
    /// `null` while Redis was not asked yet.
    stored: Option<f64>,
    opened: Option<f64>,
    refreshed: Option<f64>,
    ended: Option<f64>,
    revocations_held: Option<f64>,
    errors: f64,
}

/// A signing key.
#[derive(Serialize)]
pub(super) struct Key {
    kid: String,
    algorithm: String,
    state: &'static str,
}

/// A certificate of the listener.
#[derive(Serialize)]
pub(super) struct Certificate {
    file: String,
    /// In seconds since the Unix epoch.
    expires: f64,
}

/// The process.
#[derive(Serialize)]
pub(super) struct Process {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    log_lines_dropped: Option<f64>,
    cache_entries: Option<f64>,
    cache_hits: Option<f64>,
    cache_misses: Option<f64>,
}

/// The configuration as it was read, and what came of the last reload.
#[derive(Serialize)]
pub(super) struct Configuration {
    /// In seconds since the Unix epoch.
    taken_over: Option<f64>,
    reloads: f64,
    refused: Option<Refused>,
    /// The keys whose new values wait for the next start.
    restart_needed: Vec<&'static str>,
    /// Each key with its state and its value.
    settings: Vec<(String, &'static str, Option<String>)>,
}

#[derive(Serialize)]
struct Refused {
    at: u64,
    problems: Vec<String>,
}

/// Returns the upstreams by name.
pub(super) fn upstreams(shown: &Shown) -> BTreeMap<String, Upstream> {
    let mut upstreams: BTreeMap<String, Upstream> = BTreeMap::new();
    for sample in shown.all("menshen_upstream_server_up") {
        let name = sample.label("upstream").to_owned();
        upstreams.entry(name).or_default().servers.push(Server {
            address: sample.label("server").to_owned(),
            up: sample.value > 0.0,
        });
    }
    for (name, upstream) in &mut upstreams {
        let lately = |metric| {
            let mut found = shown.all(metric);
            let found = found.find(|sample| sample.label("upstream") == name);
            found.map(|sample| shown.lately(sample))
        };
        let count = lately("menshen_upstream_duration_seconds_count");
        upstream.hour = count.unwrap_or(0.0);
        upstream.hour_ms = mean_ms(lately("menshen_upstream_duration_seconds_sum"), count);
    }
    upstreams
}

/// Returns how it stands with the store.
pub(super) fn store(control: &Control, shown: &Shown) -> Store {
    let errors = shown.all("menshen_store_errors_total");
    Store {
        available: control.sessions.is_available(),
        trouble: control.sessions.trouble(),
        stored: shown.one("menshen_sessions_stored"),
        opened: shown.one("menshen_sessions_opened_total"),
        refreshed: shown.one("menshen_sessions_refreshed_total"),
        ended: shown.one("menshen_sessions_ended_total"),
        revocations_held: shown.one("menshen_revocations_held"),
        errors: errors.map(|sample| sample.value).fold(0.0, f64::add),
    }
}

/// Returns the signing keys, the oldest first.
pub(super) fn keys(control: &Control) -> Vec<Key> {
    let keys = control.known.keys();
    let states = keys.states(control.clock.unix_ms());
    let keys = states.map(|(key, state)| Key {
        kid: key.kid().to_owned(),
        algorithm: key.algorithm(),
        state,
    });
    keys.collect()
}

/// Returns the certificates of the listener.
pub(super) fn certificates(shown: &Shown) -> Vec<Certificate> {
    let all = shown.all("menshen_certificate_expiry_timestamp_seconds");
    let all = all.map(|sample| Certificate {
        file: sample.label("file").to_owned(),
        expires: sample.value,
    });
    all.collect()
}

/// Returns how it stands with the process.
pub(super) fn process(shown: &Shown) -> Process {
    Process {
        cpu_seconds: shown.one("process_cpu_seconds_total"),
        resident_bytes: shown.one("process_resident_memory_bytes"),
        open_fds: shown.one("process_open_fds"),
        max_fds: shown.one("process_max_fds"),
        log_lines_dropped: shown.one("menshen_log_lines_dropped_total"),
        cache_entries: shown.one("menshen_token_cache_entries"),
        cache_hits: shown.one("menshen_token_cache_hits_total"),
        cache_misses: shown.one("menshen_token_cache_misses_total"),
    }
}

/// Returns the configuration.
pub(super) fn configuration(control: &Control, shown: &Shown) -> Configuration {
    let reloads = shown.all("menshen_reloads_total");
    let settings = control.known.settings();
    Configuration {
        taken_over: shown.one("menshen_config_last_taken_over_timestamp_seconds"),
        reloads: reloads.map(|sample| sample.value).fold(0.0, f64::add),
        refused: control.known.refused().map(|refused| Refused {
            at: refused.at,
            problems: refused.problems.clone(),
        }),
        restart_needed: control.known.waiting(),
        settings: settings.0.iter().map(setting).collect(),
    }
}

fn setting(setting: &Setting) -> (String, &'static str, Option<String>) {
    let (state, value) = match &setting.value {
        SettingValue::Written(value) => ("written", Some(value.clone())),
        SettingValue::Default(value) => ("default", Some(value.clone())),
        SettingValue::Hidden => ("secret", None),
        SettingValue::Unset => ("unset", None),
    };
    (setting.key.clone(), state, value)
}
