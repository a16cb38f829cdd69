//! `POST /_sim/oauth`: how an app's pages behave.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::world::Settings;
use crate::simulator::Simulator;
use crate::simulator::control::ControlError;
use crate::simulator::world::LoginError;

/// `POST /_sim/oauth`
pub(in crate::simulator) async fn set(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, ControlError> {
    let mut fields: Map<String, Value> = serde_json::from_slice(&body)?;
    let appid = fields.remove("appid");
    let appid = appid.as_ref().and_then(Value::as_str).unwrap_or_default();
    let new: Settings = serde_json::from_value(Value::Object(fields))?;
    let world = &mut simulator.state().world;
    if world.app(appid).is_none() {
        return Err(LoginError::AppUnknown.into());
    }
    world.web.set(appid, new.clone());
    Ok(Json(json!({ "appid": appid, "settings": new })))
}

/// `GET /_sim/oauth`
pub(in crate::simulator) async fn settings(State(simulator): State<Simulator>) -> Json<Value> {
    let world = &simulator.state().world;
    let all = world.appids().map(|appid| {
        let settings = world.web.settings(appid);
        (appid.to_owned(), json!(settings))
    });
    Json(Value::Object(all.collect()))
}
