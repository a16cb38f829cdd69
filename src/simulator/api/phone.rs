//! `wxa/business/getuserphonenumber`: the number behind a code that a tap on a button gave.

use serde_json::json;

use super::{Answer, Call};
use crate::simulator::identity;
use crate::simulator::world::RedeemError;

/// Returns the number of a user, which is the same in every run.
pub(in crate::simulator) fn number_of(appid: &str, user: &str) -> String {
    let digest = identity::openid(appid, user);
    let number = digest.bytes().fold(0_u64, |number, byte| {
        number.wrapping_mul(31).wrapping_add(byte.into())
    });
    format!("138{:08}", number % 100_000_000)
}

/// Answers the number; with an openid, only where the code is that user's.
pub(super) fn number(call: Call<'_>) -> Result<Answer, i64> {
    let text = |name| call.text(name).map(str::to_owned);
    let (code, openid) = (text("code").ok_or(40029)?, text("openid"));
    let redeemed = call
        .world
        .redeem_phone(&call.appid, &code, openid.as_deref(), call.now_ms);
    let number = redeemed.map_err(|refusal| match refusal {
        RedeemError::Invalid => 40029,
        RedeemError::Used => 40163,
        RedeemError::Blocked | RedeemError::MinuteLimit => 40003,
    })?;
    Ok(Answer::Json(json!({
        "errcode": 0,
        "errmsg": "ok",
        "phone_info": {
            "phoneNumber": number,
            "purePhoneNumber": number,
            // WeChat's documentation calls it a text, and its example has a number.
            "countryCode": 86,
            "watermark": { "timestamp": call.now_ms / 1000, "appid": call.appid },
        },
    })))
}
