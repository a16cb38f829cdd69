//! Mini-program codes, which are pictures, and the check of pictures that users send.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Call, picture_kind};
use crate::simulator::png;

const WIDTHS: std::ops::RangeInclusive<u64> = 280..=1280;
const USUAL_WIDTH: u64 = 430;
/// The largest picture that is checked, in bytes.
const MOST_CHECKED: usize = 1024 * 1024;

/// Answers a picture, which is another one for another scene or path.
pub(super) fn code(call: Call<'_>) -> Result<Answer, i64> {
    let leads_to = call.text("scene").or(call.text("path")).ok_or(40159)?;
    let width = call.json.get("width").and_then(Value::as_u64);
    let width = width.unwrap_or(USUAL_WIDTH);
    let width = WIDTHS.contains(&width).then_some(width).ok_or(40097)?;
    let width = u32::try_from(width).map_err(|_| 40097)?;
    Ok(Answer::File {
        content_type: "image/png".to_owned(),
        bytes: Bytes::from(png::picture(leads_to, width)),
    })
}

/// `wxa/img_sec_check`
pub(super) fn check(call: Call<'_>) -> Result<Answer, i64> {
    let upload = call.upload.ok_or(41005)?;
    picture_kind(&upload.bytes).ok_or(40004)?;
    if upload.bytes.len() > MOST_CHECKED {
        return Err(40006);
    }
    Ok(Answer::Json(json!({ "errcode": 0, "errmsg": "ok" })))
}
