//! Liveness and readiness: `healthz` and `readyz`.
//!
//! A node whose store is out of reach is ready, and `degraded`: otherwise an outage of Redis would take every node out of service at
//! once, and with them everybody who has a valid token.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;

use super::Control;
use crate::config::TokenKind;
use crate::wechat::TokenStatus;

/// Whether the process lives.
pub(super) const ALIVE: &str = "/healthz";
/// Whether requests should come here.
pub(super) const READY: &str = "/readyz";

/// The store of sessions, as a part that may not work.
const STORE: &str = "session_store";
/// The access_token of an app, likewise.
const ACCESS_TOKEN: &str = "access_token";

/// Returns whether a path is asked by machines that have no secret, and that learn nothing there.
pub(super) fn is_probe(path: &str) -> bool {
    [ALIVE, READY].contains(&path)
}

/// Whether requests should come, which they should until the program is told to stop.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
}

/// What is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Ready,
    Draining,
}

/// What somebody who asks is told.
#[derive(Serialize)]
pub(super) struct Report {
    state: Phase,
    /// What does not work at the moment, while those who are logged in notice nothing.
    degraded: Vec<&'static str>,
    /// Why, where that is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<&'static str, &'static str>,
    /// The access_token of each app whose token was asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    access_tokens: BTreeMap<String, Token>,
}

/// How it stands with an access_token.
#[derive(Serialize)]
struct Token {
    kind: &'static str,
    age: Option<u64>,
    left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
}

/// Why there is no newer one.
#[derive(Serialize)]
struct LastError {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    errcode: Option<i64>,
    /// The address that WeChat saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    /// What the operator must do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
    /// When, in seconds since the Unix epoch.
    at: u64,
}

#[derive(Serialize)]
pub(super) struct Alive {
    alive: bool,
}

impl Readiness {
    /// Says that no more should come, for good.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        if self.draining.load(Ordering::Acquire) {
            Phase::Draining
        } else {
            Phase::Ready
        }
    }
}

/// `GET /healthz`
pub(super) async fn alive() -> Json<Alive> {
    Json(Alive { alive: true })
}

/// `GET /readyz`
///
/// Without its store, or WeChat, a node is still ready: whoever is logged in works on, and other nodes may have lost them too.
pub(super) async fn ready(State(control): State<Control>) -> (StatusCode, Json<Report>) {
    let report = Report::of(&control);
    let status = match report.state {
        Phase::Ready => StatusCode::OK,
        Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report))
}

impl Report {
    /// Says how it is.
    pub(super) fn of(control: &Control) -> Self {
        let state = control.readiness.phase();
        let trouble = control.sessions.trouble();
        let statuses = control.known.wechat().tokens.statuses();
        let has_token = |status: &TokenStatus| status.left_secs.is_some_and(|left| left > 0);
        let parts = [
            (STORE, control.sessions.is_available() && trouble.is_none()),
            ("wechat", control.reach.unreachable_cause().is_none()),
            (
                ACCESS_TOKEN,
                statuses
                    .iter()
                    .all(|status| status.failure.is_none() || has_token(status)),
            ),
        ];
        let lost = parts.into_iter().filter(|(_, works)| !works);
        Self {
            state,
            degraded: lost.map(|(part, _)| part).collect(),
            reasons: trouble
                .map(|trouble| (STORE, trouble))
                .into_iter()
                .collect(),
            access_tokens: statuses.into_iter().map(Token::of).collect(),
        }
    }

    /// Leaves out the access_tokens of other apps.
    pub(super) fn retain_apps(&mut self, is_theirs: impl Fn(&str) -> bool) {
        self.access_tokens.retain(|app, _| is_theirs(app));
    }
}

impl Token {
    fn of(status: TokenStatus) -> (String, Self) {
        let kind = match status.kind {
            TokenKind::Stable => "stable",
            TokenKind::Classic => "classic",
        };
        let last_error = status.failure.map(|failure| LastError {
            error: failure.error,
            errcode: failure.errcode,
            address: failure.address,
            advice: failure.advice,
            at: failure.at,
        });
        let token = Self {
            kind,
            age: status.age_secs,
            left: status.left_secs,
            last_error,
        };
        (status.app, token)
    }
}
