//! What WeChat answers, and how that looks on the wire.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::world::Login;

const PLAIN: &str = "text/plain";

/// The outcome of an exchange, before any fault.
pub(super) enum Answer {
    Granted(Granted),
    /// A success of another shape.
    Json(Value),
    /// A picture, or another file.
    File {
        content_type: String,
        bytes: Bytes,
    },
    /// What the gateway in front of WeChat answers in its place.
    Page(StatusCode),
    /// A success that is written by hand.
    Text(String),
    Refused(Refused),
}

/// A success; what is `None` is left out.
#[derive(Default, Serialize)]
pub(super) struct Granted {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) openid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unionid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_snapshotuser: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errcode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errmsg: Option<&'static str>,
}

/// A failure, which travels with status 200 like a success.
pub(super) struct Refused {
    pub(super) errcode: i64,
    pub(super) errmsg: Cow<'static, str>,
}

/// A response whose every byte is known.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: HeaderValue,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Returns the word under which the exchange is counted.
    pub(super) fn outcome(&self) -> String {
        match self {
            Self::Granted(_) | Self::Json(_) | Self::Text(_) | Self::File { .. } => "ok".to_owned(),
            Self::Page(status) => status.as_str().to_owned(),
            Self::Refused(refused) => refused.errcode.to_string(),
        }
    }

    pub(super) fn reply(&self, rid: &str) -> Reply {
        match self {
            Self::Granted(granted) => granted.reply(),
            Self::Json(json) => Reply::of(json, |body| body),
            Self::File {
                content_type,
                bytes,
            } => Reply {
                status: StatusCode::OK,
                content_type: HeaderValue::from_str(content_type)
                    .unwrap_or(HeaderValue::from_static(PLAIN)),
                body: bytes.to_vec(),
            },
            Self::Page(status) => Reply::page(*status),
            Self::Text(text) => Reply {
                status: StatusCode::OK,
                content_type: HeaderValue::from_static(PLAIN),
                body: text.clone().into_bytes(),
            },
            Self::Refused(refused) => refused.reply(rid),
        }
    }
}

impl Granted {
    fn reply(&self) -> Reply {
        // A slash in JSON stands inside a string, so WeChat's `\/` cannot spoil the syntax.
        Reply::of(self, |body| body.replace('/', "\\/"))
    }
}

impl From<Login> for Granted {
    fn from(login: Login) -> Self {
        Self {
            session_key: Some(login.session_key),
            openid: Some(login.openid),
            unionid: login.unionid,
            ..Self::default()
        }
    }
}

impl Granted {
    /// Returns a success that says so, as all but `sns/*` and the tokens' endpoints do.
    pub(super) fn ok() -> Self {
        Self {
            errcode: Some(0),
            errmsg: Some("ok"),
            ..Self::default()
        }
    }
}

impl Refused {
    /// Returns the refusal in WeChat's own words for this errcode.
    pub(super) fn new(errcode: i64) -> Self {
        Self {
            errcode,
            errmsg: Cow::Borrowed(wording(errcode)),
        }
    }

    pub(super) fn reply(&self, rid: &str) -> Reply {
        self.reply_with(self.errcode, rid)
    }

    /// Returns the reply with its errcode as a string, as some of WeChat's endpoints send it.
    pub(super) fn reply_with_text_errcode(&self, rid: &str) -> Reply {
        self.reply_with(self.errcode.to_string(), rid)
    }

    fn reply_with(&self, errcode: impl Serialize, rid: &str) -> Reply {
        #[derive(Serialize)]
        struct Body<E> {
            errcode: E,
            errmsg: String,
        }
        let errmsg = format!("{} rid: {rid}", self.errmsg);
        Reply::of(&Body { errcode, errmsg }, |body| body)
    }
}

impl Reply {
    /// Returns a page as a gateway in front of WeChat shows it.
    pub(super) fn page(status: StatusCode) -> Self {
        Self {
            status,
            content_type: HeaderValue::from_static("text/html"),
            body: format!(
                "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n\
                 <center><h1>{status}</h1></center>\r\n</body>\r\n</html>\r\n"
            )
            .into_bytes(),
        }
    }

    /// Changes the body and nothing else.
    pub(super) fn with_body(self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        Self {
            body: change(self.body),
            ..self
        }
    }

    /// Calls JSON what it is, as WeChat does everywhere but under `sns/`.
    pub(super) fn for_path(mut self, path: &str) -> Self {
        if self.content_type == PLAIN && !path.starts_with("/sns/") {
            self.content_type = HeaderValue::from_static("application/json; encoding=utf-8");
        }
        self
    }

    fn of(body: &impl Serialize, escape: impl FnOnce(String) -> String) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self {
                status: StatusCode::OK,
                // `sns/*` says so although the body is JSON.
                content_type: HeaderValue::from_static(PLAIN),
                body: escape(body).into_bytes(),
            },
            Err(_) => Self::page(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, [(CONTENT_TYPE, self.content_type)], self.body).into_response()
    }
}

fn wording(errcode: i64) -> &'static str {
    match errcode {
        -1 => "system error",
        40001 => "invalid credential, access_token is invalid or not latest",
        40002 => "invalid grant_type",
        40003 => "invalid openid",
        40004 => "invalid media type",
        40006 => "invalid meida size",
        40007 => "invalid media_id",
        40008 => "invalid message type",
        40013 => "invalid appid",
        40014 => "invalid access_token",
        40029 => "invalid code",
        40037 => "invalid template_id",
        40066 => "invalid url",
        40097 => "invalid args",
        40125 => "invalid appsecret",
        40159 => "invalid length for path, or the data is not json string",
        40163 => "code been used",
        40226 => "code blocked",
        41001 => "access_token missing",
        41002 => "appid missing",
        41004 => "appsecret missing",
        41005 => "media data missing",
        41008 => "missing code",
        42001 => "access_token expired",
        43001 => "require GET method",
        43002 => "require POST method",
        44002 => "empty post data",
        44004 => "empty content",
        45002 => "content size out of limit",
        45009 => "reach max api daily quota limit",
        45011 => "api minute-quota reach limit mustslower retry next minute",
        47001 => "data format error",
        47003 => "argument invalid! data is empty",
        48001 => "api unauthorized",
        50002 => "user limited",
        87008 => "invalid sig_method",
        87009 => "invalid signature",
        _ => "simulated error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted() -> Granted {
        Granted {
            session_key: Some("a/b==".to_owned()),
            openid: Some("o1".to_owned()),
            ..Granted::default()
        }
    }

    #[test]
    fn a_success_escapes_slashes_and_has_no_errcode() {
        assert_eq!(
            granted().reply().body,
            br#"{"session_key":"a\/b==","openid":"o1"}"#
        );
    }

    #[test]
    fn json_is_called_plain_text() {
        assert_eq!(granted().reply().content_type, "text/plain");
    }

    #[test]
    fn a_refusal_ends_with_its_trace_id() {
        let reply = Refused::new(40029).reply("66c69111-0-0");
        assert_eq!(
            reply.body,
            br#"{"errcode":40029,"errmsg":"invalid code rid: 66c69111-0-0"}"#
        );
    }

    #[test]
    fn an_errcode_can_be_sent_as_text() {
        let reply = Refused::new(-1).reply_with_text_errcode("r");
        assert!(reply.body.starts_with(br#"{"errcode":"-1","#));
    }
}
