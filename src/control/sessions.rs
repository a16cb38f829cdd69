//! Lists the sessions of a user, and ends them.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Serialize;

use super::Control;
use super::calls::Limited;
use super::denial::ControlDenial;
use super::path::{User, session_id};
use crate::request::RequestId;
use crate::session::{Session, SessionId};

/// The sessions of a user, oldest first.
#[derive(Serialize)]
pub(super) struct Listing {
    sessions: Vec<Listed>,
}

/// A session; times are in seconds since the Unix epoch.
#[derive(Serialize)]
struct Listed {
    session: String,
    created: u64,
    expires: u64,
    source: &'static str,
}

/// How many sessions were ended.
#[derive(Serialize)]
pub(super) struct Ended {
    ended: usize,
}

/// `GET /v1/apps/{app}/users/{openid}/sessions`
pub(super) async fn list(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
) -> Result<Json<Listing>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let mut found = control
        .sessions
        .sessions_of(user.appid(), user.openid())
        .await?;
    found.sort_by_key(|session| (session.created, session.id));
    let sessions = found.into_iter().map(Listed::from).collect();
    Ok(Json(Listing { sessions }))
}

/// `DELETE /v1/apps/{app}/users/{openid}/sessions`
pub(super) async fn end_all(
    State(control): State<Control>,
    Extension(id): Extension<RequestId>,
    limited: Option<Extension<Limited>>,
    Path((app, openid)): Path<(String, String)>,
) -> Result<Json<Ended>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let all = control.sessions.end_all(user.appid(), user.openid());
    let all = all.await?;
    for session in &all {
        tell(&id, limited.as_deref(), *session, true);
    }
    let ended = all.len();
    tracing::info!(app, ended, "all sessions of a user were ended");
    Ok(Json(Ended { ended }))
}

/// `DELETE /v1/sessions/{session}`
///
/// One that is not stored is revoked all the same: whoever asks again, not having heard the answer, gets the same. Only for a
/// caller with apps of its own there is nothing to be done then.
pub(super) async fn end(
    State(control): State<Control>,
    Extension(id): Extension<RequestId>,
    limited: Option<Extension<Limited>>,
    Path(session): Path<String>,
) -> Result<StatusCode, ControlDenial> {
    let session = session_id(&session)?;
    if let Some(Extension(limited)) = &limited
        && !limited.has_all_apps()
    {
        match control.sessions.session(session).await? {
            Some(stored) => limited.check_app(&stored.identity.app)?,
            // Nobody knows whose it would be.
            None => return Ok(StatusCode::NO_CONTENT),
        }
    }
    let stood = control.sessions.end(session).await?;
    tell(&id, limited.as_deref(), session, stood);
    Ok(StatusCode::NO_CONTENT)
}

/// Says in the audit log who had a session ended; `stood` is whether there was one.
fn tell(id: &RequestId, limited: Option<&Limited>, session: SessionId, stood: bool) {
    tracing::info!(
        target: "menshen::audit",
        event = "session_ended",
        request_id = id.as_str(),
        by = "control",
        caller = limited.map(Limited::name),
        %session,
        stood,
        "a session was ended"
    );
}

impl From<Session> for Listed {
    fn from(session: Session) -> Self {
        Self {
            session: session.id.to_string(),
            created: session.created,
            expires: session.expires,
            source: session.identity.source.as_str(),
        }
    }
}
