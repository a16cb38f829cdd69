//! Every call of the private listener.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, delete, get, post};

use super::calls::permit;
use super::denial::ControlDenial;
use super::exchange::{exchange, named};
use super::{
    Control, access_token, backup, health, metrics, phone_number, relay, reload, requests,
    session_key, sessions, status, unionids, vault,
};

/// Returns the calls; every request passes [`exchange`] first, those that match none included. A call that is new needs a line in
/// `calls`.
pub(super) fn router(control: Control) -> Router {
    let user_sessions = get(sessions::list).delete(sessions::end_all);
    let mut router = Router::new()
        .route(health::ALIVE, get(health::alive))
        .route(health::READY, get(health::ready))
        .route(metrics::PATH, get(metrics::metrics))
        .route("/v1/apps/{app}/access-token", get(access_token::get))
        .route(
            "/v1/apps/{app}/access-token/refresh",
            post(access_token::refresh),
        )
        .route(
            "/v1/apps/{app}/users/{openid}/phone-number",
            post(phone_number::get),
        )
        .route("/v1/apps/{app}/users/{openid}/sessions", user_sessions)
        .nest("/v1/apps/{app}/users/{openid}", with_the_session_key())
        .route("/v1/sessions/{session}", delete(sessions::end))
        .route("/v1/unionids/{unionid}/users", get(unionids::users))
        .route("/v1/backup", post(backup::back_up))
        .route("/v1/requests/{request}", get(requests::explain))
        .route(status::PAGE, get(status::page))
        .route(status::DOCUMENT, get(status::document))
        .route(status::CALLER, get(status::caller))
        .route(status::LOGIN, post(status::log_in))
        .route(status::LOGOUT, post(status::log_out))
        .route(relay::ROUTE, any(relay::relay));
    if control.reload.is_some() {
        router = router.route("/v1/reload", post(reload::reload));
    }
    let calls = router
        .fallback(async || ControlDenial::RouteUnknown)
        .method_not_allowed_fallback(async || ControlDenial::MethodNotAllowed)
        .layer(from_fn(permit))
        .layer(from_fn(named))
        .with_state(control.clone());
    // Round the whole and not round each call: axum would tell everybody which methods a call has.
    Router::new()
        .fallback_service(calls)
        .layer(from_fn_with_state(control, exchange))
}

/// Returns the calls that need a user's session_key.
fn with_the_session_key() -> Router<Control> {
    Router::new()
        .route("/decrypt", post(vault::decrypt))
        .route("/verify", post(vault::verify))
        .route("/sign", post(vault::sign))
        .route("/check-session", post(session_key::check))
        .route("/reset-session-key", post(session_key::reset))
}
