//! The ways in which the simulator can misbehave, as they are written in a plan.

use std::num::NonZeroI64;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::de::{Deserialize, Deserializer, Unexpected};

/// A way in which the simulator misbehaves, planned with `POST /_sim/faults`.
///
/// A plan is a JSON object with `path`, `fault` (the name, in snake case) and the fields of that fault.
/// `times` says for how many exchanges on the path it holds; without it, until `DELETE /_sim/faults`.
/// Plans with `times` are used first, in the order they came; a path has one plan without `times` at most,
/// the latest. `GET /_sim/calls` counts each such exchange under `fault:NAME`, and under nothing else.
///
/// Faults that answer in place of WeChat leave the code unspent. With `"spend": true` they carry the request
/// out first: the code is spent and the caller never learns what for.
///
/// ```json
/// {"path": "/sns/jscode2session", "fault": "errcode", "errcode": -1, "times": 3}
/// {"path": "/sns/jscode2session", "fault": "hang", "spend": true, "times": 1}
/// ```
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers `{"errcode","errmsg"}` in place of WeChat.
    Errcode {
        /// Any number but 0.
        errcode: NonZeroI64,
        /// The text before the trace id; without it, WeChat's own for this errcode.
        errmsg: Option<String>,
    },
    /// Does the same with the errcode as a JSON string, as some of WeChat's endpoints have it.
    ErrcodeString {
        /// Any number but 0.
        errcode: NonZeroI64,
        /// The text before the trace id; without it, WeChat's own for this errcode.
        errmsg: Option<String>,
    },
    /// Answers an HTTP error with an HTML page in place of WeChat, as its gateway does.
    Status {
        /// From 400 to 599.
        #[serde(deserialize_with = "error_status")]
        status: StatusCode,
    },
    /// Answers 200 with an HTML page in place of WeChat.
    Html {},
    /// Answers 302 to another host in place of WeChat.
    Redirect {
        /// Where to; without it, `https://elsewhere.invalid/`.
        #[serde(default = "elsewhere", deserialize_with = "header_value")]
        location: HeaderValue,
    },
    /// Never answers; ends when the client leaves.
    Hang {},
    /// Closes the connection without carrying the request out and without a byte of an answer.
    CloseBefore {},
    /// Carries the request out, so that the code is spent, then closes the connection without an answer.
    CloseAfter {},
    /// Waits in real time, whatever the simulator's clock says, then carries the request out and answers.
    ///
    /// A client that leaves meanwhile leaves its code unspent.
    Delay {
        /// How long, such as `"3s"`.
        #[serde(deserialize_with = "span")]
        by: Duration,
    },
    /// Carries the request out and answers half of the body, with the Content-Length of that half.
    Truncate {},
    /// Adds `"errcode":0,"errmsg":"ok"` to a success.
    ErrcodeZero {},
    /// Answers as usual under another Content-Type.
    ContentType {
        /// The header's value.
        #[serde(deserialize_with = "header_value")]
        content_type: HeaderValue,
    },
    /// Sends a success whose openid is `""`.
    EmptyOpenid {},
    /// Sends a success without an openid.
    MissingOpenid {},
    /// Sends a success without a session_key.
    MissingSessionKey {},
    /// Adds a `nickname` that holds a raw U+0001, which JSON forbids and WeChat sends.
    RawControl {},
    /// Puts a UTF-8 byte order mark before the body.
    Bom {},
    /// Follows the body with more than 1 MiB of white space.
    Huge {},
    /// Answers 412 with an HTML page to a request with a Transfer-Encoding, and as usual to others.
    #[serde(rename = "chunked_412")]
    Chunked412 {},
}

impl Fault {
    /// Returns whether the answer comes from the fault alone, so that nothing need be carried out for it.
    pub(super) fn replaces_answer(&self) -> bool {
        matches!(
            self,
            Self::Errcode { .. }
                | Self::ErrcodeString { .. }
                | Self::Status { .. }
                | Self::Html {}
                | Self::Redirect { .. }
                | Self::Hang {}
        )
    }
}

fn elsewhere() -> HeaderValue {
    HeaderValue::from_static("https://elsewhere.invalid/")
}

fn error_status<'de, D: Deserializer<'de>>(from: D) -> Result<StatusCode, D::Error> {
    let number = u16::deserialize(from)?;
    StatusCode::from_u16(number)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .ok_or_else(|| {
            unexpected(
                Unexpected::Unsigned(number.into()),
                "a status from 400 to 599",
            )
        })
}

fn header_value<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderValue, D::Error> {
    let text = String::deserialize(from)?;
    HeaderValue::from_str(&text)
        .map_err(|_| unexpected(Unexpected::Str(&text), "the value of a header"))
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|_| unexpected(Unexpected::Str(&text), "a duration such as \"3s\""))
}

fn unexpected<E: serde::de::Error>(found: Unexpected<'_>, expected: &str) -> E {
    E::invalid_value(found, &expected)
}
