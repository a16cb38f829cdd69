//! Copies the sessions of a running process, for `menshen backup`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Control;
use super::denial::ControlDenial;

/// How many sessions the copy has. It is in the folder of the sessions: whoever may read it there has no need of this listener, and
/// nobody else gets it by way of it.
#[derive(Serialize)]
pub(super) struct BackupReport {
    sessions: Option<u64>,
}

/// `POST /v1/backup`
pub(super) async fn back_up(
    State(control): State<Control>,
) -> Result<Json<BackupReport>, ControlDenial> {
    let sessions = control.sessions.back_up().await?;
    tracing::info!(sessions, "the sessions were copied for a backup");
    Ok(Json(BackupReport { sessions }))
}
