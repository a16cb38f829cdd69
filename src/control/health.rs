//! Says whether the process lives, and whether requests should come to it.
//!
//! A node whose store is out of reach is ready, and `degraded`: otherwise an outage of Redis would take every node out of service at
//! once, and with them everybody who has a valid token.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;

use super::Control;

/// Whether the process lives.
pub(super) const ALIVE: &str = "/healthz";
/// Whether requests should come here.
pub(super) const READY: &str = "/readyz";

/// The store of sessions, as a part that may not work.
const STORE: &str = "session_store";

/// Says whether a path is asked by machines that have no secret, and that learn nothing there.
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
    let state = control.readiness.phase();
    let trouble = control.sessions.trouble();
    let parts = [
        (STORE, control.sessions.is_available() && trouble.is_none()),
        ("wechat", control.reach.obstacle().is_none()),
    ];
    let lost = parts.into_iter().filter(|(_, works)| !works);
    let report = Report {
        state,
        degraded: lost.map(|(part, _)| part).collect(),
        reasons: trouble
            .map(|trouble| (STORE, trouble))
            .into_iter()
            .collect(),
    };
    let status = match state {
        Phase::Ready => StatusCode::OK,
        Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report))
}
