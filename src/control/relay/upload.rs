//! The body of a call on its way to WeChat: read whole where it is small, so that it can be sent again, and passed on as it comes where
//! it is not.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::form::{FormFilter, PartsFilter};
use super::json::JsonFilter;
use super::progress::Progress;
use crate::control::refusal::Refusal;

/// As much is kept of a body to send it again.
const KEPT: usize = 24 * 1024;
/// How long a caller may take between two parts of a body.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest part that is handed on at once.
const PART: usize = 8 * 1024;

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
    Parts(PartsFilter),
    Nothing,
}

impl Filter {
    /// Chooses by what the body says it is, or by how it begins where it says nothing that WeChat reads.
    fn of(headers: &HeaderMap, first: &[u8]) -> Self {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        let begins = first.trim_ascii_start().first();
        let begins = match begins {
            Some(0xef) => first.get(3),
            other => other,
        };
        match kind.as_str() {
            "multipart/form-data" => Self::Parts(PartsFilter::default()),
            // Some clients call JSON a form.
            _ if begins == Some(&b'{') => Self::Json(JsonFilter::new()),
            "application/x-www-form-urlencoded" => Self::Form(FormFilter::default()),
            _ => Self::Nothing,
        }
    }

    fn pass(&mut self, part: Bytes) -> Result<Bytes, Refusal> {
        match self {
            Self::Json(filter) => filter.pass(&part).map_err(|_| MALFORMED),
            Self::Form(filter) => Ok(filter.pass(&part)),
            Self::Parts(filter) => match filter.pass(&part) {
                Ok(()) => Ok(part),
                Err(_) => Err(Refusal::BadRequest(
                    "A part of the form has a name that is the relay's to say, such as access_token.",
                )),
            },
            Self::Nothing => Ok(part),
        }
    }

    fn finish(&mut self) -> Result<Bytes, Refusal> {
        match self {
            Self::Json(filter) => filter
                .finish()
                .map(|()| Bytes::new())
                .map_err(|_| MALFORMED),
            Self::Form(filter) => Ok(filter.finish()),
            Self::Parts(_) | Self::Nothing => Ok(Bytes::new()),
        }
    }
}

const MALFORMED: Refusal =
    Refusal::BadRequest("The body is not the JSON object that it begins as.");

impl Upload {
    /// Reads the beginning of a body, or all of it.
    pub(super) async fn of(headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let length = body.size_hint().exact();
        let mut parts = body.into_data_stream();
        let small = length.is_none_or(|length| length <= KEPT as u64);
        let mut first = BytesMut::new();
        while let Some(part) = next(&mut parts).await? {
            first.extend_from_slice(&part);
            if small && first.len() > KEPT {
                return Err(Refusal::LengthRequired);
            }
            if !small {
                break;
            }
        }
        let mut filter = Filter::of(headers, &first);
        let first = first.freeze();
        if let Some(length) = length.filter(|_| !small) {
            return Ok(Self::Passing(Box::new(Passing {
                first,
                rest: parts,
                filter,
                length,
            })));
        }
        let mut whole = BytesMut::from(filter.pass(first)?);
        whole.extend_from_slice(&filter.finish()?);
        Ok(Self::Whole(whole.freeze()))
    }
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
        Body::from_stream(parts.flat_map(|part| match part {
            Ok(part) => futures::stream::iter(pieces(part)).left_stream(),
            Err(error) => futures::stream::iter([Err(error)]).right_stream(),
        }))
    }
}

/// Cuts a part, so that none fills a buffer at once.
fn pieces(mut part: Bytes) -> Vec<Result<Bytes, std::io::Error>> {
    let mut pieces = Vec::new();
    while part.len() > PART {
        pieces.push(Ok(part.split_to(PART)));
    }
    pieces.push(Ok(part));
    pieces
}

async fn next(parts: &mut BodyDataStream) -> Result<Option<Bytes>, Refusal> {
    match timeout(PATIENCE, parts.next()).await {
        Ok(Some(Ok(part))) => Ok(Some(part)),
        Ok(Some(Err(_))) => Err(Refusal::BadRequest("The body broke off.")),
        Ok(None) => Ok(None),
        Err(_) => Err(Refusal::RequestTimeout),
    }
}
