//! The control plane under `/_sim/`, by which a developer or a test drives the simulator.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulator;
use super::api::number_of;
use super::open_data::{OpenDataError, open_data};
use super::plan::{Plan, PlanError};
use super::world::LoginError;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Keeps the clock far from the end of its numbers.
const LONGEST_ADVANCE: Duration = DAY.saturating_mul(3650);

/// Why a call to the control plane fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("advance: must be a duration of up to ten years, such as \"6m\"")]
    Advance,
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    OpenData(#[from] OpenDataError),
    #[error(
        "the simulator has /_sim/login, /_sim/phone-code, /_sim/revoke, /_sim/encrypt, /_sim/clock, /_sim/faults, /_sim/oauth, /_sim/quota and /_sim/calls"
    )]
    Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WxLogin {
    appid: String,
    user: String,
    blocked: Option<bool>,
    open_platform: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tap {
    appid: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    appid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserData {
    appid: String,
    user: String,
    data: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockMove {
    advance: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaSet {
    appid: String,
    per_minute: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forgotten {
    path: Option<String>,
}

// Bodies are read as bytes: a `curl -d` without a Content-Type should work.

/// `POST /_sim/login`
pub(super) async fn log_in(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let login: WxLogin = serde_json::from_slice(&body)?;
    let now_ms = simulator.clock.unix_ms();
    let world = &mut simulator.state().world;
    let code = world.log_in(
        &login.appid,
        &login.user,
        login.blocked.unwrap_or(false),
        now_ms,
    )?;
    if let Some(account) = login.open_platform {
        world.bind(&code, account);
    }
    Ok(Json(json!({ "code": code })))
}

/// `POST /_sim/phone-code`
pub(super) async fn phone_code(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let Tap { appid, user } = serde_json::from_slice(&body)?;
    let now_ms = simulator.clock.unix_ms();
    let code = simulator.state().world.tap(&appid, &user, now_ms)?;
    Ok(Json(
        json!({ "code": code, "phone": number_of(&appid, &user) }),
    ))
}

/// `POST /_sim/revoke`
pub(super) async fn revoke(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let Revoked { appid } = serde_json::from_slice(&body)?;
    let now_ms = simulator.clock.unix_ms();
    simulator.state().world.tokens.revoke(&appid, now_ms);
    Ok(Json(json!({ "revoked": appid })))
}

/// `POST /_sim/encrypt`
pub(super) async fn encrypt(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let UserData { appid, user, data } = serde_json::from_slice(&body)?;
    let now_ms = simulator.clock.unix_ms();
    let opened = open_data(&mut simulator.state().world, &appid, &user, data, now_ms)?;
    Ok(Json(opened))
}

/// `POST /_sim/clock`
pub(super) async fn advance_clock(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let ClockMove { advance } = serde_json::from_slice(&body)?;
    let by = humantime::parse_duration(&advance)
        .ok()
        .filter(|by| *by <= LONGEST_ADVANCE)
        .ok_or(ControlError::Advance)?;
    simulator.clock.advance(by);
    Ok(Json(json!({ "now": simulator.clock.unix_secs() })))
}

/// `POST /_sim/faults`
pub(super) async fn plan(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let plan = Plan::read(&body)?;
    let written = plan.written();
    simulator.state().plans.add(plan)?;
    Ok(Json(json!({ "planned": written })))
}

/// `GET /_sim/faults`
pub(super) async fn plans(State(simulator): State<Simulator>) -> Json<Value> {
    let written = simulator.state().plans.written();
    Json(json!({ "faults": written }))
}

/// `DELETE /_sim/faults`
pub(super) async fn forget_plans(
    State(simulator): State<Simulator>,
    Query(forgotten): Query<Forgotten>,
) -> Json<Value> {
    let count = simulator.state().plans.forget(forgotten.path.as_deref());
    Json(json!({ "removed": count }))
}

/// `POST /_sim/quota`
pub(super) async fn set_quota(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let QuotaSet { appid, per_minute } = serde_json::from_slice(&body)?;
    let world = &mut simulator.state().world;
    if world.app(&appid).is_none() {
        return Err(LoginError::AppUnknown.into());
    }
    world.quotas.set(&appid, per_minute);
    Ok(Json(json!({ "appid": appid, "per_minute": per_minute })))
}

/// `GET /_sim/quota`
pub(super) async fn quotas(State(simulator): State<Simulator>) -> Response {
    let state = simulator.state();
    Json(state.world.quotas.all()).into_response()
}

/// `GET /_sim/calls`
pub(super) async fn calls(State(simulator): State<Simulator>) -> Response {
    let state = simulator.state();
    Json(&state.calls).into_response()
}

/// Any other path under `/_sim/`
pub(super) async fn unknown() -> ControlError {
    ControlError::Unknown
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Json(_)
            | Self::Advance
            | Self::Plan(_)
            | Self::OpenData(OpenDataError::NoSession | OpenDataError::Data)
            | Self::Login(LoginError::AppUnknown | LoginError::UserLength) => {
                StatusCode::BAD_REQUEST
            }
            Self::Login(LoginError::Full | LoginError::Random(_))
            | Self::OpenData(OpenDataError::Cryptography(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::NOT_FOUND,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}
