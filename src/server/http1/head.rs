//! Parses the head of a response, and writes heads of both kinds.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{EMPTY_HEADER, Error, Header, ParserConfig, Response};
use memchr::memchr_iter;

use crate::server::message::{ResponseHead, Spelling, for_each_line};

/// Most heads have no more lines, and a larger table costs each of them its initialisation.
const FEW_LINES: usize = 32;
/// The most header lines.
const MOST_LINES: usize = 256;

/// A response's head, and what its first line said of the version.
pub(super) struct Parsed {
    pub(super) head: ResponseHead,
    pub(super) is_http10: bool,
}

/// Looks for the end of a response's head, of whose bytes the first `seen` were looked at before.
///
/// Some servers end lines with a line feed alone, which a recipient may accept (RFC 9112, section 2.2).
pub(super) fn end_of_response(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let tail = head.get(from..)?;
    memchr_iter(b'\n', tail).find_map(|feed| {
        let rest = tail.get(feed + 1..)?;
        let line = [&b"\r\n"[..], b"\n"]
            .into_iter()
            .find(|line| rest.starts_with(line))?;
        Some(from + feed + 1 + line.len())
    })
}

/// Parses a response's head, which ends with the empty line; `None` where it is malformed.
pub(super) fn parse_response(raw: &Bytes) -> Option<Parsed> {
    match parse_known(raw) {
        Err(Error::Version) => parse_known(&as_http11(raw)?).ok()?,
        parsed => parsed.ok()?,
    }
}

/// Returns a head of a higher minor version as one of the highest that is known (RFC 9112, section 2.3).
fn as_http11(raw: &[u8]) -> Option<Bytes> {
    const KNOWN: &[u8] = b"HTTP/1.1";
    let (version, rest) = raw.split_at_checked(KNOWN.len())?;
    let (b"HTTP/1.", [b'2'..=b'9']) = version.split_at_checked(KNOWN.len() - 1)? else {
        return None;
    };
    Some([KNOWN, rest].concat().into())
}

fn parse_known(raw: &Bytes) -> Result<Option<Parsed>, Error> {
    let (mut few, mut many);
    few = [EMPTY_HEADER; FEW_LINES];
    match parse_with(raw, &mut few) {
        Err(Error::TooManyHeaders) => {
            many = [EMPTY_HEADER; MOST_LINES];
            parse_with(raw, &mut many)
        }
        parsed => parsed,
    }
}

fn parse_with<'b>(raw: &'b Bytes, fields: &mut [Header<'b>]) -> Result<Option<Parsed>, Error> {
    let mut response = Response::new(fields);
    let mut config = ParserConfig::default();
    // A space before the colon is what nginx and Go pass over as well; the field is not taken for another.
    config.allow_spaces_after_header_name_in_responses(true);
    if config.parse_response(&mut response, raw)?.is_partial() {
        return Ok(None);
    }
    Ok(read(raw, &response))
}

fn read(raw: &Bytes, response: &Response<'_, '_>) -> Option<Parsed> {
    let status = StatusCode::from_u16(response.code?).ok()?;
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 4);
    let mut names = Vec::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(field.value)).ok()?;
        if !headers.append(name, value) {
            names.push(range_of(raw, field.name.as_bytes()));
        }
    }
    let reason = response
        .reason
        .filter(|reason| Some(*reason) != status.canonical_reason());
    Some(Parsed {
        is_http10: response.version? == 0,
        head: ResponseHead {
            status,
            reason: reason.map(|reason| raw.slice_ref(reason.as_bytes())),
            headers,
            spelling: Spelling::new(raw.clone(), names),
            hidden: Vec::new(),
            added: Vec::with_capacity(4),
        },
    })
}

fn range_of(raw: &[u8], part: &[u8]) -> Range<u32> {
    let start = part.as_ptr() as usize - raw.as_ptr() as usize;
    start as u32..(start + part.len()) as u32
}

/// Writes the first line of a response and its header section, without the empty line.
pub(in crate::server) fn write_response(head: &ResponseHead, out: &mut BytesMut) {
    let status = head.status;
    out.reserve(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    match &head.reason {
        Some(reason) => out.extend_from_slice(reason),
        None => out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
    for_each_line(&head.headers, &head.spelling, |name, spelled, value| {
        if !head.hidden.contains(name) {
            write_field(name, spelled, value, out);
        }
    });
    for (name, value) in &head.added {
        write_field(name, None, value, out);
    }
}

/// Writes one line.
pub(in crate::server) fn write_field(
    name: &HeaderName,
    spelled: Option<&[u8]>,
    value: &HeaderValue,
    out: &mut BytesMut,
) {
    out.reserve(name.as_str().len() + value.len() + 4);
    match spelled {
        Some(spelled) => out.extend_from_slice(spelled),
        None => write_name(name.as_str(), out),
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a name as HTTP/1 has always spelled it: some programs compare names by their case.
fn write_name(name: &str, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    let Some(written) = out.get_mut(start..) else {
        return;
    };
    if name.starts_with("x-wx-") {
        written.make_ascii_uppercase();
        return;
    }
    let mut is_first = true;
    for byte in written {
        if is_first {
            byte.make_ascii_uppercase();
        }
        is_first = *byte == b'-';
    }
}

/// Writes `Content-Length`.
pub(super) fn write_length(length: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), length);
    loop {
        at -= 1;
        if let Some(place) = digits.get_mut(at) {
            *place = b'0' + (left % 10) as u8;
        }
        left /= 10;
        if left == 0 || at == 0 {
            break;
        }
    }
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(digits.get(at..).unwrap_or(b"0"));
    out.extend_from_slice(b"\r\n");
}

/// Returns the length that a header section says, where it says one.
pub(in crate::server) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_spelling_or_get_the_usual_one() {
        let raw =
            Bytes::from_static(b"HTTP/1.1 200 Fine\r\nx-ODD: 1\r\nEtag: 2\r\nX-Odd: 3\r\n\r\n");
        let mut parsed = parse_response(&raw).unwrap();
        for (name, value) in [("x-request-id", "4"), ("x-wx-openid", "5"), ("etag", "6")] {
            parsed.head.set(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let mut out = BytesMut::new();
        write_response(&parsed.head, &mut out);
        let expected = "HTTP/1.1 200 Fine\r\nx-ODD: 1\r\nx-ODD: 3\r\nX-Request-Id: 4\r\nX-WX-OPENID: 5\r\nEtag: 6\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_head_that_is_none_is_not_parsed() {
        for raw in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/2.2 200 OK\r\n\r\n",
            "HTTP/1.x 200 OK\r\n\r\n",
            "HTTP/1.20 200 OK\r\n\r\n",
            "HTTP/1.2200 OK\r\n\r\n",
            "ok\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert!(
                parse_response(&Bytes::from_static(raw.as_bytes())).is_none(),
                "{raw:?}"
            );
        }
    }
}
