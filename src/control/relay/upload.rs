//! The body of a call on its way to WeChat: read whole where it is small, so that it can be sent again, and passed on as it comes where
//! it is not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::form::FormFilter;
use super::json::JsonFilter;
use super::parts::PartsFilter;
use super::progress::Progress;
use crate::control::denial::ControlDenial;

/// As much is kept of a body to send it again.
const KEPT: usize = 16 * 1024;
/// So much of a body that is kept is handed on at a time.
const SLICE: usize = 4 * 1024;
/// How long a caller may take between two parts of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A body that is ready to be sent.
pub(super) enum Upload {
    /// All of it, as often as it takes.
    Whole(Bytes),
    /// As it comes, once, with its length.
    Passing(Box<Passing>),
}

/// A body that is too large to be kept.
pub(super) struct Passing {
    first: Bytes,
    rest: BodyDataStream,
    filter: Filter,
    pub(super) length: u64,
}

/// What is taken out of a body.
enum Filter {
    Json(JsonFilter),
    Form(FormFilter),
    Parts(Box<PartsFilter>),
    Nothing,
}

impl Filter {
    /// Chooses by what the body says it is, or by how it begins where it says nothing that WeChat reads.
    fn of(headers: &HeaderMap, first: &[u8]) -> Result<Self, ControlDenial> {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        Ok(match kind.as_str() {
            kind if kind.starts_with("multipart/") => {
                let filter = PartsFilter::of(headers).map_err(|_| UNREADABLE)?;
                Self::Parts(Box::new(filter))
            }
            // Some clients call JSON a form.
            kind if kind.ends_with("json") || begins_with(first) == Some(b'{') => {
                Self::Json(JsonFilter::new())
            }
            // What is said to be nothing in particular may be read as a form all the same.
            "application/x-www-form-urlencoded" | "text/plain" | "" => {
                Self::Form(FormFilter::default())
            }
            _ => Self::Nothing,
        })
    }

    fn pass(&mut self, part: Bytes) -> Result<Bytes, ControlDenial> {
        match self {
            Self::Json(filter) => filter.pass(&part).map_err(|_| MALFORMED),
            Self::Form(filter) => Ok(filter.pass(&part)),
            Self::Parts(filter) => filter.pass(&part).map_err(|_| UNREADABLE),
            Self::Nothing => Ok(part),
        }
    }

    fn finish(&mut self) -> Result<Bytes, ControlDenial> {
        match self {
            Self::Json(filter) => filter
                .finish()
                .map(|()| Bytes::new())
                .map_err(|_| MALFORMED),
            Self::Form(filter) => Ok(filter.finish()),
            Self::Parts(filter) => filter
                .finish()
                .map(|()| Bytes::new())
                .map_err(|_| UNREADABLE),
            Self::Nothing => Ok(Bytes::new()),
        }
    }
}

const UNREADABLE: ControlDenial = ControlDenial::BadRequest(
    "The form of several parts is not one that everybody reads alike: it needs a boundary, CRLF, a name in each part, and its end.",
);
const MALFORMED: ControlDenial =
    ControlDenial::BadRequest("The body is not the JSON object that it begins as.");

impl Upload {
    /// Reads the beginning of a body, or all of it.
    pub(super) async fn of(headers: &HeaderMap, body: Body) -> Result<Self, ControlDenial> {
        let length = body.size_hint().exact();
        let mut rest = body.into_data_stream();
        let first = beginning(&mut rest).await?;
        let mut filter = Filter::of(headers, &first)?;
        if let Some(length) = length.filter(|length| *length > KEPT as u64) {
            return Ok(Self::Passing(Box::new(Passing {
                first,
                rest,
                filter,
                length,
            })));
        }
        // Once, and no larger than it is: what grows leaves its smaller selves behind.
        let mut whole = BytesMut::with_capacity(length.map_or(0, |length| length as usize));
        let (mut part, mut taken) = (Some(first), 0);
        while let Some(read) = part {
            taken += read.len();
            if taken > KEPT {
                return Err(ControlDenial::LengthRequired);
            }
            whole.extend_from_slice(&filter.pass(read)?);
            part = next(&mut rest).await?;
        }
        whole.extend_from_slice(&filter.finish()?);
        Ok(Self::Whole(whole.freeze()))
    }
}

