//! WeChat's answer on its way back: an error in JSON is told from a picture by its bytes, and what is not WeChat's is refused.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::progress::Moved;
use super::upload::one_by_one;
use crate::control::denial::ControlDenial;
use crate::wechat::{AnswerError, ApiError, CallError, Fields, Lease};

/// A longer answer is none that says what went wrong.
const LONGEST_ERROR: usize = 8 * 1024;
/// The headers of WeChat's that go on.
const PASSED: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_DISPOSITION, CONTENT_LENGTH];
const BOM: &[u8] = b"\xef\xbb\xbf";

/// An answer whose beginning is known.
pub(super) struct RelayAnswer {
    headers: HeaderMap,
    first: Bytes,
    /// What is yet to come; `None` where that was all.
    rest: Option<(Incoming, Lease<Body>)>,
    /// What WeChat says that went wrong, where it is an error.
    pub(super) error: Option<ApiError>,
}

impl RelayAnswer {
    /// Reads the beginning of an answer, and all of one that may be an error.
    pub(super) async fn of(
        answer: Response<Incoming>,
        lease: Lease<Body>,
        limit: Duration,
    ) -> Result<Self, CallError> {
        let (head, mut rest) = answer.into_parts();
        if let Some(error) = refused(head.status) {
            return Err(error);
        }
        let is_file = head.headers.contains_key(CONTENT_DISPOSITION);
        let mut first = BytesMut::new();
        let mut over = rest.is_end_stream();
        while !over && (first.len() < BOM.len() || (!is_file && may_be_error(&first))) {
            match part(&mut rest, limit).await? {
                Some(part) => first.extend_from_slice(&part),
                None => over = true,
            }
        }
        let first = first.freeze();
        if !is_file && begins_with(&first, b'<') {
            return Err(CallError::NotWeChat("it is a web page"));
        }
        let error = match over && begins_with(&first, b'{') && !is_file {
            true => error_in(&first)?,
            false => None,
        };
        let mut headers = HeaderMap::new();
        for name in PASSED {
            // A clone would keep the buffer into which the whole head was read.
            let value = head.headers.get(&name).map(HeaderValue::as_bytes);
            if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
                headers.insert(name, value);
            }
        }
        let rest = if over {
            lease.give_back();
            None
        } else {
            Some((rest, lease))
        };
        Ok(Self {
            headers,
            first,
            rest,
            error,
        })
    }

    /// Passes it on.
    pub(super) fn into_response(self, limit: Duration, moved: Moved) -> Response<Body> {
        let body = match self.rest {
            None => Body::from(self.first),
            Some((rest, lease)) => {
                let state = (self.first, Some((rest, lease)), moved);
                let parts =
                    futures::stream::unfold(state, move |(first, open, moved)| async move {
                        let (mut rest, lease) = open?;
                        if !first.is_empty() {
                            return Some((Ok(first), (Bytes::new(), Some((rest, lease)), moved)));
                        }
                        moved.add();
                        match part(&mut rest, limit).await {
                            Ok(Some(part)) => {
                                Some((Ok(part), (Bytes::new(), Some((rest, lease)), moved)))
                            }
                            Ok(None) => {
                                lease.give_back();
                                None
                            }
                            Err(_) => {
                                let broken = std::io::Error::other("WeChat's answer broke off");
                                Some((Err(broken), (Bytes::new(), None, moved)))
                            }
                        }
                    });
                Body::from_stream(one_by_one(parts.boxed()))
            }
        };
        let mut response = Response::new(body);
        *response.headers_mut() = self.headers;
        response
    }
}

async fn part(rest: &mut Incoming, limit: Duration) -> Result<Option<Bytes>, CallError> {
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *rest).poll_frame(cx));
        match timeout(limit, frame).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(part) = frame.into_data() {
                    return Ok(Some(part));
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) | Err(_) => return Err(CallError::NoAnswer),
        }
    }
}

/// Returns whether what has come so far may be the beginning of an error.
fn may_be_error(first: &[u8]) -> bool {
    let is_blank = text(first).trim_ascii().is_empty();
    first.len() <= LONGEST_ERROR && (is_blank || begins_with(first, b'{'))
}

fn begins_with(first: &[u8], byte: u8) -> bool {
    text(first).trim_ascii_start().first() == Some(&byte)
}

/// Returns what stands behind the mark that a text may begin with.
fn text(body: &[u8]) -> &[u8] {
    body.strip_prefix(BOM).unwrap_or(body)
}

/// Reads what a whole answer in JSON says that went wrong.
fn error_in(body: &[u8]) -> Result<Option<ApiError>, CallError> {
    let body = text(body);
    match Fields::parse(body) {
        Ok(_) | Err(AnswerError::Invalid(_)) => Ok(None),
        Err(error @ AnswerError::Errcode { .. }) => Ok(Some(error.into())),
        Err(AnswerError::NotAnObject) => {
            // WeChat's own JSON may hold raw control characters, which a caller's parser may bear; half of it is none.
            let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(body);
            match parsed {
                Err(error) if error.is_eof() => {
                    Err(CallError::NotAnAnswer("its JSON ends in the middle"))
                }
                Ok(_) | Err(_) => Ok(None),
            }
        }
    }
}

/// Returns what a status says that is not WeChat's API's, which answers 200 to everything.
fn refused(status: StatusCode) -> Option<CallError> {
    Some(match status {
        StatusCode::OK => return None,
        _ if status.is_redirection() => CallError::NotWeChat("it is a redirect"),
        _ => CallError::NotAnAnswer("its status is not 200"),
    })
}

impl From<CallError> for ControlDenial {
    fn from(error: CallError) -> Self {
        ApiError::from(error).into()
    }
}
