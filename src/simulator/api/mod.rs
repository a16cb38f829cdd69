//! The calls that need an access_token, whose it is, and by which method and with what body each is made.
//!
//! # Layout
//! `phone`, `messages`, `pictures` and `media` answer; `form` reads the body of an upload.

mod form;
mod media;
mod messages;
mod phone;
mod pictures;

use axum::body::to_bytes;
use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::Simulator;
use super::answer::{Answer, Refused};
use super::params::Params;
use super::world::World;

pub(super) use media::Media;
pub(super) use phone::number_of;

/// The largest upload.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// A call that was made by a method and with a token that are right.
pub(super) struct Call<'w> {
    world: &'w mut World,
    /// The app whose token it brought.
    appid: String,
    params: Params,
    json: Map<String, Value>,
    upload: Option<Upload>,
    now_ms: u64,
}

/// A file in a form.
struct Upload {
    content_type: String,
    bytes: Bytes,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A GET with a query.
    Get,
    /// A POST of a JSON object.
    Post,
    /// A POST of a form of several parts, whose length must be told.
    Upload,
}

type Answering = fn(Call<'_>) -> Result<Answer, i64>;

/// Finds out by which method a path is called, and who answers it.
fn find(path: &str) -> Option<(Kind, Answering)> {
    Some(match path {
        "/wxa/business/getuserphonenumber" => (Kind::Post, phone::number),
        "/cgi-bin/message/subscribe/send" => (Kind::Post, messages::subscribe),
        "/cgi-bin/message/custom/send" => (Kind::Post, messages::custom),
        "/cgi-bin/openapi/quota/get" => (Kind::Post, messages::quota),
        "/wxa/msg_sec_check" => (Kind::Post, messages::check),
        "/wxa/getuserriskrank" => (Kind::Post, messages::risk_rank),
        "/wxa/getwxacodeunlimit" | "/wxa/getwxacode" | "/cgi-bin/wxaapp/createwxaqrcode" => {
            (Kind::Post, pictures::code)
        }
        "/wxa/img_sec_check" => (Kind::Upload, pictures::check),
        "/cgi-bin/media/upload" => (Kind::Upload, media::upload),
        "/cgi-bin/media/get" => (Kind::Get, media::get),
        _ => return None,
    })
}

/// Answers a call; `None` is for paths that are somebody else's.
pub(super) async fn answer(simulator: &Simulator, request: Request) -> Result<Answer, Request> {
    let Some((kind, answering)) = find(request.uri().path()) else {
        return Err(request);
    };
    Ok(match carry_out(simulator, request, kind, answering).await {
        Ok(answer) => answer,
        Err(errcode) => Answer::Refused(Refused::new(errcode)),
    })
}

async fn carry_out(
    simulator: &Simulator,
    request: Request,
    kind: Kind,
    answering: Answering,
) -> Result<Answer, i64> {
    let (head, body) = request.into_parts();
    match kind {
        Kind::Get if head.method != Method::GET => return Err(43001),
        Kind::Post | Kind::Upload if head.method != Method::POST => return Err(43002),
        Kind::Upload if !head.headers.contains_key(CONTENT_LENGTH) => {
            return Ok(Answer::Page(StatusCode::PRECONDITION_FAILED));
        }
        Kind::Get | Kind::Post | Kind::Upload => {}
    }
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| 45002)?;
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| kind.to_str().ok());
    let params = Params::of_query(&head.uri);
    let now_ms = simulator.clock.unix_ms();
    let world = &mut simulator.state().world;
    let token = params.value("access_token").ok_or(41001)?;
    let owner = world.tokens.owner(token, now_ms);
    let appid = owner.map_err(|refusal| refusal.errcode())?.to_owned();
    let (mut json, mut upload) = (Map::new(), None);
    match kind {
        Kind::Get => {}
        Kind::Post if body.is_empty() => return Err(44002),
        Kind::Post => json = serde_json::from_slice(&body).map_err(|_| 47001)?,
        Kind::Upload => upload = form::file(content_type.unwrap_or_default(), &body, "media"),
    }
    answering(Call {
        world,
        appid,
        params,
        json,
        upload,
        now_ms,
    })
}

impl Call<'_> {
    /// Returns a text of the body that is not empty.
    fn text(&self, name: &str) -> Option<&str> {
        let text = self.json.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    }
}

/// Says what a file is by its first bytes, where it is a picture.
fn picture_kind(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"BM", "image/bmp"),
    ];
    let kind = KINDS.iter().find(|(begins, _)| bytes.starts_with(begins));
    kind.map(|(_, kind)| *kind)
}
