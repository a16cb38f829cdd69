//! Reads a header section once, and notes what the checks and the decision need of it.

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

use super::cookie::{self, PLAIN_SESSION_COOKIE, SESSION_COOKIE};
use super::names::{APP, CODE, NONCE, is_alias, poses_as_framing};
use super::{is_placeholder, stands_for_no_token, subprotocol};

/// A header that must not be there more than once.
#[derive(Clone, Copy, Debug, Default)]
pub enum Field<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there once.
    Once(T),
    /// It is there more than once.
    Repeated,
}

impl<T> Field<T> {
    fn add(&mut self, value: T) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// What a header section holds of the headers that decide something.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecidingHeaders<'a> {
    /// The size of the section in bytes.
    pub bytes: usize,
    /// `Authorization`, without lines that stand for no token where there is another.
    pub authorization: Field<&'a HeaderValue>,
    /// Whether there are such lines, which go no further.
    pub spare_bearers: bool,
    /// `Host`
    pub host: Field<&'a HeaderValue>,
    /// `Content-Length`
    pub content_length: Field<&'a HeaderValue>,
    /// `Transfer-Encoding`
    pub transfer_encoding: Field<&'a HeaderValue>,
    /// Whether a backend that folds names would find another `Content-Length` or `Transfer-Encoding`.
    pub poses_as_framing: bool,
    /// Whether it would find another `Sec-WebSocket-Protocol`, with a token that nobody took out.
    pub poses_as_subprotocol: bool,
    /// Whether a value begins or ends with a space or a tab, which HTTP/1.1 cannot say.
    pub padded: bool,
    /// The token among the sub-protocols of a WebSocket handshake.
    pub subprotocol_token: Field<&'a [u8]>,
    /// The token among the sub-protocols, whether or not this is a handshake.
    pub offered_token: Field<&'a [u8]>,
    /// The session's cookie where browsers speak HTTPS.
    pub session_cookie: Field<&'a [u8]>,
    /// The session's cookie over plain HTTP.
    pub plain_cookie: Field<&'a [u8]>,
    /// Whether another protocol is asked for.
    pub upgrades: bool,
    /// The code of a login on the first request.
    pub code: Field<&'a HeaderValue>,
    /// The nonce of a login on the first request.
    pub nonce: Field<&'a HeaderValue>,
    /// The app of a login on the first request.
    pub app: Field<&'a HeaderValue>,
}

impl<'a> DecidingHeaders<'a> {
    /// Goes through the headers once.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut deciding = Self::default();
        let mut websocket = false;
        for (name, value) in headers {
            // Four bytes a line for the colon, the space and the line's end.
            deciding.bytes += name.as_str().len() + value.len() + 4;
            deciding.padded |= is_padded(value.as_bytes());
            let field = match name.as_str() {
                "authorization" => {
                    deciding.add_authorization(value);
                    continue;
                }
                "host" => &mut deciding.host,
                "content-length" => &mut deciding.content_length,
                "transfer-encoding" => &mut deciding.transfer_encoding,
                CODE | NONCE | APP if is_placeholder(value.as_bytes()) => continue,
                CODE => &mut deciding.code,
                NONCE => &mut deciding.nonce,
                APP => &mut deciding.app,
                "cookie" => {
                    deciding.add_cookies(value.as_bytes());
                    continue;
                }
                "upgrade" => {
                    deciding.upgrades = true;
                    websocket |= value.as_bytes().eq_ignore_ascii_case(b"websocket");
                    continue;
                }
                "sec-websocket-protocol" => {
                    let tokens = subprotocol::tokens(value);
                    for token in tokens.filter(|token| !is_placeholder(token)) {
                        deciding.offered_token.add(token);
                    }
                    continue;
                }
                _ => {
                    deciding.poses_as_framing |= poses_as_framing(name.as_str());
                    deciding.poses_as_subprotocol |= is_alias(name, &SEC_WEBSOCKET_PROTOCOL);
                    continue;
                }
            };
            field.add(value);
        }
        if websocket {
            deciding.subprotocol_token = deciding.offered_token;
        }
        deciding
    }

    fn add_authorization(&mut self, value: &'a HeaderValue) {
        match self.authorization {
            Field::Absent => self.authorization = Field::Once(value),
            Field::Once(first) if stands_for_no_token(first) => {
                self.spare_bearers = true;
                self.authorization = Field::Once(value);
            }
            Field::Once(_) | Field::Repeated if stands_for_no_token(value) => {
                self.spare_bearers = true;
            }
            Field::Once(_) | Field::Repeated => self.authorization = Field::Repeated,
        }
    }

    fn add_cookies(&mut self, line: &'a [u8]) {
        for (name, value) in cookie::ours(line) {
            let field = if name == SESSION_COOKIE.as_bytes() {
                &mut self.session_cookie
            } else if name == PLAIN_SESSION_COOKIE.as_bytes() {
                &mut self.plain_cookie
            } else {
                continue;
            };
            // What a page leaves behind that cannot delete it.
            if !is_placeholder(value) {
                field.add(value);
            }
        }
    }
}

fn is_padded(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.first()) || blank(value.last())
}
