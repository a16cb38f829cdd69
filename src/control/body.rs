//! Reads the JSON object that a call brings, within a limit.

use axum::body::{Body, to_bytes};
use serde::de::DeserializeOwned;

use super::denial::ControlDenial;
use super::guard::MAX_BODY;

/// Reads a body.
pub(super) async fn object<T: DeserializeOwned>(body: Body) -> Result<T, ControlDenial> {
    let limit = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
    // One that comes in chunks has told nobody its length before.
    let body = to_bytes(body, limit).await;
    let body = body.map_err(|_| ControlDenial::BodyTooLarge)?;
    // serde also reads a struct from an array, which nobody means.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ControlDenial::BadRequest("The body is not a JSON object."));
    }
    serde_json::from_slice(&body).map_err(|_| {
        ControlDenial::BadRequest("The body is not the JSON object that belongs here.")
    })
}
