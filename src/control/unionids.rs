//! Finds the users of all apps who are one person, by WeChat's unionid.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Serialize;

use super::Control;
use super::calls::Limited;
use super::denial::ControlDenial;
use super::path::is_wechat_id;

/// The users, in the order of the names of their apps.
#[derive(Serialize)]
pub(super) struct Users {
    users: Vec<User>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct User {
    app: String,
    openid: String,
}

/// `GET /v1/unionids/{unionid}/users`
///
/// A caller with apps of its own is told of users in these alone, as if there were no others.
pub(super) async fn users(
    State(control): State<Control>,
    limited: Option<Extension<Limited>>,
    Path(unionid): Path<String>,
) -> Result<Json<Users>, ControlDenial> {
    if !is_wechat_id(&unionid) {
        return Err(ControlDenial::BadRequest(
            "A unionid is up to 512 letters, digits, - and _.",
        ));
    }
    let found = control.sessions.users_of(&unionid).await?;
    let found = found.ok_or(ControlDenial::UnionidsNotKept)?;
    let may_see = |app: &str| {
        let limited = limited.as_deref();
        limited.is_none_or(|limited| limited.check_app(app).is_ok())
    };
    let mut users: Vec<User> = found
        .into_iter()
        .filter(|who| {
            let app = control.known.app(&who.app);
            app.is_some_and(|app| app.appid == who.appid) && may_see(&who.app)
        })
        .map(|who| User {
            app: who.app,
            openid: who.openid,
        })
        .collect();
    users.sort_unstable();
    Ok(Json(Users { users }))
}
