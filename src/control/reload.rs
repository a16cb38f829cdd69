//! Reloads the configuration for whoever asks.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use futures::future::BoxFuture;
use serde::Serialize;

use super::Control;
use super::calls::Limited;
use super::denial::ControlDenial;

/// Reloads for whoever is named, and returns the keys whose new values wait for the next start.
pub type Reload = Arc<
    dyn Fn(String) -> BoxFuture<'static, Result<Vec<&'static str>, ReloadRefused>> + Send + Sync,
>;

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadRefused {
    /// The configuration is not one to work with; each problem is one line without a secret in it.
    #[error("the configuration has problems")]
    Problems(Vec<String>),
    /// The process is about to end.
    #[error("the program is stopping")]
    Stopping,
}

/// What a reload did.
#[derive(Serialize)]
pub(super) struct Reloaded {
    reloaded: bool,
    restart_needed: Vec<&'static str>,
}

/// `POST /v1/reload`
pub(super) async fn reload(
    State(control): State<Control>,
    limited: Option<Extension<Limited>>,
) -> Result<Json<Reloaded>, ControlDenial> {
    let reload = control.reload.ok_or(ControlDenial::RouteUnknown)?;
    // On a task of its own: a caller that goes away must not leave half of it done.
    let by = limited.map_or_else(
        || "control".to_owned(),
        |Extension(limited)| format!("control {}", limited.name()),
    );
    let reloaded = tokio::spawn(reload(by)).await;
    match reloaded.unwrap_or(Err(ReloadRefused::Stopping)) {
        Ok(restart_needed) => Ok(Json(Reloaded {
            reloaded: true,
            restart_needed,
        })),
        Err(ReloadRefused::Problems(problems)) => {
            Err(ControlDenial::ConfigurationInvalid(problems))
        }
        Err(ReloadRefused::Stopping) => Err(ControlDenial::ShuttingDown),
    }
}