/// Returns a body that is handed on in slices.
pub(super) fn in_slices(whole: Bytes) -> Body {
    if whole.len() <= SLICE {
        return Body::from(whole);
    }
    let slices = (0..whole.len()).step_by(SLICE).map(move |at| {
        let end = whole.len().min(at + SLICE);
        Ok::<_, Infallible>(whole.slice(at..end))
    });
    Body::from_stream(one_by_one(futures::stream::iter(slices)))
}

/// Hands parts on one by one, each after the one before was written: a connection copies what it is handed at once into one buffer,
/// which keeps its largest size.
pub(super) fn one_by_one<S: Stream>(parts: S) -> impl Stream<Item = S::Item> {
    parts.then(|part| async {
        tokio::task::yield_now().await;
        part
    })
}

impl Passing {
    /// Returns the body, and notes in `progress` how it goes.
    pub(super) fn into_body(self, progress: Arc<Progress>) -> Body {
        let Self {
            first,
            rest,
            filter,
            length: _,
        } = self;
        let state = (Some(first), rest, filter, progress, false);
        let parts = futures::stream::unfold(state, async |state| {
            let (mut first, mut rest, mut filter, progress, over) = state;
            if over {
                return None;
            }
            let read = match first.take() {
                Some(first) => Ok(Some(first)),
                None => next(&mut rest).await,
            };
            let (passed, over) = match read {
                Ok(Some(part)) => (filter.pass(part), false),
                Ok(None) => (filter.finish(), true),
                Err(refusal) => (Err(refusal), true),
            };
            let passed = match passed {
                Ok(part) => {
                    progress.moved(part.len());
                    Ok(part)
                }
                Err(refusal) => {
                    progress.refuse(refusal);
                    Err(std::io::Error::other("the body was refused"))
                }
            };
            if over {
                progress.is_sent();
            }
            let over = over || passed.is_err();
            Some((passed, (first, rest, filter, progress, over)))
        });
        Body::from_stream(one_by_one(parts))
    }
}

/// Returns the byte that tells what a body is: the first behind what readers of JSON overlook.
fn begins_with(body: &[u8]) -> Option<u8> {
    let overlooked = b" \t\r\n\xef\xbb\xbf";
    body.iter().copied().find(|byte| !overlooked.contains(byte))
}

/// Reads so much of a body that it tells what it is, however it was cut.
async fn beginning(parts: &mut BodyDataStream) -> Result<Bytes, ControlDenial> {
    let mut first = next(parts).await?.unwrap_or_default();
    while begins_with(&first).is_none()
        && let Some(part) = next(parts).await?
    {
        if first.len() + part.len() > KEPT {
            return Err(MALFORMED);
        }
        first = [first, part].concat().into();
    }
    Ok(first)
}

async fn next(parts: &mut BodyDataStream) -> Result<Option<Bytes>, ControlDenial> {
    match timeout(IDLE_TIMEOUT, parts.next()).await {
        Ok(Some(Ok(part))) => Ok(Some(part)),
        Ok(Some(Err(_))) => Err(ControlDenial::BadRequest("The body broke off.")),
        Ok(None) => Ok(None),
        Err(_) => Err(ControlDenial::RequestTimeout),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn filter(kind: Option<&'static str>, first: &[u8]) -> Filter {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Filter::of(&headers, first).unwrap()
    }

    #[test]
    fn what_a_body_is_does_not_depend_on_what_stands_before_it() {
        for first in [&b"{"[..], b" \r\n{", b"\xef\xbb\xbf{", b"\xef\xbb\xbf \t{"] {
            for kind in [
                None,
                Some("text/plain"),
                Some("application/x-www-form-urlencoded"),
            ] {
                assert!(matches!(filter(kind, first), Filter::Json(_)), "{first:?}");
            }
        }
        let json = filter(Some("application/json; charset=utf-8"), b" ");
        assert!(matches!(json, Filter::Json(_)));
        assert!(matches!(filter(None, b"a={"), Filter::Form(_)));
        assert!(matches!(
            filter(Some("image/png"), b"\x89PNG"),
            Filter::Nothing
        ));
    }

    #[tokio::test]
    async fn a_body_is_read_until_it_tells_what_it_is() {
        let parts = ["", " ", "\n", "\u{feff}", "{\"a\"", ":1}"];
        let parts = parts.map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
        let body = Body::from_stream(futures::stream::iter(parts));
        let first = beginning(&mut body.into_data_stream()).await.unwrap();
        assert_eq!(first, " \n\u{feff}{\"a\"");
        let blank = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from("  ")));
        let endless = beginning(&mut Body::from_stream(blank).into_data_stream()).await;
        assert!(endless.is_err());
    }
}
