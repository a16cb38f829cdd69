//! Reads a header section once, and notes what the checks and the decision need of it.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use super::names::{APP, CODE, is_alias};

/// A header that must not be there more than once.
#[derive(Clone, Copy, Debug, Default)]
pub enum Field<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there once.
    Once(&'a HeaderValue),
    /// It is there more than once.
    Repeated,
}

/// What a header section holds of the headers that decide something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey<'a> {
    /// The size of the section in bytes.
    pub bytes: usize,
    /// `Authorization`
    pub authorization: Field<'a>,
    /// `Host`
    pub host: Field<'a>,
    /// `Content-Length`
    pub content_length: Field<'a>,
    /// `Transfer-Encoding`
    pub transfer_encoding: Field<'a>,
    /// Whether a backend that folds names would find another `Content-Length` or `Transfer-Encoding`.
    pub poses_as_framing: bool,
    /// The code of a login on the first request.
    pub code: Field<'a>,
    /// The app of a login on the first request.
    pub app: Field<'a>,
}

impl<'a> Survey<'a> {
    /// Goes through the headers once.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut survey = Self::default();
        for (name, value) in headers {
            // Four bytes a line for the colon, the space and the line's end.
            survey.bytes += name.as_str().len() + value.len() + 4;
            let field = if *name == AUTHORIZATION {
                &mut survey.authorization
            } else if *name == HOST {
                &mut survey.host
            } else if *name == CONTENT_LENGTH {
                &mut survey.content_length
            } else if *name == TRANSFER_ENCODING {
                &mut survey.transfer_encoding
            } else if *name == CODE {
                &mut survey.code
            } else if *name == APP {
                &mut survey.app
            } else {
                survey.poses_as_framing |=
                    is_alias(name, &CONTENT_LENGTH) || is_alias(name, &TRANSFER_ENCODING);
                continue;
            };
            *field = match field {
                Field::Absent => Field::Once(value),
                Field::Once(_) | Field::Repeated => Field::Repeated,
            };
        }
        survey
    }
}
