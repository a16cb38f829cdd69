//! Gives backends the app's access_token, and another one only where WeChat itself has one or refuses this one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Control;
use super::body::object;
use super::denial::ControlDenial;
use super::known::Known;
use crate::config::App;
use crate::secret::Secret;
use crate::wechat::AccessToken;

/// How often somebody looks whether a token is about to end.
const LOOK: Duration = Duration::from_secs(15);

/// A token, in the words of WeChat.
#[derive(Serialize)]
pub(super) struct Given {
    access_token: String,
    expires_in: u64,
}

/// The token that a backend holds for stale.
#[derive(Deserialize)]
struct Complaint {
    stale: Secret,
}

/// `GET /v1/apps/{app}/access-token`
pub(super) async fn get(
    State(control): State<Control>,
    Path(app): Path<String>,
) -> Result<Json<Given>, ControlDenial> {
    let app = named(&control, &app)?;
    let api = control.known.wechat();
    let token = api.tokens.of(&api.client, &app).await?;
    Ok(Json(Given::from(token)))
}

/// `POST /v1/apps/{app}/access-token/refresh`
///
/// Answers a newer one where there is one, and the same where WeChat takes it: nobody can have it replaced by complaining.
pub(super) async fn refresh(
    State(control): State<Control>,
    Path(app): Path<String>,
    body: Body,
) -> Result<Json<Given>, ControlDenial> {
    let app = named(&control, &app)?;
    let Complaint { stale } = object(body).await?;
    let api = control.known.wechat();
    let token = api.tokens.reported(&stale, &api.client, &app).await?;
    Ok(Json(Given::from(token)))
}

fn named(control: &Control, app: &str) -> Result<Arc<App>, ControlDenial> {
    control.known.app(app).ok_or(ControlDenial::AppUnknown)
}

/// Has tokens replaced before their end, also where nobody asks for them at that moment.
pub(super) async fn keep_fresh(known: Arc<Known>, stop: CancellationToken) {
    let looks = async {
        loop {
            sleep(LOOK).await;
            let api = known.wechat();
            api.tokens.keep_fresh(&api.client, &known.apps());
        }
    };
    tokio::select! {
        () = looks => {}
        () = stop.cancelled() => {}
    }
}

impl From<AccessToken> for Given {
    fn from(token: AccessToken) -> Self {
        Self {
            access_token: token.token.expose().to_owned(),
            expires_in: token.left.as_secs(),
        }
    }
}
