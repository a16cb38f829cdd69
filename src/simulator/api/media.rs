//! `cgi-bin/media/upload` and `cgi-bin/media/get`: files that are kept for a while, to the byte.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::json;

use super::{Answer, Call, picture_kind};
use crate::simulator::random;

/// The most files that are kept; more push the oldest out.
const MOST: usize = 16;
const KINDS: [&str; 4] = ["image", "voice", "video", "thumb"];
/// Three days, as at WeChat.
const TTL_MS: u64 = 3 * 24 * 3600 * 1000;

/// The files of all apps.
#[derive(Default)]
pub(in crate::simulator) struct Media(VecDeque<File>);

struct File {
    appid: String,
    id: String,
    content_type: String,
    bytes: Bytes,
    expires_ms: u64,
}

/// Keeps a file.
pub(super) fn upload(call: Call<'_>) -> Result<Answer, i64> {
    let kind = call.params.value("type").unwrap_or_default();
    let kind = KINDS.iter().find(|known| **known == kind).ok_or(40004)?;
    let upload = call.upload.ok_or(41005)?;
    let picture = picture_kind(&upload.bytes);
    if *kind == "image" && picture.is_none() {
        return Err(40004);
    }
    let content_type = picture.map_or(upload.content_type, str::to_owned);
    let id = random::code().map_err(|_| -1)?;
    let files = &mut call.world.media.0;
    if files.len() == MOST {
        files.pop_front();
    }
    files.push_back(File {
        appid: call.appid,
        id: id.clone(),
        content_type,
        bytes: upload.bytes,
        expires_ms: call.now_ms.saturating_add(TTL_MS),
    });
    Ok(Answer::Json(json!({
        "type": kind,
        "media_id": id,
        "created_at": call.now_ms / 1000,
    })))
}

/// Answers a file's bytes.
pub(super) fn get(call: Call<'_>) -> Result<Answer, i64> {
    let id = call.params.value("media_id").ok_or(40007)?;
    let mut files = call.world.media.0.iter();
    let file = files
        .find(|file| file.id == id && file.appid == call.appid && call.now_ms < file.expires_ms)
        .ok_or(40007)?;
    let content_type = match file.content_type.as_str() {
        "" => "application/octet-stream",
        given => given,
    };
    Ok(Answer::File {
        content_type: content_type.to_owned(),
        bytes: file.bytes.clone(),
    })
}
