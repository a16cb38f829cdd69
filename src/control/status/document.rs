//! Everything that the page shows, as one JSON document.
//!
//! A caller with apps of its own sees these apps, and of what is everybody's nothing: traffic, upstreams, store, keys, certificates,
//! the process and the configuration are `null` for it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;

use super::apps::AppStatus;
use super::parts::{self, Certificate, Configuration, Key, Process, Store, Upstream};
use super::shown::Shown;
use super::traffic::{self, LastRefusal, RefusalCount, Traffic};
use crate::control::Control;
use crate::control::calls::Limited;
use crate::control::denial::ControlDenial;
use crate::control::health::Report;

/// The document.
#[derive(Serialize)]
pub(in crate::control) struct Document {
    /// In seconds since the Unix epoch.
    now: u64,
    version: &'static str,
    health: Report,
    /// What keeps WeChat from being reached.
    wechat: Option<Obstacle>,
    last_refusals: Vec<LastRefusal>,
    apps: Vec<AppStatus>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Obstacle {
    obstacle: String,
    operator_should: &'static str,
}

/// What is everybody's.
#[derive(Default, Serialize)]
struct Common {
    traffic: Option<Traffic>,
    refusals: Option<Vec<RefusalCount>>,
    upstreams: Option<BTreeMap<String, Upstream>>,
    store: Option<Store>,
    keys: Option<Vec<Key>>,
    certificates: Option<Vec<Certificate>>,
    process: Option<Process>,
    configuration: Option<Configuration>,
}

/// `GET /v1/status`
pub(in crate::control) async fn document(
    State(control): State<Control>,
    limited: Option<Extension<Limited>>,
) -> Result<Json<Document>, ControlDenial> {
    let limited = limited.as_deref();
    let is_theirs = |app: &str| limited.is_none_or(|limited| limited.check_app(app).is_ok());
    let shown = Shown::now(&control).await;
    let shown = shown.ok_or(ControlDenial::ShuttingDown)?;
    let mut health = Report::of(&control);
    health.retain_apps(is_theirs);
    let apps = control.known.apps();
    let apps = apps.iter().filter(|app| is_theirs(&app.name));
    let cause = control.reach.unreachable_cause();
    let sees_all = limited.is_none_or(Limited::has_all_apps);
    Ok(Json(Document {
        now: control.clock.unix_secs(),
        version: env!("CARGO_PKG_VERSION"),
        health,
        wechat: cause.map(|cause| Obstacle {
            obstacle: cause.to_string(),
            operator_should: cause.advice(),
        }),
        last_refusals: traffic::last(&control, limited),
        apps: apps.map(|app| AppStatus::of(app, &shown)).collect(),
        common: match sees_all {
            true => Common::of(&control, &shown),
            false => Common::default(),
        },
    }))
}

impl Common {
    fn of(control: &Control, shown: &Shown) -> Self {
        let (traffic, refusals) = traffic::traffic(control, shown);
        Self {
            traffic: Some(traffic),
            refusals: Some(refusals),
            upstreams: Some(parts::upstreams(shown)),
            store: Some(parts::store(control, shown)),
            keys: Some(parts::keys(control)),
            certificates: Some(parts::certificates(shown)),
            process: Some(parts::process(shown)),
            configuration: Some(parts::configuration(control, shown)),
        }
    }
}
