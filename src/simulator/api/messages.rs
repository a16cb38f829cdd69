//! Messages to users, the check of what users write, and what is left of a quota.

use serde_json::{Value, json};

use super::{Answer, Call};

/// `cgi-bin/message/subscribe/send`
pub(super) fn subscribe(call: Call<'_>) -> Result<Answer, i64> {
    call.text("touser").ok_or(40003)?;
    call.text("template_id").ok_or(40037)?;
    call.json
        .get("data")
        .and_then(Value::as_object)
        .ok_or(47003)?;
    ok()
}

/// `cgi-bin/message/custom/send`
pub(super) fn custom(call: Call<'_>) -> Result<Answer, i64> {
    call.text("touser").ok_or(40003)?;
    call.text("msgtype").ok_or(40008)?;
    ok()
}

/// `wxa/msg_sec_check`
pub(super) fn check(call: Call<'_>) -> Result<Answer, i64> {
    call.text("content").ok_or(44004)?;
    Ok(Answer::Json(json!({
        "errcode": 0,
        "errmsg": "ok",
        "trace_id": "60ae120f-371d5872-7941a05b",
        "result": { "suggest": "pass", "label": 100 },
    })))
}

/// `wxa/getuserriskrank`, which also wants to have the appid named.
pub(super) fn risk_rank(call: Call<'_>) -> Result<Answer, i64> {
    if call.text("appid") != Some(&call.appid) {
        return Err(40013);
    }
    call.text("openid").ok_or(40003)?;
    Ok(Answer::Json(
        json!({ "errcode": 0, "errmsg": "getuserriskrank succ", "risk_rank": 0, "unoin_id": 1 }),
    ))
}

/// `cgi-bin/openapi/quota/get`
pub(super) fn quota(call: Call<'_>) -> Result<Answer, i64> {
    call.text("cgi_path").ok_or(40097)?;
    Ok(Answer::Json(json!({
        "errcode": 0,
        "errmsg": "ok",
        "quota": { "daily_limit": 10_000, "used": 0, "remain": 10_000 },
    })))
}

fn ok() -> Result<Answer, i64> {
    Ok(Answer::Json(json!({ "errcode": 0, "errmsg": "ok" })))
}
