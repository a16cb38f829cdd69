//! Asks WeChat for the phone number behind a code, and has WeChat check that the code is the user's who is named.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::object;
use super::denial::ControlDenial;
use super::path::User;
use crate::wechat::{Code, ErrcodeClass, PhoneOwner, class, is_of_another_user};

/// The code that a tap on the button for phone numbers gave.
#[derive(Deserialize)]
struct Tapped {
    code: String,
}

/// A phone number, as WeChat has it.
#[derive(Serialize)]
pub(super) struct Number {
    phone_number: String,
    pure_phone_number: String,
    country_code: String,
}

/// `POST /v1/apps/{app}/users/{openid}/phone-number`
pub(super) async fn get(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Number>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let Tapped { code } = object(body).await?;
    let wrong = |_| ControlDenial::BadRequest("The code is not one that WeChat gives.");
    let code = Code::parse(&code).map_err(wrong)?;
    let api = control.known.wechat();
    let owner = PhoneOwner {
        app: &user.app,
        openid: user.openid(),
    };
    let number = api.client.phone_number(&api.tokens, owner, &code).await;
    let number = number.map_err(|error| match error.errcode() {
        Some(errcode) if is_of_another_user(errcode) => ControlDenial::CodeInvalid(errcode),
        Some(errcode) if class(errcode) == ErrcodeClass::CodeInvalid => {
            ControlDenial::CodeInvalid(errcode)
        }
        Some(errcode) if class(errcode) == ErrcodeClass::CodeUsed => {
            ControlDenial::CodeUsed(errcode)
        }
        Some(_) | None => error.into(),
    })?;
    Ok(Json(Number {
        phone_number: number.number,
        pure_phone_number: number.without_country,
        country_code: number.country,
    }))
}
